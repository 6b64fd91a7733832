"""The flow against closed forms, against its limits, and against itself."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from lazyrich.dynamics import Status, StepRule, frozen_flow, momentum_flow
from lazyrich.dynamics.steps.rule import decay
from lazyrich.dynamics.watch import log_clock
from lazyrich.kernels import kernel_change, kernel_predict, ntk
from lazyrich.networks import FullyConnected, from_module

F64 = torch.float64
FINE = StepRule(max_output_change=1e-3, max_weight_change=1e-3)


def problem(n=12, d=3, seed=0):
    gen = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=gen, dtype=F64)
    y = torch.where(torch.randn(n, generator=gen, dtype=F64) > 0, 1.0, -1.0).to(F64)
    return x, y


class Quadratic:
    """f(w, x) = x . w: with one example and the square loss, a quadratic in w."""

    def __call__(self, w, x):
        return x @ w["w"]


LINE = (torch.ones(1, 1, dtype=F64), torch.ones(1, dtype=F64))


def test_a_linear_model_decays_exponentially():
    """dF/dt = -(F - 1): F = 1 - exp(-t), loss half at t = log(2)/2."""
    x, y = LINE
    w = {"w": torch.zeros(1, dtype=F64)}
    flow = momentum_flow(
        Quadratic(), w, x, y, 1.0, loss="square", mu=None, tau=0.0,
        rule=StepRule(1e-3, math.inf), stop_loss=1e-6,
    )  # fmt: skip
    assert float(flow.t1) == pytest.approx(math.log(2) / 2, rel=2e-3)
    t, F = flow.t[0], flow.F[0, :, 0]
    torch.testing.assert_close(F, 1 - torch.exp(-t), rtol=0, atol=1e-3)


@pytest.mark.parametrize("tau", [0.02, 0.2, 2.0])
def test_fixed_memory_is_a_damped_oscillator(tau):
    x, y = LINE
    w = {"w": torch.zeros(1, dtype=F64)}
    flow = momentum_flow(
        Quadratic(), w, x, y, 1.0, loss="square", mu=None, tau=tau,
        rule=StepRule(3e-4, math.inf), max_time=4.0, records_per_decade=30,
    )  # fmt: skip
    solved = solve_ivp(
        lambda t, s: [s[1], -(s[1] + s[0] - 1) / tau], (0, 4.0), [0.0, 0.0],
        rtol=1e-10, atol=1e-12, t_eval=flow.t[0].numpy(),
    )  # fmt: skip
    np.testing.assert_allclose(flow.F[0, :, 0].numpy(), solved.y[0], atol=5e-3)


def linear_flow(tau, bound):
    x, y = LINE
    flow = momentum_flow(
        Quadratic(), {"w": torch.zeros(1, dtype=F64)}, x, y, 1.0, loss="square",
        mu=None, tau=tau, rule=StepRule(bound, math.inf), max_time=0.5,
    )  # fmt: skip
    return float(flow.F[0, -1, 0])


def test_distance_to_gradient_flow_is_proportional_to_the_memory_time():
    taus = [3e-2, 1e-2, 3e-3]
    at_rest = linear_flow(0.0, 3e-4)
    distance = [abs(linear_flow(tau, 3e-4) - at_rest) for tau in taus]
    slope = np.polyfit(np.log(taus), np.log(distance), 1)[0]
    assert abs(slope - 1) < 0.1


def test_first_order_convergence():
    bounds = [4e-2, 2e-2, 1e-2, 5e-3]
    error = [abs(linear_flow(0.0, b) - (1 - math.exp(-0.5))) for b in bounds]
    slope = np.polyfit(np.log(bounds), np.log(error), 1)[0]
    assert abs(slope - 1) < 0.15


def test_decay_factors():
    found = [decay(t, 0.5, 3.0, None) for t in (0.0, 1.0, 4.0)]
    np.testing.assert_allclose(found, [0.0, (1 / 1.5) ** 3, (4 / 4.5) ** 3], rtol=1e-14)
    assert decay(1.0, 0.5, None, 0.25) == pytest.approx(math.exp(-2.0))
    assert decay(1.0, 0.5, None, 0.0) == 0.0


def test_clock_is_log_spaced():
    t, ticks = 1e-3, []
    for _ in range(8):
        t = log_clock(4, t)
        ticks.append(t)
    np.testing.assert_allclose(np.diff(np.log10(ticks)), 0.25, atol=1e-12)


def test_predictor_starts_at_zero_and_hinge_ends_at_zero():
    x, y = problem()
    net = FullyConnected(3, 20, 2)
    flow = momentum_flow(net, net.init(0, members=3), x, y, [0.1, 1.0, 1e3])
    assert not flow.F[:, 0].any()
    assert flow.loss[:, 0].tolist() == [1.0, 1.0, 1.0]
    assert all(status is Status.FITTED for status in flow.status)
    assert flow.loss_end.tolist() == [0.0, 0.0, 0.0]
    assert bool(torch.isfinite(flow.t2).all())
    assert bool((flow.t1 < flow.t2).all())
    margin = flow.F[2][~flow.t[2].isnan()][-1] * y
    assert float(margin.min()) >= 1.0


@pytest.mark.parametrize("alpha", [1e-2, 1.0, 1e4])
def test_first_velocity_is_the_kernel_equation(alpha):
    """dF/dt = -(1/n) sum l'(F) Theta, free of explicit powers of alpha (Eq. 5)."""
    x, y = problem()
    net = FullyConnected(3, 30, 2)
    w = net.init(0)
    # alpha (f - f0) carries a rounding error of alpha * 1e-16: move far enough above it
    rule = StepRule(1e-6 * max(1.0, alpha / 100), 1e-7)
    flow = momentum_flow(net, w, x, y, alpha, max_steps=1, rule=rule, mu=None, tau=0.0)
    dt = float(flow.t_end[0])
    expected = ntk(net, w, x) @ y / len(y)
    torch.testing.assert_close(flow.F[0, -1] / dt, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", ["hinge", "square", "quadratic_hinge", "soft_hinge"])
def test_large_alpha_is_the_frozen_kernel(loss):
    x, y = problem()
    net = FullyConnected(3, 30, 2)
    w = net.init(0)
    rule, stop = StepRule(0.02, 0.02), 0.05
    real = momentum_flow(net, w, x, y, 1e5, loss=loss, rule=rule, stop_loss=stop)
    frozen = frozen_flow(ntk(net, w, x), y, loss=loss, rule=rule, stop_loss=stop)
    for level in (0.9, 0.5, 0.1):
        a, b = float(real.time_to(level)), float(frozen.time_to(level))
        assert a == pytest.approx(b, rel=0.02)
    assert float(real.weight_change[0, -1]) < 1e-4


def test_frozen_square_loss_has_a_closed_form():
    x, y = problem()
    z, _ = problem(seed=5)
    net = FullyConnected(3, 30, 2)
    w = net.init(0)
    k, k_test = ntk(net, w, x), ntk(net, w, z, x)
    flow = frozen_flow(
        k, y, k_test, loss="square", mu=None, tau=0.0, max_time=3.0,
        rule=StepRule(2e-3, 1.0),
    )  # fmt: skip
    assert flow.F_test is not None
    expected = kernel_predict(k, k_test, y, t=float(flow.t_end[0]))
    torch.testing.assert_close(flow.F_test[0, -1], expected, rtol=0, atol=3e-3)


def test_weight_space_and_function_space_agree_step_by_step():
    """Eqs. 25-26: a model linear in its weights and its kernel give one trajectory."""
    x, y = problem(n=8)
    net = FullyConnected(3, 6, 1)
    w = net.init(0)
    with torch.no_grad():
        jac = torch.func.jacrev(lambda p: net(p, x))(w)
    features = torch.cat([j.reshape(8, -1) for j in jac.values()], 1)
    start = {"w": torch.zeros(features.shape[1], dtype=F64)}
    rule = StepRule(0.05, math.inf)
    options = dict(loss="hinge", rule=rule, max_time=5.0, tau=None, mu=50.0)
    weights = momentum_flow(Quadratic(), start, features, y, 1.0, **options)
    outputs = frozen_flow(features @ features.T, y, **options)
    assert weights.steps.tolist() == outputs.steps.tolist()
    torch.testing.assert_close(weights.t, outputs.t, rtol=1e-9, atol=0)
    torch.testing.assert_close(weights.F, outputs.F, rtol=1e-8, atol=1e-10)
    norm = weights.w["w"].norm()
    torch.testing.assert_close(outputs.weight_change[0, -1], norm, rtol=1e-8, atol=0)


def test_step_rule_is_kept():
    x, y = problem()
    net = FullyConnected(3, 10, 2)
    rule = StepRule(0.03, 0.01)
    flow = momentum_flow(net, net.init(0, members=2), x, y, [0.01, 10.0], rule=rule)
    assert float(flow.largest_output_change.max()) <= 0.03
    assert bool((flow.tries >= flow.steps).all())


def test_feature_regime_needs_the_weight_rule():
    """Without the bound on weights one step jumps over the growth phase, and t1 is wrong;
    with it t1 and the kernel change converge as tolerances shrink."""
    x, y = problem(n=20, d=5)
    net = FullyConnected(5, 20, 4)
    w = net.init(0)
    options = dict(alpha=1e-4, stop_loss=0.1, observe={"kernel": kernel_change(x)})

    def run(rule):
        flow = momentum_flow(net, w, x, y, rule=rule, **options)
        assert flow.status == (Status.FITTED,)
        return float(flow.t1), float(flow.observed["kernel"][0, -1])

    loose, _ = run(StepRule(0.1, math.inf))
    (t_a, k_a), (t_b, k_b), (t_c, k_c) = (
        run(StepRule(0.1, eps)) for eps in (0.04, 0.02, 0.005)
    )
    assert abs(loose / t_c - 1) > 0.5
    assert abs(t_b / t_c - 1) < 0.06
    assert abs(t_b - t_c) < abs(t_a - t_c)
    assert abs(math.log(k_b / k_c)) < 0.25


def test_a_member_is_the_same_in_any_company():
    x, y = problem()
    net = FullyConnected(3, 8, 2)
    alphas = [1e-2, 1.0, 30.0]
    observe = {"kernel": kernel_change(x)}
    together = momentum_flow(
        net, net.init(4, members=3), x, y, alphas, observe=observe, x_test=x
    )
    threads = torch.get_num_threads()
    for e, alpha in enumerate(alphas):
        torch.set_num_threads(2 if e else 1)
        alone = momentum_flow(
            net, net.init(4 + e), x, y, alpha, observe=observe, x_test=x
        )
        torch.set_num_threads(threads)
        k = alone.t.shape[1]
        assert torch.equal(together.t[e, :k], alone.t[0])
        assert torch.equal(together.F[e, :k], alone.F[0])
        assert torch.equal(
            together.observed["kernel"][e, :k], alone.observed["kernel"][0]
        )
        for name in alone.w:
            assert torch.equal(together.w[name][e], alone.w[name][0])


@pytest.mark.parametrize("slots", [2, 3, 8])
def test_slots_change_rounding_only(slots):
    """More members than slots: ended ones leave, waiting ones enter."""
    x, y = problem()
    net = FullyConnected(3, 8, 2)
    w = net.init(0, members=5)
    alphas = [1e-2, 1e2, 0.1, 1.0, 10.0]
    options = dict(stop_loss=0.05, rule=StepRule(0.05, 0.02))
    one = momentum_flow(net, w, x, y, alphas, **options)
    many = momentum_flow(net, w, x, y, alphas, slots=slots, **options)
    torch.testing.assert_close(many.t1, one.t1, rtol=1e-6, atol=0)
    torch.testing.assert_close(many.t_end, one.t_end, rtol=1e-4, atol=0)


def test_one_diverging_member_leaves_the_others_alone():
    x, y = problem()

    def wall(w, z):  # not a number beyond a weight that the flow wants to pass
        return (w["w"] * z.sum(1)).where(w["w"].abs() < 1e-3, math.nan)

    lost = momentum_flow(wall, {"w": torch.zeros((), dtype=F64)}, x, y, 1.0)
    assert lost.status == (Status.DIVERGED,)
    assert float(lost.w["w"][0].abs()) < 1e-3
    still = momentum_flow(
        lambda w, z: 0 * w["w"] * z[:, 0], {"w": torch.ones((), dtype=F64)}, x, y, 1.0
    )
    assert still.reason == ("the outputs no longer move",)
    net = FullyConnected(3, 8, 2)
    w = net.init(0, members=3)
    w["W1"][1, 0, 0] = 1e308  # finite, but the outputs are not
    for slots in (1, 3):
        flow = momentum_flow(net, w, x, y, 1.0, stop_loss=0.1, slots=slots)
        assert flow.status[1] is Status.DIVERGED
        assert "not finite" in flow.reason[1]
        assert flow.status[0] is flow.status[2] is Status.FITTED
        assert bool(torch.isfinite(flow.t1[[0, 2]]).all())


def test_truncation_says_why():
    x, y = problem()
    net = FullyConnected(3, 8, 2)
    by_steps = momentum_flow(net, net.init(0), x, y, 1.0, max_steps=5)
    assert by_steps.status == (Status.TRUNCATED,)
    assert by_steps.reason == ("max_steps = 5 reached",)
    by_time = momentum_flow(net, net.init(0), x, y, 1.0, max_time=0.25)
    assert by_time.status == (Status.TRUNCATED,)
    assert float(by_time.t_end) == pytest.approx(0.25, rel=1e-12)


class Memory:
    """A checkpoint that can interrupt the run."""

    def __init__(self, stop_after=None):
        self.state, self.saves, self.stop_after = None, 0, stop_after

    def load(self):
        return self.state

    def save(self, state):
        self.state = {k: np.array(v) for k, v in state.items()}
        self.saves += 1
        if self.stop_after is not None and self.saves >= self.stop_after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("slots", [1, 2])
def test_a_resumed_run_is_the_uninterrupted_one(slots):
    x, y = problem()
    net = FullyConnected(3, 8, 2)
    w = net.init(0, members=3)
    options = dict(
        alpha=[0.01, 1.0, 100.0], slots=slots, x_test=x,
        observe={"kernel": kernel_change(x)}, checkpoint_every=40,
    )  # fmt: skip
    whole = momentum_flow(net, w, x, y, **options)
    memory = Memory(stop_after=1)
    interruptions, parts = 0, None
    while parts is None:
        try:
            parts = momentum_flow(net, w, x, y, checkpoint=memory, **options)
        except KeyboardInterrupt:
            interruptions += 1
            memory.saves = 0
    assert interruptions > 5
    if slots == 1:
        assert torch.equal(parts.t.nan_to_num(), whole.t.nan_to_num())
        assert torch.equal(parts.F.nan_to_num(), whole.F.nan_to_num())
        assert torch.equal(parts.w["W1"], whole.w["W1"])
        assert parts.tries.tolist() == whole.tries.tolist()
    else:
        torch.testing.assert_close(parts.t1, whole.t1, rtol=1e-6, atol=0)


def test_float32_is_an_option_with_a_known_error():
    x, y = problem()
    net = FullyConnected(3, 30, 2)
    for alpha, tolerance in ((0.01, 0.02), (1.0, 0.02)):
        double = momentum_flow(net, net.init(0), x, y, alpha, stop_loss=0.1)
        single = momentum_flow(
            net, net.init(0, dtype=torch.float32), x.float(), y.float(), alpha,
            stop_loss=0.1,
        )  # fmt: skip
        assert float(single.t1) == pytest.approx(float(double.t1), rel=tolerance)


def test_modules_and_several_outputs():
    x, _ = problem()
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)
    ).double()
    net, w = from_module(module)
    y = torch.stack((x[:, 0].sign(), x[:, 1].sign()), 1)
    flow = momentum_flow(net, w, x, y, 1.0, loss="square", stop_loss=0.2)
    assert flow.status == (Status.FITTED,)
    assert flow.F.shape[2:] == (12, 2)


