r"""How close random points on a sphere come, and the depth that follows from it."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from lazyrich.core.rng import numpy_generator
from lazyrich.studies.tools.statistics import loglog_slope

CASES = ((20, 3, 0.1), (50, 5, 0.2), (100, 10, 0.5), (30, 2, 0.005))
"""(N, d, angle) of the Monte-Carlo check."""


def smallest_angles(n: int, d: int, draws: int, seed: int = 0) -> np.ndarray:
    """Smallest angle between n uniform points on the sphere of R^d, ``draws`` times.

    The closest pair is found by scalar products and measured by its distance, which
    keeps the digits of small angles.
    """
    gen = numpy_generator("sphere-angles", n, d, seed)
    found = np.empty(draws)
    block = max(1, 2_000_000 // n**2)
    for start in range(0, draws, block):
        count = min(block, draws - start)
        x = gen.standard_normal((count, n, d))
        x /= np.linalg.norm(x, axis=2, keepdims=True)
        gram = x @ x.transpose(0, 2, 1)
        gram[:, np.arange(n), np.arange(n)] = -2
        i, j = np.divmod(gram.reshape(count, -1).argmax(1), n)
        row = np.arange(count)
        distance = np.linalg.norm(x[row, i] - x[row, j], axis=1)
        found[start : start + count] = 2 * np.arcsin(distance / 2)
    return found


def separation(
    union: Callable[[int, float, int], float], draws: int = 4000
) -> dict[str, float]:
    """Proposition 7 by simulation: violations of the union bound in standard errors,
    and the largest distance from 1 - exp(-union), less 4 standard errors."""
    above, off = -math.inf, 0.0
    for n, d, angle in CASES:
        share = float((smallest_angles(n, d, draws) <= angle).mean())
        error = math.sqrt(share * (1 - share) / draws)
        bound = float(union(n, angle, d))
        above = max(above, (share - bound) / error)
        off = max(off, abs(share + math.expm1(-bound)) - 4 * error)
    return {"above_union": above, "off_poisson": off}


def distance_to_law(
    law: Callable[[np.ndarray, int], np.ndarray], n: int = 200, draws: int = 2000
) -> dict[int, float]:
    """Kolmogorov-Smirnov distance of rescaled smallest angles from ``law``, by d."""
    found = {}
    for d in (2, 3, 5):
        x = np.sort(smallest_angles(n, d, draws, seed=1) * n ** (2 / (d - 1)))
        expected = law(x, d)
        above = np.arange(1, draws + 1) / draws - expected
        below = expected - np.arange(draws) / draws
        found[d] = float(max(above.max(), below.max()))
    return found


def inverse_angles(
    sizes: Sequence[int], d: int, draws: int, seed: int = 2
) -> np.ndarray:
    """Median over draws of 1/theta_min for nested uniform data, by size."""
    gen = numpy_generator("sphere-nested", d, seed)
    n = max(sizes)
    found = np.empty((draws, len(sizes)))
    for draw in range(draws):
        x = gen.standard_normal((n, d))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        # For every point its closest predecessor: nested sets share the work.
        best = np.full(n, -2.0)
        nearest = np.zeros(n, dtype=int)
        for start in range(0, n, 500):
            rows = slice(start, min(start + 500, n))
            gram = x[rows] @ x[: rows.stop].T
            later = (
                np.arange(rows.stop)[None, :]
                >= np.arange(rows.start, rows.stop)[:, None]
            )
            gram[later] = -2
            nearest[rows] = gram.argmax(1)
            best[rows] = gram.max(1)
        for column, size in enumerate(sizes):
            i = int(best[:size].argmax())
            distance = np.linalg.norm(x[i] - x[nearest[i]])
            found[draw, column] = 1 / (2 * math.asin(distance / 2))
    return np.median(found, axis=0)


def growth_exponents(
    sizes: Sequence[int], dimensions: Sequence[int], draws: int
) -> tuple[dict[int, float], dict[int, np.ndarray]]:
    """Fig. 8: log-log slopes of the median of 1/theta_min in N, and the medians, by d."""
    medians = {d: inverse_angles(sizes, d, draws) for d in dimensions}
    n = np.array(sizes, dtype=float)
    return {d: loglog_slope(n, m) for d, m in medians.items()}, medians
