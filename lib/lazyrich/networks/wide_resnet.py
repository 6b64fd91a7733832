r"""Wide residual networks without normalisation, as atanasov2022, App. I, trains them.

The architecture is that of Novak et al.'s library of tangent kernels, after Zagoruyko and
Komodakis: a first 3x3 convolution to 16 channels; three groups of ``b`` blocks with 16 k,
32 k and 64 k channels, the second and third of which start with stride 2; average over all
positions; a linear read-out. A block is

    x -> shortcut(x) + conv(relu(conv(relu(x)))),

where the shortcut is a 3x3 convolution in the first block of a group, else the identity.
There are no biases and no batch normalisation, so that every example has a gradient of
its own. Standard parametrisation: weights N(0, sigma^2 / fan_in).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from lazyrich.core import check
from lazyrich.networks.initial import normal_weights

Params = dict[str, Tensor]


@dataclass(frozen=True)
class WideResNet:
    """A wide residual network (atanasov2022, App. I).

    A description without state: ``init`` draws weights, calling it evaluates f. It goes
    wherever a callable f(w, x) does; it has no member axis.

    Args:
        k: widening factor.
        b: blocks a group.
        channels: of the input images.
        c: number of outputs.
        sigma: scale of the initial weights N(0, sigma^2 / fan_in), read-out included.
        sigma_first: that of the first convolution.

    Raises:
        TypeError, ValueError: sizes that are not positive integers, or scales that are
            not positive.
    """

    k: int = 4
    b: int = 1
    channels: int = 3
    c: int = 1
    sigma: float = 0.3
    sigma_first: float = 6.0

    def __post_init__(self) -> None:
        for name in ("k", "b", "channels", "c"):
            check.positive_int(name, getattr(self, name))
        for name in ("sigma", "sigma_first"):
            check.real(name, getattr(self, name), above=0.0)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight, in the order of the forward pass."""
        shapes: dict[str, tuple[int, ...]] = {"first": (16, self.channels, 3, 3)}
        before = 16
        for group in range(3):
            width = 16 * 2**group * self.k
            for block in range(self.b):
                place = f"group{group}.block{block}"
                shapes[f"{place}.conv0"] = (width, before, 3, 3)
                shapes[f"{place}.conv1"] = (width, width, 3, 3)
                if block == 0:
                    shapes[f"{place}.shortcut"] = (width, before, 3, 3)
                before = width
        shapes["readout"] = (self.c, before)
        return shapes

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def main_path(self) -> int:
        """Layers of weights on the main path: all but the shortcuts."""
        return sum("shortcut" not in name for name in self.shapes)

    def init(
        self,
        seed: int | Sequence[int] = 0,
        members: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> Params:
        """Draw weights; arguments are those of ``FullyConnected.init``.

        Raises:
            ValueError: an ensemble was asked for.
        """
        if members is not None or isinstance(seed, Sequence):
            raise ValueError(
                "seed must be one integer: this network has no member axis"
            )
        scales = {}
        for name, shape in self.shapes.items():
            sigma = self.sigma_first if name == "first" else self.sigma
            scales[name] = sigma / math.sqrt(math.prod(shape[1:]))
        return normal_weights(self.shapes, scales, seed, None, dtype, device)

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x): shape (n,), or (n, c) for c > 1.

        Args:
            w: weights as from ``init``.
            x: images (n, channels, height, width), sides of at least 4.

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        self._check(w, x)
        z = functional.conv2d(x, w["first"], padding=1)
        for group in range(3):
            for block in range(self.b):
                stride = 2 if group > 0 and block == 0 else 1
                z = self._block(w, f"group{group}.block{block}", z, stride)
        f = z.mean((-2, -1)) @ w["readout"].mT
        return f.squeeze(-1) if self.c == 1 else f

    def _block(
        self, w: Mapping[str, Tensor], place: str, z: Tensor, stride: int
    ) -> Tensor:
        main = functional.conv2d(
            functional.relu(z), w[f"{place}.conv0"], stride=stride, padding=1
        )
        main = functional.conv2d(functional.relu(main), w[f"{place}.conv1"], padding=1)
        direct = w.get(f"{place}.shortcut")
        if direct is not None:
            z = functional.conv2d(z, direct, stride=stride, padding=1)
        return z + main

    def _check(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        if not isinstance(w, Mapping):
            raise TypeError(f"w must be a dict of tensors, got {type(w).__name__}")
        if w.keys() != self.shapes.keys():
            raise ValueError(
                f"w must hold {', '.join(self.shapes)}; got {', '.join(w)}"
            )
        wrong = [k for k, s in self.shapes.items() if tuple(w[k].shape) != s]
        if wrong:
            raise ValueError(
                f"w must have shape {self.shapes[wrong[0]]} at {wrong[0]}, "
                f"got {tuple(w[wrong[0]].shape)}"
            )
        check.tensor("x", x, ndim=4, like=w["first"], finite=False)
        if x.shape[1] != self.channels or min(x.shape[2:]) < 4:
            raise ValueError(
                f"x must be images (n, {self.channels}, height, width) with sides of at "
                f"least 4, got shape {tuple(x.shape)}"
            )