def test_bad_input():
    x, y = problem()
    net = FullyConnected(3, 4, 1)
    w = net.init(0)
    with pytest.raises(ValueError, match="alpha must be positive"):
        momentum_flow(net, w, x, y, -1.0)
    with pytest.raises(ValueError, match="alpha must have one value for each of the 2"):
        momentum_flow(net, net.init(0, members=2), x, y, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"y must be \+1 or -1"):
        momentum_flow(net, w, x, 2 * y, 1.0)
    with pytest.raises(ValueError, match="y must have the shape"):
        momentum_flow(net, w, x, y.unsqueeze(1), 1.0)
    with pytest.raises(ValueError, match="x must be finite"):
        momentum_flow(net, w, x * math.nan, y, 1.0)
    with pytest.raises(ValueError, match="give mu or tau"):
        momentum_flow(net, w, x, y, 1.0, tau=1.0)
    with pytest.raises(ValueError, match="same number n"):
        momentum_flow(net, w, x, y[:3], 1.0)
    with pytest.raises(ValueError, match="x_test must have shape"):
        momentum_flow(net, w, x, y, 1.0, x_test=x[:, :2])
    with pytest.raises(ValueError, match="max_weight_change must be"):
        StepRule(max_weight_change=0.0)
    with pytest.raises(ValueError, match="k_train must have shape"):
        frozen_flow(torch.eye(4, dtype=F64), y)
    flow = momentum_flow(net, w, x, y, 1.0, max_steps=2)
    with pytest.raises(ValueError, match="level must be one of"):
        flow.time_to(0.33)


