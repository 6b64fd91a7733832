"""Wasserstein distances: routes, laws of a metric, closed forms."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from lazyrich.meanfield import (
    Grid,
    Quantile,
    gaussian_particles,
    wasserstein,
    wasserstein_1d,
)
from lazyrich.theory import mean_field as theory

F64 = torch.float64


@settings(max_examples=20, deadline=None)
@given(h=st.integers(1, 12), D=st.integers(1, 4), seed=st.integers(0, 100))
def test_a_metric(h, D, seed):
    a, b, c = (gaussian_particles(h, D, seed + k) for k in range(3))
    ab, bc, ac = wasserstein(a, b), wasserstein(b, c), wasserstein(a, c)
    assert wasserstein(a, a) == 0.0
    assert wasserstein(b, a) == pytest.approx(ab)
    assert ac <= ab + bc + 1e-12
    if D == 1:
        line = wasserstein_1d(Quantile.of_particles(a), Quantile.of_particles(b))
        assert line == pytest.approx(ab)


def test_translation_and_linear_programme():
    a = gaussian_particles(20, 3)
    shift = torch.tensor([1.0, -2.0, 2.0], dtype=F64)
    assert wasserstein(a, a + shift) == pytest.approx(3.0)
    pytest.importorskip("ot")
    mass = torch.full((20,), 0.05, dtype=F64)
    b = gaussian_particles(20, 3, seed=5)
    assert wasserstein(a, b, mass, mass) == pytest.approx(wasserstein(a, b))
    # a particle twice is a particle of twice the weight
    weights = torch.tensor([0.5, 0.25, 0.25], dtype=F64)
    twice = a[[0, 0, 1, 2]]
    assert wasserstein(a[:3], b[:4], weights) == pytest.approx(
        wasserstein(twice, b[:4])
    )


def test_particles_of_other_numbers_on_the_line():
    a, b = gaussian_particles(4, 1), gaussian_particles(6, 1, seed=1)
    fine = wasserstein(a.repeat_interleave(3, 0), b.repeat_interleave(2, 0))
    found = wasserstein_1d(Quantile.of_particles(a), Quantile.of_particles(b))
    assert found == pytest.approx(fine)


def test_densities_on_cells():
    grid = Grid((-8.0,), (8.0,), (2000,))
    laws = [
        Quantile.of_cells(grid.edges[0], grid.mass(norm(m, s).cdf))
        for m, s in ((0.0, 1.0), (1.0, 0.5))
    ]
    # between Gaussians on the line: |m - m'|^2 + (s - s')^2
    assert wasserstein_1d(*laws) == pytest.approx(np.sqrt(1.25), rel=1e-3)
    uniform = Quantile.of_cells(
        torch.tensor([0.0, 1.0], dtype=F64), torch.ones(1, dtype=F64)
    )
    point = Quantile.of_particles(torch.zeros(1, 1, dtype=F64))
    assert wasserstein_1d(uniform, point) == pytest.approx(np.sqrt(1 / 3))


def test_closed_form_of_gaussians():
    mean, cov = np.array([1.0, 2.0]), np.diag([4.0, 1.0])
    found = theory.gaussian_wasserstein(np.zeros(2), np.eye(2), mean, cov)
    assert found == pytest.approx(np.sqrt(5 + 1))


def test_bad_measures_are_refused():
    a = gaussian_particles(4, 2)
    with pytest.raises(ValueError, match="shape"):
        wasserstein(a, gaussian_particles(4, 3))
    with pytest.raises(ValueError, match="line"):
        Quantile.of_particles(a)
    with pytest.raises(ValueError, match="edges"):
        Quantile.of_cells(a[:, 0].sort().values, torch.ones(4, dtype=F64))
    with pytest.raises(ValueError, match="mass"):
        Quantile.of_particles(a[:, :1], torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=F64))


@pytest.mark.parametrize(
    "mass", [[0.9, 0.3, -0.2], [1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.5, 0.5]]
)
@pytest.mark.parametrize("D", [1, 2])
def test_masses_are_probabilities(mass, D):
    points = torch.randn(3, D, generator=torch.Generator().manual_seed(0)).double()
    weights = torch.tensor(mass, dtype=torch.float64)
    with pytest.raises(ValueError, match="^mass must"):
        wasserstein(points, points, weights)
    with pytest.raises(ValueError, match="^other_mass must"):
        wasserstein(points, points, None, weights)


@pytest.mark.parametrize("D", [1, 2])
def test_single_precision_masses_that_sum_to_one_up_to_rounding_are_fine(D):
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(300, generator=generator)
    points = torch.randn(300, D, generator=generator)
    shift = torch.zeros(D)
    shift[0] = 3.0
    assert wasserstein(points, points + shift, p / p.sum(), p / p.sum()) == (
        pytest.approx(3.0, abs=1e-4)
    )


def test_unequal_numbers_on_the_line_go_by_quantiles():
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(700, 1, generator=generator, dtype=torch.float64)
    b = 2 * torch.randn(500, 1, generator=generator, dtype=torch.float64)
    found = wasserstein(a, b)
    wide = [torch.cat([v, torch.zeros_like(v)], 1) for v in (a, b)]
    assert found == pytest.approx(wasserstein(*wide), rel=1e-9)


def test_a_solver_that_ends_too_early_is_an_error(monkeypatch):
    monkeypatch.setattr("lazyrich.meanfield.transport._MOST_PIVOTS", 2)
    a = torch.randn(40, 2, generator=torch.Generator().manual_seed(2)).double()
    with pytest.raises(ValueError, match="fewer particles"):
        wasserstein(a, a[:30])
