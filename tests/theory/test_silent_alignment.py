"""Closed forms of linear nets from small weights, against simulated gradient flow."""

import math

import numpy as np
import pytest
import sympy as sp
import torch

from lazyrich import data
from lazyrich.dynamics import kernel_flow, linear_flow
from lazyrich.kernels import TwoPhaseKernel
from lazyrich.studies.alignment import deep_linear as deep
from lazyrich.studies.alignment import silent_alignment as checks
from lazyrich.studies.alignment import two_layer_linear as two
from lazyrich.studies.alignment import unwhitened
from lazyrich.studies.tools.curves import first_time
from lazyrich.theory import deep_linear, silent_alignment, two_layer_linear

F64 = torch.float64


# ---------------------------------------------------------------- two layers


def test_symbolic_derivations_hold():
    assert two_layer_linear.flow_is_gradient()
    assert two_layer_linear.balance_is_conserved()
    assert two_layer_linear.early_system_closes()
    assert two_layer_linear.orthogonal_growth()
    assert two_layer_linear.init_moments_are_exact()
    for proofs in (
        two_layer_linear.aligned_growth_symbolic(),
        two_layer_linear.matched_qr_symbolic(),
        two_layer_linear.five_modes_symbolic(),
        deep_linear.growth_symbolic(3),
        deep_linear.growth_symbolic(4),
    ):
        wrong = [k for k, v in proofs.items() if v is k.startswith("printed")]
        assert not wrong


@pytest.mark.parametrize(("sigma", "bound"), [(1e-3, 1e-5), (1e-4, 1e-7)])
def test_the_matched_solution_needs_r0(sigma, bound):
    errors = two.solution_errors(
        ((25, 10), (50, 20)), (sigma,), 3, two_layer_linear.matched_qr
    )
    assert errors["corrected"].max() < bound
    # as printed, without r_0: of order r_0 / q_0, whatever sigma
    share = errors["share"]
    assert np.all(errors["printed"] > 0.1 * share)
    assert errors["printed"].max() > 1e3 * bound


def test_one_dimensional_nets_have_an_exact_solution():
    run = two.train(1, 3, 0.1, 1.5, seed=2, points=50, rtol=1e-12)
    q, r = two_layer_linear.one_dimensional_qr(
        run.t, 1.5, float(run.q[0]), float(run.r[0]) * float(run.beta[0]) ** 2
    )
    np.testing.assert_allclose(run.q, q, rtol=1e-8)
    np.testing.assert_allclose(run.r, r, rtol=1e-8, atol=1e-12)
    with pytest.raises(ValueError, match="q0 must exceed"):
        two_layer_linear.one_dimensional_qr(1.0, 1.0, 0.1, 0.2)


def test_early_kernel_is_exact_at_the_start_and_good_in_phase_one():
    run = two.at_end_of_phase_one(1e-4, 1)
    a, W = run.a[0], run.W[0]
    start, end = (
        two_layer_linear.early_kernel(t, a, W, run.beta, 1.0) for t in run.t[[0, 2]]
    )
    assert two.early_error(run, 0, start) < 1e-12
    assert two.early_error(run, 2, end) < 1e-4
    bare = two_layer_linear.early_kernel(run.t[2], a, W, run.beta, 1.0, cross=False)
    assert two.early_error(run, 2, bare) > 1e-3


def test_half_loss_time_of_the_sigmoid():
    s, c0 = 1.7, 1e-5
    t = np.linspace(0, 10, 4001)
    loss = (1 - two_layer_linear.aligned_growth(t, s, c0) / s) ** 2
    expected = two_layer_linear.half_loss_time(s, c0)
    assert first_time(t, loss, 0.5) == pytest.approx(expected, abs=1e-6)
    assert deep_linear.half_loss_time(s, c0, 2) == pytest.approx(expected, abs=1e-10)


def test_unwhitened_early_flow_against_a_simulation():
    state = unwhitened.late_phase_one(1.0, 1e-6, d=8, n=5)
    start = unwhitened.train(1.0, 1e-6, 1.0, d=8, n=5, points=3).flow.at(0)
    t = 0.6 * math.log(1e6) / math.sqrt(float(state["b"]))
    a, W = two_layer_linear.early_unwhitened(
        t, start["W1"][0].numpy(), start["W0"].numpy(), np.asarray(state["spike"]), 1.0
    )
    assert np.linalg.norm(W - state["W"]) < 1e-3 * np.linalg.norm(W)
    assert np.linalg.norm(a - state["readout"]) < 1e-3 * np.linalg.norm(a)


# ---------------------------------------------------------------- more layers


@pytest.mark.parametrize(
    ("depth", "sigma", "rates", "bound"),
    [(2, 1e-3, (4.0, 1.0), 3e-6), (3, 0.01, (5.0, 1.0, 1.0), 3e-4)],
)
def test_final_kernels_plain_and_weighted(depth, sigma, rates, bound):
    s = 1.7
    run = deep.train(depth, sigma, s, rates)
    beta = run.beta.numpy()

    def gap(expected, weighted=False):
        M = run.matrix(weighted).numpy()
        return np.linalg.norm(M - expected) / np.linalg.norm(M)

    assert gap(deep_linear.final_kernel(s, beta, depth, rates)) < bound
    assert gap(deep_linear.weighted_kernel(s, beta, depth, rates), True) < 3 * bound
    printed = deep_linear.final_kernel(s, beta, depth, rates, exponent=2 * depth - 2)
    assert gap(printed) > 0.5


