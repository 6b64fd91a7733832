"""Chains of layers: values against a reference, a layer of another kind in a chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import torch
from networks.chain_reference import REFERENCE, arithmetic, cases
from torch import Tensor

from lazyrich import networks
from lazyrich.core.tangent import layerwise_gram
from lazyrich.kernels import ntk
from lazyrich.networks.chain import Chain, Dense, Layer, Pointwise

F64 = torch.float64
STORED = dict(np.load(REFERENCE))
SAME_ARITHMETIC = bool((STORED.pop("arithmetic") == arithmetic()).all())
CASES = dict(cases())


def test_the_reference_holds_these_cases() -> None:
    assert STORED.keys() == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_reference(name: str) -> None:
    got, want = CASES[name].numpy(), STORED[name]
    assert got.dtype == want.dtype
    # On another processor products round otherwise; draws do not.
    roundings = 0 if SAME_ARITHMETIC or name.endswith("draws") else 16
    scale = np.abs(want).max() * np.finfo(want.dtype).eps
    np.testing.assert_allclose(got, want, rtol=0, atol=roundings * scale)


class Rows(Layer):
    """Means over rows of images (n, height, width) kept as images of one row."""

    def forward(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return z.mean(-2, keepdim=True)

    def pushforward(self, w, dw, z, y, dz):
        return torch.zeros_like(y) if dz is None else dz.mean(-2, keepdim=True)

    def backward(self, w, z, y, delta, out=None):
        height = z.shape[-2]
        return (delta / height).expand(*delta.shape[:-2], *z.shape[-2:]).clone()


class Flatten(Layer):
    """Images (n, height, width) as points (n, height * width)."""

    def forward(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return z.flatten(-2)

    def pushforward(self, w, dw, z, y, dz):
        return torch.zeros_like(y) if dz is None else dz.flatten(-2)

    def backward(self, w, z, y, delta, out=None):
        return delta.reshape(*delta.shape[:-1], *z.shape[-2:])


class Columns(Dense):
    """A layer of weights that mixes the columns of images, alike in every row."""

    def room(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return z.new_empty(*z.shape[:-1], self.fan_out)

    def forward_into(self, w: Mapping[str, Tensor], z: Tensor, y: Tensor) -> Tensor:
        return torch.matmul(z, w[self.weight].mT, out=y)

    def backward(self, w, z, y, delta, out=None):
        return torch.matmul(delta, w[self.weight])

    def gradients(self, z, delta, scale, grads, work):
        both = (scale * delta).flatten(0, 1).mT @ z.flatten(0, 1)
        grads[self.weight].copy_(both)


@dataclass(frozen=True)
class Strips(Chain):
    """Columns, an activation, means over rows, flattening, two layers of weights."""

    side: int
    c: int

    ensembles = False

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        tanh = networks.activation("tanh")
        return (
            Columns(self.side, 5, "W0", ""),
            Pointwise(tanh, axes=2),
            Rows(),
            Flatten(),
            Dense(5, 7, "W1", "B1", divisor=5.0, bias=0.5, above=tanh),
            Pointwise(tanh),
            Dense(7, self.c, "W2", "B2", divisor=7.0, bias=0.5, below=tanh),
        )

    @property
    def scales(self) -> dict[str, float]:
        return dict.fromkeys(self.shapes, 1.0)

    def _check(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        self.check_params(w)


def images(n: int) -> Tensor:
    gen = torch.Generator().manual_seed(2)
    return torch.randn(n, 3, 4, generator=gen, dtype=F64)


@pytest.mark.parametrize("c", [1, 2])
def test_layers_of_other_kinds_join_a_chain(c: int) -> None:
    net = Strips(4, c)
    x, w = images(6), net.init(3)
    want, vjp, *_ = torch.func.vjp(lambda p: net(p, x), w)
    for work in ({}, {}):
        f, pull = net.pullback(w, x, work)
        torch.testing.assert_close(f, want)
        for name, value in vjp(torch.cos(f))[0].items():
            torch.testing.assert_close(pull(torch.cos(f))[name], value)
    dw = net.init(4)
    pushed = torch.func.jvp(lambda p: net(p, x), (w,), (dw,))
    torch.testing.assert_close(net.pushforward(w, x, dw), pushed)


@pytest.mark.parametrize("c", [1, 2])
def test_only_layers_with_parameters_have_a_share_of_the_kernel(c: int) -> None:
    """With the first layer frozen, the shares of the two others are the kernel."""
    net = Strips(4, c)
    x, w = images(5), net.init(1)
    above = net.tangent_factors(w, x)[1:]
    rest = {name: value for name, value in w.items() if name != "W0"}
    frozen = ntk(lambda p, z: net({**p, "W0": w["W0"]}, z), rest, x)
    torch.testing.assert_close(layerwise_gram(above, None, c), frozen)
    assert len(net.tangent_factors(w, x)) == net.depth == 3


@pytest.mark.parametrize(
    "net",
    [
        networks.FullyConnected(3, 8, 3, "gelu", c=2),
        networks.FullyConnected(3, 8, 2),
        networks.MLP((3, 6, 5, 2), "erf"),
        networks.DeepLinear((3, 6, 5, 2)),
        networks.ReluNetwork(3, (6, 5), bias=0.4),
        networks.Shallow(3, 6),
    ],
    ids=lambda net: type(net).__name__,
)
def test_an_ensemble_is_pushed_forward_member_by_member(net) -> None:
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, generator=gen, dtype=F64)
    w, dw = net.init([1, 2]), net.init([3, 4])
    f, df = net.pushforward(w, x, dw)
    for k in range(2):
        one, change = ({n: v[k] for n, v in p.items()} for p in (w, dw))
        alone = torch.func.jvp(lambda p: net(p, x), (one,), (change,))
        torch.testing.assert_close((f[k], df[k]), alone)


def test_changes_that_do_not_fit_are_named() -> None:
    net = networks.MLP((3, 4, 1))
    w = net.init(0)
    with pytest.raises(ValueError, match="dw must hold the parameters"):
        net.pushforward(w, torch.ones(2, 3, dtype=F64), {"W0": w["W0"]})
