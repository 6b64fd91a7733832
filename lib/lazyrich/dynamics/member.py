"""The progress of one member of an ensemble: every flow books its steps here."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.dynamics.trajectory import Status, Trajectory
from lazyrich.dynamics.watch import ZERO, Watch, log_clock

_ROUNDING = 1e-12
"""A loss is at a level when it is above it by no more than this, relative to the level: a
flow that ends a step on purpose where the loss meets a level misses it by rounding."""

_END_OF_TIME = 1e200
"""Steps grow geometrically when nothing moves any more, and would end beyond floats."""

_SCALARS = (
    "t", "dt", "last_dt", "drift", "loss", "loss_start", "next_record", "steps", "tries",
    "largest_output_change", "t_zero",
)  # fmt: skip


@dataclass
class Member:
    """Progress of one member; arrays of it go into a checkpoint as they are.

    Attributes:
        index: its place in the ensemble.
        t, loss: now.
        loss_start: loss at the start.
        dt, last_dt: the step to try next, and the last one taken.
        drift, norms: for the bound on weights of ``steps.engine``.
        steps, tries: accepted and attempted steps.
        largest_output_change: over accepted steps.
        next_record: the point of the clock from which on the next record is made.
        t_level: first times at the levels that are watched.
        t_zero: first time at which the loss is zero.
        status, reason: how it ended, empty before.
        records: rows of the curves, by name.
        state: (size,) weights, or what else is integrated.
    """

    index: int
    t: float = 0.0
    dt: float = 0.0
    last_dt: float = 0.0
    drift: float = 0.0
    norms: list[float] = field(default_factory=list)
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

    def begin(self, loss: float, watch: Watch) -> None:
        """Start at a loss; a loss that is not finite ends the member at once."""
        self.loss = self.loss_start = loss
        self.t_level = [math.nan] * len(watch.levels)
        if not math.isfinite(loss):
            self.end(Status.DIVERGED, "the outputs are not finite at t = 0")

    def book(
        self,
        t: float,
        dt: float,
        loss: float,
        watch: Watch,
        *,
        steps: int = 1,
        crossing: Callable[[float], float] | None = None,
        limit: str = "max_steps",
    ) -> None:
        """Book accepted steps: levels that the loss has crossed, and whether that is all.

        Args:
            t, loss: after the steps.
            dt: how long they took.
            watch: what is watched.
            steps: how many they are.
            crossing: time since their beginning at which the loss falls to a value; by
                default on a straight line between both ends.
            limit: what the flow calls its largest number of steps.
        """
        t_before, loss_before = self.t, self.loss
        self.t, self.loss, self.last_dt = t, loss, dt
        self.steps += steps

        def straight(target: float) -> float:
            if not loss < loss_before:
                return dt
            return min((loss_before - target) / (loss_before - loss), 1.0) * dt

        for k, level in enumerate(watch.levels):
            target = level * self.loss_start
            if math.isnan(self.t_level[k]) and _at(loss, target):
                self.t_level[k] = t_before + (crossing or straight)(target)
        if self.is_zero and math.isnan(self.t_zero):
            self.t_zero = t
        if _at(loss, watch.stop * self.loss_start):
            zero = "loss is zero to rounding"
            fell = f"loss fell to {watch.stop_loss or 0:g} of its start"
            self.end(Status.FITTED, zero if self.is_zero else fell)
        else:
            self._truncate(watch, limit)

    @property
    def is_zero(self) -> bool:
        """Whether the loss is zero, ``watch.ZERO`` of its start or less."""
        return _at(self.loss, ZERO * self.loss_start)

    def end(self, status: Status, reason: str) -> None:
        """Say how the member ended."""
        self.status, self.reason = status, reason

    def _truncate(self, watch: Watch, limit: str) -> None:
        """End the member if it has come to a limit without having fitted the data."""
        most = math.inf if watch.max_steps is None else watch.max_steps
        if self.t >= watch.max_time * (1 - 1e-12):
            reason = f"max_time = {watch.max_time:g} reached"
        elif self.steps >= most:
            reason = f"{limit} = {watch.max_steps} reached"
        elif self.t > _END_OF_TIME:
            reason = "the outputs no longer move"
        else:
            return
        self.end(Status.TRUNCATED, reason)

    @property
    def at_record(self) -> bool:
        """Whether a record is due: the clock has come to one, or the member has ended."""
        return bool(self.status) or self.t >= self.next_record

    def record(self, **rows: Any) -> None:
        """Book one row of every curve; tensors become float64 arrays."""
        for name, value in rows.items():
            if isinstance(value, Tensor):
                value = value.double().cpu().numpy()
            self.records.setdefault(name, []).append(value)

    def wind(self, watch: Watch) -> None:
        """Set the clock to its first point after now."""
        self.next_record = log_clock(watch.records_per_decade, self.t)

    def as_arrays(self) -> dict[str, np.ndarray]:
        """All of it as plain arrays, under keys that begin with ``member/<index>``."""
        key = f"member/{self.index}"
        return {
            f"{key}/scalars": np.array([float(getattr(self, k)) for k in _SCALARS]),
            f"{key}/t_level": np.array(self.t_level),
            f"{key}/norms": np.array(self.norms),
            f"{key}/words": np.array([str(self.status), self.reason]),
            f"{key}/state": final_state(self).cpu().numpy().copy(),
            **{
                f"{key}/record/{name}": np.asarray(rows, dtype=np.float64)
                for name, rows in self.records.items()
            },
        }

    @classmethod
    def from_arrays(
        cls, index: int, arrays: Mapping[str, np.ndarray], like: Tensor
    ) -> "Member":
        """The inverse of ``as_arrays``; the state gets dtype and device of ``like``."""
        key, member = f"member/{index}", cls(index)
        for name, value in zip(_SCALARS, arrays[f"{key}/scalars"], strict=True):
            kind = int if name in ("steps", "tries") else float
            setattr(member, name, kind(value))
        member.t_level = arrays[f"{key}/t_level"].tolist()
        member.norms = arrays[f"{key}/norms"].tolist()
        member.status, member.reason = (str(word) for word in arrays[f"{key}/words"])
        prefix = f"{key}/record/"
        member.records = {
            name.removeprefix(prefix): list(rows)
            for name, rows in arrays.items()
            if name.startswith(prefix)
        }
        member.state = torch.as_tensor(
            arrays[f"{key}/state"], dtype=like.dtype, device=like.device
        )
        return member


def _at(loss: float, target: float) -> bool:
    return loss <= target * (1.0 + _ROUNDING)


def final_state(member: Member) -> Tensor:
    """The state in which a member was left."""
    assert member.state is not None
    return member.state


def padded(members: list[Member]) -> dict[str, Tensor]:
    """The members' curves (members, records, ...), shorter ones padded with NaN."""
    longest = max(len(m.records["t"]) for m in members)
    curves: dict[str, Tensor] = {}
    for name in members[0].records:
        one = np.asarray(members[0].records[name][0])
        whole = np.full((len(members), longest, *one.shape), np.nan)
        for rows, member in zip(whole, members, strict=True):
            rows[: len(member.records[name])] = member.records[name]
        curves[name] = torch.from_numpy(whole)
    return curves


