r"""ReLU nets: patches of weight space on which the kernel is smooth (geiger2020, App. H).

A ReLU net is differentiable within a patch, on which no pre-activation of a training or
test point changes its sign. Deep in the lazy regime the weights stay in their patch and
the kernel change falls as 1/alpha, as for a smooth activation. Before that they cross many
borders; each crossing changes kernel entries by O(1/h) with a random sign, and since the
number of crossings is proportional to 1/alpha, their sum falls as alpha^(-1/2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import Tensor

from lazyrich import sweeps
from lazyrich.kernels import kernel_distance, ntk
from lazyrich.networks import FullyConnected
from lazyrich.studies.lazy_and_rich import depth
from lazyrich.studies.tools.digits import Digits
from lazyrich.studies.tools.statistics import Slope, bootstrap, loglog_slope


@dataclass(frozen=True)
class Response:
    """Kernel change along the lazy displacement; arrays (widths, seeds, s).

    Attributes:
        s: values of sqrt(h) alpha.
        kernel: relative change of the kernel.
        flips: number of pre-activations, over points, neurons and layers, that changed
            their sign.
    """

    s: np.ndarray
    kernel: np.ndarray
    flips: np.ndarray


def linear_response(
    x: Tensor,
    y: Tensor,
    x_kernel: Tensor,
    widths: Sequence[int],
    seeds: int,
    s: Sequence[float],
    L: int,
    activation: str = "relu",
) -> Response:
    """Move the weights as an alpha this large would, w0 + (1/alpha) J^T y / n, and look
    at the kernel; no training, so any sqrt(h) alpha costs the same.

    Args:
        x, y: training set.
        x_kernel: points between which the kernel is taken and whose signs are watched.
        widths: values of h.
        seeds: number of nets a width.
        s: values of sqrt(h) alpha.
        L: number of hidden layers.
        activation: ReLU, or a smooth one for comparison.
    """
    shape = (len(widths), seeds, len(s))
    kernel, flips = np.empty(shape), np.empty(shape)
    for row, h in enumerate(widths):
        net = FullyConnected(x.shape[1], h, L, activation)
        for seed in range(seeds):
            w = net.init(seed)
            step = net.pullback(w, x)[1](y / len(y))
            theta = ntk(net, w, x_kernel)
            signs = [z > 0 for z in net.preactivations(w, x_kernel)]
            for k, value in enumerate(s):
                size = math.sqrt(h) / value
                moved = {name: w[name] + size * step[name] for name in w}
                kernel[row, seed, k] = kernel_distance(ntk(net, moved, x_kernel), theta)
                after = net.preactivations(moved, x_kernel)
                flips[row, seed, k] = sum(
                    int(((z > 0) != sign).sum())
                    for z, sign in zip(after, signs, strict=True)
                )
    return Response(np.array(s, dtype=float), kernel, flips)


def root_mean_square(values: np.ndarray) -> np.ndarray:
    """Over seeds, of (widths, seeds, s)."""
    return np.sqrt((values**2).mean(1))


def slope_between(
    s: np.ndarray, curves: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Log-log slope against s within a window, of every row of ``curves`` (..., s)."""
    inside = (s >= low * 0.999) & (s <= high * 1.001)
    x = np.log(s[inside])
    x = x - x.mean()
    return (np.log(curves[..., inside]) * x).sum(-1) / (x * x).sum()


def flipping_range(
    response: Response, low: float = 10.0, least: float = 10.0
) -> np.ndarray:
    """(widths,) last s of the grid up to which a net flips at least ``least`` signs: the
    upper end of the random walk, beyond which it has too few steps.

    Raises:
        ValueError: a width flips fewer than that at all but one value from ``low`` on.
    """
    many = response.flips.mean(1) >= least
    ends = np.array([response.s[row].max(initial=0.0) for row in many])
    if ((response.s >= low) & (response.s <= ends.min())).sum() < 2:
        raise ValueError(
            f"least must leave two values of s from {low:g} on for every width, got "
            f"{least:g}, which ends at {ends.tolist()}"
        )
    return ends


def mean_slope(
    responses: Sequence[Response],
    windows: Sequence[Sequence[tuple[float, float]]],
    quantity: Literal["kernel", "flips"] = "kernel",
) -> Slope:
    """Log-log slope of the kernel change (root mean square over seeds) or of the flipped
    signs (mean) against s, in a window for every response and width, averaged over both;
    error over seeds.

    Args:
        responses: with the same number of seeds.
        windows: for every response and width (low, high).
        quantity: which of the two.
    """
    power = 2.0 if quantity == "kernel" else 1.0
    values = np.stack([getattr(r, quantity) for r in responses]).transpose(2, 0, 1, 3)

    def mean(sample: np.ndarray) -> float:
        curves = (sample**power).mean(0) ** (1.0 / power)
        found = [
            slope_between(responses[r].s, curves[r, w], low, high)
            for r, row in enumerate(windows)
            for w, (low, high) in enumerate(row)
        ]
        return float(np.mean(found))

    return bootstrap(values, mean, quantity)


def power_of_width(response: Response, widths: Sequence[int], most: float) -> Slope:
    """Log-log slope in h of the kernel change at equal s, averaged up to s = ``most``;
    error over seeds."""
    h = np.array(widths, dtype=float)
    inside = response.kernel[..., response.s < most].transpose(1, 0, 2)

    def power(sample: np.ndarray) -> float:
        return loglog_slope(h, np.sqrt((sample**2).mean(0)).mean(1))

    return bootstrap(inside, power, "power of h")


def patch_limit(response: Response) -> np.ndarray:
    """For every width the first s of the grid from which on no net of it flips a sign."""
    total = response.flips.sum(1)
    still = np.flip(np.cumsum(np.flip(total, 1), 1), 1) == 0
    return np.array(
        [response.s[row.argmax()] if row.any() else math.inf for row in still]
    )


LAPTOP = sweeps.Scale(
    grid={
        "net": ("relu",),
        "L": (5,),
        "alpha_mf": (
            1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6,
        ),
        "seed": (0, 1, 2),
    },
    settings=replace(Digits.of(depth.LAPTOP.settings), stop_loss=0.02),
)  # fmt: skip

PAPER = sweeps.Scale(
    grid={
        "net": ("relu",),
        "L": (5,),
        "alpha_mf": tuple(float(f"{10 ** (k / 2):.6g}") for k in range(-6, 23)),
        "seed": (0, 1, 2),
    },
    settings=replace(Digits.of(depth.PAPER.settings), h=800),
)

RELU = sweeps.register(
    sweeps.Study(
        name="relu_patches",
        title="Kernel change of ReLU nets over all of sqrt(h) alpha",
        version=1,
        scales={"laptop": LAPTOP, "paper": PAPER},
        measure=depth.measure,
        chunk_axes=("alpha_mf", "seed"),
        cost=depth.cost,
        chunk_size={"cpu": 3, "cuda": 64},
    )
)
