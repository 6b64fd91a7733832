"""``networks.check`` passes every network of ours and finds what is wrong with others."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lazyrich import networks
from lazyrich.networks import Network

F64 = torch.float64
OURS = [
    networks.FullyConnected(3, 6, 2),
    networks.FullyConnected(3, 6, 3, "tanh", c=2),
    networks.MLP((3, 5, 4, 2), "gelu"),
    networks.DeepLinear((3, 5, 1)),
    networks.DeepLinear((3, 5, 4, 2)),
    networks.ReluNetwork(3, (7, 5), bias=0.3),
    networks.Shallow(3, 7, "softplus", 2.0),
    networks.Convolutional(2, 1, 3),
    networks.MixedResNet(1, 1, 1),
    networks.WideResNet(1, 1, 1),
]


def points(net: Network, dtype: torch.dtype = F64) -> Tensor:
    gen = torch.Generator().manual_seed(1)
    shape = (3, net.d) if hasattr(net, "d") else (3, 1, 8, 8)
    return torch.randn(*shape, generator=gen, dtype=F64).to(dtype)


@pytest.mark.parametrize("net", OURS, ids=lambda net: type(net).__name__)
def test_every_network_of_ours_passes(net: Network) -> None:
    networks.check(net, points(net))


def test_single_precision_is_compared_at_its_own_rounding() -> None:
    net = networks.FullyConnected(3, 6, 2)
    networks.check(net, points(net, torch.float32))


@dataclass(frozen=True)
class Square(Network):
    """f = (v . x)^2 / 2, right in every part; each child is wrong in one."""

    d: int = 3
    c = 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"v": (self.d,)}

    @property
    def scales(self) -> dict[str, float]:
        return {"v": 1.0}

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return (x @ w["v"].unsqueeze(-1)).squeeze(-1).square() / 2

    def tangent_factors(self, w, x):
        u = x @ w["v"]
        return [networks.TangentFactor(u[:, None] * x, 1.0, 0.0, None)]


def test_derivatives_that_are_not_written_out_are_right() -> None:
    networks.check(Square(), points(Square()))


class Gradient(Square):
    def pullback(self, w, x, work=None):
        f, pull = super().pullback(w, x)
        return f, lambda g, out=None: {"v": 1.01 * pull(g, out)["v"]}


class Memory(Square):
    def pullback(self, w, x, work=None):
        f, pull = super().pullback(w, x)
        return f, lambda g, out=None: pull(g)


class Stale(Square):
    def pullback(self, w, x, work=None):
        if not work:
            work["f"], work["pull"] = super().pullback(w, x)
        return work["f"], work["pull"]


class Pushed(Square):
    def pushforward(self, w, x, dw):
        f, df = super().pushforward(w, x, dw)
        return f, df + 1e-6


class Kernel(Square):
    def tangent_factors(self, w, x):
        (factor,) = super().tangent_factors(w, x)
        return [factor._replace(bias=1.0)]


class Company(Square):
    def __call__(self, w, x):
        f = super().__call__(w, x)
        return f - f.mean(-1, keepdim=True)


class Column(Square):
    def __call__(self, w, x):
        return super().__call__(w, x)[None, None]


class Impure(Square):
    def pushforward(self, w, x, dw):
        result = super().pushforward(w, x, dw)
        w["v"].mul_(2)
        return result


class Shaking(Square):
    def init(self, seed=0, *args, **kwargs):
        return {k: v + torch.rand(1) for k, v in super().init(seed, *args).items()}


class Misshapen(Square):
    def init(self, seed=0, *args, **kwargs):
        return {k: v[..., :2] for k, v in super().init(seed).items()}


class Batched(Square):
    def init(self, seed=0, *args, **kwargs):
        w = super().init(seed, *args, **kwargs)
        return w if isinstance(seed, int) else {k: 2 * v for k, v in w.items()}


class Mixed(Square):
    def __call__(self, w, x):
        f = super().__call__(w, x)
        return f if w["v"].ndim == 1 else f.flip(0)


WRONG = {
    Gradient: r"^pullback at v is off by 1.0e-02 of its largest value",
    Memory: r"^pullback \(into given memory\) at v is off by",
    Stale: r"^f of pullback is off by",
    Pushed: r"^pushforward is off by .*e-0[67] of its",
    Kernel: r"^the kernel of tangent_factors is off by",
    Company: r"^the output of a point in company is off by",
    Column: r"^outputs have shape \(1, 1, 3\), not \(3,\) or \(3, c\)",
    Impure: r"^pushforward changes its argument v by",
    Shaking: r"^init gives other values of v for equal seeds",
    Misshapen: r"^init draws \{'v': \(2,\)\}, but shapes are",
    Batched: r"^init depends on the ensemble at v",
    Mixed: r"^the output of an ensemble is off by",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_wrong_part_is_named_and_measured(wrong: type[Square]) -> None:
    with pytest.raises(AssertionError, match=WRONG[wrong]):
        networks.check(wrong(), points(wrong()))


def test_arguments_are_refused_by_name() -> None:
    net = Square()
    with pytest.raises(TypeError, match="net must be a Network, got function"):
        networks.check(lambda w, x: x, points(net))  # type: ignore
    with pytest.raises(ValueError, match="x must hold at least two points"):
        networks.check(net, points(net)[:1])
    with pytest.raises(ValueError, match="w must have shape"):
        networks.check(net, points(net), {"v": torch.zeros(2, dtype=F64)})
    with pytest.raises(ValueError, match="tolerance must be > 0"):
        networks.check(net, points(net), tolerance=0.0)
