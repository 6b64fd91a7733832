r"""Convolutional networks in the NTK scaling: set-up B of geiger2020 and its wide resnet.

Weights are standard normal and divided by the square root of the fan-in at every layer, so
that pre-activations are O(1) whatever the number of channels; biases start at zero.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn import functional

from lazyrich.core import check
from lazyrich.networks.network import Network, check_images
from lazyrich.networks.wide_resnet import residual_blocks

_GAIN = math.sqrt(2.0)  # E[relu(z)^2] = 1/2


def _relu(z: Tensor) -> Tensor:
    return _GAIN * functional.relu(z)


def _convolve(
    w: Mapping[str, Tensor], name: str, z: Tensor, stride: int, padding: int
) -> Tensor:
    weight = w[f"{name}.W"]
    scale = 1.0 / math.sqrt(math.prod(weight.shape[1:]))
    return functional.conv2d(
        z * scale, weight, w[f"{name}.B"], stride=stride, padding=padding
    )


def _read_out(w: Mapping[str, Tensor], z: Tensor) -> Tensor:
    """One number an image from its last pre-activations (n, channels, side, side)."""
    pooled = _relu(z).mean((-2, -1)) / math.sqrt(z.shape[1])
    return (pooled @ w["readout.W"].mT + w["readout.B"]).squeeze(-1)


def _with_biases(
    weights: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights ``name.W`` and of a bias ``name.B`` beside each."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in weights.items():
        shapes[f"{name}.W"], shapes[f"{name}.B"] = shape, shape[:1]
    return shapes


@dataclass(frozen=True)
class Convolutional(Network):
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

    ensembles = False

    def __post_init__(self) -> None:
        for name in ("h", "channels", "kernel"):
            check.positive_int(name, getattr(self, name))
        check.positive_int("padding", self.padding, least=0)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter."""
        weights: dict[str, tuple[int, ...]] = {}
        for layer in range(4):
            before = self.channels if layer == 0 else self.h
            weights[f"conv{layer}"] = (self.h, before, self.kernel, self.kernel)
        return _with_biases(weights | {"readout": (1, self.h)})

    @property
    def scales(self) -> dict[str, float]:
        """Weights start from N(0, 1), biases from zero."""
        return {name: float(name.endswith(".W")) for name in self.shapes}

    @property
    def least_side(self) -> int:
        """The smallest side of images that leaves every layer one position at least."""
        side = 1
        for layer in reversed(range(4)):
            stride = 1 + (layer % 2 == 0)
            side = max(1, (side - 1) * stride + self.kernel - 2 * self.padding)
        return side

    def feature_maps(self, w: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """Pre-activations of the hidden layers, (n, h, side, side) each."""
        self.check_params(w)
        check_images(x, self.channels, w["conv0.W"], self.least_side)
        maps, z = [], x
        for layer in range(4):
            pre = _convolve(w, f"conv{layer}", z, 1 + (layer % 2 == 0), self.padding)
            maps.append(pre)
            z = _relu(pre)
        return maps

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x) (n,) for images x (n, channels, height, width).

        Raises:
            TypeError, ValueError: parameters or images of the wrong form.
        """
        return _read_out(w, self.feature_maps(w, x)[-1])


@dataclass(frozen=True)
class MixedResNet(Network):
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

    ensembles = False

    def __post_init__(self) -> None:
        for name in ("k", "b", "channels"):
            check.positive_int(name, getattr(self, name))
        check.real("angle", self.angle, above=0.0, most=90.0)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter."""
        weights: dict[str, tuple[int, ...]] = {"first": (16, self.channels, 3, 3)}
        for block in residual_blocks(self.k, self.b):
            place = f"group{block.group}/block{block.index}"
            weights[f"{place}/conv0"] = (block.width, block.before, 3, 3)
            weights[f"{place}/conv1"] = (block.width, block.width, 3, 3)
            if block.index == 0:
                weights[f"{place}/shortcut"] = (block.width, block.before, 1, 1)
        return _with_biases(weights | {"readout": (1, 64 * self.k)})

    @property
    def scales(self) -> dict[str, float]:
        """Weights start from N(0, 1), biases from zero."""
        return {name: float(name.endswith(".W")) for name in self.shapes}

    @property
    def L(self) -> int:
        """Hidden layers on the main path: all 3x3 convolutions."""
        return sum(len(s) == 4 and s[2] == 3 for s in self.shapes.values())

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x) (n,) for images x (n, channels, height, width).

        Raises:
            TypeError, ValueError: parameters or images of the wrong form.
        """
        self.check_params(w)
        check_images(x, self.channels, w["first.W"])
        cos = math.cos(math.radians(self.angle))
        sin = math.sin(math.radians(self.angle))
        z = _convolve(w, "first", x, 1, 1)
        for block in residual_blocks(self.k, self.b):
            place = f"group{block.group}/block{block.index}"
            inner = _convolve(w, f"{place}/conv0", _relu(z), block.stride, 1)
            inner = _convolve(w, f"{place}/conv1", _relu(inner), 1, 1)
            if block.index == 0:
                z = _convolve(w, f"{place}/shortcut", z, block.stride, 0)
            z = cos * z + sin * inner
        return _read_out(w, z)
