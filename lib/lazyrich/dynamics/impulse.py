r"""Gradient flow of the hinge loss in few, large steps: impulses on a frozen kernel.

Within a step the tangent kernel is frozen at the middle of the step, and the flow of the
margins under that kernel is followed exactly, from kink to kink (``hinge_path``). What
the weights receive is the impulse p = int s dt of the forces,

    w <- w + J^T (y p) / (alpha n),

so that no pattern ever chatters across the margin, however long the step is. The middle
is found by half a step under the kernel of its start, which makes the scheme of second
order in the change of the kernel; in the lazy limit one step is exact.

Two numbers judge a step: how far an impulse under the kernel of the start would have gone
elsewhere, against the norm of each layer, and how far the margins of the net are from the
predicted ones. A pattern that slides on the margin keeps sliding in the next step, which
begins with the same patterns and works off their small distance from the margin.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import RK45
from scipy.optimize import root_scalar
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.pullback import has_member_axis
from lazyrich.core.tangent import (
    chain_outputs,
    chain_pull,
    is_chain,
    layerwise_gram,
)
from lazyrich.core.threads import one_thread
from lazyrich.dynamics.engine import Checkpoint, Member
from lazyrich.dynamics.hinge_path import HingePath, Kink
from lazyrich.dynamics.momentum import LEVELS, collect
from lazyrich.dynamics.step import log_clock
from lazyrich.dynamics.trajectory import Status, Trajectory
from lazyrich.dynamics.weights import Params, Probe, Weights, check_alpha, check_data

Kernel = Callable[[Any, Params, Tensor], Tensor]

_START_ACCURACY = 0.05
"""Relative accuracy of a step before the first kink, in units of the tolerance."""
_AIM = 0.7
_GROW, _SHRINK = 3.0, 0.2
_ZERO = 1e-12
"""A loss below this fraction of its start is zero: margins agree to rounding."""
_FALL = 0.25
"""The least that a step leaves of the loss while there are times of levels to be read."""
_NUGGET = 1e-13
"""Added to the diagonal of Q, in units of its mean, against rounding."""
_RECORDS = 32
"""Most points of the clock that are recorded within one step."""


@dataclass(frozen=True)
class _Settings:
    tolerance: float
    stop_loss: float
    max_steps: int
    max_time: float
    levels: tuple[float, ...]
    records_per_decade: float


def impulse_flow(
    net: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: float | Tensor | Sequence[float],
    *,
    tolerance: float = 0.02,
    stop_loss: float = 0.0,
    max_steps: int = 10_000,
    max_time: float = math.inf,
    levels: Sequence[float] = LEVELS,
    records_per_decade: float = 8.0,
    x_test: Tensor | None = None,
    observe: Mapping[str, Probe] | None = None,
    kernel: Kernel | None = None,
    checkpoint: Checkpoint | None = None,
    checkpoint_every: int = 50,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    r"""Gradient flow of the hinge loss, dw/dt = -grad L, by impulses on frozen kernels.

    Loss, predictor and units of time are those of ``momentum_flow`` (geiger2020,
    Eqs. 4-5), of which this is the limit mu to infinity. A step costs two linearisations
    of the network (``tries + steps + 1`` in all), and a run takes tens to hundreds of
    them. Deep in the feature regime the curvature of the network makes the flow itself
    stiff, and steps become short; see ``hinge_flow`` for the choice.

    Args:
        net: a network with ``tangent_factors`` (``FullyConnected``, ``MLP`` and others),
            or any callable ``f(w, x)`` with one output together with ``kernel``.
        w, x, y, alpha: as in ``momentum_flow``; y is +-1, shape (n,).
        tolerance: bound on the local error of a step: of the impulse relative to the norm
            of each layer, and of a margin m relative to 1 + |m - 1|.
        stop_loss: a member is *fitted* once its loss is at most this fraction of its
            start; 0 goes on until the loss is zero, 1e-12 of its start.
        max_steps, max_time: a member that gets there is *truncated*.
        levels, records_per_decade, x_test, observe: as in ``momentum_flow``. Times of
            levels and curves are read off the path within a step, on the points of the
            clock, at most 32 of them a step.
        kernel: called as ``kernel(net, w, x)`` for Theta (n, n), such as ``kernels.ntk``;
            by default the layerwise sum of ``tangent_factors``.
        checkpoint, checkpoint_every: where the unfinished state is kept every so many
            tries, and found again; a killed run goes on to the same result.
        progress: called as ``progress(ended, members)`` when a member ends.

    Returns:
        ``Trajectory``; ``settings["integrator"]`` is ``"impulse"``. ``t_zero`` is the time
        at which the last pattern comes to the margin, for members that go on to zero;
        what follows is work on defects of those that slide.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.
    """
    first = check_data(net, w, x, y, x_test)
    if first.dtype != torch.float64:
        raise ValueError(f"w must be float64, got {first.dtype}")
    check.tensor("y", y, ndim=1)
    if not bool((y.abs() == 1).all()):
        raise ValueError("y must be +1 or -1")
    members = net.check_params(w) if has_member_axis(net) else None  # type: ignore
    scales = check_alpha(alpha, members)
    settings = _Settings(
        tolerance=check.real("tolerance", tolerance, above=0.0, most=1.0),
        stop_loss=check.real("stop_loss", stop_loss, least=0.0, most=1.0),
        max_steps=check.positive_int("max_steps", max_steps),
        max_time=check.real("max_time", max_time, above=0.0, infinite=True),
        levels=tuple(check.real("levels", v, above=0.0, most=1.0) for v in levels),
        records_per_decade=check.real(
            "records_per_decade", records_per_decade, above=0.0
        ),
    )
    every = check.positive_int("checkpoint_every", checkpoint_every)
    system = Weights(net, w, members, scales, x, x_test, observe or {})
    system.check_targets(y)
    if kernel is None:
        chain_kernel(net, system)
    queue = _Queue(checkpoint, every, y)
    with torch.no_grad(), one_thread():
        for index in range(system.members):
            if index in queue.done:
                continue
            run = _Run(system, y, float(scales[index]), index, settings, kernel)
            queue.restore(run)
            while not run.member.status:
                run.attempt()
                queue.tried(run)
            queue.done[index] = run.member
            if progress is not None:
                progress(len(queue.done), system.members)
    done = queue.done
    final = torch.stack([_state(done[k]) for k in range(system.members)])
    w_end = {
        name: final[:, span].reshape(-1, *shape) for name, span, shape in system.layout
    }
    asked = dict(
        loss="hinge", mu=math.inf, stop_loss=stop_loss, max_steps=max_steps,
        tolerance=settings.tolerance, integrator="impulse",
    )  # fmt: skip
    return collect(done, scales, settings.levels, w_end, asked)


def _state(member: Member) -> Tensor:
    assert member.state is not None
    return member.state


def chain_kernel(net: Any, system: Weights) -> Kernel:
    """The kernel of a net whose factors tell its outputs, so that nothing else is needed.

    Raises:
        ValueError: the net is no such chain.
    """
    w = system.view(system.start(0).unsqueeze(0))
    if hasattr(net, "tangent_factors"):
        factors, f = net.tangent_factors(w, system.x), system.evaluate(w, {})[0]
        if is_chain(w, factors) and torch.allclose(
            chain_outputs(w, factors), f[0], equal_nan=True
        ):
            return lambda net, w, x: layerwise_gram(net.tangent_factors(w, x))
    raise ValueError(
        f"kernel must be given for {type(net).__name__}, which is no chain with "
        "tangent_factors, got None; kernels.ntk fits any net"
    )


class _Queue:
    """Finished members, and the checkpoint of the one under way."""

    def __init__(self, checkpoint: Checkpoint | None, every: int, like: Tensor) -> None:
        self.checkpoint, self.every, self.tries = checkpoint, every, 0
        self.done: dict[int, Member] = {}
        self._saved = (checkpoint.load() if checkpoint is not None else None) or {}
        for index in self._saved.get("done", np.empty(0, int)).tolist():
            self.done[index] = Member.from_arrays(index, self._saved, like)

    def restore(self, run: "_Run") -> None:
        """Take a member up where it was left."""
        index = run.member.index
        if index in self._saved.get("active", np.empty(0, int)).tolist():
            member = Member.from_arrays(index, self._saved, run.y)
            run.resume(member, self._saved["sliding"], bool(self._saved["rejected"]))

    def tried(self, run: "_Run") -> None:
        self.tries += 1
        if self.checkpoint is None or self.tries % self.every:
            return
        run.member.state = run.now.flat[0]
        arrays = {
            "done": np.array(sorted(self.done), dtype=np.int64),
            "active": np.array([run.member.index], dtype=np.int64),
            "sliding": run.now.sliding,
            "rejected": np.array(run.rejected),
        }
        for member in (*self.done.values(), run.member):
            arrays |= member.as_arrays()
        self.checkpoint.save(arrays)


class _Buffer:
    """Memory for one set of weights; its views are made once, which costs as much as a
    small product."""

    def __init__(self, system: Weights, like: Tensor) -> None:
        self.flat = torch.zeros_like(like)
        self.view = system.view(self.flat)
        self.groups = [self.flat[0, group] for group in system.groups]


def _norms(groups: list[Tensor]) -> np.ndarray:
    return torch.stack(torch._foreach_norm(groups)).cpu().numpy()


class _Point:
    """The net at one point of weight space: margins, J^T and, on demand, the kernel.

    A chain gives all of them from its ``tangent_factors``; any other net by its pullback
    and the ``kernel`` of the caller.

    Attributes:
        flat: weights (1, size).
        F, m: (n,) outputs and margins.
        sliding: patterns on the margin, as far as they are known.
    """

    def __init__(self, run: "_Run", flat: Tensor) -> None:
        self.run, self.flat = run, flat
        self.view = run.system.view(flat)
        self.factors = None
        net, x = run.system.net, run.system.x
        if run.kernel is None:
            self.factors = net.tangent_factors(self.view, x)
            f = chain_outputs(self.view, self.factors)
        else:
            f, self._pull = run.system.evaluate(self.view, {})
            f = f[0]
        self.f = f
        self.F = run.alpha * (f - run.f0) if run.f0 is not None else torch.zeros_like(f)
        self.m = (run.y * self.F).cpu().numpy()
        self.sliding = np.empty(0, int)
        self._Q: np.ndarray | None = None

    def pull(self, g: Tensor, out: Params) -> None:
        """J^T g, into ``out``, which is like the weights."""
        if self.factors is not None:
            chain_pull(self.factors, g, out)
        else:
            self._pull(g.unsqueeze(0), out)

    def kernel(self) -> np.ndarray:
        """Q = y Theta y^T (n, n)."""
        if self._Q is None:
            run = self.run
            if self.factors is not None:
                theta = layerwise_gram(self.factors)
            else:
                assert run.kernel is not None
                theta = run.kernel(run.system.net, self.view, run.system.x)
            Q = theta.mul_(run.signs).cpu().numpy()
            Q.flat[:: run.n + 1] += _NUGGET * np.trace(Q) / run.n
            self._Q = Q
        return self._Q


def _hinge(m: np.ndarray) -> float:
    """The hinge loss of margins, mean of max(0, 1 - m)."""
    return float(np.maximum(1.0 - m, 0.0).mean())


class _Along:
    """What lies along a step: the loss, which crosses levels, margins and weights.

    Margins are straight between kinks because the kernel is that of the middle. A kernel
    linear in the share u of the step's impulse (not of its time, which may span decades
    in which little moves) adds a parabola in u to each, until it gets to the margin; the
    two ends are known from the net.

    Args:
        kinks: times from 0 to the end of the step, margins and impulses there.
        before: margins of the net at the start.
        bend: (n,) velocity of the margins at the start under the kernel of the start,
            minus that under the kernel of the middle.
        force, middle: summed over patterns, the forces at the start and the impulse that
            led to the middle.
        weights: weights after an impulse (n,), with J^T of the middle.

    Attributes:
        at_rest: since when every pattern that does not slide is above the margin; inf if
            some never is.
    """

    def __init__(
        self,
        kinks: list[Kink],
        before: np.ndarray,
        bend: np.ndarray,
        force: float,
        middle: float,
        weights: Callable[[np.ndarray], Tensor],
    ) -> None:
        t, m, p = zip(*kinks, strict=True)
        self.t, self.m, self.p = np.array(t), np.stack(m), np.stack(p)
        self.start, self.weights = before - self.m[0], weights
        # from where it reaches the margin, a pattern has other forces upon it
        reached = np.where(self.m[0] < 1.0, self.m >= 1.0, self.m <= 1.0)
        self.until = np.where(reached.any(0), self.t[reached.argmax(0)], math.inf)
        impulse = self.p.sum(1)
        whole = float(impulse[-1])
        self.u = impulse / max(whole, 1e-300)
        # per share of the impulse; without forces at the start it is zero
        self.bend = bend * (whole / force if force > 0.0 else 0.0)
        self.curl = 0.5 * whole / middle if middle > 0.0 else 0.0
        self.end = np.zeros_like(before)  # as predicted, until the net was asked
        violated = self.m.min(1) < 1.0
        self.at_rest = math.inf if violated[-1] else float(self.t[(~violated).argmax()])

    def _straight(self, values: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Values at the kinks, at times between them."""
        k = np.clip(np.searchsorted(self.t, t, side="right") - 1, 0, len(self.t) - 2)
        width = np.maximum(self.t[k + 1] - self.t[k], 1e-300)
        piece = (t - self.t[k]) / width
        piece = piece.reshape(-1, *[1] * (values.ndim - 1))
        return values[k] * (1.0 - piece) + values[k + 1] * piece

    def margins(self, t: np.ndarray) -> np.ndarray:
        """Margins (times, n) at times since the start of the step."""
        u = self._straight(self.u, t)[:, None]
        m = self._straight(self.m, t)
        m += self.start * (1.0 - t / self.t[-1])[:, None]
        m += self.bend * (t[:, None] < self.until) * u * (1.0 - self.curl * u)
        foreseen = self.bend * np.isinf(self.until) * (1.0 - self.curl)
        m += (self.end - foreseen) * u
        return m

    def at(self, t: float) -> tuple[Tensor, np.ndarray]:
        """Weights (1, size) and margins (n,) at a time since the start of the step."""
        when = np.array([t])
        return self.weights(self._straight(self.p, when)[0]), self.margins(when)[0]

    def loss(self, t: np.ndarray) -> np.ndarray:
        return np.maximum(1.0 - self.margins(t), 0.0).mean(1)

    def crossing(self, target: float) -> float:
        """First time at which the loss is at most ``target``; the end if it never is."""
        t = np.union1d(self.t, np.linspace(0.0, self.t[-1], 33))
        loss = self.loss(t)
        below = np.flatnonzero(loss <= target)
        if not len(below):
            return float(t[-1])
        k = int(below[0])
        if k == 0:
            return 0.0
        share = (loss[k - 1] - target) / (loss[k - 1] - loss[k])
        return float(t[k - 1] + share * (t[k] - t[k - 1]))


