"""The integrator that the smooth flows share: order eight, adaptive, float64."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.integrate import solve_ivp
from torch import Tensor


def increasing_times(t: Sequence[float] | np.ndarray | Tensor) -> np.ndarray:
    """``t`` as a new array of float64.

    Raises:
        ValueError: no times, the first below 0, or times that do not increase.
    """
    times = np.array(t, dtype=np.float64)
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
) -> tuple[np.ndarray, int]:
    """States (len(times), len(start)) of dy/dt = velocity(t, y), y(0) = start.

    Args:
        velocity, start, times: of the equation; ``times`` from ``increasing_times``.
        rtol: relative accuracy of a step.
        size: typical size of the state; rtol times it is the absolute accuracy, so that
            small starts are as accurate as large ones. 0 counts as 1.

    Returns:
        states, and how often ``velocity`` was evaluated.

    Raises:
        RuntimeError: the integrator gave up.
    """
    if times[-1] == 0.0:
        return start[None].copy(), 0
    solution = solve_ivp(
        velocity, (0.0, float(times[-1])), start, "DOP853", times,
        rtol=rtol, atol=rtol * (size or 1.0),
    )  # fmt: skip
    if not solution.success:
        raise RuntimeError(f"the flow could not be integrated: {solution.message}")
    return np.ascontiguousarray(solution.y.T), int(solution.nfev)
