"""ReLU networks of the deep-kernel chapters against autograd and FullyConnected."""

import pytest
import torch

from lazyrich.kernels import ntk, relu_ntk
from lazyrich.networks import FullyConnected, ReluNetwork

F64 = torch.float64


@pytest.fixture
def x():
    gen = torch.Generator().manual_seed(0)
    return torch.randn(5, 4, generator=gen, dtype=F64)


@pytest.mark.parametrize("widths", [(7,), (6, 9), (5, 8, 3)])
@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_tangent_kernel_is_that_of_the_jacobian(x, widths, bias):
    net = ReluNetwork(4, widths, bias)
    w = net.init(1)
    plain = ntk(lambda p, z: net(p, z), w, x)
    torch.testing.assert_close(ntk(net, w, x), plain, rtol=1e-12, atol=1e-14)


def test_it_is_the_scaled_network_up_to_a_factor(x):
    net, other = ReluNetwork(4, (6, 6)), FullyConnected(4, 6, 2, "relu", bias=False)
    w = net.init(3)
    torch.testing.assert_close(2 * net(w, x), other(w, x))


def test_members_are_the_same_one_by_one(x):
    net = ReluNetwork(4, (6, 5), 0.3)
    many = net.init(2, members=3)
    assert net.check_params(many) == 3
    for k in range(3):
        one = net.init(2 + k)
        torch.testing.assert_close(net(many, x)[k], net(one, x))
        torch.testing.assert_close(ntk(net, many, x)[k], ntk(net, one, x))
    assert net.depth == 3


def test_wide_networks_have_the_limiting_kernel(x):
    net = ReluNetwork(4, (3000, 3000), 0.5)
    limit = relu_ntk(x, depth=3, bias=0.5)[1]
    off = (ntk(net, net.init(0), x) - limit).norm() / limit.norm()
    assert off < 0.15


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, (3,)), ValueError), ((3, [3]), TypeError), ((3, (0,)), ValueError),
        ((3, (3,), -1.0), ValueError), ((3, (3,), 0.0, 2), ValueError),
    ],
)  # fmt: skip
def test_bad_descriptions_are_refused(arguments, error):
    with pytest.raises(error):
        ReluNetwork(*arguments)


def test_bad_parameters_and_inputs_are_refused(x):
    net = ReluNetwork(4, (6,))
    w = net.init()
    with pytest.raises(ValueError, match="must hold"):
        net({"W0": w["W0"]}, x)
    with pytest.raises(ValueError, match=r"w must have shape \(6, 4\) at W0"):
        net({"W0": w["W1"], "W1": w["W0"]}, x)
    with pytest.raises(ValueError, match="components"):
        net(w, x[:, :3])
    with pytest.raises(ValueError, match="seed"):
        net.init([])
