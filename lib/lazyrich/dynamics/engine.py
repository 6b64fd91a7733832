r"""The integrator behind every flow: explicit exponential steps, judged per member.

The flow (geiger2020, Eq. 6) relaxes a velocity towards minus the gradient,

    dw/dt = v,      dv/dt = -(v + grad L) / tau.

With the gradient frozen over a step the second equation is solved exactly,
v <- a v - (1 - a) grad L with a from ``step.decay``, and w <- w + dt v, with v taken in
the middle of the step while the motion is smooth (``_move``). Members of the batch share nothing but the matrix products: each has its own time, step and verdict.

A step that is refused costs one forward pass; the forward pass of an accepted step
serves the next gradient. A member that has ended leaves its slot to the next one in the
queue, so a batch stays full until the queue is empty.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from lazyrich.dynamics.step import StepRule, decay, log_clock
from lazyrich.dynamics.trajectory import Status

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


class Checkpoint(Protocol):
    """Where an unfinished run keeps its state; see ``sweeps.Checkpoint``."""

    def load(self) -> dict[str, np.ndarray] | None: ...

    def save(self, state: Mapping[str, np.ndarray]) -> None: ...


class Block(NamedTuple):
    """States of all slots: flat, as the system reads them, and cut into groups.

    The views are made once, because making them costs as much as a small product.
    """

    flat: Tensor
    view: Any
    groups: list[Tensor]


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run; see ``momentum_flow`` for the meaning."""

    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    reaches_zero: bool
    rule: StepRule
    mu: float | None
    tau: float | None
    stop_loss: float
    max_steps: int
    max_time: float
    levels: tuple[float, ...]
    records_per_decade: float


@dataclass
class Member:
    """Progress of one member; arrays of it go into a checkpoint as they are."""

    index: int
    t: float = 0.0
    dt: float = 0.0
    last_dt: float = 0.0
    loss: float = math.nan
    loss_start: float = math.nan
    next_record: float = 0.0
    steps: int = 0
    tries: int = 0
    largest_output_change: float = 0.0
    t_zero: float = math.nan
    t_level: list[float] = field(default_factory=list)
    status: str = ""
    reason: str = ""
    records: dict[str, list] = field(default_factory=dict)
    state: Tensor | None = None


_SCALARS = (
    "t", "dt", "last_dt", "loss", "loss_start", "next_record", "steps", "tries",
    "largest_output_change", "t_zero",
)  # fmt: skip


