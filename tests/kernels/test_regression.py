"""Kernel regression against the differential equation and against known limits."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from lazyrich.kernels import (
    alignment,
    effective_rank,
    kernel_change,
    kernel_distance,
    kernel_predict,
    ntk,
    relu_ntk,
)
from lazyrich.networks import FullyConnected

F64 = torch.float64


@pytest.fixture
def problem():
    gen = torch.Generator().manual_seed(0)
    features = torch.randn(12, 30, generator=gen, dtype=F64)
    kernel = features @ features.T / 30
    y = torch.randn(9, generator=gen, dtype=F64)
    return kernel[:9, :9], kernel[9:, :9], y


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_finite_time_solves_the_gradient_flow(problem, ridge):
    k, k_test, y = problem
    n = len(y)

    def flow(_, c):  # F = K c; dc/dt = -(F + ridge c - y) / n
        return -(k.numpy() @ c + ridge * c - y.numpy()) / n

    solved = solve_ivp(flow, (0, 25.0), np.zeros(n), rtol=1e-11, atol=1e-13)
    expected = k_test.numpy() @ solved.y[:, -1]
    got = kernel_predict(k, k_test, y, t=25.0, ridge=ridge)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-7)


def test_limits_of_time(problem):
    k, k_test, y = problem
    exact = k_test @ torch.linalg.solve(k, y)
    torch.testing.assert_close(kernel_predict(k, k_test, y), exact)
    torch.testing.assert_close(kernel_predict(k, k_test, y, t=1e9), exact)
    assert not kernel_predict(k, k_test, y, t=0.0).any()
    early = kernel_predict(k, k_test, y, t=1e-9)
    torch.testing.assert_close(early, 1e-9 / len(y) * k_test @ y, rtol=1e-7, atol=0)
    ridge = kernel_predict(k, k_test, y, ridge=0.7)
    torch.testing.assert_close(
        ridge, k_test @ torch.linalg.solve(k + 0.7 * torch.eye(9, dtype=F64), y)
    )


def test_training_points_are_fitted_and_columns_are_independent(problem):
    k, k_test, y = problem
    torch.testing.assert_close(kernel_predict(k, k, y), y, rtol=1e-9, atol=1e-9)
    two = torch.stack((y, y.flip(0)), 1)
    both = kernel_predict(k, k_test, two, t=3.0)
    torch.testing.assert_close(both[:, 0], kernel_predict(k, k_test, y, t=3.0))


def test_singular_kernel_gives_the_least_norm_answer():
    v = torch.tensor([[1.0], [2.0], [2.0]], dtype=F64)
    k = v @ v.T
    y = torch.tensor([1.0, 2.0, 2.0], dtype=F64)
    torch.testing.assert_close(kernel_predict(k, k, y), y, rtol=1e-12, atol=1e-12)


def test_alignment_limits():
    y = torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=F64)
    assert float(alignment(torch.outer(y, y), y)) == pytest.approx(1.0)
    assert float(alignment(-torch.outer(y, y), y)) == pytest.approx(-1.0)
    assert float(alignment(torch.eye(4, dtype=F64), y)) == pytest.approx(0.5)
    batch = torch.stack((torch.eye(4, dtype=F64), torch.outer(y, y)))
    assert alignment(batch, y).shape == (2,)


def test_effective_rank_limits():
    eye = torch.eye(7, dtype=F64)
    assert float(effective_rank(eye)) == pytest.approx(7.0)
    v = torch.arange(1.0, 5.0, dtype=F64)
    assert float(effective_rank(torch.outer(v, v))) == pytest.approx(1.0)
    A = torch.randn(6, 9, dtype=F64, generator=torch.Generator().manual_seed(0))
    assert float(effective_rank(3.0 * A)) == pytest.approx(float(effective_rank(A)))
    two = torch.diag(torch.tensor([3.0, 1.0], dtype=F64))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(effective_rank(two)) == pytest.approx(math.exp(entropy))


def test_distance_and_its_probe():
    net = FullyConnected(3, 6, 2)
    w = net.init(0)
    x = torch.randn(5, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    v = {k: 1.1 * value for k, value in w.items()}
    expected = kernel_distance(ntk(net, v, x), ntk(net, w, x))
    probe = kernel_change(x)(net, w)
    torch.testing.assert_close(probe(v), expected)
    assert float(probe(w)) == 0.0


def test_bad_input(problem):
    k, k_test, y = problem
    with pytest.raises(ValueError, match="k_train must have shape"):
        kernel_predict(k[:, :5], k_test, y)
    with pytest.raises(ValueError, match="k_test must have shape"):
        kernel_predict(k, k_test[:, :4], y)
    with pytest.raises(ValueError, match="y must have 9 rows"):
        kernel_predict(k, k_test, y[:4])
    with pytest.raises(ValueError, match="k_train must be symmetric"):
        kernel_predict(k + torch.triu(torch.ones_like(k), 1), k_test, y)
    with pytest.raises(ValueError, match="t must be >= 0"):
        kernel_predict(k, k_test, y, t=-1.0)
    with pytest.raises(ValueError, match="K0 must not be zero"):
        kernel_distance(k, 0 * k)
    with pytest.raises(ValueError, match="K must have shape"):
        kernel_distance(k, k[:4])
    with pytest.raises(ValueError, match="K must have shape"):
        alignment(k, y[:4])
    with pytest.raises(ValueError, match="A must not be zero"):
        effective_rank(0 * k)


def test_cholesky_is_the_spectral_limit(problem):
    k, k_test, y = problem
    for ridge in (0.0, 0.4):
        for targets in (y, torch.stack([y, 2 * y], 1)):
            torch.testing.assert_close(
                kernel_predict(k, k_test, targets, ridge=ridge, method="cholesky"),
                kernel_predict(k, k_test, targets, ridge=ridge),
            )


def test_cholesky_refuses_what_it_cannot_do(problem):
    k, k_test, y = problem
    with pytest.raises(ValueError, match="finite time"):
        kernel_predict(k, k_test, y, t=3.0, method="cholesky")
    singular = torch.ones(9, 9, dtype=F64)
    with pytest.raises(ValueError, match="positive definite"):
        kernel_predict(singular, k_test, y, method="cholesky")
    with pytest.raises(ValueError, match="method"):
        kernel_predict(k, k_test, y, method="lu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", [1e2, 1e6, 1e12, 1e300, math.inf])
def test_singular_kernels_never_leave_the_ball_of_the_targets(dtype, t):
    """|F - y| <= |y| on the training points at every time, also in rounding."""
    gen = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (30, 16), generator=gen).to(dtype)
    x = torch.cat([x, x])  # every input twice: half of the eigenvalues are rounding
    kernel = relu_ntk(x, depth=3, bias=0.1)[1]
    y = torch.sign(torch.randn(60, generator=gen)).to(dtype)
    f = kernel_predict(kernel, kernel, y, t=t)
    assert float((f - y).norm()) <= 1.01 * float(y.norm())


def test_indefinite_kernels_are_refused_unless_a_ridge_mends_them():
    k = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)  # -1 and 3
    y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match="k_train must be positive semi-definite"):
        kernel_predict(k, k, y, t=1.0)
    found = kernel_predict(k, k, y, ridge=2.0)
    want = k @ torch.linalg.solve(k + 2 * torch.eye(2), y)
    torch.testing.assert_close(found, want)


def test_entries_at_the_end_of_the_range_are_refused_by_name():
    k = torch.diag(torch.tensor([1e308, 1.0], dtype=torch.float64)) * 1.7
    with pytest.raises(ValueError, match="k_train"):
        kernel_predict(k + 1e308, k, torch.ones(2, dtype=torch.float64))
