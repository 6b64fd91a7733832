"""What is watched along a flow, and where the flow ends: one thing that all flows share."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from lazyrich.core import check

LEVELS = (0.9, 0.5, 0.1, 0.05, 0.01)

ZERO = 1e-12
"""A loss is zero once it is at most this fraction of its start.

A hinge gets to zero in finite time, and what remains below this is rounding of margins
that are one. A smooth loss only approaches zero, and is there to all digits that a
predictor of order one can tell.
"""

Probe = Callable[[Any, dict[str, Tensor]], Callable[[dict[str, Tensor]], Tensor]]
"""Called with the net and the weights of the start; returns a function of the weights."""


class Checkpoint(Protocol):
    """Where an unfinished run keeps its state; see ``sweeps.Checkpoint``."""

    def load(self) -> dict[str, np.ndarray] | None: ...

    def save(self, state: Mapping[str, np.ndarray]) -> None: ...


@dataclass(frozen=True, eq=False)
class Watch:
    """What a flow records, when it ends, and who is told.

    Every flow takes the fields below as keywords of its own, or all together as
    ``watch=``; keywords go before the fields of ``watch``. A flow that cannot follow a
    field refuses it by name.

    Attributes:
        stop_loss: a member is *fitted* once its loss is at most this fraction of its
            start; 0 waits until the loss is zero (``ZERO``), ``None`` goes on to the
            limits.
        max_steps, max_time: a member that gets there is *truncated*; without
            ``max_steps`` the flow's own limit holds.
        levels: fractions of the initial loss whose times are recorded.
        records_per_decade: density of the clock on which curves are recorded.
        x_test: points on which outputs are recorded as well.
        observe: further curves, by name; a probe is called as ``probe(net, w0)`` when a
            member starts and returns a function of ``w``, e.g. ``kernels.kernel_change``.
        checkpoint: where the unfinished state is kept every ``checkpoint_every`` tries,
            so that a killed run goes on from there to the same result; how often is the
            flow's own choice unless it is given.
        progress: called as ``progress(ended, members)`` when a member ends.

    Raises:
        TypeError, ValueError: fields of the wrong form, naming them.

    >>> from lazyrich.dynamics import Watch
    >>> Watch(stop_loss=0.01, levels=[0.5]).levels
    (0.5,)
    """

    stop_loss: float | None = 0.0
    max_steps: int | None = None
    max_time: float = math.inf
    levels: Sequence[float] = LEVELS
    records_per_decade: float = 8.0
    x_test: Tensor | None = None
    observe: Mapping[str, Probe] | None = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    checkpoint_every: int | None = None
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        if self.stop_loss is not None:
            self._set("stop_loss", check.real, least=0.0, most=1.0)
        self._set("max_time", check.real, above=0.0, infinite=True)
        self._set("records_per_decade", check.real, above=0.0)
        for name in ("max_steps", "checkpoint_every"):
            if getattr(self, name) is not None:
                self._set(name, check.positive_int)
        given = self.levels
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise TypeError(
                f"levels must be a sequence of numbers, got {check.shown(given)}"
            )
        levels = [check.real("levels", v, above=0.0, most=1.0) for v in self.levels]
        object.__setattr__(self, "levels", tuple(levels))
        if self.progress is not None:
            check.function("progress", self.progress)
        # What the values may be is for the net to say: some take integers.
        if self.x_test is not None and not isinstance(self.x_test, Tensor):
            kind = type(self.x_test).__name__
            raise TypeError(f"x_test must be a torch.Tensor, got {kind}")
        observe = {} if self.observe is None else self.observe
        if not isinstance(observe, Mapping) or not all(map(callable, observe.values())):
            raise TypeError(f"observe must map names to probes, got {observe!r:.60}")
        object.__setattr__(self, "observe", dict(observe))

    def _set(self, name: str, checked: Callable[..., Any], **limits: Any) -> None:
        object.__setattr__(self, name, checked(name, getattr(self, name), **limits))

    @property
    def stop(self) -> float:
        """The fraction of its start at which a loss ends the flow; -inf if none does."""
        return -math.inf if self.stop_loss is None else max(self.stop_loss, ZERO)

    @property
    def limits(self) -> dict[str, Any]:
        """Where the flow ends, for the settings of its result."""
        return {
            "stop_loss": self.stop_loss,
            "max_steps": self.max_steps,
            "max_time": self.max_time,
        }

    @classmethod
    def of(
        cls,
        flow: str,
        watch: "Watch | None",
        keywords: Mapping[str, Any],
        *,
        follows: Iterable[str] | None = None,
        **own: Any,
    ) -> "Watch":
        """The watch of one call of a flow.

        Args:
            flow: name of the flow, for messages.
            watch: its argument of that name.
            keywords: further keywords of the call, which are fields.
            follows: the fields that this flow can follow; all by default.
            own: the flow's values of fields that the caller leaves open.

        Raises:
            TypeError: a keyword that is no field or that the flow cannot follow, or a
                ``watch`` of another type or with such a field set.
            ValueError: fields out of their range.
        """
        names = [each.name for each in fields(cls)]
        allowed = names if follows is None else [n for n in names if n in set(follows)]
        for name in keywords:
            if name not in allowed:
                raise TypeError(
                    f"{flow} has no keyword {name!r}; what is watched is "
                    f"{', '.join(allowed)}"
                )
        if watch is None:
            return cls(**{**own, **keywords})
        if not isinstance(watch, Watch):
            raise TypeError(f"watch must be a Watch, got {type(watch).__name__}")
        plain = cls()
        for name in names:
            if name not in allowed and getattr(watch, name) != getattr(plain, name):
                raise TypeError(
                    f"watch.{name} is nothing that {flow} can follow; it watches "
                    f"{', '.join(allowed)}"
                )
        open_fields = {k: v for k, v in own.items() if getattr(watch, k) is None}
        return replace(watch, **{**open_fields, **keywords})


def log_clock(per_decade: float, t: float) -> float:
    """The first point after ``t`` of the clock 10^(k / per_decade), k an integer."""
    if t <= 0.0:
        return 0.0
    k = math.floor(math.log10(t) * per_decade + 1e-9) + 1
    return 10.0 ** (k / per_decade)