_END_OF_TIME = 1e200
"""Steps grow geometrically when nothing moves any more, and would end beyond floats."""


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Run CPU work on one thread: matrix products then sum in one order on any machine,
    and the products of these sizes gain nothing from a second thread."""
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


class Engine:
    """Integrates all members of a system; see the module's head."""

    def __init__(
        self,
        system: System,
        y: Tensor,
        alpha: Tensor,
        settings: Settings,
        slots: int,
        checkpoint: Checkpoint | None = None,
        checkpoint_every: int = 2000,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.system, self.settings, self.y = system, settings, y
        self.alpha_of = alpha.to(torch.float64).cpu().numpy()
        self.slots = min(slots, system.members)
        self.checkpoint, self.checkpoint_every = checkpoint, checkpoint_every
        self.progress = progress
        self.done: dict[int, Member] = {}
        self.queue = list(range(system.members))
        self.active: list[Member] = []
        self._allocate([])
        self.n = len(y)

    # ------------------------------------------------------------------ the run

    def run(self) -> dict[int, Member]:
        """Integrate until the queue is empty; members by index."""
        with one_thread(self.y.device):
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
            return self.done

    def _attempt(self) -> None:
        """Try one step of every active member; take it where the rule allows."""
        members, settings, rule = self.active, self.settings, self.settings.rule
        t = np.array([m.t for m in members])
        dt = np.array([m.dt for m in members])
        dt = self._relax(t, np.minimum(dt, settings.max_time - t))
        self._move(dt)
        f, pull = self.system.evaluate(self.trial.view)
        F = self._scale * (f - self.f0)
        change = (F - self.F).abs().flatten(1).amax(1)
        loss = settings.value(F, self.y).flatten(1).sum(1) / self.n
        seen = torch.stack((change, loss)).to(torch.float64).cpu().numpy()
        change, loss = seen[0], seen[1]
        finite = np.isfinite(change) & np.isfinite(loss)
        accept = finite & (change <= rule.max_output_change)
        proposed = rule.next_step(dt, np.where(finite, change, np.nan))
        if accept.any():
            force = settings.slope(F, self.y) * self._force
            pull(force, self.trial_gradient.view)
            self._take(accept, F)
        for e, member in enumerate(members):
            member.tries += 1
            member.dt = float(proposed[e])
            if accept[e]:
                self._advance(member, e, float(dt[e]), float(change[e]), float(loss[e]))
            elif proposed[e] <= 1e-15 * t[e] or proposed[e] < 1e-290:
                member.status = Status.TRUNCATED if finite[e] else Status.DIVERGED
                member.reason = (
                    f"no step above {proposed[e]:.1e} was acceptable at t = {t[e]:.3e}"
                    if finite[e]
                    else f"the outputs are not finite beyond t = {t[e]:.3e}"
                )

    def _move(self, dt: np.ndarray) -> None:
        """Put the state after a step of ``dt`` into ``trial``.

        Until the loss has halved the motion is smooth, and the velocity in the middle of
        the step is extrapolated from the last two (Adams-Bashforth): second order for two
        more passes over the weights. Later the hinge makes the gradient jump from step
        to step, and there is nothing to extrapolate. The share (1 - keep) leaves alone a
        velocity with a memory longer than the step, which is smooth already.
        """
        ahead = np.array(
            [
                dt[e] / (2.0 * m.last_dt)
                if m.steps > 1 and m.loss > 0.5 * m.loss_start
                else 0.0
                for e, m in enumerate(self.active)
            ]
        )
        step = self.trial_velocity.flat
        if ahead.any():
            t = np.array([m.t for m in self.active])
            keep = decay(t, dt, self.settings.mu, self.settings.tau)
            change = self.trial_velocity.flat - self.velocity.flat
            step = step + self._column(np.minimum(ahead, 1.0) * (1.0 - keep)) * change
        torch.add(self.state.flat, self._column(dt) * step, out=self.trial.flat)

    def _relax(self, t: np.ndarray, dt: np.ndarray) -> np.ndarray:
        """Put the relaxed velocity into ``trial_velocity``; shorten ``dt`` until no group
        of weights moves by more than the rule allows."""
        settings, limit = self.settings, self.settings.rule.max_weight_change
        while True:
            keep = decay(t, dt, settings.mu, settings.tau)
            if not keep.any():
                torch.neg(self.gradient.flat, out=self.trial_velocity.flat)
            else:
                torch.lerp(
                    -self.gradient.flat,
                    self.velocity.flat,
                    self._column(keep),
                    out=self.trial_velocity.flat,
                )
            if not self.system.groups or math.isinf(limit):
                return dt
            relative = dt * self._relative_speed(self.trial_velocity)
            if (relative <= limit * (1 + 1e-9)).all():
                return dt
            with np.errstate(divide="ignore"):
                dt = dt * np.minimum(1.0, limit / relative)

    def _take(self, accept: np.ndarray, F: Tensor) -> None:
        """Make the trial the state, for the members that accepted it."""
        if accept.all():
            self.state, self.trial = self.trial, self.state
            self.velocity, self.trial_velocity = self.trial_velocity, self.velocity
            self.gradient, self.trial_gradient = self.trial_gradient, self.gradient
            self.F = F
            self.norms = self._norms(self.state)
            return
        rows = torch.as_tensor(np.flatnonzero(accept), device=self.y.device)
        self.state.flat[rows] = self.trial.flat[rows]
        self.velocity.flat[rows] = self.trial_velocity.flat[rows]
        self.gradient.flat[rows] = self.trial_gradient.flat[rows]
        self.F[rows] = F[rows]
        self.norms[accept] = self._norms(self.state)[accept]

    def _advance(
        self, member: Member, slot: int, dt: float, change: float, loss: float
    ) -> None:
        """Book an accepted step: crossings, records, and whether the member has ended."""
        settings = self.settings
        t_before, loss_before = member.t, member.loss
        member.t, member.loss, member.last_dt = t_before + dt, loss, dt
        member.steps += 1
        member.largest_output_change = max(member.largest_output_change, change)
        for k, level in enumerate(settings.levels):
            target = level * member.loss_start
            if math.isnan(member.t_level[k]) and loss <= target:
                share = (loss_before - target) / (loss_before - loss)
                member.t_level[k] = t_before + share * dt
        if settings.reaches_zero and loss == 0.0:
            member.t_zero = member.t
        if loss <= settings.stop_loss * member.loss_start:
            member.status = Status.FITTED
            member.reason = (
                "loss is exactly zero"
                if loss == 0.0
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
            self._record(member, slot)
            member.next_record = log_clock(settings.records_per_decade, member.t)

    def _record(self, member: Member, slot: int) -> None:
        rows = {
            "t": member.t,
            "loss": member.loss,
            "F": self.F[slot].double().cpu().numpy(),
        }
        observed = self.system.observe(member.index, self.state.flat[slot])
        for name, value in observed.items():
            rows[name] = value.double().cpu().numpy()
        for name, value in rows.items():
            member.records.setdefault(name, []).append(value)

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
        self.norms = self._norms(self.state)
        pull(self.settings.slope(self.F, self.y) * self._force, self.gradient.view)
        loss = self.settings.value(self.F, self.y).flatten(1).sum(1) / self.n
        for e in range(first, len(members)):
            member = members[e]
            member.loss = member.loss_start = float(loss[e])
            member.t_level = [math.nan] * len(self.settings.levels)
            member.dt = self._first_step(e)
            if not math.isfinite(member.loss):
                member.status = Status.DIVERGED
                member.reason = "the outputs are not finite at t = 0"
            self._record(member, e)

    def _first_step(self, slot: int) -> float:
        """A first step within the rule's bound on weights, and on outputs to first order
        (|df| <= |grad f| |dw|, by a difference quotient along the gradient)."""
        rule = self.settings.rule
        direction = self.gradient.flat[slot]
        size = float(direction.norm())
        if size == 0.0 or not math.isfinite(size):
            return 1.0
        speed = float(self._relative_speed(self.gradient)[slot])
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

    def _relative_speed(self, velocity: Block) -> np.ndarray:
        """(slots,) largest relative speed of a group of weights.

        A group far smaller than the rest (a layer that starts at zero, say) is measured
        against a tenth of the root mean square of all weights, or it would creep away
        from zero by two per cent a step. Weights that are all zero set no limit.
        """
        if not velocity.groups:
            return np.zeros(len(velocity.flat))
        sizes = np.array([group.shape[1] for group in velocity.groups], dtype=float)
        with np.errstate(all="ignore"):
            total = np.square(self.norms).sum(1, keepdims=True) / sizes.sum()
            norms = np.maximum(self.norms, 0.1 * np.sqrt(total * sizes))
            speed = self._norms(velocity) / norms
        # a speed that is not finite sets no limit either: the step itself will fail
        return np.where(np.isfinite(speed), speed, 0.0).max(1)

    def _norms(self, block: Block) -> np.ndarray:
        """(slots, groups) Euclidean norms of the groups of a block."""
        if not block.groups:
            return np.ones((len(block.flat), 0))
        norms = [torch.linalg.vector_norm(group, dim=1) for group in block.groups]
        return torch.stack(norms, dim=1).to(torch.float64).cpu().numpy()

    def _column(self, values: np.ndarray) -> Tensor:
        column = torch.as_tensor(values, dtype=self.y.dtype, device=self.y.device)
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
            key = f"member/{member.index}"
            state[f"{key}/scalars"] = np.array(
                [float(getattr(member, name)) for name in _SCALARS]
            )
            state[f"{key}/t_level"] = np.array(member.t_level)
            state[f"{key}/words"] = np.array([str(member.status), member.reason])
            assert member.state is not None
            state[f"{key}/state"] = member.state.cpu().numpy().copy()
            for name, rows in member.records.items():
                state[f"{key}/record/{name}"] = np.asarray(rows, dtype=np.float64)
        return state

    def _restore(self) -> None:
        state = self.checkpoint.load() if self.checkpoint is not None else None
        if state is None:
            return
        for index in [*state["done"].tolist(), *state["active"].tolist()]:
            key = f"member/{index}"
            member = Member(index)
            for name, value in zip(_SCALARS, state[f"{key}/scalars"], strict=True):
                kind = int if name in ("steps", "tries") else float
                setattr(member, name, kind(value))
            member.t_level = state[f"{key}/t_level"].tolist()
            member.status, member.reason = (str(w) for w in state[f"{key}/words"])
            prefix = f"{key}/record/"
            member.records = {
                name.removeprefix(prefix): list(rows)
                for name, rows in state.items()
                if name.startswith(prefix)
            }
            member.state = torch.as_tensor(
                state[f"{key}/state"], dtype=self.y.dtype, device=self.y.device
            )
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
