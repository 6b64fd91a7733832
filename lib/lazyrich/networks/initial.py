"""Gaussian initial weights from named generators, one member a seed."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lazyrich.core import check, rng


def fan_in_scales(
    shapes: Mapping[str, tuple[int, ...]], sigma: float
) -> dict[str, float]:
    """Standard deviations sigma / sqrt(fan_in) of weights (fan_out, ...), the standard
    parametrisation."""
    return {
        name: sigma / math.sqrt(math.prod(shape[1:])) for name, shape in shapes.items()
    }


def normal_weights(
    shapes: Mapping[str, tuple[int, ...]],
    scales: Mapping[str, float],
    seed: int | Sequence[int] = 0,
    members: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> dict[str, Tensor]:
    """Independent centred Gaussian weights.

    The member of seed ``s`` is the same whatever the batch it is drawn in: draws are
    made on the CPU from generators named by parameter and seed.

    Args:
        shapes: shape of every parameter of one member.
        scales: standard deviation of every parameter; 0 gives zeros and draws nothing.
        seed: one seed, or a sequence of seeds, which gives a leading member axis.
        members: with one seed, the number of members ``seed, seed + 1, ...``; ``None``
            leaves the member axis out.
        dtype, device: of the result; draws are float64, rounded to ``dtype``.

    Raises:
        TypeError, ValueError: seeds that are not integers >= 0, an empty sequence,
            ``members`` beside a sequence of seeds, or a dtype that is not floating.
    """
    place = check.device("device", device)
    check.float_dtype("dtype", dtype)
    if isinstance(seed, Sequence) and not isinstance(seed, str):
        if members is not None:
            raise ValueError("members must be None when seed is a sequence of seeds")
        if not seed:
            raise ValueError("seed must hold at least one seed, got an empty one")
        seeds, batched = list(seed), True
    elif members is None:
        seeds, batched = [seed], False
    else:
        first = check.positive_int("seed", seed, least=0)
        count = check.size("members", members)
        seeds, batched = [first + k for k in range(count)], True
    seeds = [check.positive_int("seed", s, least=0) for s in seeds]
    w: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        value = torch.zeros((len(seeds), *shape), dtype=torch.float64, device="cpu")
        if scales[name]:
            for row, s in zip(value, seeds, strict=True):
                named = rng.generator(f"init/{name}", s)
                drawn = torch.randn(
                    shape, generator=named, dtype=torch.float64, device="cpu"
                )
                row.copy_(drawn)
            value *= scales[name]
        value = value if batched else value[0]
        w[name] = value.to(device=place, dtype=dtype)
    return w
