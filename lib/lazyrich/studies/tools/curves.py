"""What is read off a curve: when it first reaches a level.

``first_time`` is for curves that are smooth and well sampled, ``first_crossing`` for curves
with kinks or noise, on which a cubic would swing.
"""

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq


def first_time(t: np.ndarray, values: np.ndarray, level: float) -> float:
    """The first time at which a sampled curve crosses ``level``, between samples.

    A monotone cubic interpolation: third order in the spacing of the samples.

    Raises:
        ValueError: arrays that do not match, or a level that is never crossed.
    """
    if t.shape != values.shape or t.ndim != 1:
        raise ValueError(
            f"t and values must be curves of one length, got {t.shape}, {values.shape}"
        )
    above = values - level
    crossed = np.flatnonzero(np.sign(above[:-1]) * np.sign(above[1:]) <= 0)
    if crossed.size == 0:
        raise ValueError(
            f"level must lie between {values.min():.3g} and {values.max():.3g}, "
            f"the range of the curve, got {level:.3g}"
        )
    k = int(crossed[0])
    near = slice(max(k - 2, 0), k + 4)
    curve = PchipInterpolator(t[near], above[near])
    return float(brentq(lambda u: float(curve(u)), t[k], t[k + 1], xtol=1e-14))  # type: ignore


def first_crossing(t: np.ndarray, curve: np.ndarray, level: float) -> float:
    """First time at which ``curve`` reaches ``level`` from below, by interpolation.

    Raises:
        ValueError: it never does.
    """
    above = curve >= level
    if not above.any():
        raise ValueError(f"level {level:.3g} is not reached, the curve ends below")
    k = int(above.argmax())
    if k == 0:
        return float(t[0])
    share = (level - curve[k - 1]) / (curve[k] - curve[k - 1])
    return float(t[k - 1] + share * (t[k] - t[k - 1]))
