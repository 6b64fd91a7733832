"""Symbolic results of the theory layer, and its quadrature against finite networks."""

import math

import numpy as np
import pytest
import sympy as sp
import torch

from lazyrich.kernels import ntk
from lazyrich.networks import FullyConnected, activation
from lazyrich.theory import infinite_width, momentum, scaling


def test_exponents_of_table_1():
    assert scaling.kernel_exponent(5) == sp.Rational(-5, 3)
    assert scaling.kernel_exponent(2) == sp.Rational(-4, 3)
    assert scaling.weight_exponent(5) == sp.Rational(-1, 6)
    assert [scaling.kernel_exponent(L) for L in (1, 3, 10)] == [
        -1, sp.Rational(-3, 2), sp.Rational(-20, 11),
    ]  # fmt: skip


def test_kernel_of_a_homogeneous_net_inflates_as_the_exponent_says():
    """Weights times lambda give Theta times lambda^(2L) exactly (bias-free ReLU)."""
    net = FullyConnected(4, 9, 5, activation="relu", bias=False)
    w = net.init(0)
    x = torch.randn(
        6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    before = ntk(net, w, x)
    after = ntk(net, {k: 2.0 * v for k, v in w.items()}, x)
    torch.testing.assert_close(after, 2.0**10 * before, rtol=1e-13, atol=0)


def test_one_step_velocity_formulas():
    v, s = momentum.velocity_fixed_memory()
    keep = sp.exp(-s["dt"] / s["tau"])
    assert sp.simplify(v - (keep * s["v0"] - (1 - keep) * s["g"])) == 0
    v, s = momentum.velocity_growing_memory()
    keep = (s["t"] / (s["t"] + s["dt"])) ** s["mu"]
    difference = sp.expand_power_base(v - (keep * s["v0"] - (1 - keep) * s["g"]))
    numbers = {"v0": 0.3, "g": -1.7, "t": 2.0, "dt": 0.4, "mu": 6.5}
    assert (
        abs(difference.subs({s[k]: val for k, val in numbers.items()}).evalf()) < 1e-12
    )


def test_velocity_is_a_power_weighted_mean_of_gradients():
    left, right = momentum.memory_integral()
    assert sp.simplify(left - right) == 0


def test_quadrature_knows_the_arc_cosine_kernel():
    relu = (lambda z: np.maximum(z, 0.0), lambda z: (z > 0).astype(float))
    for rho in (-0.4, 0.0, 0.7):
        got = infinite_width.gaussian_average(
            lambda u, v: relu[0](u) * relu[0](v), (1.0, 1.0), rho, nodes=300
        )
        angle = math.acos(rho)
        exact = (math.sin(angle) + (math.pi - angle) * rho) / (2 * math.pi)
        assert abs(got - exact) < 1 / 300  # a kink limits a Gauss rule to O(1/nodes)


@pytest.mark.parametrize("L", [1, 3])
def test_finite_networks_tend_to_the_recursion(L):
    sigma = activation("softplus")
    x = np.random.default_rng(0).normal(size=(4, 6))
    _, theta = infinite_width.tangent_kernel(
        x, L, *infinite_width.softplus(sigma.inner, sigma.outer)
    )
    errors = []
    for h in (128, 1024):
        net = FullyConnected(6, h, L)
        w = net.init(0, members=12)
        mean = ntk(net, w, torch.from_numpy(x)).mean(0).numpy()
        errors.append(np.linalg.norm(mean - theta) / np.linalg.norm(theta))
    # one member fluctuates by O(sqrt(L / h)); twelve of them by a third of that
    assert errors[1] < 1.5 * math.sqrt(L / 1024 / 12) + 1.0 * L / 1024
    assert errors[1] < errors[0]
