"""The integrator that the smooth flows share: order eight, adaptive, float64."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import solve_ivp
from torch import Tensor

from lazyrich.core import check

_MOST_EVALUATIONS = 50_000
"""Evaluations of the velocity after which an integration is given up: far more than any
flow of the order of its own time scales needs."""


_LEAST_TOLERANCE = 1e-300
"""Absolute accuracy of states that vanish but for rounding."""


_FIRST = 2
"""Evaluations from which the first step is chosen: there they must be finite."""


class _TooMany(Exception):
    """More evaluations than are allowed."""


def accuracy(name: str, value: float) -> float:
    """``value`` as the relative accuracy of a step, which float64 can keep.

    Raises:
        TypeError, ValueError: no number between 1e-13 and 0.1.
    """
    return check.real(name, value, least=1e-13, most=0.1)


def increasing_times(t: Sequence[float] | np.ndarray | Tensor) -> np.ndarray:
    """``t`` as a new array of float64.

    Raises:
        TypeError: no sequence of real numbers.
        ValueError: no times, the first below 0, or times that do not increase.
    """
    plain = t.detach() if isinstance(t, Tensor) else t
    try:
        given = np.array(plain)
    except (TypeError, ValueError, RuntimeError):
        given = np.array(None)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"t must be a sequence of times, got {check.shown(t)}")
    times = given.astype(np.float64)
    good = times.ndim == 1 and times.size > 0 and np.all(np.diff(times) > 0)
    if not good or times[0] < 0 or not np.all(np.isfinite(times)):
        raise ValueError("t must be increasing times, the first of them >= 0")
    return times


def integrate(
    velocity: Callable[[float, np.ndarray], np.ndarray],
    start: np.ndarray,
    times: np.ndarray,
    rtol: float,
    size: float,
    most: int = _MOST_EVALUATIONS,
) -> tuple[np.ndarray, int]:
    """States (len(times), len(start)) of dy/dt = velocity(t, y), y(0) = start.

    Args:
        velocity, start, times: of the equation; ``times`` from ``increasing_times``.
        rtol: relative accuracy of a step, as from ``accuracy``.
        size: typical size of the state; rtol times it is the absolute accuracy, so that
            small starts are as accurate as large ones. 0 counts as 1.
        most: evaluations after which it gives up.

    Returns:
        states, and how often ``velocity`` was evaluated.

    Raises:
        TypeError, ValueError: an accuracy out of range.
        RuntimeError: the integrator gave up: the motion is too fast for the times t, or
            leaves the range of numbers.
    """
    rtol = accuracy("rtol", rtol)
    if times[-1] == 0.0:
        return start[None].copy(), 0
    count = 0
    reached = 0.0

    def counted(time: float, state: np.ndarray) -> np.ndarray:
        nonlocal count, reached
        count, reached = count + 1, max(reached, time)
        if count > most:
            raise _TooMany
        moved = velocity(time, state)
        if count <= _FIRST and not np.all(np.isfinite(moved)):
            raise RuntimeError(
                "the flow could not be integrated from t = 0: it leaves all numbers there"
            )
        return moved

    scale = size if math.isfinite(size) and size > 0 else 1.0
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            solution = solve_ivp(
                counted, (0.0, float(times[-1])), start, "DOP853", times,
                rtol=rtol, atol=max(rtol * scale, _LEAST_TOLERANCE),
            )  # fmt: skip
    except _TooMany:
        raise RuntimeError(
            f"the flow could not be integrated up to t = {times[-1]:g}: after {count - 1} "
            f"evaluations it was at {reached:.3g}"
        ) from None
    if not solution.success or not np.all(np.isfinite(solution.y)):
        raise RuntimeError(
            f"the flow could not be integrated up to t = {times[-1]:g}: "
            f"{solution.message if not solution.success else 'it leaves all numbers'}"
        )
    return np.ascontiguousarray(solution.y.T), int(solution.nfev)