def collect(
    members: list[Member],
    curves: dict[str, Tensor],
    alpha: Tensor,
    watch: Watch,
    w: dict[str, Tensor],
    settings: dict[str, Any],
) -> Trajectory:
    """Members that have ended, and their ``padded`` curves, as one ``Trajectory``."""

    def column(name: str) -> Tensor:
        # through numpy: torch would make float32 of Python numbers
        return torch.from_numpy(np.array([getattr(m, name) for m in members]))

    known = ("t", "loss", "F", "F_test", "weight_change")
    alpha = alpha.to(torch.float64).cpu()
    size = curves["F"].flatten(2).square().mean(2).sqrt()
    return Trajectory(
        alpha=alpha,
        t=curves["t"],
        loss=curves["loss"],
        F=curves["F"],
        F_test=curves.get("F_test"),
        weight_change=curves["weight_change"],
        output_change=size / alpha.unsqueeze(1),
        observed={name: v for name, v in curves.items() if name not in known},
        levels=tuple(watch.levels),
        t_level=column("t_level"),
        t_zero=column("t_zero"),
        t_end=column("t"),
        loss_end=column("loss"),
        status=tuple(Status(m.status) for m in members),
        reason=tuple(m.reason for m in members),
        steps=column("steps"),
        tries=column("tries"),
        largest_output_change=column("largest_output_change"),
        w=w,
        settings={**settings, "reduction": "mean"},
    )