class _Smooth:
    """The same for a step without kinks, from the dense output of its Runge-Kutta method.

    Args:
        weights: weights (1, size) at a time of the flow.
        margins: of the net with such weights.
        begin, end: times of the flow.
    """

    def __init__(
        self,
        weights: Callable[[float], Tensor],
        margins: Callable[[Tensor], np.ndarray],
        begin: float,
        end: float,
    ) -> None:
        self.weights, self.margins = weights, margins
        self.begin, self.end = begin, end

    @property
    def at_rest(self) -> float:
        """As of a step with kinks: the end, if no margin is violated there."""
        violated = (self.margins(self.weights(self.end)) < 1.0).any()
        return math.inf if violated else self.end - self.begin

    def at(self, t: float) -> tuple[Tensor, np.ndarray]:
        """Weights and margins at a time since the start of the step."""
        flat = self.weights(self.begin + t)
        return flat, self.margins(flat)

    def until(self, event: Callable[[np.ndarray], float], accuracy: float) -> float:
        """When a function of the margins goes from negative to positive, a time of the
        flow, to a fraction ``accuracy`` of the step."""
        found = root_scalar(
            lambda t: event(self.margins(self.weights(t))),
            bracket=(self.begin, self.end),
            method="brentq",
            xtol=accuracy * (self.end - self.begin),
        )
        return float(found.root)

    def crossing(self, target: float) -> float:
        """Time since the start of the step at which the loss falls to ``target``."""
        if _hinge(self.margins(self.weights(self.end))) >= target:
            return self.end - self.begin
        return self.until(lambda m: target - _hinge(m), 1e-4) - self.begin


