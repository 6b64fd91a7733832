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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.core.pullback import member, pullback
from lazyrich.core.threads import one_thread
from lazyrich.dynamics.member import Member
from lazyrich.dynamics.problem import Params, Problem
from lazyrich.dynamics.steps.rule import StepRule, decay
from lazyrich.dynamics.trajectory import Status
from lazyrich.dynamics.watch import Watch
from lazyrich.dynamics.weights import start_probes

_FOLLOWS = ("stop_loss", "max_steps", "max_time", "levels", "observe")


def temperature(dt: float, batch: float, n: int) -> float:
    """T of Eq. 17; zero for a full batch.

    Args:
        dt: step.
        batch: patterns a batch, drawn without replacement; 1 to n.
        n: patterns in all, at least 2.

    Raises:
        ValueError: numbers out of range.

    >>> from lazyrich.dynamics import temperature
    >>> temperature(0.1, batch=1, n=10), temperature(0.1, batch=10, n=10)
    (0.1, 0.0)
    """
    n = check.size("n", n, least=2)
    dt = check.real("dt", dt, above=0.0)
    batch = check.real("batch", batch, least=1.0, most=float(n))
    return dt / batch * (1.0 - (batch - 1.0) / (n - 1.0))


def batch_size(T: float, dt: float, n: int) -> float:
    """The batch b at which a step dt has temperature T (Eq. 19), before rounding.

    It is n at T = 0 and 1 at T = dt; for dt < T no batch is small enough, and the formula
    gives a number below 1.

    Raises:
        ValueError: numbers out of range.

    >>> from lazyrich.dynamics import batch_size
    >>> batch_size(0.0, dt=0.1, n=50), batch_size(0.1, dt=0.1, n=50)
    (50.0, 1.0)
    """
    n = check.size("n", n, least=2)
    dt = check.real("dt", dt, above=0.0)
    T = check.real("T", T, least=0.0)
    return n / (T / dt * (n - 1.0) + 1.0)


