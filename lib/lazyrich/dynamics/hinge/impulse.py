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
from typing import Any

import numpy as np
import torch
from scipy.integrate import RK45
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.tangent import (
    chain_outputs,
    chain_pull,
    is_chain,
    layerwise_gram,
)
from lazyrich.core.threads import one_thread
from lazyrich.dynamics.hinge.path import HingePath, Kink
from lazyrich.dynamics.hinge.within import Along, Smooth, hinge
from lazyrich.dynamics.member import Member, collect, final_state, padded
from lazyrich.dynamics.problem import Params, Problem
from lazyrich.dynamics.trajectory import Status, Trajectory
from lazyrich.dynamics.watch import ZERO, Checkpoint, Watch, log_clock
from lazyrich.dynamics.weights import Weights

Kernel = Callable[[Any, Params, Tensor], Tensor]

LEAST_TOLERANCE = 1e-10
"""Below it the errors of steps are rounding."""
_START_ACCURACY = 0.05
"""Relative accuracy of a step before the first kink, in units of the tolerance."""
_AIM = 0.7
_GROW, _SHRINK = 3.0, 0.2
_FALL = 0.25
"""The least that a step leaves of the loss while there are times of levels to be read."""
_NUGGET = 1e-13
"""Added to the diagonal of Q, in units of its mean, against rounding."""
_RECORDS = 32
"""Most points of the clock that are recorded within one step."""
_CHECKPOINT_EVERY = 50
"""Tries from one checkpoint to the next, some seconds."""


def impulse_flow(
    net: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: float | Tensor | Sequence[float],
    *,
    tolerance: float = 0.02,
    kernel: Kernel | None = None,
    watch: Watch | None = None,
    **watched: Any,
) -> Trajectory:
    r"""Gradient flow of the hinge loss, dw/dt = -grad L, by impulses on frozen kernels.

    Loss (the mean over examples), predictor and units of time are those of
    ``momentum_flow`` (geiger2020, Eqs. 4-5), of which this is the limit mu to infinity.
    A step costs two linearisations of the network (``tries + steps + 1`` in all), and a
    run takes tens to hundreds of them. Deep in the feature regime the curvature of the
    network makes the flow itself stiff, and steps become short; see ``hinge_flow`` for
    the choice.

    Args:
        net: a network with ``tangent_factors`` (``FullyConnected``, ``MLP`` and others),
            or any callable ``f(w, x)`` with one output together with ``kernel``.
        w, x, y, alpha: as in ``momentum_flow``; y is +-1, shape (n,).
        tolerance: bound on the local error of a step: of the impulse relative to the norm
            of each layer, and of a margin m relative to 1 + |m - 1|.
        kernel: called as ``kernel(net, w, x)`` for Theta (n, n), such as ``kernels.ntk``;
            by default the layerwise sum of ``tangent_factors``.
        watch, watched: levels, records, limits (10,000 steps unless told otherwise) and
            checkpoints: a ``Watch``, or its fields as keywords. Times of levels and
            curves are read off the path within a step, on the points of the clock, at
            most 32 of them a step.

    Returns:
        ``Trajectory``; ``settings["integrator"]`` holds ``"impulse"`` once a member.
        ``t_zero`` is the time at which the last pattern comes to the margin, for members
        that go on to zero; what follows is work on defects of those that slide.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.

    >>> from lazyrich.dynamics import impulse_flow
    >>> import torch
    >>> from lazyrich.networks import FullyConnected
    >>> net = FullyConnected(d=2, h=16, L=1)
    >>> x = torch.eye(2, dtype=torch.float64)
    >>> y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> flow = impulse_flow(net, net.init(0), x, y, alpha=100.0)
    >>> flow.status[0].value, bool(flow.loss_end[0] < 1e-12)
    ('fitted', True)
    """
    watch = Watch.of("impulse_flow", watch, watched, max_steps=10_000)
    tolerance = check.real("tolerance", tolerance, least=LEAST_TOLERANCE, most=1.0)
    problem = Problem(net, w, x, y, alpha, "hinge")
    problem.need_one_output()
    w, x, y = problem.w, problem.x, problem.y
    system = Weights(problem, watch)
    system.check_targets(y)
    if kernel is None:
        chain_kernel(net, system)
    else:
        check_given(kernel, net, system)
    queue = _Queue(watch, y)
    with torch.no_grad(), one_thread():
        for index in range(system.members):
            if index in queue.done:
                continue
            run = _Run(system, y, index, tolerance, kernel, watch)
            queue.restore(run)
            while not run.member.status:
                run.attempt()
                queue.tried(run)
            queue.done[index] = run.member
            if watch.progress is not None:
                watch.progress(len(queue.done), system.members)
    members = [queue.done[k] for k in range(system.members)]
    w_end = system.gather(torch.stack([final_state(m) for m in members]))
    asked = {
        "loss": "hinge", "mu": math.inf, "tolerance": tolerance,
        "integrator": ("impulse",) * len(members), **watch.limits,
    }  # fmt: skip
    return collect(members, padded(members), problem.alpha, watch, w_end, asked)


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


