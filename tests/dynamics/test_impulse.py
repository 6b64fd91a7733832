"""Impulses on frozen kernels: order, limits, other integrators, endings, choice."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from lazyrich.dynamics import (
    Status,
    StepRule,
    frozen_movement,
    hinge_flow,
    hinge_path,
    impulse_flow,
    momentum_flow,
)
from lazyrich.dynamics.hinge.path import ABOVE, BELOW, SLIDING, HingePath, Sliding
from lazyrich.kernels import kernel_change, ntk
from lazyrich.networks import MLP, FullyConnected, from_module

F64 = torch.float64


def problem(n: int = 24, d: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(n, d, generator=draw, dtype=F64)
    y = torch.where(torch.randn(n, generator=draw, dtype=F64) > 0, 1.0, -1.0)
    return x, y.double()


X, Y = problem()
NET = FullyConnected(6, 24, 2)
W = NET.init(1)


def margins(flow: Any, member: int = 0) -> torch.Tensor:
    last = int((~flow.t[member].isnan()).sum()) - 1
    return flow.F[member, last] * Y


# ------------------------------------------------------------------ the flow


def test_second_order() -> None:
    # the time to half the loss, with kinks on the way
    def run(tolerance: float) -> tuple[int, float]:
        flow = impulse_flow(NET, W, X, Y, 0.3, tolerance=tolerance, stop_loss=0.5)
        return int(flow.steps), float(flow.t1)

    finest = run(3e-6)[1]
    found = [run(tolerance) for tolerance in (1e-2, 1e-3, 1e-4)]
    steps = [n for n, _ in found]
    errors = [abs(t1 / finest - 1.0) for _, t1 in found]
    assert steps[-1] > 3 * steps[0]
    assert -np.polyfit(np.log(steps), np.log(errors), 1)[0] > 1.7
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_against_small_steps(alpha: float) -> None:
    observe = {"kernel": kernel_change(X)}
    few = impulse_flow(
        NET, W, X, Y, alpha, tolerance=1e-3, stop_loss=0.1, observe=observe
    )
    many = momentum_flow(
        NET, W, X, Y, alpha, mu=None, tau=0.0, stop_loss=0.1,
        rule=StepRule(0.01, 0.002), observe=observe,
    )  # fmt: skip
    assert few.status == many.status == (Status.FITTED,)
    assert torch.allclose(few.t_level[:, :3], many.t_level[:, :3], rtol=1e-2)
    ends = [
        float(flow.observed["kernel"][0, int((~flow.t[0].isnan()).sum()) - 1])
        for flow in (few, many)
    ]
    assert ends[0] == pytest.approx(ends[1], rel=2e-2)
    assert int(few.tries) < int(many.tries) / 20


def test_exact_when_the_kernel_is_frozen() -> None:
    alpha = 1e6
    frozen = hinge_path(ntk(NET, W, X), Y)
    flow = impulse_flow(NET, W, X, Y, alpha)
    assert flow.status == (Status.FITTED,)
    assert torch.allclose(flow.t_level, frozen.t_level, rtol=1e-3)
    assert float(flow.t_zero) == pytest.approx(float(frozen.t_zero), rel=1e-3)
    # one set of forces, to the part in alpha by which the net is not linear
    F = frozen.F[0, int((~frozen.t[0].isnan()).sum()) - 1]
    assert torch.allclose(margins(flow), F * Y, atol=1e-4)


def test_zero_loss_is_reached() -> None:
    flow = impulse_flow(NET, W, X, Y, [0.1, 1.0, 100.0])
    assert flow.status == (Status.FITTED,) * 3
    assert bool((flow.loss_end < 1e-12).all())
    assert bool((flow.t_zero <= flow.t_end).all())
    for member in range(3):
        assert float(margins(flow, member).min()) > 1 - 1e-10
        loss = flow.loss[member][~flow.loss[member].isnan()]
        # within a step margins are known to the tolerance; their mean is better
        assert bool((loss.diff() <= 0.01 * 0.02).all())


def test_levels_lie_between_records() -> None:
    flow = impulse_flow(NET, W, X, Y, 1.0, levels=(0.9, 0.3), records_per_decade=200)
    for k, level in enumerate(flow.levels):
        after = flow.t[0][flow.loss[0] <= level].min()
        before = flow.t[0][flow.loss[0] > level].max()
        assert before <= flow.t_level[0, k] <= after


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 1e2])
def test_curves_do_not_depend_on_the_steps(alpha: float) -> None:
    """Records lie on the clock, within long steps too, where they are as good as the
    tolerance."""
    curves = {}
    for tolerance in (0.02, 0.001):
        flow = impulse_flow(
            NET, W, X, Y, alpha, tolerance=tolerance, stop_loss=0.01,
            records_per_decade=16, observe={"kernel_change": kernel_change(X)},
        )  # fmt: skip
        t, steps = flow.t[0], int(flow.steps[0])
        clock = 16 * torch.log10(t[1:-1])
        assert torch.allclose(clock, clock.round(), atol=1e-6)
        curves[tolerance] = (
            steps,
            {
                round(float(16 * torch.log10(t[k]))): (
                    float(flow.loss[0, k]),
                    float(flow.weight_change[0, k]),
                    float(flow.observed["kernel_change"][0, k]),
                )
                for k in range(1, len(t) - 1)
            },
        )
    (few, coarse), (_, fine) = curves.values()
    common = sorted(coarse.keys() & fine.keys())
    assert len(common) > 30
    if alpha == 1e2:  # no use in counting where steps are short anyhow
        assert len(common) > 4 * few
    got, expected = (np.array([c[k] for k in common]).T for c in (coarse, fine))
    assert np.abs(got[0] - expected[0]).max() < 0.01
    assert np.abs(got[1] / expected[1] - 1).max() < 0.02
    assert np.abs(got[2] / expected[2] - 1).max() < 0.05


def test_times_in_the_lazy_limit_are_those_of_the_frozen_kernel() -> None:
    """Steps span decades there, and times are read off within them."""
    frozen = hinge_path(ntk(NET, W, X), Y)
    flow = impulse_flow(NET, W, X, Y, 1e5)
    assert int(flow.steps[0]) < 15
    assert torch.allclose(flow.t_level, frozen.t_level, rtol=2e-3)
    assert float(flow.t_zero[0]) == pytest.approx(float(frozen.t_zero[0]), rel=2e-3)


def test_zero_loss_comes_with_the_last_pattern() -> None:
    """Its time does not depend on how long the steps are, which go on to mend defects."""
    times = [
        float(impulse_flow(NET, W, X, Y, 10.0, tolerance=tolerance).t_zero[0])
        for tolerance in (0.02, 0.005, 0.001)
    ]
    assert times == pytest.approx([times[-1]] * 3, rel=0.02)


def test_a_dense_clock_is_thinned_within_a_step() -> None:
    flow = impulse_flow(NET, W, X, Y, 1e2, stop_loss=0.1, records_per_decade=5000)
    assert flow.t.shape[1] <= 2 + 33 * int(flow.steps[0])


def test_members_are_alone() -> None:
    w = NET.init(3, members=2)
    both = impulse_flow(NET, w, X, Y, [0.5, 5.0], stop_loss=0.2, x_test=X[:4])
    one = impulse_flow(
        NET, {k: v[1] for k, v in w.items()}, X, Y, 5.0, stop_loss=0.2, x_test=X[:4]
    )
    assert float(both.t_end[1]) == float(one.t_end[0])
    assert torch.equal(both.w["W1"][1], one.w["W1"][0])
    assert both.F_test is not None
    assert both.F_test.shape[0] == 2


def test_other_nets() -> None:
    net = MLP((6, 20, 1), activation="tanh")
    assert impulse_flow(net, net.init(0), X, Y, 1.0, stop_loss=0.3).fitted.all()
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 20), torch.nn.Tanh(), torch.nn.Linear(20, 1)
    ).double()
    plain, w = from_module(module)
    with pytest.raises(ValueError, match="kernel must be given for ModuleNet"):
        impulse_flow(plain, w, X, Y, 1.0)
    flow = impulse_flow(plain, w, X, Y, 1.0, stop_loss=0.3, kernel=ntk)
    steps = momentum_flow(plain, w, X, Y, 1.0, mu=None, tau=0.0, stop_loss=0.3)
    assert float(flow.t1) == pytest.approx(float(steps.t1), rel=0.02)


# ------------------------------------------------------------------ its endings


def test_limits_truncate() -> None:
    flow = impulse_flow(NET, W, X, Y, 1.0, max_steps=3)
    assert flow.status == (Status.TRUNCATED,)
    assert "max_steps = 3" in flow.reason[0]
    flow = impulse_flow(NET, W, X, Y, 1.0, max_time=0.5)
    assert flow.status == (Status.TRUNCATED,)
    assert float(flow.t_end) == pytest.approx(0.5)


def test_what_cannot_be_fitted_is_truncated() -> None:
    x = torch.cat([X[:1], X[:1]])
    y = torch.tensor([1.0, -1.0], dtype=F64)
    flow = impulse_flow(NET, W, x, y, 1.0, max_steps=500)
    assert flow.status == (Status.TRUNCATED,)


def test_not_finite_from_the_start() -> None:
    w = {name: 1e200 * value for name, value in W.items()}
    flow = impulse_flow(NET, w, X, Y, 1.0)
    assert flow.status == (Status.DIVERGED,)
    assert "t = 0" in flow.reason[0]


class Memory:
    """A checkpoint that fails once after a number of saves, as a killed run does."""

    def __init__(self, most: int) -> None:
        self.saved: dict[str, np.ndarray] | None = None
        self.left = most

    def load(self) -> dict[str, np.ndarray] | None:
        return self.saved

    def save(self, state: Any) -> None:
        self.saved = dict(state)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("most", [2, 9])
def test_a_killed_run_goes_on_to_the_same_result(most: int) -> None:
    alphas = [0.3, 3.0]
    whole = impulse_flow(NET, W, X, Y, alphas, stop_loss=0.05)
    kept = Memory(most)
    options: dict[str, Any] = dict(stop_loss=0.05, checkpoint=kept, checkpoint_every=3)
    with pytest.raises(KeyboardInterrupt):
        impulse_flow(NET, W, X, Y, alphas, **options)
    resumed = impulse_flow(NET, W, X, Y, alphas, **options)
    assert torch.equal(resumed.t_end, whole.t_end)
    assert torch.equal(resumed.w["W0"], whole.w["W0"])
    assert torch.equal(resumed.tries, whole.tries)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"y": Y * 0.5}, ValueError, r"\+1 or -1"),
        ({"tolerance": 0.0}, ValueError, "tolerance"),
        ({"alpha": -1.0}, ValueError, "alpha"),
        ({"max_steps": 0}, ValueError, "max_steps"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every"),
        ({"y": Y[:3]}, ValueError, "same number"),
        ({"net": 3}, TypeError, "net must be callable"),
    ],
)
def test_bad_input_is_named(change: dict, error: type, words: str) -> None:
    good: dict[str, Any] = {"net": NET, "w": W, "x": X, "y": Y, "alpha": 1.0}
    with pytest.raises(error, match=words):
        impulse_flow(**{**good, **change})


def test_several_outputs_are_refused() -> None:
    net = FullyConnected(6, 8, 2, c=2)
    for flow in (impulse_flow, hinge_flow):
        with pytest.raises(ValueError, match="y must have the shape"):
            flow(net, net.init(0), X, Y, 1.0)


def test_float32_is_refused() -> None:
    w = {k: v.float() for k, v in W.items()}
    with pytest.raises(ValueError, match="float64"):
        impulse_flow(NET, w, X.float(), Y.float(), 1.0)


# ------------------------------------------------------------------ the path's warm start


def test_forces_after_a_warm_start_obey_the_rules() -> None:
    draw = np.random.default_rng(0)
    n = 30
    root = draw.standard_normal((n, 60))
    y = np.where(draw.random(n) < 0.5, -1.0, 1.0)
    Q = (root @ root.T / 60) * np.outer(y, y)
    first = HingePath(Q, np.zeros(n))
    while len(first.sliding) < 5:
        first.advance(math.inf)
    held = np.sort(first.sliding.members)
    assert len(held) > 3
    # the same kernel: nothing happens to the forces
    again = HingePath(Q, first.m, sliding=held)
    assert np.allclose(again.s, first.s, atol=1e-10)
    assert np.allclose(again.v, first.v, atol=1e-10)
    # another kernel and a drift: the box programme is solved, whoever leaves
    root = root + 0.5 * draw.standard_normal(root.shape)
    Q = (root @ root.T / 60) * np.outer(y, y)
    drift = np.zeros(n)
    drift[held] = 0.02 * draw.standard_normal(len(held))
    path = HingePath(Q, first.m, drift, held)
    v = Q @ path.s / n + drift
    assert np.allclose(v, path.v, atol=1e-10)
    assert (path.s >= 0.0).all()
    assert (path.s <= 1.0).all()
    assert np.abs(v[path.side == SLIDING]).max() < 1e-10
    assert (v[held][path.side[held] == ABOVE] >= -1e-10).all()
    assert (v[held][path.side[held] == BELOW] <= 1e-10).all()
    assert set(path.side[held]) != {SLIDING}


def test_the_drift_works_a_defect_off() -> None:
    Q = np.array([[1.0, -0.5], [-0.5, 4.0]])
    m = np.array([0.2, 1.0])
    with_drift = HingePath(Q, m, np.array([0.0, 0.1]), np.array([1]))
    # the force on the second is less by what the drift does for it
    assert with_drift.s[1] == pytest.approx((0.5 - 0.1 * 2) / 4.0)
    with_drift.follow(0.5)
    assert with_drift.m[1] == 1.0


def test_rank_one_updates_against_a_fresh_factorisation() -> None:
    draw = np.random.default_rng(1)
    root = draw.standard_normal((150, 200))
    Q = root @ root.T / 200
    kept = Sliding(Q, np.arange(70))
    for j in (3, 69, 0, 41):
        kept.remove(j)
    for j in range(70, 150):  # beyond the room of the buffers
        kept.add(j)
    fresh = Sliding(Q, kept.members.copy())
    column = draw.standard_normal(len(kept))
    assert np.allclose(kept.solve(column), fresh.solve(column), rtol=1e-9)
    assert np.array_equal(kept.rows, Q[kept.members])


def test_a_singular_start_is_refused() -> None:
    with pytest.raises(ValueError, match="positive definite"):
        Sliding(np.ones((3, 3)), np.array([0, 1]))


# ------------------------------------------------------------------ the choice


def test_the_movement_is_inverse_in_alpha_and_decides() -> None:
    alphas = [1e-5, 1e-2, 1e2]
    movement = frozen_movement(NET, W, X, Y, alphas)
    assert torch.allclose(movement * torch.tensor(alphas), movement[1] * 1e-2)
    flow = hinge_flow(NET, W, X, Y, alphas, stop_loss=0.3, x_test=X[:3])
    assert flow.settings["integrator"] == ("momentum", "impulse", "impulse")
    assert flow.settings["frozen_movement"] == tuple(movement.tolist())
    assert bool(flow.fitted.all())
    alone = impulse_flow(NET, W, X, Y, 1e-2, stop_loss=0.3, x_test=X[:3])
    records = int((~flow.t[1].isnan()).sum())
    assert records == alone.t.shape[1]
    assert float(flow.t1[1]) == float(alone.t1)
    assert torch.equal(flow.w["W1"][1], alone.w["W1"][0])
    assert flow.F_test is not None
    assert bool(flow.F_test[1, records:].isnan().all())


def test_the_movement_is_what_lazy_weights_do() -> None:
    alpha = 1e3
    movement = float(frozen_movement(NET, W, X, Y, alpha))
    flow = impulse_flow(NET, W, X, Y, alpha, stop_loss=0.5, tolerance=1e-3)
    moved = []
    for k in range(NET.L + 1):
        change = (flow.w[f"W{k}"][0] - W[f"W{k}"]).square().sum()
        change += (flow.w[f"B{k}"][0] - W[f"B{k}"]).square().sum()
        moved.append(float(change.sqrt() / W[f"W{k}"].norm()))
    assert movement == pytest.approx(max(moved), rel=0.05)


def test_an_impossible_task_is_for_momentum() -> None:
    x, y = torch.cat([X[:1]] * 2), torch.tensor([1.0, -1.0], dtype=F64)
    assert float(frozen_movement(NET, W, x, y, 1.0)) == math.inf


def test_the_choice_can_be_made_by_hand_and_survives_a_kill() -> None:
    for name in ("impulse", "momentum"):
        flow = hinge_flow(NET, W, X, Y, 1.0, integrator=name, stop_loss=0.5)
        assert flow.settings["integrator"] == (name,)
        assert "frozen_movement" not in flow.settings
    with pytest.raises(ValueError, match="integrator must be one of"):
        hinge_flow(NET, W, X, Y, 1.0, integrator="euler")
    told: list[tuple[int, int]] = []
    kept = Memory(10**6)
    options: dict[str, Any] = dict(stop_loss=0.3, checkpoint=kept)
    first = hinge_flow(
        NET, W, X, Y, [1e-5, 1.0], progress=lambda *a: told.append(a), **options
    )
    assert told == [(1, 2), (2, 2)]
    again = hinge_flow(NET, W, X, Y, [1e-5, 1.0], **options)
    assert torch.equal(first.t_end, again.t_end)
