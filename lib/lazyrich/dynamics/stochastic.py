r"""Stochastic gradient descent at fixed temperature (geiger2020, App. A).

A step dt with a batch of b out of n patterns adds noise to the flow. In the continuum
limit only the temperature

    T = (dt / b) (1 - (b - 1)/(n - 1))

remains of dt and b (Eq. 17): the weights follow the Fokker-Planck equation

    dp/dt = div(p grad L) + (T/2) sum_ij d_i d_j (Sigma_ij p)

with Sigma the covariance of the patterns' gradients. So dt may be adapted during training
while b follows it at constant T (Eq. 19).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.core.pullback import pullback
from lazyrich.dynamics.step import StepRule, decay
from lazyrich.dynamics.trajectory import Status
from lazyrich.losses import loss as named_loss

Params = dict[str, Tensor]


def temperature(dt: float, batch: float, n: int) -> float:
    """T of Eq. 17; zero for a full batch.

    Args:
        dt: step.
        batch: patterns a batch, drawn without replacement; 1 to n.
        n: patterns in all, at least 2.

    Raises:
        ValueError: numbers out of range.
    """
    n = check.positive_int("n", n, least=2)
    dt = check.real("dt", dt, above=0.0)
    batch = check.real("batch", batch, least=1.0, most=float(n))
    return dt / batch * (1.0 - (batch - 1.0) / (n - 1.0))


def batch_size(T: float, dt: float, n: int) -> float:
    """The batch b at which a step dt has temperature T (Eq. 19), before rounding.

    It is n at T = 0 and 1 at T = dt; for dt < T no batch is small enough, and the formula
    gives a number below 1.

    Raises:
        ValueError: numbers out of range.
    """
    n = check.positive_int("n", n, least=2)
    dt = check.real("dt", dt, above=0.0)
    T = check.real("T", T, least=0.0)
    return n / (T / dt * (n - 1.0) + 1.0)


@dataclass(frozen=True)
class StochasticRun:
    """Where a stochastic descent ended.

    Attributes:
        w: final weights.
        t: (k,) times of the records.
        loss: (k,) loss of the predictor on all patterns, alpha^2 L; (k, members) for an
            ensemble.
        steps: how many steps were made.
        temperature: realised temperature, averaged over time; it differs from the one
            asked for by the rounding of the batch and by its cap.
        status, reason: how it ended.
    """

    w: Params
    t: Tensor
    loss: Tensor
    steps: int
    temperature: float
    status: Status
    reason: str


def stochastic_flow(
    net: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: float,
    *,
    T: float | None = None,
    dt: float | None = None,
    batch: int | None = None,
    tau: float = 0.0,
    loss: str = "hinge",
    max_steps: int = 100_000,
    max_time: float = math.inf,
    stop_loss: float | None = 0.0,
    batch_cap: int | None = None,
    rule: StepRule | None = None,
    check_every: int = 20,
    seed: int = 0,
    observe: Callable[[Params], Any] | None = None,
) -> StochasticRun:
    """Descend along gradients of random batches, at fixed (dt, batch) or at fixed T.

    Args:
        net, w: a network and its weights; with a member axis all members see their own
            batches, at fixed ``dt`` and ``batch``.
        x, y: training set, (n, ...) and (n,).
        alpha: laziness scale.
        T: temperature; dt is then adapted so that no output of the batch moves by more
            than ``rule.max_output_change``, and the batch follows by Eq. 19.
        dt, batch: fixed step and batch, instead of ``T``.
        tau: memory time of the momentum; 0 is plain descent.
        loss: one of ``losses.LOSSES``.
        max_steps, max_time: where it is truncated.
        stop_loss: fitted at this fraction of the initial loss on all patterns; ``None``
            goes on to ``max_steps`` or ``max_time``.
        batch_cap: largest batch at fixed T.
        rule: bounds of a step at fixed T.
        check_every: steps between evaluations of the loss on all patterns.
        seed: of the batches.
        observe: called with the weights at every record.

    Raises:
        TypeError, ValueError: arguments of the wrong form, or neither ``T`` nor both
            ``dt`` and ``batch``.
    """
    n = check.positive_int("number of examples", len(x), least=2)
    alpha = check.real("alpha", alpha, above=0.0)
    fixed = dt is not None and batch is not None
    if (T is None) != fixed or (dt is None) != (batch is None):
        raise ValueError(
            f"give T, or dt and batch; got T={T!r}, dt={dt!r}, batch={batch!r}"
        )
    tau = check.real("tau", tau, least=0.0)
    chosen = named_loss(loss)
    rule = StepRule() if rule is None else rule
    cap = n if batch_cap is None else check.positive_int("batch_cap", batch_cap)
    state = {k: v.detach().clone() for k, v in w.items()}
    with torch.no_grad():
        f0 = net(state, x)
    members = f0.shape[0] if f0.ndim > y.ndim else None
    if members is not None and not fixed:
        raise ValueError("an ensemble needs fixed dt and batch, got T alone")
    velocity = {k: torch.zeros_like(v) for k, v in state.items()}
    gen = rng.generator("batches", seed)
    if fixed:
        step, size = check.real("dt", dt, above=0.0), check.positive_int("batch", batch)
        check.real("batch", size, most=float(n))
    else:
        T = check.real("T", T, least=0.0)
        step, size = max(T, 1e-6), 1
    times: list[float] = []
    losses: list[Tensor] = []
    t, steps, heat, status, reason = 0.0, 0, 0.0, Status.TRUNCATED, ""

    def full_loss() -> Tensor:
        with torch.no_grad():
            F = alpha * (net(state, x) - f0)
        return chosen.value(F, y).mean(-1)

    start = full_loss()
    while True:
        last = steps >= max_steps or t >= max_time
        if last or steps % check_every == 0:
            now = full_loss()
            times.append(t)
            losses.append(now.clone())
            if observe is not None:
                observe(state)
            if not bool(torch.isfinite(now).all()):
                status, reason = Status.DIVERGED, f"the loss is not finite at t = {t:g}"
            elif stop_loss is not None and bool((now <= stop_loss * start).all()):
                status = Status.FITTED
                reason = f"loss fell to {stop_loss:g} of its start"
            elif last:
                reached = "max_steps" if steps >= max_steps else "max_time"
                reason = f"{reached} reached at t = {t:g}"
            if reason:
                break
        if not fixed:
            assert T is not None
            size = int(min(max(round(batch_size(T, step, n)), 1), cap, n))
        x_b, y_b, f_b = _draw(x, y, f0, size, members, gen)
        f, pull = pullback(net, state, x_b)
        F = alpha * (f - f_b)
        gradient = pull(chosen.slope(F, y_b) / (alpha * size))
        while True:
            keep = decay(t, step, None, tau)
            trial_v = {k: keep * velocity[k] - (1 - keep) * gradient[k] for k in state}
            trial = {k: state[k] + step * trial_v[k] for k in state}
            if fixed:
                break
            with torch.no_grad():
                change = float((alpha * (net(trial, x_b) - f)).abs().max())
            if change <= rule.max_output_change or step < 1e-14:
                break
            step = rule.next_step(step, change)
        state, velocity = trial, trial_v
        t += step
        steps += 1
        heat += step * temperature(step, size, n)
        if not fixed:
            step = rule.next_step(step, change)
    return StochasticRun(
        state,
        torch.tensor(times, dtype=torch.float64),
        torch.stack(losses).double(),
        steps,
        heat / t if t > 0 else math.nan,
        status,
        reason,
    )


def _draw(
    x: Tensor,
    y: Tensor,
    f0: Tensor,
    size: int,
    members: int | None,
    gen: torch.Generator,
) -> Sequence[Tensor]:
    """A batch without replacement, one for every member: inputs, targets, f0."""
    n = len(x)
    if members is None:
        if size == n:
            return x, y, f0
        rows = torch.randperm(n, generator=gen)[:size].to(x.device)
        return x[rows], y[rows], f0[rows]
    keys = torch.rand((members, n), generator=gen)
    rows = keys.argsort(dim=1)[:, :size].to(x.device)
    return x[rows], y[rows], torch.gather(f0, 1, rows)