@dataclass(frozen=True)
class Batches:
    """What makes a descent stochastic: how batches are drawn, and at which temperature.

    Attributes:
        T: temperature; dt is then adapted so that no output of the batch moves by more
            than the rule allows, and the batch follows by Eq. 19.
        dt, batch: fixed step and batch, instead of ``T``.
        batch_cap: largest batch at fixed T; all patterns by default.
        seed: of the batches.
        check_every: steps between looks at the loss on all patterns.

    Raises:
        TypeError, ValueError: numbers out of range, or neither ``T`` nor both ``dt`` and
            ``batch``.
    """

    T: float | None = None
    dt: float | None = None
    batch: int | None = None
    batch_cap: int | None = None
    seed: int = 0
    check_every: int = 20

    def __post_init__(self) -> None:
        T, dt, batch = self.T, self.dt, self.batch
        if (T is None) != self.fixed or (dt is None) != (batch is None):
            raise ValueError(
                f"give T, or dt and batch; got T={T!r}, dt={dt!r}, batch={batch!r}"
            )
        if T is not None:
            check.real("T", T, least=0.0)
        if dt is not None:
            check.real("dt", dt, above=0.0)
        for name in ("batch", "batch_cap"):
            if getattr(self, name) is not None:
                check.positive_int(name, getattr(self, name))
        check.positive_int("check_every", self.check_every)
        check.positive_int("seed", self.seed, least=0)

    @property
    def fixed(self) -> bool:
        """Whether step and batch are given, and not adapted."""
        return self.dt is not None and self.batch is not None

    def start(self) -> tuple[float, int]:
        """The first step, and the first batch."""
        if self.dt is not None and self.batch is not None:
            return float(self.dt), self.batch
        return max(float(self.T or 0.0), 1e-6), 1

    def size(self, dt: float, n: int) -> int:
        """Patterns of a batch for a step ``dt``, out of n."""
        if self.batch is not None:
            return self.batch
        most = n if self.batch_cap is None else self.batch_cap
        wanted = round(batch_size(float(self.T or 0.0), dt, n))
        return int(min(max(wanted, 1), most, n))


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
        observed: further curves (k, ...), by the name of their probe.
        t_level: (levels,) first times at which the largest loss of a member falls to the
            levels that were watched, on straight lines between records.
        settings: what the descent was asked to do.
    """

    w: Params
    t: Tensor
    loss: Tensor
    steps: int
    temperature: float
    status: Status
    reason: str
    observed: dict[str, Tensor] = field(default_factory=dict)
    t_level: Tensor = field(default_factory=lambda: torch.empty(0, device="cpu"))
    settings: dict[str, Any] = field(default_factory=dict)


@one_thread()  # sums have one order on any machine
def stochastic_flow(
    net: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: float,
    *,
    loss: str = "hinge",
    tau: float = 0.0,
    rule: StepRule | None = None,
    watch: Watch | None = None,
    **options: Any,
) -> StochasticRun:
    """Descend along gradients of random batches, at fixed (dt, batch) or at fixed T.

    The loss is the *mean* over the patterns of a batch, in the units of
    ``momentum_flow``.

    Args:
        net, w: a network and its weights; with a member axis all members see their own
            batches, at fixed ``dt`` and ``batch``.
        x, y: training set, (n, ...) and (n,).
        alpha: laziness scale.
        loss: one of ``losses.LOSSES``.
        tau: memory time of the momentum; 0 is plain descent.
        rule: bound on outputs of a step at fixed T. It must leave the weights alone,
            ``max_weight_change=math.inf``: at fixed T no step can be shorter than T, for
            which a batch is one pattern, so that a bound on weights could not be kept.
        watch: a ``Watch``, or ``stop_loss``, ``max_steps``, ``max_time``, ``levels`` and
            ``observe`` as keywords. It is looked at every ``check_every`` steps, and an
            ensemble has fitted once all its members have at once. A probe sees all
            members in one go.
        options: fields of ``Batches``, ``T`` or ``dt`` and ``batch`` at least, and of
            ``Watch``.

    Raises:
        TypeError, ValueError: arguments of the wrong form, a rule that limits weights,
            or neither ``T`` nor both ``dt`` and ``batch``.

    >>> from lazyrich.dynamics import stochastic_flow
    >>> import torch
    >>> from lazyrich.networks import FullyConnected
    >>> net = FullyConnected(d=2, h=16, L=1)
    >>> x = torch.eye(2, dtype=torch.float64)
    >>> y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> run = stochastic_flow(net, net.init(0), x, y, 1.0, dt=0.1, batch=1, max_steps=3)
    >>> run.steps, round(run.temperature, 3)
    (3, 0.1)
    """
    own = {each.name for each in fields(Batches)}
    batches = Batches(**{k: v for k, v in options.items() if k in own})
    watched = {k: v for k, v in options.items() if k not in own}
    watch = Watch.of(
        "stochastic_flow", watch, watched, follows=_FOLLOWS, max_steps=100_000
    )
    alpha = check.real("alpha", alpha, above=0.0)
    problem = Problem(net, w, x, y, alpha, loss)
    x, y = problem.x, check.tensor("y", problem.y, ndim=1)
    if len(x) < 2:
        raise ValueError(f"x must hold at least two patterns, got {len(x)}")
    tau = check.real("tau", tau, least=0.0)
    rule = StepRule(max_weight_change=math.inf) if rule is None else rule
    check.instance("rule", rule, StepRule)
    if not math.isinf(rule.max_weight_change):
        raise ValueError(
            "rule.max_weight_change must be math.inf: steps at fixed T cannot keep a "
            f"bound on weights, got {rule.max_weight_change!r}"
        )
    if batches.batch is not None:
        check.real("batch", batches.batch, most=float(len(x)))
    run = _Descent(problem, alpha, tau, rule, batches, watch)
    if run.members is not None and not batches.fixed:
        raise ValueError("an ensemble needs fixed dt and batch, got T alone")
    while not run.progress.status:
        run.step()
    return run.result()


class _Descent:
    """A descent under way.

    Attributes:
        state, velocity: weights and their velocity.
        progress: of all members together; its loss is the largest of theirs.
        steps, heat: steps that were made, and the integral of the temperature over time.
    """

    def __init__(
        self,
        problem: Problem,
        alpha: float,
        tau: float,
        rule: StepRule,
        batches: Batches,
        watch: Watch,
    ) -> None:
        self.problem, self.alpha, self.tau, self.rule = problem, alpha, tau, rule
        self.batches, self.watch = batches, watch
        self.state = {k: v.detach().clone() for k, v in problem.w.items()}
        self.velocity = {k: torch.zeros_like(v) for k, v in self.state.items()}
        with torch.no_grad():
            self.f0 = problem.net(self.state, problem.x)
        fits = self.f0.ndim <= 2 and self.f0.shape[-1:] == problem.y.shape
        if not fits:
            raise ValueError(
                f"y must have the shape of net(w, x), {tuple(self.f0.shape)} behind an "
                f"axis of members if any; got {tuple(problem.y.shape)}"
            )
        self.members = self.f0.shape[0] if self.f0.ndim > problem.y.ndim else None
        self.one_by_one = self.members is not None and not self._takes_own_inputs()
        self.gen = rng.generator("batches", batches.seed)
        self.probes = start_probes(
            dict(watch.observe or {}), problem.net, dict(problem.w)
        )
        self.dt, self.batch = batches.start()
        self.t, self.steps, self.heat = 0.0, 0, 0.0
        self.progress = Member(0)
        losses = self._losses()
        self.progress.begin(float(losses.max()), watch)
        self._look(losses)

    def step(self) -> None:
        """One step, and a look at all patterns where one is due."""
        problem, alpha = self.problem, self.alpha
        n, dt = len(problem.x), self.dt
        self.batch = self.batches.size(dt, n)
        x, y, f0 = _draw(
            problem.x, problem.y, self.f0, self.batch, self.members, self.gen
        )
        f, pull = self._pullback(x)
        F = alpha * (f - f0)
        gradient = pull(problem.loss.slope(F, y) / (alpha * self.batch))
        while True:
            state, velocity = self._moved(dt, gradient)
            if self.batches.fixed:
                change = 0.0
                break
            with torch.no_grad():
                change = float((alpha * (problem.net(state, x) - f)).abs().max())
            if change <= self.rule.max_output_change or dt < 1e-14:
                break
            dt = self.rule.next_step(dt, change)
        self.state, self.velocity = state, velocity
        self.t += dt
        self.steps += 1
        self.heat += dt * temperature(dt, self.batch, n)
        self.dt = dt if self.batches.fixed else self.rule.next_step(dt, change)
        watch = self.watch
        assert watch.max_steps is not None
        at_limit = self.steps >= watch.max_steps or self.t >= watch.max_time
        if at_limit or self.steps % self.batches.check_every == 0:
            self._look(self._losses())

    def _takes_own_inputs(self) -> bool:
        """Whether the net evaluates each member on inputs of its own."""
        assert self.members is not None
        x = self.problem.x[:1]
        try:
            with torch.no_grad():
                self.problem.net(self.state, x.expand(self.members, *x.shape))
        except ValueError:  # by which a network refuses the shape
            return False
        return True

    def _pullback(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Params]]:
        """Outputs on a batch, and the gradient of their sum with given weights."""
        net = self.problem.net
        if not self.one_by_one:
            return pullback(net, self.state, x)
        each = [pullback(net, member(self.state, k), x_k) for k, x_k in enumerate(x)]

        def pull(g: Tensor) -> Params:
            parts = [back(g_k) for (_, back), g_k in zip(each, g, strict=True)]
            return {k: torch.stack([part[k] for part in parts]) for k in parts[0]}

        return torch.stack([f for f, _ in each]), pull

    def _moved(self, dt: float, gradient: Params) -> tuple[Params, Params]:
        """Weights and velocity after a step."""
        keep = decay(self.t, dt, None, self.tau)
        velocity = {
            k: keep * v - (1 - keep) * gradient[k] for k, v in self.velocity.items()
        }
        return {k: v + dt * velocity[k] for k, v in self.state.items()}, velocity

    def _losses(self) -> Tensor:
        """Loss on all patterns, () or (members,)."""
        problem = self.problem
        with torch.no_grad():
            F = self.alpha * (problem.net(self.state, problem.x) - self.f0)
        return problem.loss.value(F, problem.y).mean(-1)

    def _look(self, losses: Tensor) -> None:
        """Record, and see whether the descent has come to its end."""
        progress, t = self.progress, self.t
        seen = {name: probe(self.state) for name, probe in self.probes.items()}
        progress.record(t=t, loss=losses.clone(), **seen)
        if not bool(torch.isfinite(losses).all()):
            progress.end(Status.DIVERGED, f"the loss is not finite at t = {t:g}")
            return
        made = self.steps - progress.steps
        progress.book(t, t - progress.t, float(losses.max()), self.watch, steps=made)

    def result(self) -> StochasticRun:
        """What there is to tell in the end."""
        progress = self.progress
        curves = {
            name: torch.as_tensor(np.array(rows), dtype=torch.float64, device="cpu")
            for name, rows in progress.records.items()
        }
        return StochasticRun(
            w=self.state,
            t=curves.pop("t"),
            loss=curves.pop("loss"),
            steps=self.steps,
            temperature=self.heat / self.t if self.t > 0 else math.nan,
            status=Status(progress.status),
            reason=progress.reason,
            observed=curves,
            t_level=torch.tensor(
                progress.t_level, dtype=torch.float64, device="cpu"
            ),
            settings={
                "loss": self.problem.loss.name, "reduction": "mean", "tau": self.tau,
                **asdict(self.batches), **self.watch.limits,
            },
        )  # fmt: skip


def _draw(
    x: Tensor,
    y: Tensor,
    f0: Tensor,
    size: int,
    members: int | None,
    gen: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """A batch without replacement, one for every member: inputs, targets, f0."""
    n = len(x)
    if members is None:
        if size == n:
            return x, y, f0
        rows = torch.randperm(n, generator=gen, device="cpu")[:size].to(x.device)
        return x[rows], y[rows], f0[rows]
    keys = torch.rand((members, n), generator=gen, device="cpu")
    rows = keys.argsort(dim=1)[:, :size].to(x.device)
    return x[rows], y[rows], torch.gather(f0, 1, rows)