class _Run:
    """One member, step by step."""

    def __init__(
        self,
        system: Weights,
        y: Tensor,
        alpha: float,
        index: int,
        settings: _Settings,
        kernel: Kernel | None,
    ) -> None:
        self.system, self.y, self.alpha = system, y, alpha
        self.settings, self.kernel, self.n = settings, kernel, len(y)
        self.sign = y.cpu().numpy()
        self.signs = torch.outer(y, y)
        start = system.start(index).unsqueeze(0)
        self._move, self._other = _Buffer(system, start), _Buffer(system, start)
        self._counts = np.array([g.stop - g.start for g in system.groups])
        self.f0: Tensor | None = None
        self.f0 = _Point(self, start).f
        self.now = _Point(self, start)
        member = self.member = Member(index)
        member.loss = member.loss_start = _hinge(self.now.m)
        member.t_level = [math.nan] * len(settings.levels)
        self._smooth, self.rejected = True, False
        if not math.isfinite(member.loss):
            member.status = Status.DIVERGED
            member.reason = "the outputs are not finite at t = 0"
            member.state = start[0].clone()
        self._record()

    def resume(self, member: Member, sliding: np.ndarray, rejected: bool) -> None:
        """Go on from a state between two steps; see ``_Queue.tried``."""
        self.member, self._smooth, self.rejected = member, False, rejected
        self.now = _Point(self, _state(member).unsqueeze(0))
        self.now.sliding = sliding

    # ------------------------------------------------------------------ sizes

    def _pushed(self, point: _Point, impulse: np.ndarray, out: _Buffer) -> Tensor:
        """J^T (y p) / (alpha n), the change of the weights, into ``out``."""
        g = torch.from_numpy(self.sign * impulse / (self.alpha * self.n)).to(self.y)
        point.pull(g, out.view)
        return out.flat

    def _relative(self, change: _Buffer) -> float:
        """Largest change of a layer against its norm. A layer far smaller than the rest
        (one that starts at zero, say) counts as a tenth of what all weights would give
        it."""
        norms = _norms([self.now.flat[0, group] for group in self.system.groups])
        mean = math.sqrt(float((norms**2).sum()) / self._counts.sum())
        sizes = np.maximum(norms, 0.1 * mean * np.sqrt(self._counts) + 1e-300)
        return float((_norms(change.groups) / sizes).max())

    def _short_step(self) -> float:
        """As long as the weights move by a small part of themselves, to first order."""
        force = (self.now.m < 1.0).astype(float)
        self._pushed(self.now, force, self._move)
        speed = self._relative(self._move)
        if not math.isfinite(speed) or speed == 0.0:
            return 1.0
        return math.sqrt(self.settings.tolerance) / speed

    # ------------------------------------------------------------------ before the kinks

    def _until_first_kink(self) -> None:
        """From the start to where a first pattern reaches the margin.

        All forces are one until then, and the flow is smooth: a Runge-Kutta method of
        order five follows the growth of the weights, where a frozen kernel is of little
        use, in some tens of gradients.
        """
        member, settings = self.member, self.settings
        force, seen = np.ones(self.n), [self.now]

        def velocity(_t: float, flat: np.ndarray) -> np.ndarray:
            point = seen[0] = _Point(self, self._weights(flat))
            return self._pushed(point, force, self._move)[0].cpu().numpy().copy()

        stop = max(settings.stop_loss, _ZERO) * member.loss_start

        def beyond(m: np.ndarray) -> float:
            return max(float(m.max()) - 1.0, stop - _hinge(m))

        start = self.now.flat[0].cpu().numpy()
        accuracy = _START_ACCURACY * settings.tolerance
        solver = RK45(
            velocity, 0.0, start, settings.max_time, rtol=accuracy,
            atol=accuracy * float(np.sqrt(np.mean(start**2))) + 1e-300,
        )  # fmt: skip
        while not member.status and solver.status == "running":
            before = solver.t
            member.tries += 1
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # it tries, and turns back
                solver.step()
            point = seen[0]  # the method ends a step with the velocity at its end
            if solver.status == "failed" or not np.isfinite(point.m).all():
                break
            dense, t = solver.dense_output(), solver.t
            step = _Smooth(
                lambda at, w=dense: self._weights(w(at)), self._margins, before, t
            )
            at_kink = beyond(point.m) > 0.0
            if at_kink:
                t = step.end = step.until(beyond, 1e-3)
                point = _Point(self, step.weights(t))
            self._take(point, t - before, step)
            if at_kink:
                break
        self._smooth = False
        if not member.status:
            member.dt = self._short_step()

    def _weights(self, flat: np.ndarray) -> Tensor:
        return torch.from_numpy(flat).to(self.y).unsqueeze(0)

    def _margins(self, flat: Tensor) -> np.ndarray:
        """Margins alone, for which a forward pass is enough."""
        f = self.system.net(self.system.view(flat), self.system.x)
        return (self.y * (self.alpha * (f.reshape(-1) - self.f0))).cpu().numpy()

    # ------------------------------------------------------------------ a step

    def attempt(self) -> None:
        """Try a step, take it if its error is within the tolerance, choose the next."""
        if self._smooth:
            self._until_first_kink()
            return
        member, settings = self.member, self.settings
        dt = min(member.dt, settings.max_time - member.t)
        member.tries += 1
        tried = self._try(dt)
        if isinstance(tried, float | int):  # a shorter step, see ``_next_loss``
            member.dt = tried
        elif tried is None:
            member.dt = _SHRINK * dt
        else:
            point, along, errors = tried
            factor = _AIM * min(
                (settings.tolerance / max(errors[0], 1e-300)) ** (1 / 2),
                (settings.tolerance / max(errors[1], 1e-300)) ** (1 / 3),
            )
            accept = max(errors) <= settings.tolerance
            most = 1.0 if self.rejected or not accept else _GROW
            member.dt = dt * min(max(factor, _SHRINK), most)
            self.rejected = not accept
            if accept:
                self._take(point, dt, along)
                return
        if member.dt <= 1e-14 * member.t or member.dt < 1e-290:
            finite = tried is not None
            member.status = Status.TRUNCATED if finite else Status.DIVERGED
            member.reason = (
                f"no step above {member.dt:.1e} is acceptable at t = {member.t:.3e}"
                if finite
                else f"the flow cannot be continued beyond t = {member.t:.3e}"
            )
            member.state = self.now.flat[0].clone()
            self._record()

    def _next_loss(self) -> float:
        """Where the next step may take the loss: to where the run stops, and by a factor
        as long as there are levels to come, whose times are read off within a step."""
        settings, member = self.settings, self.member
        stop = settings.stop_loss * member.loss_start
        last = min(settings.levels, default=1.0) * member.loss_start
        return stop if member.loss <= last else max(stop, _FALL * member.loss)

    def _try(
        self, dt: float
    ) -> tuple[_Point, _Along, tuple[float, float]] | float | None:
        """One step: where it ends, the loss along it and its two errors.

        A number instead if the step takes the loss farther down than it should: the
        length that would not. ``None`` if it leads nowhere.
        """
        now = self.now
        drift = None
        if len(now.sliding):
            drift = np.zeros(self.n)
            drift[now.sliding] = (now.m[now.sliding] - 1.0) / dt
        try:
            path = HingePath(now.kernel(), now.m, drift, now.sliding)
            bend = path.v.copy()
            path.follow(0.5 * dt)
            half = float(path.p.sum())
            middle = _Point(self, now.flat + self._pushed(now, path.p, self._move))
            if not np.isfinite(middle.m).all():
                return None
            path = HingePath(middle.kernel(), now.m, drift, now.sliding)
            bend -= path.v
            force = float(path.s.sum())
            kinks: list[Kink] = []
            path.follow(dt, kinks)
        except ValueError:  # singular where patterns slide
            return None
        if kinks[-1][0] < dt:  # at rest before the end
            kinks.append((dt, path.m, path.p))
        along = _Along(
            kinks, now.m, bend, force, half,
            lambda p: now.flat + self._pushed(middle, p, self._move),
        )  # fmt: skip
        target = self._next_loss()
        if path.loss < 0.98 * target:
            at = along.crossing(0.99 * target)
            if at < 0.99 * dt:
                return at
        move = self._pushed(middle, path.p, self._move)
        other = self._pushed(now, path.p, self._other)
        end = _Point(self, now.flat + move)
        if not np.isfinite(end.m).all():
            return None
        other.sub_(move)
        in_weights = self._relative(self._other)
        in_margins = np.abs(end.m - path.m) / (1.0 + np.abs(path.m - 1.0))
        end.sliding = np.sort(path.sliding.members)
        along.end = end.m - path.m
        errors = in_weights, float(in_margins.max())
        return end, along, errors

    def _take(self, point: _Point, dt: float, along: _Along | _Smooth) -> None:
        """Book an accepted step: crossings, records, and whether the member has ended."""
        member, settings = self.member, self.settings
        change = float((point.F - self.now.F).abs().max())
        self.now = point
        before = member.t
        member.t, member.last_dt = before + dt, dt
        member.loss = loss = _hinge(point.m)
        member.steps += 1
        member.largest_output_change = max(member.largest_output_change, change)
        for k, level in enumerate(settings.levels):
            target = level * member.loss_start
            if math.isnan(member.t_level[k]) and loss <= target:
                member.t_level[k] = before + along.crossing(target)
        if not math.isfinite(along.at_rest):
            member.t_zero = math.nan
        elif math.isnan(member.t_zero):
            member.t_zero = before + along.at_rest
        if loss <= max(settings.stop_loss, _ZERO) * member.loss_start:
            member.status = Status.FITTED
            member.reason = (
                "loss is zero to rounding"
                if settings.stop_loss == 0.0
                else f"loss fell to {settings.stop_loss:g} of its start"
            )
        else:
            member.truncate_at(settings.max_time, settings.max_steps)
        self._record_within(before, along)
        if member.status:
            self._record()
            member.state = self.now.flat[0].clone()
            if loss > _ZERO * member.loss_start:
                member.t_zero = math.nan

    def _record_within(self, before: float, along: _Along | _Smooth) -> None:
        """Book the points of the clock in a step; those of the first step begin at a
        hundredth of its length, since the flow is straight before."""
        member, per_decade = self.member, self.settings.records_per_decade
        times, t = [], member.next_record
        if t == 0.0:
            t = log_clock(per_decade, 0.01 * member.t)
        while t < member.t:
            times.append(t)
            t = log_clock(per_decade, t)
        member.next_record = t
        for t in times[:: 1 + len(times) // _RECORDS]:
            flat, m = along.at(t - before)
            self._book(t, _hinge(m), flat, self.y * torch.from_numpy(m).to(self.y))

    def _record(self) -> None:
        """Book the present point."""
        self._book(self.member.t, self.member.loss, self.now.flat, self.now.F)

    def _book(self, t: float, loss: float, flat: Tensor, F: Tensor) -> None:
        member = self.member
        rows = {"t": t, "loss": loss, "F": F.cpu().numpy()}
        for name, value in self.system.observe(member.index, flat[0]).items():
            rows[name] = value.double().cpu().numpy()
        for name, value in rows.items():
            member.records.setdefault(name, []).append(value)
