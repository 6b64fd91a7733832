r"""Convolutional networks in the NTK scaling: set-up B of geiger2020 and its wide resnet.

Weights are standard normal and divided by the square root of the fan-in at every layer, so
that pre-activations are O(1) whatever the number of channels; biases start at zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from lazyrich.core import check, rng

Params = dict[str, Tensor]


class _Images:
    """What both networks share: drawing weights and checking them."""

    channels: int
    shapes: dict[str, tuple[int, ...]]

    @property
    def n_params(self) -> int:
        """Number of parameters N."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def init(
        self,
        seed: int | Sequence[int] = 0,
        members: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> Params:
        """Draw weights from N(0, 1), with biases zero.

        Args:
            seed: one seed.
            members: must be ``None``: these networks have no member axis.
            dtype, device: of the result; draws are made on the CPU in float64.

        Raises:
            ValueError: an ensemble was asked for.
        """
        if members is not None or isinstance(seed, Sequence):
            raise ValueError(
                "seed must be one integer: this network has no member axis"
            )
        seed = check.positive_int("seed", seed, least=0)
        place = check.device("device", device)
        w: Params = {}
        for name, shape in self.shapes.items():
            if name.endswith(".B"):
                value = torch.zeros(shape, dtype=torch.float64)
            else:
                gen = rng.generator(f"init/{name}", seed)
                value = torch.randn(shape, generator=gen, dtype=torch.float64)
            w[name] = value.to(device=place, dtype=dtype)
        return w

    def _check(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        if not isinstance(w, Mapping):
            raise TypeError(f"w must be a dict of tensors, got {type(w).__name__}")
        shapes = {name: tuple(value.shape) for name, value in w.items()}
        if shapes != dict(self.shapes):
            raise ValueError(f"w must have the shapes {self.shapes}, got {shapes}")
        check.tensor("x", x, ndim=4, like=next(iter(w.values())), finite=False)
        if x.shape[1] != self.channels:
            raise ValueError(
                f"x must be images (n, {self.channels}, height, width), "
                f"got shape {tuple(x.shape)}"
            )

    def _conv(
        self, w: Mapping[str, Tensor], name: str, z: Tensor, stride: int, padding: int
    ) -> Tensor:
        weight = w[f"{name}.W"]
        scale = 1.0 / math.sqrt(math.prod(weight.shape[1:]))
        return functional.conv2d(
            z * scale, weight, w[f"{name}.B"], stride=stride, padding=padding
        )


_GAIN = math.sqrt(2.0)  # E[relu(z)^2] = 1/2


@dataclass(frozen=True)
class Convolutional(_Images):
    """Four hidden convolutions, a mean over all positions, a linear read-out.

    geiger2020, App. B: strides of 2 in the first and the third layer, ReLU times sqrt(2).
    Kernel size and padding are those of the authors' published code.

    Args:
        h: channels of every hidden layer.
        channels: of the input images.
        kernel: side of the filters.
        padding: zeros around the images.

    Raises:
        TypeError, ValueError: sizes that are not positive integers.
    """

    h: int
    channels: int = 1
    kernel: int = 5
    padding: int = 1

    def __post_init__(self) -> None:
        for name in ("h", "channels", "kernel"):
            check.positive_int(name, getattr(self, name))
        check.positive_int("padding", self.padding, least=0)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:  # type: ignore[override]
        """Shape of every parameter."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(4):
            before = self.channels if layer == 0 else self.h
            shapes[f"conv{layer}.W"] = (self.h, before, self.kernel, self.kernel)
            shapes[f"conv{layer}.B"] = (self.h,)
        shapes["readout.W"] = (1, self.h)
        shapes["readout.B"] = (1,)
        return shapes

    def feature_maps(self, w: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """Pre-activations of the hidden layers, (n, h, side, side) each."""
        self._check(w, x)
        maps, z = [], x
        for layer in range(4):
            pre = self._conv(w, f"conv{layer}", z, 1 + (layer % 2 == 0), self.padding)
            maps.append(pre)
            z = _GAIN * functional.relu(pre)
        return maps

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x) (n,) for images x (n, channels, height, width).

        Raises:
            TypeError, ValueError: parameters or images of the wrong form.
        """
        z = _GAIN * functional.relu(self.feature_maps(w, x)[-1])
        pooled = z.mean((-2, -1)) / math.sqrt(self.h)
        return (pooled @ w["readout.W"].mT + w["readout.B"]).squeeze(-1)


@dataclass(frozen=True)
class MixedResNet(_Images):
    """A wide residual network without normalisation, whose blocks mix both paths by an
    angle: cos(angle) x + sin(angle) block(x), which keeps the variance.

    geiger2020, App. B and Fig. 5, after the authors' published code: a convolution to 16
    channels, three groups of ``b`` blocks with 16 k, 32 k and 64 k channels of two 3x3
    convolutions each, 1x1 shortcuts where shapes change, a mean over positions, a linear
    read-out. ``MixedResNet(k=10, b=4, channels=3)`` is the 28x10 net of the paper.

    Args:
        k: widening factor.
        b: blocks a group.
        channels: of the input images.
        angle: of the mixing, in degrees.

    Raises:
        TypeError, ValueError: sizes that are not positive integers.
    """

    k: int = 10
    b: int = 4
    channels: int = 3
    angle: float = 45.0

    def __post_init__(self) -> None:
        for name in ("k", "b", "channels"):
            check.positive_int(name, getattr(self, name))
        check.real("angle", self.angle, above=0.0, most=90.0)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:  # type: ignore[override]
        """Shape of every parameter."""
        shapes: dict[str, tuple[int, ...]] = {}

        def conv(name: str, before: int, after: int, side: int) -> None:
            shapes[f"{name}.W"] = (after, before, side, side)
            shapes[f"{name}.B"] = (after,)

        conv("first", self.channels, 16, 3)
        before = 16
        for group in range(3):
            width = 16 * 2**group * self.k
            for block in range(self.b):
                place = f"group{group}/block{block}"
                conv(f"{place}/conv0", before, width, 3)
                conv(f"{place}/conv1", width, width, 3)
                if block == 0:
                    conv(f"{place}/shortcut", before, width, 1)
                before = width
        shapes["readout.W"], shapes["readout.B"] = (1, before), (1,)
        return shapes

    @property
    def L(self) -> int:
        """Hidden layers on the main path: all 3x3 convolutions."""
        return sum(len(s) == 4 and s[2] == 3 for s in self.shapes.values())

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x) (n,) for images x (n, channels, height, width).

        Raises:
            TypeError, ValueError: parameters or images of the wrong form.
        """
        self._check(w, x)
        cos = math.cos(math.radians(self.angle))
        sin = math.sin(math.radians(self.angle))
        z = self._conv(w, "first", x, 1, 1)
        for group in range(3):
            for block in range(self.b):
                place = f"group{group}/block{block}"
                stride = 2 if group > 0 and block == 0 else 1
                inner = _GAIN * functional.relu(z)
                inner = self._conv(w, f"{place}/conv0", inner, stride, 1)
                inner = _GAIN * functional.relu(inner)
                inner = self._conv(w, f"{place}/conv1", inner, 1, 1)
                if block == 0:
                    z = self._conv(w, f"{place}/shortcut", z, stride, 0)
                z = cos * z + sin * inner
        pooled = (_GAIN * functional.relu(z)).mean((-2, -1))
        pooled = pooled / math.sqrt(pooled.shape[-1])
        return (pooled @ w["readout.W"].mT + w["readout.B"]).squeeze(-1)
