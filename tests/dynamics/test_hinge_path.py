"""The exact hinge flow of a frozen kernel: closed forms, conditions, another flow."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyrich.dynamics import Status, StepRule, frozen_flow, hinge_path
from lazyrich.dynamics.hinge.path import ABOVE, BELOW, SLIDING, HingePath, Sliding

F64 = torch.float64


def problem(
    n: int, seed: int, rank: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(seed)
    root = torch.randn(n, rank or 3 * n, generator=gen, dtype=F64)
    y = torch.where(torch.rand(n, generator=gen) < 0.5, -1.0, 1.0).double()
    return root @ root.T / root.shape[1], y


def test_one_pattern_moves_at_constant_speed() -> None:
    flow = hinge_path(torch.tensor([[4.0]], dtype=F64), torch.tensor([-1.0], dtype=F64))
    assert flow.status == (Status.FITTED,)
    assert float(flow.t_zero[0]) == pytest.approx(0.25)
    assert float(flow.t1[0]) == pytest.approx(0.125)
    assert float(flow.F[0, -1, 0]) == pytest.approx(-1.0)


def test_two_opposed_patterns_slide() -> None:
    # m' = Q s / 2 with Q = [[1, -q], [-q, r]]: the strong pattern reaches the margin
    # first and then needs the force s1 = q s2 to stay there
    q, r = 0.5, 4.0
    y = torch.ones(2, dtype=F64)
    flow = hinge_path(torch.tensor([[1.0, -q], [-q, r]], dtype=F64), y)
    arrives = 2.0 / (r - q)
    m1 = (1.0 - q) * arrives / 2.0
    speed = (1.0 - q * (q / r)) / 2.0
    assert float(flow.t_zero[0]) == pytest.approx(arrives + (1.0 - m1) / speed)
    assert torch.allclose(flow.F[0, -1], y)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(2, 25), seed=st.integers(0, 1000))
def test_forces_obey_the_rules_of_the_margin(n: int, seed: int) -> None:
    K, y = problem(n, seed)
    Q = (K * torch.outer(y, y)).numpy()
    path = HingePath(Q, np.zeros(n))
    before = path.loss
    while path.advance(math.inf) > 0.0:
        v = Q @ path.s / n
        assert np.allclose(v, path.v, atol=1e-9)
        slide = path.side == SLIDING
        assert (path.s >= -1e-12).all()
        assert (path.s <= 1 + 1e-12).all()
        assert np.allclose(path.s[path.side == BELOW], 1.0)
        assert np.allclose(path.s[path.side == ABOVE], 0.0)
        assert np.allclose(v[slide], 0.0, atol=1e-9)
        assert np.allclose(path.m[slide], 1.0)
        assert path.loss <= before + 1e-12
        before = path.loss
    assert path.loss < 1e-12
    assert np.allclose(path.m, Q @ path.p / n, atol=1e-9)


def test_against_small_steps_of_another_integrator() -> None:
    K, y = problem(30, 1)
    cross = problem(40, 2)[0][:7, :30].contiguous()
    exact = hinge_path(K, y, cross, stop_loss=0.05)
    steps = frozen_flow(
        K, y, cross, mu=None, tau=0.0, stop_loss=0.05, rule=StepRule(0.002)
    )
    assert torch.allclose(exact.t_level[:, :4], steps.t_level[:, :4], rtol=3e-3)
    assert exact.F_test is not None
    assert steps.F_test is not None
    last = int((~steps.t[0].isnan()).sum()) - 1
    end = int((~exact.t[0].isnan()).sum()) - 1
    away = (exact.F_test[0, end] - steps.F_test[0, last]).norm()
    assert away / steps.F_test[0, last].norm() < 5e-3


def test_test_outputs_are_those_of_the_coefficients() -> None:
    K, y = problem(12, 3)
    flow = hinge_path(torch.stack([K, 2 * K]), y, torch.stack([K[:5], 2 * K[:5]]))
    assert flow.F_test is not None
    for member in range(2):
        end = int((~flow.t[member].isnan()).sum()) - 1
        assert torch.allclose(flow.F_test[member, end], flow.F[member, end, :5])
        assert torch.allclose(
            (1 + member) * K @ flow.w["c"][member], flow.F[member, end], atol=1e-10
        )
    # twice the kernel is twice as fast and learns the same function
    assert float(flow.t_zero[0] / flow.t_zero[1]) == pytest.approx(2.0)


def test_the_inverse_follows_its_updates() -> None:
    K, _ = problem(20, 4)
    Q = K.numpy()
    kept = Sliding(Q)
    gen = np.random.default_rng(0)
    for _ in range(300):
        j = int(gen.integers(20))
        if j in kept.members:
            kept.remove(j)
        else:
            kept.add(j)
    rows = kept.members
    column = gen.standard_normal(len(rows))
    assert np.allclose(
        kept.solve(column), np.linalg.solve(Q[np.ix_(rows, rows)], column)
    )
    outside = next(j for j in range(20) if j not in rows)
    with_it = np.linalg.inv(Q[np.ix_([*rows, outside], [*rows, outside])])
    assert kept.schur(outside) == pytest.approx(1.0 / with_it[-1, -1])


def test_what_cannot_be_fitted_is_truncated() -> None:
    # one point with two labels: F cannot be above 1 and below -1
    K = torch.ones(2, 2, dtype=F64)
    flow = hinge_path(K, torch.tensor([1.0, -1.0], dtype=F64))
    assert flow.status == (Status.TRUNCATED,)
    assert "cannot fit" in flow.reason[0]


def test_a_nugget_makes_a_singular_kernel_regular() -> None:
    K, y = problem(20, 5, rank=6)
    flow = hinge_path(K, y, nugget=1e-3)
    assert flow.status == (Status.FITTED,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"k_train": torch.eye(3, dtype=F64)}, "k_train"),
        ({"y": torch.tensor([1.0, 0.5], dtype=F64)}, "y must hold"),
        ({"k_test": torch.ones(1, 3, dtype=F64)}, "k_test"),
        ({"stop_loss": 2.0}, "stop_loss"),
        ({"max_events": 0}, "max_events"),
    ],
)
def test_bad_input_is_named(change: dict, words: str) -> None:
    good = {"k_train": torch.eye(2, dtype=F64), "y": torch.ones(2, dtype=F64)}
    with pytest.raises(ValueError, match=words):
        hinge_path(**{**good, **change})


def test_the_nugget_is_measured_in_units_of_the_mean_diagonal() -> None:
    """A nugget is the ridge nugget * tr(K) / n on the diagonal, whatever n."""
    for n in (4, 12):
        gen = torch.Generator().manual_seed(n)
        root = torch.randn(n, n, generator=gen, dtype=torch.float64)
        kernel = root @ root.mT
        y = torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0).double()
        nugget = 0.1
        shifted = kernel + nugget * kernel.trace() / n * torch.eye(n).double()
        given, by_hand = hinge_path(kernel, y, nugget=nugget), hinge_path(shifted, y)
        assert torch.allclose(given.t_zero, by_hand.t_zero, rtol=1e-12)
        assert torch.allclose(given.end("F"), by_hand.end("F"), rtol=1e-12)
