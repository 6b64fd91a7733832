"""The finite-volume solver: conservation, sign, order, and particles in 1-D and 2-D."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi, norm

from lazyrich.meanfield import (
    Bump,
    Grid,
    MeanField,
    Neuron,
    Quantile,
    density_flow,
    gaussian_particles,
    particle_flow,
    wasserstein_1d,
)
from lazyrich.studies.two_limits import distributional_dynamics as distributional
from lazyrich.studies.two_limits import mean_field_limit
from lazyrich.studies.two_limits.toys import line, line_cdf

F64 = torch.float64


def bump_flow(cells=120, times=(0.0, 5.0)):
    grid = Grid((-4.0,), (4.0,), (cells,))
    return density_flow(line(), grid, grid.mass(line_cdf), times)


@settings(max_examples=15, deadline=None)
@given(
    cells=st.integers(3, 60),
    alpha=st.floats(0.1, 5.0),
    seed=st.integers(0, 1000),
)
def test_mass_is_kept_and_never_negative_from_rough_densities(cells, alpha, seed):
    gen = np.random.default_rng(seed)
    rough = torch.from_numpy(gen.dirichlet(np.full(cells, 0.05)))
    grid = Grid((-4.0,), (4.0,), (cells,))
    flow = density_flow(line(alpha), grid, rough / rough.sum(), (1.0, 4.0))
    assert float(flow.mass.min()) >= 0.0
    assert float((flow.mass.sum(-1) - 1).abs().max()) < 1e-12


def test_risk_falls_and_the_order_is_two():
    flow = bump_flow(times=np.linspace(0, 20, 11))
    risk = flow.residual**2 @ line().p
    assert bool((risk.diff() < 0).all())
    _, kept = distributional.refinement((100, 200), finest=800, time=5.0)
    assert kept["order"] == pytest.approx(2.0, abs=0.3)


def test_the_center_of_mass_moves_with_the_mean_velocity():
    """At tiny alpha the residual is the target, so that the velocity does not depend on
    the density; one far input pulls everything to the right."""
    x, y = torch.tensor([[2.0]], dtype=F64), torch.tensor([1.0], dtype=F64)
    model = MeanField(Bump(1, 2.0), x, y, alpha=1e-3)
    grid = Grid((-3.0,), (5.0,), (400,))
    start = grid.mass(norm(0.0, 0.4).cdf)
    time = 1e-4
    flow = density_flow(model, grid, start, (time,))
    middle = grid.middles[0]
    velocity = model.velocity(middle.unsqueeze(1), y)[:, 0]
    moved = float((flow.mass[0] - start) @ middle)
    assert moved == pytest.approx(time * float(start @ velocity), rel=0.01)


def test_density_and_quantile_particles_are_the_same_flow():
    flow = bump_flow(400, (10.0,))
    levels = (np.arange(1000) + 0.5) / 1000
    start = torch.from_numpy(norm(0.3, 0.6).ppf(levels)).unsqueeze(1)
    particles = particle_flow(line(), start, (10.0,)).theta[0]
    law = Quantile.of_cells(flow.grid.edges[0], flow.mass[0])
    assert wasserstein_1d(Quantile.of_particles(particles), law) < 0.01


def test_two_dimensions_against_particles():
    """A neuron a tanh(w x) on the line has D = 2: outputs and moments of both pictures."""
    x = torch.linspace(-2, 2, 15, dtype=F64).unsqueeze(1)
    model = MeanField(Neuron(1), x, torch.tanh(2 * x[:, 0]))
    grid = Grid((-5.0, -5.0), (5.0, 5.0), (80, 80))
    flow = density_flow(model, grid, grid.mass(norm.cdf, norm.cdf), (0.0, 2.0))
    start = gaussian_particles(4096, 2, quasi=True)
    particles = particle_flow(model, start, (0.0, 2.0), rtol=1e-6)
    torch.testing.assert_close(
        flow.residual[1], particles.residual[1], rtol=0, atol=0.01
    )
    centers, mass = grid.centers(), flow.mass[1].reshape(-1)
    covariance = (centers * mass[:, None]).T @ centers
    points = particles.theta[1]
    torch.testing.assert_close(
        covariance, points.T @ points / 4096, rtol=0.03, atol=0.01
    )
    assert float(flow.mass.min()) >= 0


def test_radial_density_against_full_particles():
    radial, full = mean_field_limit.isotropic_classes(3, points=256)
    density = mean_field_limit.radial_flow(radial, 3, 0.8, (0.0, 0.5), cells=100)
    start = 0.8 / math.sqrt(3) * gaussian_particles(100, 3, quasi=True)
    flow = particle_flow(full, start, (0.0, 0.5), rtol=1e-3)
    risks = density.residual**2 @ radial.p, flow.residual**2 @ full.p
    torch.testing.assert_close(*risks, rtol=0.05, atol=0.0)


def test_grid_gives_exact_masses():
    grid = Grid((0.0,), (8.0,), (16,))
    share = grid.mass(chi(5).cdf)
    assert float(share.sum()) == pytest.approx(1.0)
    inside = chi(5).cdf(1.0) - chi(5).cdf(0.5)
    assert float(share[1]) == pytest.approx(inside, rel=1e-6)


@pytest.mark.parametrize(
    ("grid", "mass", "word"),
    [
        (Grid((0.0, 0.0), (1.0, 1.0), (3, 3)), torch.full((3, 3), 1 / 9), "axes"),
        (Grid((0.0,), (1.0,), (4,)), torch.full((3,), 1 / 3, dtype=F64), "shape"),
        (Grid((0.0,), (1.0,), (4,)), torch.full((4,), 0.5, dtype=F64), "sum"),
    ],
)
def test_bad_starts_are_refused(grid, mass, word):
    with pytest.raises(ValueError, match=word):
        density_flow(line(), grid, mass, (1.0,))


def test_bad_grids_are_refused():
    with pytest.raises(ValueError, match="below"):
        Grid((1.0,), (0.0,), (5,))
    with pytest.raises(ValueError, match="cells"):
        Grid((0.0,), (1.0,), (2,))
