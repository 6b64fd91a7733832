r"""Angles between uniform points on the unit sphere of R^d.

The angle between two of them has density

    h(t) = Gamma(d/2) / (sqrt(pi) Gamma((d-1)/2)) sin^{d-2} t,     0 <= t <= pi.

Source: Cai, Fan and Jiang (2013) for the extreme law; union bounds are elementary.
"""

import math
from typing import Any

import mpmath
import numpy as np
from numpy.typing import ArrayLike
from scipy import special


def cap(angle: ArrayLike, d: int) -> np.ndarray:
    """P(angle between two points <= ``angle``), for angles up to pi/2.

    (1/2) I_{sin^2 e}((d-1)/2, 1/2), I the regularised incomplete beta function.
    """
    return 0.5 * special.betainc((d - 1) / 2, 0.5, np.sin(angle) ** 2)


def cap_by_integral(angle: Any, d: int, digits: int = 30) -> Any:
    """The same by integrating the density in ``digits`` digits."""
    context = mpmath.mp.clone()
    context.dps = digits
    norm = context.gamma(context.mpf(d) / 2) / (
        context.sqrt(context.pi) * context.gamma(context.mpf(d - 1) / 2)
    )
    top = context.mpf(angle)
    # Almost everything sits at the upper end in high dimension.
    parts = [0, top / 2, 0.9 * top, 0.99 * top, top]
    return norm * context.quad(lambda t: context.sin(t) ** (d - 2), parts)


def union_bound(n: int, angle: ArrayLike, d: int) -> np.ndarray:
    """N(N-1)/2 caps: bounds P(some pair is within ``angle``)."""
    return n * (n - 1) / 2 * cap(angle, d)


def power_bound(n: int, angle: ArrayLike, d: int) -> np.ndarray:
    """The union bound with sin t <= t: N(N-1)/2 times 2 K_d e^{d-1}."""
    return n * (n - 1) * extreme_constant(d) * np.asarray(angle, dtype=float) ** (d - 1)


def crude_bound(n: int, angle: ArrayLike, d: int) -> np.ndarray:
    """The same with the ratio of Gamma functions bounded, N^2 e^{d-1}/..."""
    e = np.asarray(angle, dtype=float)
    return n**2 * e ** (d - 1) / (2 * (d - 1)) * math.sqrt((d - 1) / (2 * math.pi))


def extreme_constant(d: int) -> float:
    """K_d = Gamma(d/2)/(4 sqrt(pi) Gamma((d+1)/2))."""
    log = special.gammaln(d / 2) - special.gammaln((d + 1) / 2)
    return float(math.exp(log) / (4 * math.sqrt(math.pi)))


def extreme_law(x: ArrayLike, d: int) -> np.ndarray:
    """1 - exp(-K_d x^{d-1}): law of N^{2/(d-1)} times the smallest angle, N large."""
    return -np.expm1(-extreme_constant(d) * np.asarray(x, dtype=float) ** (d - 1))


def median_smallest_angle(n: int, d: int) -> float:
    """Angle at which n(n-1)/2 independent pairs have a close one with probability 1/2."""
    share = -math.expm1(math.log(0.5) / (n * (n - 1) / 2))
    square = special.betaincinv((d - 1) / 2, 0.5, 2 * share)
    return float(math.asin(math.sqrt(square)))


def median_of_extreme_law(n: int, d: int) -> float:
    """Median smallest angle by the extreme law: a little off in high dimension."""
    x = (math.log(2) / extreme_constant(d)) ** (1 / (d - 1))
    return x * n ** (-2 / (d - 1))
