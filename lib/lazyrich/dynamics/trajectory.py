"""What a flow returns: curves on a log-spaced clock, times, and how each member ended."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import xarray as xr


class Status(StrEnum):
    """How a member ended.

    ``FITTED`` alone supports a claim about the end of training.
    """

    FITTED = "fitted"
    TRUNCATED = "truncated"
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Trajectory:
    """Curves of an ensemble of flows; shorter curves are padded with NaN.

    Axes: ``m`` members, ``k`` records, ``n`` training and ``p`` test examples.

    Attributes:
        alpha: (m,) laziness scales.
        t: (m, k) times; the first record is t = 0, the last one the end.
        loss: (m, k) alpha^2 L, the loss of the predictor F = alpha (f - f0).
        F: (m, k, n) training outputs.
        F_test: (m, k, p) test outputs, or ``None``.
        weight_change: (m, k) |w - w0| / |w0| over all parameters.
        output_change: (m, k) root mean square of f - f0 over the training set.
        observed: further curves (m, k), by the name of their probe.
        levels: loss levels, as fractions of the loss at the start.
        t_level: (m, levels) first times at which the loss falls to them, by
            interpolation between accepted steps; NaN if never reached.
        t_zero: (m,) first time at which the loss is zero, 1e-12 of its start or less;
            NaN if never reached. A hinge gets there; a smooth loss approaches it.
        t_end, loss_end: (m,) at the last accepted step.
        status: how each member ended.
        reason: and why, in words.
        steps, tries: (m,) accepted and attempted steps.
        largest_output_change: (m,) over accepted steps, to be compared with the rule.
        w: final weights, with a member axis.
        settings: what the flow was asked to do; ``reduction`` says whether the loss is
            the mean or the sum over examples.
    """

    alpha: Tensor
    t: Tensor
    loss: Tensor
    F: Tensor
    F_test: Tensor | None
    weight_change: Tensor
    output_change: Tensor
    observed: dict[str, Tensor]
    levels: tuple[float, ...]
    t_level: Tensor
    t_zero: Tensor
    t_end: Tensor
    loss_end: Tensor
    status: tuple[Status, ...]
    reason: tuple[str, ...]
    steps: Tensor
    tries: Tensor
    largest_output_change: Tensor
    w: dict[str, Tensor]
    settings: dict = field(default_factory=dict)

    @property
    def curves(self) -> dict[str, Tensor]:
        """Everything that has one value a record, by name: (m, k, ...)."""
        own = {name: getattr(self, name) for name in _CURVES}
        found = {name: value for name, value in own.items() if value is not None}
        return {**found, **self.observed}

    def end(self, curve: str) -> Tensor:
        """(m, ...) last recorded value of a curve, whatever the padding.

        Raises:
            ValueError: no such curve.
        """
        curves = self.curves
        if curve not in curves:
            raise ValueError(f"curve must be one of {list(curves)}, got {curve!r}")
        value = curves[curve]
        rows = torch.arange(len(value), device=value.device)
        return value[rows, self._last.to(value.device)]

    @property
    def _last(self) -> Tensor:
        """(m,) place of the last record."""
        return (~self.t.isnan()).sum(1) - 1

    def member(self, k: int) -> "Trajectory":
        """The trajectory of one member alone, its curves without padding; all axes stay.

        Raises:
            IndexError: no such member.
        """
        if not 0 <= k < len(self.alpha):
            raise IndexError(f"k must be 0 to {len(self.alpha) - 1}, got {k}")
        one = slice(k, k + 1)
        records = int(self._last[k]) + 1
        found: dict[str, Any] = {}
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            if name in _CURVES:
                found[name] = None if value is None else value[one, :records]
            elif name == "observed":
                found[name] = {key: v[one, :records] for key, v in value.items()}
            elif name == "w":
                found[name] = {key: v[one] for key, v in value.items()}
            elif name not in ("levels", "settings"):
                found[name] = value[one]
        return replace(self, **found)

    def to_dataset(self) -> "xr.Dataset":
        """A table of all there is but the weights.

        Curves have the axes ``member`` and ``record`` and are padded with NaN; ``F`` has
        ``example`` besides, ``F_test`` ``test_example``, several outputs ``output``.
        ``status`` and ``reason`` are words. ``alpha`` and ``level`` are coordinates, and
        ``attrs`` holds those settings that are numbers or words.

        >>> from lazyrich.dynamics import hinge_path
        >>> flow = hinge_path(torch.eye(2), torch.ones(2))
        >>> table = flow.to_dataset()
        >>> str(table["status"].values[0]), float(table["t_end"][0])
        ('fitted', 2.0)
        """
        import xarray as xr  # flows alone do without it

        def array(value: Tensor) -> np.ndarray:
            return value.detach().cpu().numpy()

        axes = {"F": ("example", "output"), "F_test": ("test_example", "output")}
        variables: dict[str, Any] = {
            name: ("member", np.array([str(word) for word in words], dtype=object))
            for name, words in (("status", self.status), ("reason", self.reason))
        }
        for name, value in self.curves.items():
            more = axes.get(name, tuple(f"{name}_{k}" for k in range(value.ndim - 2)))
            dims = ("member", "record", *more[: value.ndim - 2])
            variables[name] = (dims, array(value))
        variables["t_level"] = (("member", "level"), array(self.t_level))
        numbers = {name: getattr(self, name) for name in _NUMBERS} | {"t2": self.t2}
        if 0.5 in self.levels:
            numbers["t1"] = self.t1
        for name, value in numbers.items():
            variables[name] = ("member", array(value))
        plain = {
            k: v for k, v in self.settings.items() if isinstance(v, str | int | float)
        }
        return xr.Dataset(
            variables,
            coords={"alpha": ("member", array(self.alpha)), "level": list(self.levels)},
            attrs={k: int(v) if isinstance(v, bool) else v for k, v in plain.items()},
        )

    def time_to(self, level: float) -> Tensor:
        """(m,) first time at which the loss fell to ``level`` times its start.

        Raises:
            ValueError: a level that the flow was not asked to watch.
        """
        if level not in self.levels:
            raise ValueError(f"level must be one of {self.levels}, got {level!r}")
        return self.t_level[:, self.levels.index(level)]

    @property
    def t1(self) -> Tensor:
        """(m,) t1, the time at which the loss is half of its start (geiger2020, Eq. 10)."""
        return self.time_to(0.5)

    @property
    def t2(self) -> Tensor:
        """(m,) t2, the time at which the loss first vanishes (geiger2020, Fig. 3c)."""
        return self.t_zero

    @property
    def fitted(self) -> Tensor:
        """(m,) whether the member ended by itself."""
        fitted = [status is Status.FITTED for status in self.status]
        return torch.tensor(fitted, device="cpu")


_CURVES = ("t", "loss", "F", "F_test", "weight_change", "output_change")
_NUMBERS = ("t_end", "loss_end", "steps", "tries", "largest_output_change")


def interleave(
    parts: Sequence[tuple[Sequence[int], Trajectory]], settings: dict[str, Any]
) -> Trajectory:
    """One trajectory from several, that hold different members of one ensemble.

    Args:
        parts: each with the places of its members in the whole.
        settings: of the whole.
    """
    first = parts[0][1]
    total = sum(len(places) for places, _ in parts)
    longest = max(part.t.shape[1] for _, part in parts)

    def joined(pick: Any, curve: bool) -> Any:
        whole = None
        for places, part in parts:
            value = pick(part)
            if value is None:
                return None
            shape = (total, longest, *value.shape[2:]) if curve else (
                total, *value.shape[1:]
            )  # fmt: skip
            if whole is None:
                fill = math.nan if value.dtype.is_floating_point else 0
                whole = torch.full(shape, fill, dtype=value.dtype, device=value.device)
            at = torch.as_tensor(places, device=value.device)
            if curve:
                whole[at, : value.shape[1]] = value
            else:
                whole[at] = value
        return whole

    found: dict[str, Any] = {}
    for name in (each.name for each in fields(Trajectory)):
        if name in ("levels", "settings"):
            continue
        value = getattr(first, name)
        if name in ("status", "reason"):
            words = {
                place: word
                for places, part in parts
                for place, word in zip(places, getattr(part, name), strict=True)
            }
            found[name] = tuple(words[k] for k in range(total))
        elif isinstance(value, dict):
            found[name] = {
                key: joined(lambda p, n=name, k=key: getattr(p, n)[k], name != "w")
                for key in value
            }
        else:
            found[name] = joined(lambda p, n=name: getattr(p, n), name in _CURVES)
    return Trajectory(levels=first.levels, settings=settings, **found)