def test_ends_are_kept_in_double_precision():
    """The last recorded loss and time are the final ones, bit for bit."""
    x, y = problem()
    net = FullyConnected(3, 8, 2)
    flow = momentum_flow(net, net.init(0, members=2), x, y, 1.0, stop_loss=0.1)
    last = (~flow.t.isnan()).sum(1) - 1
    rows = torch.arange(2)
    assert flow.t_end.dtype == flow.loss_end.dtype == F64
    assert torch.equal(flow.loss_end, flow.loss[rows, last])
    assert torch.equal(flow.t_end, flow.t[rows, last])


def test_the_change_of_outputs_is_that_of_the_net_not_of_the_predictor():
    """F = alpha (f - f0); what is recorded is the root mean square of f - f0."""
    x, y = problem()
    net = FullyConnected(3, 20, 2)
    w = net.init(0, members=2)
    flow = momentum_flow(net, w, x, y, [0.1, 10.0], max_steps=40)
    moved = net(flow.w, x) - net(w, x)
    rms = moved.square().mean(1).sqrt()
    torch.testing.assert_close(flow.end("output_change"), rms, rtol=1e-9, atol=0.0)


def test_while_the_loss_is_above_one_half_steps_are_of_second_order():
    def error(bound):
        x, y = LINE
        flow = momentum_flow(
            Quadratic(), {"w": torch.zeros(1, dtype=F64)}, x, y, 1.0, loss="square",
            mu=None, tau=0.0, rule=StepRule(bound, math.inf), max_time=0.2,
        )  # fmt: skip
        assert float(flow.loss_end) > 0.5 * float(flow.loss[0, 0])
        return abs(float(flow.F[0, -1, 0]) - (1 - math.exp(-0.2)))

    bounds = [2e-2, 1e-2, 5e-3, 2.5e-3]
    slope = np.polyfit(np.log(bounds), np.log([error(b) for b in bounds]), 1)[0]
    assert slope > 1.6


def test_a_step_that_meets_its_aim_is_repeated_as_it_is():
    rule = StepRule(0.1, aim=0.7, grow=1.3, shrink=0.1)
    assert rule.next_step(2.0, 0.07) == pytest.approx(2.0)
    assert rule.next_step(2.0, 0.07 / 1.2) == pytest.approx(2.0 * 1.2)
    assert rule.next_step(2.0, 0.07 / 5.0) == pytest.approx(2.0 * 1.3)
    assert rule.next_step(2.0, 0.14) == pytest.approx(1.0)
    assert rule.next_step(2.0, 70.0) == pytest.approx(0.2)
    assert rule.next_step(2.0, math.inf) == pytest.approx(0.2)
