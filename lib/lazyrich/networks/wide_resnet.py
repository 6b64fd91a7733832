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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from lazyrich.core import check
from lazyrich.networks.initial import fan_in_scales
from lazyrich.networks.network import Network, check_images


class Block(NamedTuple):
    """Where a block stands, and what it does to channels and sides."""

    group: int
    index: int
    before: int
    width: int
    stride: int


def residual_blocks(k: int, b: int) -> Iterator[Block]:
    """The blocks of a wide residual network in the order of its forward pass.

    Three groups of ``b`` blocks with 16 k, 32 k and 64 k channels, behind a first layer
    of 16; the second and the third group start with stride 2.
    """
    before = 16
    for group in range(3):
        width = 16 * 2**group * k
        for index in range(b):
            stride = 2 if group > 0 and index == 0 else 1
            yield Block(group, index, before, width, stride)
            before = width


@dataclass(frozen=True)
class WideResNet(Network):
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

    ensembles = False

    def __post_init__(self) -> None:
        for name in ("k", "b", "channels", "c"):
            check.positive_int(name, getattr(self, name))
        for name in ("sigma", "sigma_first"):
            check.real(name, getattr(self, name), above=0.0)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every weight, in the order of the forward pass."""
        shapes: dict[str, tuple[int, ...]] = {"first": (16, self.channels, 3, 3)}
        for block in residual_blocks(self.k, self.b):
            place = f"group{block.group}.block{block.index}"
            shapes[f"{place}.conv0"] = (block.width, block.before, 3, 3)
            shapes[f"{place}.conv1"] = (block.width, block.width, 3, 3)
            if block.index == 0:
                shapes[f"{place}.shortcut"] = (block.width, block.before, 3, 3)
        shapes["readout"] = (self.c, 64 * self.k)
        return shapes

    @property
    def main_path(self) -> int:
        """Layers of weights on the main path: all but the shortcuts."""
        return sum("shortcut" not in name for name in self.shapes)

    @property
    def scales(self) -> dict[str, float]:
        """Weights start from N(0, sigma^2 / fan_in), the first layer with its own sigma."""
        shapes = self.shapes
        first = fan_in_scales({"first": shapes["first"]}, self.sigma_first)
        return fan_in_scales(shapes, self.sigma) | first

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x): shape (n,), or (n, c) for c > 1.

        Args:
            w: weights as from ``init``.
            x: images (n, channels, height, width), sides of at least 4.

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        self.check_params(w)
        check_images(x, self.channels, w["first"], least=4)
        z = functional.conv2d(x, w["first"], padding=1)
        for block in residual_blocks(self.k, self.b):
            place = f"group{block.group}.block{block.index}"
            z = self._block(w, place, z, block.stride)
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
