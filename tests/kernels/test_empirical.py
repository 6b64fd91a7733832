"""The layerwise tangent kernel against Jacobians, and its laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyrich.kernels import ntk
from lazyrich.networks import ACTIVATIONS, FullyConnected, from_module

F64 = torch.float64


def points(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=F64)


def noisy(net, seed=0, members=None):
    gen = torch.Generator().manual_seed(11)
    return {
        k: torch.randn(v.shape, generator=gen, dtype=F64) if k[0] == "B" else v
        for k, v in net.init(seed, members=members).items()
    }


@settings(max_examples=25, deadline=None)
@given(
    d=st.integers(1, 4), h=st.integers(1, 6), L=st.integers(1, 4), c=st.integers(1, 3),
    n=st.integers(1, 6), m=st.one_of(st.none(), st.integers(1, 5)),
    name=st.sampled_from(ACTIVATIONS), bias=st.booleans(),
)  # fmt: skip
def test_two_routes_agree(d, h, L, c, n, m, name, bias):
    net = FullyConnected(d, h, L, activation=name, bias=bias, c=c)
    w = noisy(net)
    x = points(n, d)
    y = None if m is None else points(m, d, seed=1)
    structured = ntk(net, w, x, y)
    generic = ntk(lambda params, z: net(params, z), w, x, y)
    scale = float(generic.abs().max())
    torch.testing.assert_close(structured, generic, rtol=1e-12, atol=1e-13 * scale)


def test_kernel_is_the_product_of_jacobians():
    """A third route: the explicit Jacobian J J^T, for the definition's sake."""
    net = FullyConnected(5, 16, 5)
    w = net.init(0)
    x = points(20, 5)
    jac = torch.func.jacrev(lambda params: net(params, x))(w)
    flat = torch.cat([j.reshape(20, -1) for j in jac.values()], dim=1)
    torch.testing.assert_close(ntk(net, w, x), flat @ flat.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("c", [1, 2])
def test_tiles_do_not_show(c):
    net = FullyConnected(3, 5, 2, c=c)
    w = net.init(0)
    x = points(600, 3)
    whole = ntk(net, w, x)
    parts = ntk(net, w, x, x)
    torch.testing.assert_close(whole, parts, rtol=1e-13, atol=1e-13)
    mirror = whole.transpose(0, 1)
    assert torch.equal(whole, mirror if c == 1 else mirror.transpose(2, 3))


def test_positive_semidefinite():
    net = FullyConnected(10, 30, 3)
    for seed in range(3):
        s = torch.linalg.eigvalsh(ntk(net, net.init(seed), points(50, 10)))
        assert float(s[0]) > -1e-12 * float(s[-1])


def test_members_and_memory_blocks():
    net = FullyConnected(3, 7, 2)
    w = noisy(net, members=3)
    x, y = points(9, 3), points(4, 3, seed=2)
    together = ntk(net, w, x, y)
    for e in range(3):
        alone = ntk(net, {k: v[e] for k, v in w.items()}, x, y)
        assert torch.equal(together[e], alone)
    one = {k: v[0] for k, v in w.items()}
    blocks = ntk(lambda p, z: net(p, z), one, x, memory=2000.0)
    torch.testing.assert_close(blocks, ntk(net, one, x), rtol=1e-12, atol=1e-13)


def test_a_convolutional_module():
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(12, 2),
    ).double()  # fmt: skip
    net, w = from_module(module)
    x = torch.randn(4, 1, 4, 4, dtype=F64)
    theta = ntk(net, w, x)
    jac = torch.func.jacrev(lambda params: net(params, x))(w)
    flat = torch.cat([j.reshape(4, 2, -1) for j in jac.values()], dim=2)
    expected = torch.einsum("nap,mbp->nmab", flat, flat)
    torch.testing.assert_close(theta, expected, rtol=1e-12, atol=1e-12)


def test_wide_nets_fluctuate_as_the_root_of_the_width():
    """Relative spread of the initial kernel over seeds ~ h^(-1/2)."""
    x = points(20, 10)
    widths, spread = [64, 256, 1024], []
    for h in widths:
        net = FullyConnected(10, h, 2)
        theta = ntk(net, net.init(0, members=16), x)
        away = (theta - theta.mean(0)).square().sum((1, 2)).mean().sqrt()
        spread.append(float(away / theta.mean(0).norm()))
    slope = np.polyfit(np.log(widths), np.log(spread), 1)[0]
    assert abs(slope + 0.5) < 0.12
    assert spread[-1] < 3 / math.sqrt(widths[-1]) * math.sqrt(2)


def test_bad_input():
    net = FullyConnected(3, 4, 1)
    w, x = net.init(0), points(3, 3)
    with pytest.raises(TypeError, match="x must be a torch.Tensor"):
        ntk(net, w, x.numpy())
    with pytest.raises(ValueError, match="x2 must have dtype torch.float64"):
        ntk(net, w, x, x.float())
    for second in (x[:, 0], x[:, :2]):  # targets in the place of inputs are such a slip
        with pytest.raises(ValueError, match=r"x2 must hold points of shape \(3,\)"):
            ntk(net, w, x, second)
    with pytest.raises(ValueError, match="x must be finite"):
        ntk(net, w, x * math.nan)
    with pytest.raises(ValueError, match="x must hold at least one point"):
        ntk(net, w, x[:0])
    with pytest.raises(TypeError, match="net must be callable"):
        ntk("net", w, x)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="w must be a non-empty dict"):
        ntk(net, {}, x)
    with pytest.raises(ValueError, match="net must map"):
        ntk(lambda p, z: p["v"] @ z.T, {"v": torch.randn(2, 3, dtype=F64)}, x)
