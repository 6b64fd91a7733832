"""The 1/N net: formula, derivatives, kernel, and its twin in the NTK scaling."""

import math

import pytest
import torch

from lazyrich.dynamics import gradient_flow
from lazyrich.kernels import ntk
from lazyrich.meanfield import particle_flow
from lazyrich.networks import ACTIVATIONS, FullyConnected, Shallow
from lazyrich.studies.two_limits.gradient_flow import one_net_in_two_units
from lazyrich.studies.two_limits.toys import toy

F64 = torch.float64
X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=F64)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("members", [None, 3])
def test_pullback_and_kernel(name, members):
    net = Shallow(3, 7, name, alpha=1.7)
    w = net.init(0, members=members)
    f, pull = net.pullback(w, X)
    expected, vjp = torch.func.vjp(lambda p: net(p, X), w)[:2]
    torch.testing.assert_close(f, expected)
    g = torch.randn(f.shape, generator=torch.Generator().manual_seed(1), dtype=F64)
    torch.testing.assert_close(pull(g), vjp(g)[0])
    if members is None:
        generic = ntk(lambda p, z: net(p, z), w, X)
        torch.testing.assert_close(ntk(net, w, X), generic)


def test_formula_and_linear_twin():
    net = Shallow(3, 8, "linear", alpha=math.sqrt(8))
    w = net.init(2)
    neurons = zip(w["a"], w["W"], strict=True)
    by_hand = math.sqrt(8) / 8 * sum(a * (X @ v) for a, v in neurons)
    torch.testing.assert_close(net(w, X), by_hand)
    # the linear activation has unit second moment already: alpha_ntk = 1
    twin = FullyConnected(3, 8, 1, "linear", bias=False)
    same = {"W0": w["W"], "W1": w["a"].unsqueeze(0)}
    torch.testing.assert_close(net(w, X), twin(same, X * math.sqrt(3)))


def test_particles_follow_the_gradient_flow_of_the_network():
    model = toy(alpha=2.0)
    net = Shallow(3, 20, alpha=2.0)
    w = net.init(0)
    rate = 20 / (2.0**2 * len(model.x))
    flow = gradient_flow(net, w, model.x, model.y, (1.0,), rate=rate, rtol=1e-11)
    particles = particle_flow(model, net.particles(w), (1.0,), rtol=1e-11)
    torch.testing.assert_close(flow.f[0], model.y - particles.residual[0])


def test_two_units_one_trajectory():
    found = one_net_in_two_units(h=10, times=(1.0,))
    assert max(found.values()) < 1e-10


def test_bad_arguments():
    with pytest.raises(ValueError, match="alpha"):
        Shallow(3, 4, alpha=0.0)
    with pytest.raises(ValueError, match="activation"):
        Shallow(3, 4, "sine")
    net = Shallow(3, 4)
    with pytest.raises(ValueError, match=r"missing \['a'\]"):
        net({"W": torch.zeros(4, 3, dtype=F64)}, X)
    with pytest.raises(ValueError, match="x must have 3 components"):
        net(net.init(0), X[:, :2])
    with pytest.raises(ValueError, match=r"w must have shape \(4, 3\) at W"):
        net(Shallow(3, 5).init(0), X)
