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
from scipy.optimize import brentq
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
from lazyrich.dynamics.hinge_path import HingePath
from lazyrich.dynamics.momentum import LEVELS, collect
from lazyrich.dynamics.step import log_clock
from lazyrich.dynamics.trajectory import Status, Trajectory
from lazyrich.dynamics.weights import Params, Probe, Weights, check_alpha, check_data

Kernel = Callable[[Any, Params, Tensor], Tensor]

_START_ACCURACY = 0.01
"""Relative accuracy of a step before the first kink, in units of the tolerance."""
_AIM = 0.85
_GROW, _SHRINK = 3.0, 0.2
_ZERO = 1e-12
"""A loss below this fraction of its start is zero: margins agree to rounding."""
_NUGGET = 1e-13
"""Added to the diagonal of Q, in units of its mean, against rounding."""
_END_OF_TIME = 1e200


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
    tolerance: float = 0.01,
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
        levels, records_per_decade, x_test, observe: as in ``momentum_flow``; times of
            levels are read off the path within the step, and curves are recorded at ends
            of steps.
        kernel: called as ``kernel(net, w, x)`` for Theta (n, n), such as ``kernels.ntk``;
            by default the layerwise sum of ``tangent_factors``.
        checkpoint, checkpoint_every: where the unfinished state is kept every so many
            tries, and found again; a killed run goes on to the same result.
        progress: called as ``progress(ended, members)`` when a member ends.

    Returns:
        ``Trajectory``; ``settings["integrator"]`` is ``"impulse"``.

    Raises:
        TypeError, ValueError: arguments of the wrong form, naming them.
    """
    first = check_data(net, w, x, y, x_test)
    if first.dtype != torch.float64:
        raise ValueError(f"w must be float64, got {first.dtype}")
    check.tensor("y", y, ndim=1)
    if not bool((y.abs() == 1).all()):
        raise ValueError("y must be +1 or -1")
    if kernel is None and not hasattr(net, "tangent_factors"):
        raise ValueError(
            "kernel must be given for a net without tangent_factors, "
            f"got None with {type(net).__name__}; kernels.ntk fits any net"
        )
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
    f = system.evaluate(system.view(system.start(0).unsqueeze(0)))[0]
    if f.shape[1:] != y.shape:
        raise ValueError(
            f"y must have the shape of net(w, x), {tuple(f.shape[1:])}; "
            f"got {tuple(y.shape)}"
        )
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
            run.resume(member, self._saved["sliding"])

    def tried(self, run: "_Run") -> None:
        self.tries += 1
        if self.checkpoint is None or self.tries % self.every:
            return
        run.member.state = run.now.flat[0]
        arrays = {
            "done": np.array(sorted(self.done), dtype=np.int64),
            "active": np.array([run.member.index], dtype=np.int64),
            "sliding": run.now.sliding,
        }
        for member in (*self.done.values(), run.member):
            arrays |= member.as_arrays()
        self.checkpoint.save(arrays)


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

    def pull(self, g: Tensor, out: Tensor) -> None:
        """J^T g, into ``out`` (1, size)."""
        view = self.run.system.view(out)
        if self.factors is not None:
            chain_pull(self.factors, g, view)
        else:
            self._pull(g.unsqueeze(0), view)

    def kernel(self) -> np.ndarray:
        """Q = y Theta y^T (n, n)."""
        if self._Q is None:
            run = self.run
            if self.factors is not None:
                theta = layerwise_gram(self.factors)
            else:
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
        self._move, self._other = torch.zeros_like(start), torch.zeros_like(start)
        self._counts = np.array([g.stop - g.start for g in system.groups])
        self.f0: Tensor | None = None
        self.f0 = _Point(self, start).f
        self.now = _Point(self, start)
        member = self.member = Member(index)
        member.loss = member.loss_start = _hinge(self.now.m)
        member.t_level = [math.nan] * len(settings.levels)
        self._smooth, self._rejected = True, False
        if not math.isfinite(member.loss):
            member.status = Status.DIVERGED
            member.reason = "the outputs are not finite at t = 0"
        self._record()

    def resume(self, member: Member, sliding: np.ndarray) -> None:
        """Go on from a state between two steps; see ``_Queue.tried``."""
        self.member, self._smooth = member, False
        self.now = _Point(self, _state(member).unsqueeze(0))
        self.now.sliding = sliding

    # ------------------------------------------------------------------ sizes

    def _pushed(self, point: _Point, impulse: np.ndarray, out: Tensor) -> Tensor:
        """J^T (y p) / (alpha n), the change of the weights, into ``out``."""
        g = torch.from_numpy(self.sign * impulse / (self.alpha * self.n)).to(self.y)
        point.pull(g, out)
        return out

    def _norms(self, flat: Tensor) -> np.ndarray:
        groups = [flat[0, group] for group in self.system.groups]
        return torch.stack(torch._foreach_norm(groups)).cpu().numpy()

    def _sizes(self) -> np.ndarray:
        """Norms of the layers; one far smaller than the rest (a layer that starts at
        zero, say) counts as a tenth of what all weights would give it."""
        norms = self._norms(self.now.flat)
        mean = math.sqrt(float((norms**2).sum()) / self._counts.sum())
        return np.maximum(np.maximum(norms, 0.1 * mean * np.sqrt(self._counts)), 1e-300)

    def _short_step(self) -> float:
        """As long as the weights move by a small part of themselves, to first order."""
        force = (self.now.m < 1.0).astype(float)
        speeds = self._norms(self._pushed(self.now, force, self._move))
        speed = float((speeds / self._sizes()).max())
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
        member, settings, alpha = self.member, self.settings, self.alpha
        force, seen = np.ones(self.n), [self.now]

        def velocity(_t: float, flat: np.ndarray) -> np.ndarray:
            point = seen[0] = self._point_at(flat)
            return self._pushed(point, force, self._move)[0].cpu().numpy().copy()

        target = max(settings.stop_loss, _ZERO) * member.loss_start

        def beyond(m: np.ndarray) -> float:
            return max(float(m.max()) - 1.0, target - _hinge(m))

        start = self.now.flat[0].cpu().numpy()
        accuracy = _START_ACCURACY * settings.tolerance
        solver = RK45(
            velocity, 0.0, start, settings.max_time, rtol=accuracy,
            atol=accuracy * float(np.sqrt(np.mean(start**2))) + 1e-300,
        )  # fmt: skip
        first = True
        while not member.status and solver.status == "running":
            before = solver.t
            member.tries += 1
            solver.step()
            if solver.status == "failed" or not np.isfinite(seen[0].m).all():
                break
            along, t, point = solver.dense_output(), solver.t, seen[0]
            at_kink = beyond(point.m) > 0.0
            if at_kink:
                t = brentq(
                    lambda at: beyond(self._point_at(along(at)).m),
                    before, t, xtol=1e-6 * (t - before), rtol=1e-12,
                )  # fmt: skip
                point = self._point_at(along(t))
            loss = _hinge(point.m)
            crossed = [
                level * member.loss_start
                for level in settings.levels
                if loss <= level * member.loss_start < member.loss
            ]
            curve = [(0.0, member.loss), (t - before, loss)]
            for value in crossed:
                at = brentq(
                    lambda at, v=value: _hinge(self._point_at(along(at)).m) - v,
                    before, t, xtol=1e-5 * (t - before), rtol=1e-12,
                ) if loss < value else t  # fmt: skip
                curve.append((at - before, value))
            curve.sort()
            self._take(point, np.array(curve), t - before)
            if at_kink:
                break
        self._smooth = False
        if not member.status:
            member.dt = self._short_step()

    def _point_at(self, flat: np.ndarray) -> _Point:
        return _Point(self, torch.from_numpy(flat).to(self.y).unsqueeze(0))

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
        if isinstance(tried, float):  # the length at which the loss gets where we stop
            member.dt = tried
        elif tried is None:
            member.dt = _SHRINK * dt
        else:
            point, curve, errors = tried
            factor = _AIM * min(
                (settings.tolerance / max(errors[0], 1e-300)) ** (1 / 2),
                (settings.tolerance / max(errors[1], 1e-300)) ** (1 / 3),
            )
            accept = max(errors) <= settings.tolerance
            most = 1.0 if self._rejected or not accept else _GROW
            member.dt = dt * min(max(factor, _SHRINK), most)
            self._rejected = not accept
            if accept:
                self._take(point, curve, dt)
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

    def _try(
        self, dt: float
    ) -> tuple[_Point, np.ndarray, tuple[float, float]] | float | None:
        """One step: where it ends, the loss along it and its two errors.

        A number instead if the step goes far beyond the loss at which the run stops: the
        length that would not. ``None`` if it leads nowhere.
        """
        now, member = self.now, self.member
        drift = None
        if len(now.sliding):
            drift = np.zeros(self.n)
            drift[now.sliding] = (now.m[now.sliding] - 1.0) / dt
        try:
            path = HingePath(now.kernel(), now.m, drift, now.sliding)
            slope = _slope(path)
            path.follow(0.5 * dt)
            middle = _Point(self, now.flat + self._pushed(now, path.p, self._move))
            if not np.isfinite(middle.m).all():
                return None
            path = HingePath(middle.kernel(), now.m, drift, now.sliding)
            bend = 0.25 * dt * (slope - _slope(path))
            curve = np.array(path.follow(dt))
        except ValueError:  # singular where patterns slide
            return None
        if curve[-1, 0] < dt:  # at rest before the end
            curve = np.vstack([curve, (dt, curve[-1, 1])])
        target = self.settings.stop_loss * member.loss_start
        if target > 0.0:
            expected = _dense(curve, bend, member.loss, curve[-1, 1])
            if expected[-1, 1] < 0.9 * target:
                at = _crossing(expected, 0.98 * target)
                if at < 0.98 * dt:
                    return at
        move = self._pushed(middle, path.p, self._move)
        other = self._pushed(now, path.p, self._other)
        end = _Point(self, now.flat + move)
        if not np.isfinite(end.m).all():
            return None
        in_weights = self._norms(other.sub_(move)) / self._sizes()
        in_margins = np.abs(end.m - path.m) / (1.0 + np.abs(path.m - 1.0))
        end.sliding = np.sort(path.sliding.members)
        curve = _dense(curve, bend, member.loss, _hinge(end.m))
        errors = float(in_weights.max()), float(in_margins.max())
        return end, curve, errors

    def _take(self, point: _Point, curve: np.ndarray, dt: float) -> None:
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
                member.t_level[k] = before + _crossing(curve, target)
        if loss <= _ZERO * member.loss_start:
            member.t_zero = before + _crossing(curve, 1e-6 * member.loss_start)
        if loss <= max(settings.stop_loss, _ZERO) * member.loss_start:
            member.status = Status.FITTED
            member.reason = (
                "loss is zero to rounding"
                if settings.stop_loss == 0.0
                else f"loss fell to {settings.stop_loss:g} of its start"
            )
        elif member.t >= settings.max_time * (1 - 1e-12):
            member.status = Status.TRUNCATED
            member.reason = f"max_time = {settings.max_time:g} reached"
        elif member.steps >= settings.max_steps:
            member.status = Status.TRUNCATED
            member.reason = f"max_steps = {settings.max_steps} reached"
        elif member.t > _END_OF_TIME:
            member.status = Status.TRUNCATED
            member.reason = "the outputs no longer move"
        if member.status or member.t >= member.next_record:
            self._record()
            member.next_record = log_clock(settings.records_per_decade, member.t)
        if member.status:
            member.state = self.now.flat[0].clone()

    def _record(self) -> None:
        member = self.member
        rows = {"t": member.t, "loss": member.loss, "F": self.now.F.cpu().numpy()}
        observed = self.system.observe(member.index, self.now.flat[0])
        for name, value in observed.items():
            rows[name] = value.double().cpu().numpy()
        for name, value in rows.items():
            member.records.setdefault(name, []).append(value)


def _hinge(m: np.ndarray) -> float:
    """The hinge loss of margins, mean of max(0, 1 - m)."""
    return float(np.maximum(1.0 - m, 0.0).mean())


def _slope(path: HingePath) -> float:
    """d loss / dt on a path where it is now."""
    return float(-path.v[path.m < 1.0].sum() / path.n)


def _dense(curve: np.ndarray, bend: float, start: float, end: float) -> np.ndarray:
    """The loss along a step, (k, 2) times and losses.

    The path has straight pieces because its kernel is that of the middle. A kernel linear
    in time adds a parabola, of height ``bend``; the two ends are known from the net.
    """
    t = np.union1d(curve[:, 0], np.linspace(0.0, curve[-1, 0], 33))
    share = t / t[-1]
    loss = np.interp(t, curve[:, 0], curve[:, 1])
    loss += (start - curve[0, 1]) * (1.0 - share) + (end - curve[-1, 1]) * share
    return np.column_stack([t, loss + 4.0 * bend * share * (1.0 - share)])


def _crossing(curve: np.ndarray, target: float) -> float:
    """First time at which the loss of ``_dense`` falls to ``target``; its end if never."""
    below = np.flatnonzero(curve[:, 1] <= target)
    if not len(below):
        return float(curve[-1, 0])
    k = int(below[0])
    if k == 0:
        return float(curve[0, 0])
    (t0, loss0), (t1, loss1) = curve[k - 1], curve[k]
    return float(t0 + (loss0 - target) / (loss0 - loss1) * (t1 - t0))