def check_given(kernel: Kernel, net: Any, system: Weights) -> None:
    """Refuse a ``kernel`` that gives no kernel of the training points at the start.

    Raises:
        TypeError, ValueError: it cannot be called, or gives something else.
    """
    check.function("kernel", kernel)
    with torch.no_grad():
        theta = kernel(net, system.view(system.start(0).unsqueeze(0)), system.x)
    check.kernel("kernel", theta, n=len(system.x), like=system.x)


class _Queue:
    """Finished members, and the checkpoint of the one under way."""

    def __init__(self, watch: Watch, like: Tensor) -> None:
        self.checkpoint: Checkpoint | None = watch.checkpoint
        self.every, self.tries = watch.checkpoint_every or _CHECKPOINT_EVERY, 0
        self.done: dict[int, Member] = {}
        checkpoint = self.checkpoint
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


class _Run:
    """One member, step by step."""

    def __init__(
        self,
        system: Weights,
        y: Tensor,
        index: int,
        tolerance: float,
        kernel: Kernel | None,
        watch: Watch,
    ) -> None:
        self.system, self.y, self.alpha = system, y, float(system.alpha[index])
        self.tolerance, self.kernel, self.watch = tolerance, kernel, watch
        self.n = len(y)
        self.sign = y.cpu().numpy()
        self.signs = torch.outer(y, y)
        start = system.start(index).unsqueeze(0)
        self._move, self._other = _Buffer(system, start), _Buffer(system, start)
        self._counts = np.array([g.stop - g.start for g in system.groups])
        self.f0: Tensor | None = None
        self.f0 = _Point(self, start).f
        self.now = _Point(self, start)
        member = self.member = Member(index)
        member.begin(hinge(self.now.m), watch)
        self._smooth, self.rejected = True, False
        if member.status:
            member.state = start[0].clone()
        self._record()

    def resume(self, member: Member, sliding: np.ndarray, rejected: bool) -> None:
        """Go on from a state between two steps; see ``_Queue.tried``."""
        self.member, self._smooth, self.rejected = member, False, rejected
        self.now = _Point(self, final_state(member).unsqueeze(0))
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
        return math.sqrt(self.tolerance) / speed

    # ------------------------------------------------------------------ before the kinks

    def _until_first_kink(self) -> None:
        """From the start to where a first pattern reaches the margin.

        All forces are one until then, and the flow is smooth: a Runge-Kutta method of
        order five follows the growth of the weights, where a frozen kernel is of little
        use, in some tens of gradients.
        """
        member = self.member
        force, seen = np.ones(self.n), [self.now]

        def velocity(_t: float, flat: np.ndarray) -> np.ndarray:
            point = seen[0] = _Point(self, self._weights(flat))
            return self._pushed(point, force, self._move)[0].cpu().numpy().copy()

        stop = max(self.watch.stop_loss or 0.0, ZERO) * member.loss_start

        def beyond(m: np.ndarray) -> float:
            return max(float(m.max()) - 1.0, stop - hinge(m))

        start = self.now.flat[0].cpu().numpy()
        accuracy = _START_ACCURACY * self.tolerance
        solver = RK45(
            velocity, 0.0, start, self.watch.max_time, rtol=accuracy,
            atol=accuracy * float(np.sqrt(np.mean(start**2))) + 1e-300,
        )  # fmt: skip
        # Without a first step, which is no number where the velocity is none, there is
        # nothing to follow.
        moves = math.isfinite(float(solver.h_abs or 0.0))
        while moves and not member.status and solver.status == "running":
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
            step = Smooth(
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
        member, tolerance = self.member, self.tolerance
        dt = min(member.dt, self.watch.max_time - member.t)
        member.tries += 1
        tried = self._try(dt)
        if isinstance(tried, float | int):  # a shorter step, see ``_next_loss``
            member.dt = tried
        elif tried is None:
            member.dt = _SHRINK * dt
        else:
            point, along, errors = tried
            factor = _AIM * min(
                (tolerance / max(errors[0], 1e-300)) ** (1 / 2),
                (tolerance / max(errors[1], 1e-300)) ** (1 / 3),
            )
            accept = max(errors) <= tolerance
            most = 1.0 if self.rejected or not accept else _GROW
            member.dt = dt * min(max(factor, _SHRINK), most)
            self.rejected = not accept
            if accept:
                self._take(point, dt, along)
                return
        if member.dt <= 1e-14 * member.t or member.dt < 1e-290:
            finite = tried is not None
            member.end(
                Status.TRUNCATED if finite else Status.DIVERGED,
                f"no step above {member.dt:.1e} is acceptable at t = {member.t:.3e}"
                if finite
                else f"the flow cannot be continued beyond t = {member.t:.3e}",
            )
            member.state = self.now.flat[0].clone()
            self._record()

    def _next_loss(self) -> float:
        """Where the next step may take the loss: to where the run stops, and by a factor
        as long as there are levels to come, whose times are read off within a step."""
        member = self.member
        stop = (self.watch.stop_loss or 0.0) * member.loss_start
        last = min(self.watch.levels, default=1.0) * member.loss_start
        return stop if member.loss <= last else max(stop, _FALL * member.loss)

    def _try(
        self, dt: float
    ) -> tuple[_Point, Along, tuple[float, float]] | float | None:
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
        along = Along(
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

    def _take(self, point: _Point, dt: float, along: Along | Smooth) -> None:
        """Book an accepted step, and what the clock asks for within it."""
        member = self.member
        change = float((point.F - self.now.F).abs().max())
        member.largest_output_change = max(member.largest_output_change, change)
        self.now = point
        before = member.t
        # the last pattern may leave the margin again, and come back
        if not math.isfinite(along.at_rest):
            member.t_zero = math.nan
        elif math.isnan(member.t_zero):
            member.t_zero = before + along.at_rest
        member.book(
            before + dt, dt, hinge(point.m), self.watch, crossing=along.crossing
        )
        self._record_within(before, along)
        if member.status:
            self._record()
            member.state = self.now.flat[0].clone()
            if not member.is_zero:
                member.t_zero = math.nan

    def _record_within(self, before: float, along: Along | Smooth) -> None:
        """Book the points of the clock in a step; those of the first step begin at a
        hundredth of its length, since the flow is straight before."""
        member, per_decade = self.member, self.watch.records_per_decade
        times, t = [], member.next_record
        if t == 0.0:
            t = log_clock(per_decade, 0.01 * member.t)
        while t < member.t:
            times.append(t)
            t = log_clock(per_decade, t)
        member.next_record = t
        for t in times[:: 1 + len(times) // _RECORDS]:
            flat, m = along.at(t - before)
            self._book(t, hinge(m), flat, self.y * torch.from_numpy(m).to(self.y))

    def _record(self) -> None:
        """Book the present point."""
        self._book(self.member.t, self.member.loss, self.now.flat, self.now.F)

    def _book(self, t: float, loss: float, flat: Tensor, F: Tensor) -> None:
        seen = self.system.observe(self.member.index, flat[0])
        self.member.record(t=t, loss=loss, F=F, **seen)
