r"""The integrator of flows in steps: explicit exponential steps, judged per member.

The flow (geiger2020, Eq. 6) relaxes a velocity towards minus the gradient,

    dw/dt = v,      dv/dt = -(v + grad L) / tau.

With the gradient frozen over a step the second equation is solved exactly,
v <- a v - (1 - a) grad L with a from ``rule.decay``, and w <- w + dt v, with v taken in
the middle of the step while the motion is smooth (``_move``). Members of the batch share
nothing but the matrix products: each has its own time, step and verdict.

A step that is refused costs one forward pass; the forward pass of an accepted step
serves the next gradient. A member that has ended leaves its slot to the next one in the
queue, so a batch stays full until the queue is empty.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lazyrich.core.threads import one_thread
from lazyrich.dynamics.member import Member
from lazyrich.dynamics.steps.rule import Motion
from lazyrich.dynamics.trajectory import Status
from lazyrich.dynamics.watch import Watch
from lazyrich.losses import Loss

Evaluate = tuple[Tensor, Callable[[Tensor, Any], object]]


class System(Protocol):
    """What the engine integrates: flat states of ``size`` numbers a member.

    Attributes:
        members: how many there are in the queue.
        size: numbers a state.
        groups: slices of the state whose relative change the step rule limits.
    """

    members: int
    size: int
    groups: list[slice]

    def start(self, member: int) -> Tensor:
        """(size,) initial state of a member."""
        ...

    def view(self, flat: Tensor) -> Any:
        """The form in which the system reads states (slots, size); shares memory."""
        ...

    def evaluate(self, state: Any) -> Evaluate:
        """f (slots, n) of a ``view``, and ``pull(g, out)`` that writes the gradient of
        ``sum(g * f)`` into the view ``out``."""
        ...

    def observe(self, member: int, state: Tensor) -> dict[str, Tensor]:
        """What to record of one state (size,) besides loss and training outputs."""
        ...


class Block(NamedTuple):
    """States of all slots: flat, as the system reads them, and cut into groups.

    The views are made once, because making them costs as much as a small product.
    """

    flat: Tensor
    view: Any
    groups: list[Tensor]


_CHECKPOINT_EVERY = 2000
"""Tries from one checkpoint to the next, some seconds."""

_DRIFT = 0.013
"""Relative movement of weights after which their norms are taken anew."""


def _add(out: Tensor, x: Tensor, factor: float | Tensor) -> None:
    """out += factor * x, without a temporary."""
    if isinstance(factor, Tensor):
        out.addcmul_(x, factor)
    else:
        out.add_(x, alpha=factor)


def _to_floats(*values: Tensor) -> list[list[float]]:
    """Values of all members as floats, in one transfer where they come from a GPU."""
    if values[0].device.type == "cpu":
        return [value.tolist() for value in values]
    return torch.stack(values).tolist()


class Engine:
    """Integrates all members of a system; see the module's head.

    Args:
        system: what is moved.
        y: targets (n, ...).
        alpha: (members,) laziness scales.
        loss: of F = alpha (f - f0) and ``y``.
        motion: rule of the steps, and memory.
        watch: what is recorded, and where it ends.
        slots: members that advance together.
    """

    def __init__(
        self,
        system: System,
        y: Tensor,
        alpha: Tensor,
        loss: Loss,
        motion: Motion,
        watch: Watch,
        slots: int,
    ) -> None:
        self.system, self.y = system, y
        self.loss, self.motion, self.watch = loss, motion, watch
        self.alpha_of = alpha.to(torch.float64).cpu().numpy()
        self.slots = min(slots, system.members)
        self.checkpoint, self.progress = watch.checkpoint, watch.progress
        self.checkpoint_every = watch.checkpoint_every or _CHECKPOINT_EVERY
        self.done: dict[int, Member] = {}
        self.queue = list(range(system.members))
        self.active: list[Member] = []
        self._sizes = [float(g.stop - g.start) for g in system.groups]
        self._size = sum(self._sizes) or 1.0
        self._keep: list[float] = []
        self._moves: list[float] = []
        self.n = len(y)
        self._allocate([])

    # ------------------------------------------------------------------ the run

    def run(self) -> list[Member]:
        """Integrate until the queue is empty; the members in order."""
        # On a CPU one thread: products of these sizes gain nothing from a second one,
        # and their sums then have one order on any machine.
        threads = one_thread() if self.y.device.type == "cpu" else nullcontext()
        with torch.no_grad(), threads:
            self._restore()
            tries = 0
            while self._refill():
                tries += 1
                self._retire()  # those that are not finite from the start
                if self.active:
                    self._attempt()
                    self._retire()
                if self.checkpoint is not None and tries % self.checkpoint_every == 0:
                    self.checkpoint.save(self._snapshot())
            return [self.done[k] for k in range(self.system.members)]

    def _attempt(self) -> None:
        """Try one step of every active member; take it where the rule allows.

        Control is plain arithmetic on Python floats, a few per member: for so few numbers
        that is faster than arrays, and one transfer a step serves all members.
        """
        members, rule = self.active, self.motion.rule
        steps = self._relax([min(m.dt, self.watch.max_time - m.t) for m in members])
        self._move(steps)
        f, pull = self.system.evaluate(self.trial.view)
        F = torch.sub(f, self.f0).mul_(self._scale)
        inf = math.inf
        change = torch.linalg.vector_norm((F - self.F).flatten(1), inf, dim=1)
        loss = self.loss.value(F, self.y).flatten(1).sum(1)
        changes, losses = _to_floats(change, loss)
        accept = [
            math.isfinite(c) and math.isfinite(v) and c <= rule.max_output_change
            for c, v in zip(changes, losses, strict=True)
        ]
        if any(accept):
            force = self.loss.slope(F, self.y) * self._force
            pull(force, self.trial_gradient.view)
            self._take(accept, F)
        for e, member in enumerate(members):
            member.tries += 1
            member.dt = rule.next_step(steps[e], changes[e])
            if accept[e]:
                self._advance(member, e, steps[e], changes[e], losses[e] / self.n)
            elif member.dt <= 1e-15 * member.t or member.dt < 1e-290:
                finite = math.isfinite(changes[e]) and math.isfinite(losses[e])
                member.end(
                    Status.TRUNCATED if finite else Status.DIVERGED,
                    f"no step above {member.dt:.1e} is acceptable at t = {member.t:.3e}"
                    if finite
                    else f"the outputs are not finite beyond t = {member.t:.3e}",
                )

    def _relax(self, steps: list[float]) -> list[float]:
        """Put the relaxed velocity into ``trial_velocity``; shorten the steps until no
        group of weights moves by more than the rule allows."""
        limit = self.motion.rule.max_weight_change
        out = self.trial_velocity.flat
        while True:
            keep = [
                self.motion.keep(m.t, dt)
                for m, dt in zip(self.active, steps, strict=True)
            ]
            if any(keep):
                torch.mul(self.velocity.flat, self._factor(keep), out=out)
                _add(out, self.gradient.flat, self._factor([k - 1.0 for k in keep]))
            else:
                torch.neg(self.gradient.flat, out=out)
            self._keep = keep
            if not self.system.groups or math.isinf(limit):
                self._moves = [0.0] * len(steps)
                return steps
            speeds = self._relative_speeds(self.trial_velocity)
            moves = [dt * v for dt, v in zip(steps, speeds, strict=True)]
            if max(moves) <= limit * (1 + 1e-9):
                self._moves = moves
                return steps
            steps = [
                dt * min(1.0, limit / max(move, 1e-300))
                for dt, move in zip(steps, moves, strict=True)
            ]

    def _move(self, steps: list[float]) -> None:
        """Put the states after the steps into ``trial``.

        Until the loss has halved the motion is smooth, and the velocity in the middle of
        the step is extrapolated from the last two (Adams-Bashforth): second order for one
        more pass over the weights. Later the hinge makes the gradient jump from step to
        step, and there is nothing to extrapolate. The share (1 - keep) leaves alone a
        velocity with a memory longer than the step, which is smooth already.
        """
        ahead = [
            min(dt / (2.0 * m.last_dt), 1.0) * (1.0 - keep)
            if m.steps > 1 and m.loss > 0.5 * m.loss_start
            else 0.0
            for m, dt, keep in zip(self.active, steps, self._keep, strict=True)
        ]
        out = self.trial.flat
        now = self._factor([dt * (1.0 + c) for dt, c in zip(steps, ahead, strict=True)])
        torch.mul(self.trial_velocity.flat, now, out=out)
        if any(ahead):
            back = [-dt * c for dt, c in zip(steps, ahead, strict=True)]
            _add(out, self.velocity.flat, self._factor(back))
        out.add_(self.state.flat)

    def _take(self, accept: list[bool], F: Tensor) -> None:
        """Make the trial the state, for the members that accepted it."""
        if all(accept):
            self.state, self.trial = self.trial, self.state
            self.velocity, self.trial_velocity = self.trial_velocity, self.velocity
            self.gradient, self.trial_gradient = self.trial_gradient, self.gradient
            self.F = F
        else:
            rows = [e for e, accepted in enumerate(accept) if accepted]
            self.state.flat[rows] = self.trial.flat[rows]
            self.velocity.flat[rows] = self.trial_velocity.flat[rows]
            self.gradient.flat[rows] = self.trial_gradient.flat[rows]
            self.F[rows] = F[rows]
        for e, accepted in enumerate(accept):
            self.active[e].drift += self._moves[e] if accepted else 0.0
        if any(member.drift > _DRIFT for member in self.active):
            self._measure_state()

    def _advance(
        self, member: Member, slot: int, dt: float, change: float, loss: float
    ) -> None:
        """Book an accepted step, with a record where the clock has come to one."""
        member.largest_output_change = max(member.largest_output_change, change)
        member.book(member.t + dt, dt, loss, self.watch)
        if member.at_record:
            self._record(member, slot)
            member.wind(self.watch)

    def _record(self, member: Member, slot: int) -> None:
        seen = self.system.observe(member.index, self.state.flat[slot])
        member.record(t=member.t, loss=member.loss, F=self.F[slot], **seen)

    # ------------------------------------------------------------------ the queue

    def _refill(self) -> bool:
        """Put waiting members into free slots; False when nothing is left to do."""
        first = len(self.active)
        free = min(self.slots - first, len(self.queue))
        if free:
            self.active += [Member(self.queue.pop(0)) for _ in range(free)]
            self._allocate(list(range(first)))
            for slot in range(first, len(self.active)):
                self.state.flat[slot] = self.system.start(self.active[slot].index)
            self._rebatch(first)
        return bool(self.active)

    def _retire(self) -> None:
        """Take ended members out, and close the gaps they leave."""
        staying = [e for e, m in enumerate(self.active) if not m.status]
        if len(staying) == len(self.active):
            return
        for e, member in enumerate(self.active):
            if member.status:
                member.state = self.state.flat[e].clone()
                self.done[member.index] = member
                if self.progress is not None:
                    self.progress(len(self.done), self.system.members)
        self.active = [self.active[e] for e in staying]
        self._allocate(staying)
        if self.active and not self.queue:
            self._rebatch(len(self.active))

    def _allocate(self, kept: list[int]) -> None:
        """Buffers for the active members; the first ones take over the ``kept`` rows."""
        shape = (len(self.active), self.system.size)
        for name in ("state", "velocity"):
            fresh = torch.zeros(shape, dtype=self.y.dtype, device=self.y.device)
            if kept:
                fresh[: len(kept)] = getattr(self, name).flat[kept]
            setattr(self, name, self._block(fresh))
        for name in ("gradient", "trial", "trial_velocity", "trial_gradient"):
            setattr(self, name, self._block(torch.zeros_like(self.state.flat)))

    def _block(self, flat: Tensor) -> Block:
        groups = [flat[:, group] for group in self.system.groups]
        return Block(flat, self.system.view(flat), groups)

    def _rebatch(self, first: int) -> None:
        """Evaluate the batch as it now is; members from slot ``first`` on are new.

        f0 is evaluated in the batch in which the member runs, so that F = alpha (f - f0)
        is exactly zero at the start, whatever the rounding of a batched product.
        """
        members = self.active
        alpha = self.alpha_of[[m.index for m in members]]
        shape = (-1,) + (1,) * self.y.ndim
        scale = torch.as_tensor(alpha, dtype=self.y.dtype, device=self.y.device)
        self._scale = scale.reshape(shape)
        self._force = 1.0 / (self._scale * self.n)
        start = torch.stack([self.system.start(m.index) for m in members])
        self.f0 = self.system.evaluate(self.system.view(start))[0]
        f, pull = self.system.evaluate(self.state.view)
        self.F = self._scale * (f - self.f0)
        self._measure_state()
        pull(self.loss.slope(self.F, self.y) * self._force, self.gradient.view)
        loss = self.loss.value(self.F, self.y).flatten(1).sum(1) / self.n
        for e in range(first, len(members)):
            member = members[e]
            member.begin(float(loss[e]), self.watch)
            member.dt = self._first_step(e)
            self._record(member, e)

    def _first_step(self, slot: int) -> float:
        """A first step within the rule's bound on weights, and on outputs to first order
        (|df| <= |grad f| |dw|, by a difference quotient along the gradient)."""
        rule = self.motion.rule
        direction = self.gradient.flat[slot]
        size = float(direction.norm())
        if size == 0.0 or not math.isfinite(size):
            return 1.0
        if not self.system.groups:
            speed = 0.0
        else:
            speed = self._relative_speeds(self.gradient)[slot]
        dt = rule.max_weight_change / speed if speed > 0.0 else math.inf
        probe = 1e-6 * max(float(self.state.flat[slot].norm()), 1.0) / size
        moved = self.state.flat.clone()
        moved[slot] -= probe * direction
        f = self.system.evaluate(self.system.view(moved))[0][slot]
        change = self._scale[slot] * (f - self.f0[slot]) - self.F[slot]
        rate = float(change.abs().max()) / probe
        if rate > 0.0 and math.isfinite(rate):
            dt = min(dt, rule.aim * rule.max_output_change / rate)
        return dt if math.isfinite(dt) else probe

    def _measure_state(self) -> None:
        """Norms of the groups of weights, which relative changes are measured against.

        A group far smaller than the rest (a layer that starts at zero, say) is measured
        against a tenth of the root mean square of all weights, or it would creep away
        from zero by one per cent a step. Weights that are all zero set no limit.

        Norms are kept until the weights have moved by ``_DRIFT`` of them, which is all
        the accuracy that a bound on steps needs.
        """
        for member, norms in zip(self.active, self._norms(self.state), strict=True):
            if member.norms and member.drift <= _DRIFT:
                continue
            total = sum(norm * norm for norm in norms) / self._size
            member.norms = [
                max(norm, 0.1 * math.sqrt(total * size))
                for norm, size in zip(norms, self._sizes, strict=True)
            ]
            member.drift = 0.0

    def _relative_speeds(self, velocity: Block) -> list[float]:
        """Largest relative speed of a group of weights, member by member."""
        return [
            # a speed that is not finite sets no limit: the step itself will fail
            max(
                v / n if n > 0.0 and math.isfinite(v) else 0.0
                for v, n in zip(speeds, member.norms, strict=True)
            )
            for speeds, member in zip(self._norms(velocity), self.active, strict=True)
        ]

    def _norms(self, block: Block) -> list[list[float]]:
        """(slots, groups) Euclidean norms of the groups of a block."""
        if not block.groups:
            return [[] for _ in range(len(block.flat))]
        if len(block.flat) == 1:  # one call for all groups
            return [torch.stack(torch._foreach_norm(block.groups)).tolist()]
        norms = [torch.linalg.vector_norm(group, dim=1) for group in block.groups]
        return torch.stack(norms, dim=1).tolist()

    def _factor(self, values: list[float]) -> float | Tensor:
        """One factor a member, to be multiplied with its state: a plain number for a
        single member, else a column (slots, 1)."""
        if len(values) == 1:
            return values[0]
        column = torch.tensor(values, dtype=self.y.dtype, device=self.y.device)
        return column.unsqueeze(1)

    # ------------------------------------------------------------------ checkpoints

    def _snapshot(self) -> dict[str, np.ndarray]:
        """Everything needed to go on, as plain arrays."""
        state: dict[str, np.ndarray] = {
            "active": np.array([m.index for m in self.active], dtype=np.int64),
            "done": np.array(sorted(self.done), dtype=np.int64),
        }
        for slot, member in enumerate(self.active):
            member.state = self.state.flat[slot]
            velocity = self.velocity.flat[slot].cpu().numpy().copy()
            state[f"velocity/{member.index}"] = velocity
        for member in [*self.done.values(), *self.active]:
            state |= member.as_arrays()
        return state

    def _restore(self) -> None:
        state = self.checkpoint.load() if self.checkpoint is not None else None
        if state is None:
            return
        for index in [*state["done"].tolist(), *state["active"].tolist()]:
            member = Member.from_arrays(index, state, like=self.y)
            self.queue.remove(index)
            if index in state["done"]:
                self.done[index] = member
            else:
                self.active.append(member)
        if self.active:
            self._allocate([])
            for slot, member in enumerate(self.active):
                assert member.state is not None
                self.state.flat[slot] = member.state
                self.velocity.flat[slot] = torch.as_tensor(
                    state[f"velocity/{member.index}"], device=self.y.device
                )
            if not self.queue or len(self.active) == self.slots:
                self._rebatch(len(self.active))