def test_growth_of_a_balanced_net_follows_the_equation_with_its_factor():
    sigma, depth = 0.1, 3
    expected = deep_linear.half_loss_time(1.0, sigma**depth, depth)
    assert deep.balanced_half_loss(depth, sigma) == pytest.approx(expected, rel=1e-5)
    t = np.linspace(0, 12, 400)
    c = deep_linear.growth(t, 1.0, sigma**depth, depth)
    assert first_time(t, (1 - c) ** 2, 0.5) == pytest.approx(expected, rel=1e-5)
    early = deep_linear.early_growth(3.0, 1.0, sigma**depth, depth)
    assert np.interp(3.0, t, c) == pytest.approx(early, rel=0.01)


def test_asymptote_of_the_half_loss_time():
    for depth in (3, 4, 5):
        full = deep_linear.half_loss_time(2.0, 1e-3**depth, depth)
        limit = deep_linear.half_loss_asymptote(1e-3, 2.0, depth)
        assert full == pytest.approx(limit, rel=2e-3)
    with pytest.raises(ValueError, match="depth must be at least 3"):
        deep_linear.half_loss_asymptote(0.1, 1.0, 2)


def test_kernel_coefficients_and_growth_rate():
    assert deep_linear.kernel_coefficients((1, 1, 1, 1)) == (3, 1)
    assert deep_linear.kernel_coefficients((5, 1, 1)) == (10, 1)
    power, depth = deep_linear.final_power()
    assert sp.simplify(power - 2 + 2 / depth) == 0
    assert deep_linear.growth_rate(0.25, 1.0, 2) == pytest.approx(2 * 0.25 * 0.75)
    with pytest.raises(ValueError, match="rates must hold 3 numbers"):
        deep_linear.final_scale(1.0, 3, (1.0, 2.0))


def test_alignment_reaches_its_ceiling():
    run = deep.train(3, 0.01, d=12, n=10)
    expected = silent_alignment.alignment_ceiling(3, 12)
    assert run.alignment[-1] == pytest.approx(expected, rel=1e-3)
    assert silent_alignment.alignment_ceiling(2, 1000) == pytest.approx(0.063, abs=1e-3)


# ---------------------------------------------------------------- the two-phase model


def test_the_final_predictor_from_a_kernel_history():
    found = checks.predictor_from_kernels(silent_alignment.predictor_from_history)
    assert found["corrected"] < 1e-4
    assert found["printed"] == pytest.approx(0.5, abs=1e-3)  # the rate of 2 is missing
    assert found["ordered"] < 1e-4 < found["unordered"]


def test_a_kernel_that_stands_still_gives_regression():
    K = checks.random_kernel(7, 3)
    y = torch.arange(5, dtype=F64) - 2
    start = torch.linspace(-1, 1, 7, dtype=F64)
    flow = kernel_flow(K, y, [0.0, 100.0], start=start)
    to_train = torch.linalg.solve(K[:5, :5], K[:5, 5:]).mT
    expected = start[5:] + to_train @ (y - start[:5])
    torch.testing.assert_close(flow.f[-1, 5:], expected)
    torch.testing.assert_close(flow.f[0], start)
    torch.testing.assert_close(flow.error, y - flow.f[:, :5])


def test_the_model_ends_in_its_final_kernel_and_not_in_its_first():
    errors = checks.toy_errors((1e-1, 1e-3), seed=1)
    assert errors[1] < 0.03 * errors[0]
    kernel = checks.toy(1e-3, seed=1)
    y = checks._draw("labels", 1, 6)
    end = float(kernel_flow(kernel, y, [0.0, 120.0]).f[-1, 6])
    first = kernel.first
    by_first = float(first[6, :6] @ torch.linalg.solve(first[:6, :6], y))
    assert abs(end - by_first) > 100 * errors[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0.0}, "epsilon must be > 0"),
        ({"turned": -1.0}, "turned must be > 0"),
        ({"first": torch.triu(torch.ones(3, 3, dtype=F64))}, "first must be symmetric"),
        ({"final": torch.eye(4, dtype=F64)}, "final must have shape"),
    ],
)
def test_two_phase_kernels_refuse_nonsense(change, message):
    eye = torch.eye(3, dtype=F64)
    arguments = {"first": eye, "final": eye, "epsilon": 0.1} | change
    with pytest.raises(ValueError, match=message):
        TwoPhaseKernel(**arguments)


def test_kernel_flow_refuses_nonsense():
    eye, y = torch.eye(3, dtype=F64), torch.ones(4, dtype=F64)
    with pytest.raises(ValueError, match="y must have at most 3 values"):
        kernel_flow(eye, y, [1.0])
    with pytest.raises(ValueError, match="start must have shape"):
        kernel_flow(eye, y[:2], [1.0], start=y)
    with pytest.raises(ValueError, match="t must be increasing"):
        kernel_flow(eye, y[:2], [])


def test_first_time_between_samples():
    t = np.linspace(0, 2, 41)
    assert first_time(t, np.exp(-t), 0.5) == pytest.approx(math.log(2), abs=1e-6)
    with pytest.raises(ValueError, match="level must lie between"):
        first_time(t, np.exp(-t), 2.0)
    with pytest.raises(ValueError, match="curves of one length"):
        first_time(t, t[:-1], 0.5)


def test_linear_flow_reaches_the_teacher():
    net_end = linear_flow(
        deep.DeepLinear((6, 5, 2), 0.1).init(0), data.gaussian(2, 6), [60.0]
    )
    torch.testing.assert_close(
        net_end.product[-1], data.gaussian(2, 6), rtol=1e-4, atol=1e-4
    )
