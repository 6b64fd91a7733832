"""Flows of particles: descent, conservation, limits."""

import math

import numpy as np
import pytest
import torch

from lazyrich.meanfield import (
    MeanField,
    Neuron,
    coupled_flow,
    frozen_residual,
    gaussian_particles,
    jko_flow,
    jko_step,
    particle_flow,
)
from lazyrich.studies.two_limits.toys import line, line_quantiles, toy
from lazyrich.theory import mean_field as theory

F64 = torch.float64


def test_flow_is_gradient_descent_of_the_risk():
    model = toy(alpha=0.7)
    theta = gaussian_particles(12, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(model.risk(theta), theta)
    expected = -12 / (2 * 0.7**2) * gradient
    torch.testing.assert_close(model.velocity(theta.detach()), expected)


def test_risk_never_rises_and_members_do_not_meet():
    model = toy()
    theta = gaussian_particles(20, 4, members=3)
    flow = particle_flow(model, theta, np.linspace(0, 5, 21))
    risk = flow.residual**2 @ model.p
    assert bool((risk.diff(dim=0) <= 0).all())
    alone = particle_flow(model, theta[1], (5.0,))
    torch.testing.assert_close(flow.theta[-1, 1], alone.theta[0], rtol=1e-6, atol=1e-6)


def test_coupled_dynamics_conserves_the_residual():
    model = toy(alpha=1.4)
    both = coupled_flow(model, gaussian_particles(30, 4), (0.5, 2.0))
    implied = torch.stack([model.residual(p) for p in both.theta])
    torch.testing.assert_close(both.residual, implied, rtol=0, atol=1e-8)


def test_a_residual_from_outside_gives_the_twin_the_same_path():
    model = toy()
    theta = gaussian_particles(40, 4)
    flow = particle_flow(model, theta, np.linspace(0, 2, 41))
    twin = particle_flow(model, theta, (2.0,), residual=flow.history())
    torch.testing.assert_close(twin.theta[0], flow.theta[-1], rtol=0, atol=1e-6)


def test_frozen_residual_is_the_matrix_exponential():
    model = toy(n=12)
    kernel = model.kernel(gaussian_particles(30, 4))
    times = np.array([0.0, 0.5, 3.0])
    found = frozen_residual(kernel, model.y, times).numpy()
    expected = theory.frozen_solution(kernel.numpy(), model.y.numpy(), times)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_frozen_residual_with_unequal_weights():
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, generator=gen, dtype=F64)
    p = torch.softmax(torch.randn(6, generator=gen, dtype=F64), 0)
    model = MeanField(Neuron(3), x, x[:, 0], p)
    kernel = model.kernel(gaussian_particles(10, 4))
    u = frozen_residual(kernel, model.y, (0.0, 1e-6), p)
    rate = (u[1] - u[0]) / 1e-6
    torch.testing.assert_close(rate, -kernel @ (p * model.y), rtol=1e-4, atol=1e-6)


def test_large_alpha_is_the_frozen_kernel():
    theta = gaussian_particles(40, 4, antithetic=True)
    model = toy(alpha=1e3)
    times = (1.0, 4.0)
    flow = particle_flow(model, theta, times, rtol=1e-11)
    frozen = frozen_residual(model.kernel(theta), model.y, times)
    torch.testing.assert_close(flow.residual, frozen, rtol=0, atol=1e-4)


def test_antithetic_particles_start_at_zero_and_quasi_ones_are_better_than_drawn():
    model = toy()
    paired = gaussian_particles(50, 4, antithetic=True)
    assert float(model.f(paired).abs().max()) < 1e-15
    quasi = gaussian_particles(4096, 4, quasi=True)
    drawn = gaussian_particles(4096, 4, members=4)
    error = float(model.f(quasi).abs().max())
    assert 5 * error < float(model.f(drawn).abs().amax(-1).mean())
    assert float((quasi.T @ quasi / 4096 - torch.eye(4)).abs().max()) < 0.01


def test_minimising_movements_have_order_one_and_the_right_strength():
    model, start = line(alpha=1.5), line_quantiles(20)
    flow = particle_flow(model, start, (2.0,)).theta[0]
    errors = [
        float((jko_flow(model, start, tau, round(2 / tau))[-1] - flow).abs().max())
        for tau in (0.5, 0.25)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.15)
    wrong = jko_flow(model, start, 0.25, 8, xi=0.5)[-1]
    assert float((wrong - flow).abs().max()) > 3 * errors[1]


def test_a_minimising_movement_lowers_the_penalised_risk():
    model, theta = toy(), gaussian_particles(15, 4)
    moved = jko_step(model, theta, 0.3)
    penalty = (moved - theta).square().sum() / 15 / 0.3
    assert float(model.risk(moved) + penalty) < float(model.risk(theta))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"theta": gaussian_particles(5, 3)}, "theta must be"),
        ({"t": (1.0, 0.5)}, "t must be increasing"),
    ],
)
def test_bad_arguments_of_the_flow(arguments, error):
    good = {"model": toy(), "theta": gaussian_particles(5, 4), "t": (1.0,)}
    with pytest.raises(ValueError, match=error):
        particle_flow(**(good | arguments))


def test_bad_sizes():
    with pytest.raises(ValueError, match="even"):
        gaussian_particles(5, 3, antithetic=True)
    with pytest.raises(TypeError, match="h must be an integer"):
        gaussian_particles(2.0, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tau"):
        jko_step(toy(), gaussian_particles(5, 4), -1.0)
