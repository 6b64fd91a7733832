"""Exponents with error bars, and the quality of a collapse as a number."""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import xarray as xr
from scipy.optimize import minimize

from lazyrich.core import check, rng

Table = TypeVar("Table", xr.Dataset, xr.DataArray)


@dataclass(frozen=True)
class Slope:
    """A log-log slope and its standard error over seeds.

    Attributes:
        skipped: labels of the seeds left out, because a value of theirs is missing.
    """

    value: float
    error: float
    skipped: tuple[int, ...] = ()

    def __neg__(self) -> "Slope":
        return replace(self, value=-self.value)

    def __str__(self) -> str:
        digits = 2
        if 0.0 < self.error < 0.01:  # an error of 0.00 says nothing
            digits = -math.floor(math.log10(self.error))
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


def window(table: Table, low: float, high: float, axis: str = "alpha_mf") -> Table:
    """The part of a table with ``low <= axis <= high``, up to rounding.

    Raises:
        ValueError: fewer than two values are left to fit a slope to.
    """
    a = table[axis]
    part = table.sel({axis: a[(a >= low * 0.999) & (a <= high * 1.001)]})
    if part.sizes[axis] < 2:
        raise ValueError(
            f"the window [{low:g}, {high:g}] must hold two values of {axis} at least, "
            f"got {part[axis].values.tolist()}"
        )
    return part


def bootstrap(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    name: str,
    draws: int = 400,
) -> Slope:
    """A statistic of ``values`` (seeds first) with its bootstrap error over seeds.

    With k seeds the plain bootstrap underestimates a variance by (k - 1)/k; the error is
    corrected for that. Three seeds give an error bar good to about half of itself.

    Raises:
        ValueError: fewer than two seeds.
    """
    seeds = check.positive_int("number of seeds", len(values), least=2)
    gen = rng.numpy_generator("bootstrap", name)
    found = [statistic(values[gen.integers(seeds, size=seeds)]) for _ in range(draws)]
    error = float(np.std(found)) * np.sqrt(seeds / (seeds - 1))
    return Slope(float(statistic(values)), error)


def loglog_slope(x: np.ndarray, y: np.ndarray) -> float:
    """Least-squares slope of log y against log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def slope_over_seeds(variable: xr.DataArray, axis: str = "alpha_mf") -> Slope:
    """Slope of the seed-averaged log of a variable against log ``axis``.

    Other axes than ``seed`` and ``axis`` (the width, say) are averaged over as well:
    their offsets do not enter the slope. A seed that lacks a value (NaN: a member which
    did not end by itself) is skipped altogether, for its offset would enter, and named in
    the result.

    Args:
        variable: positive, over ``seed``, ``axis`` and possibly more.
        axis: what it is fitted against.

    Raises:
        ValueError: values that are not positive and finite, or fewer than two seeds
            without a gap.
    """
    arranged = variable.transpose("seed", axis, ...)
    values = arranged.values.reshape(*arranged.shape[:2], -1)
    gap = np.isnan(values).any(axis=(1, 2))
    skipped = tuple(int(s) for s in arranged["seed"].values[gap])
    if (~gap).sum() < 2:
        raise ValueError(
            f"{variable.name} must have two seeds without a gap to fit a slope against "
            f"{axis}, got gaps in seeds {list(skipped)} of {gap.size}"
        )
    values = values[~gap]
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(
            f"{variable.name} must be positive and finite to fit its logarithm against "
            f"{axis}, got {values.min():.3g} to {values.max():.3g}"
        )
    x = np.log(variable[axis].values.astype(float))

    def statistic(sample: np.ndarray) -> float:
        return float(np.polyfit(x, np.log(sample).mean(axis=(0, 2)), 1)[0])

    found = bootstrap(values, statistic, f"{variable.name}/{axis}")
    return replace(found, skipped=skipped)


def slopes_by_window(
    variable: xr.DataArray,
    windows: Iterable[tuple[float, float]],
    axis: str = "alpha_mf",
) -> dict[tuple[float, float], Slope]:
    """How far an exponent depends on where it is fitted: a slope for every window.

    Args:
        variable: as for ``slope_over_seeds``.
        windows: pairs (low, high) of ``axis``.

    Raises:
        ValueError: as ``window`` and ``slope_over_seeds``.
    """
    return {
        (low, high): slope_over_seeds(window(variable, low, high, axis), axis)
        for low, high in windows
    }


def local_windows(
    variable: xr.DataArray, low: float, high: float, axis: str = "alpha_mf"
) -> list[tuple[float, float]]:
    """The windows between neighbours on the grid of ``axis``, from ``low`` to ``high``:
    with ``slopes_by_window`` the local slopes."""
    grid = [float(a) for a in window(variable, low, high, axis)[axis].values]
    return list(itertools.pairwise(grid))


def window_table(slopes: Mapping[str, Mapping[tuple[float, float], Slope]]) -> str:
    """Slopes by window as text, a line for every window and a column for every name.

    A slope from which seeds were left out has a star.

    Args:
        slopes: by the name of what was fitted, the result of ``slopes_by_window``.
    """
    windows = sorted({w for column in slopes.values() for w in column})
    lines = ["window".ljust(20) + "".join(name.rjust(18) for name in slopes)]
    for w in windows:
        cells = [
            f"{column[w]}{'*' if column[w].skipped else ' '}" if w in column else ""
            for column in slopes.values()
        ]
        head = f"[{w[0]:.3g}, {w[1]:.3g}]"
        lines.append(head.ljust(20) + "".join(cell.rjust(18) for cell in cells))
    return "\n".join(lines)


def collapse_quality(
    alpha_mf: np.ndarray, curves: dict[int, np.ndarray], p: float
) -> float:
    """Q(p): variance across widths over total variance, curves against log(alpha h^p).

    0 is a perfect collapse. Curves are compared on the common range of their abscissae.

    Args:
        alpha_mf: (k,) sqrt(h) alpha, the same grid for every width.
        curves: by width, (k,) values, usually a logarithm.
        p: exponent of the width in the collapse variable; the paper says 1/2.
    """
    abscissa = {h: np.log(alpha_mf / np.sqrt(h)) + p * np.log(h) for h in curves}
    low = max(a.min() for a in abscissa.values())
    high = min(a.max() for a in abscissa.values())
    grid = np.linspace(low, high, 200)
    rows = np.array([np.interp(grid, abscissa[h], curves[h]) for h in curves])
    return float(rows.var(axis=0).mean() / rows.var())


def collapse_exponent(
    variable: xr.DataArray, powers: np.ndarray | None = None
) -> tuple[Slope, float, float]:
    """The exponent p that collapses a variable best, Q at p = 1/2, and Q at p = 0.

    Args:
        variable: positive, over ``h``, ``alpha_mf`` and ``seed``; its logarithm is
            collapsed.
        powers: candidate values of p.

    Returns:
        best p with its error over seeds, Q(1/2), Q(0), the null of no collapse.
    """
    candidates = np.arange(0.0, 1.0001, 0.01) if powers is None else powers
    values = np.log(variable.transpose("seed", "h", "alpha_mf").values)
    a = variable["alpha_mf"].values.astype(float)
    widths = [int(h) for h in variable["h"].values]

    def quality(sample: np.ndarray, p: float) -> float:
        mean = sample.mean(axis=0)
        return collapse_quality(a, dict(zip(widths, mean, strict=True)), p)

    def best(sample: np.ndarray) -> float:
        return float(candidates[np.argmin([quality(sample, p) for p in candidates])])

    found = bootstrap(values, best, f"collapse/{variable.name}", draws=100)
    return found, quality(values, 0.5), quality(values, 0.0)


@dataclass(frozen=True)
class Collapse:
    """A collapse of h^q y against alpha h^p, with errors over seeds.

    ``quality`` is Q at the best (p, q), ``at_half`` that at p = q = 1/2, ``null`` that of
    the curves y against alpha, p = q = 0.
    """

    p: Slope
    q: Slope
    quality: float
    at_half: float
    null: float


def collapse_in_two(variable: xr.DataArray, draws: int = 100) -> Collapse:
    """The pair (p, q) that collapses h^q times a variable best against alpha h^p.

    Args:
        variable: positive, over ``h``, ``alpha_mf`` and ``seed``.
        draws: of the bootstrap over seeds.
    """
    values = np.log(variable.transpose("seed", "h", "alpha_mf").values)
    a = variable["alpha_mf"].values.astype(float)
    widths = [int(h) for h in variable["h"].values]

    def quality(sample: np.ndarray, p: float, q: float) -> float:
        curves = sample.mean(axis=0) + q * np.log(widths)[:, None]
        return collapse_quality(a, dict(zip(widths, curves, strict=True)), p)

    def best(sample: np.ndarray) -> np.ndarray:
        found = minimize(
            lambda pq: quality(sample, *pq), (0.5, 0.5), method="Nelder-Mead",
            options={"xatol": 1e-3, "fatol": 1e-8},
        )  # fmt: skip
        return found.x

    gen = rng.numpy_generator("bootstrap", f"collapse in two/{variable.name}")
    k = check.positive_int("number of seeds", len(values), least=2)
    drawn = np.array([best(values[gen.integers(k, size=k)]) for _ in range(draws)])
    p, q = best(values)
    errors = drawn.std(axis=0) * np.sqrt(k / (k - 1))
    return Collapse(
        Slope(float(p), float(errors[0])), Slope(float(q), float(errors[1])),
        quality(values, p, q), quality(values, 0.5, 0.5), quality(values, 0.0, 0.0),
    )  # fmt: skip


def relative_spread(variable: xr.DataArray, axis: str) -> xr.DataArray:
    """Standard deviation over mean along one axis."""
    return variable.std(axis, ddof=1) / variable.mean(axis)


def crossing(variable: xr.DataArray, value: float = 1.0) -> xr.DataArray:
    """The ``alpha_mf`` at which a decreasing variable passes ``value``, by interpolation
    of logarithms; one for every point of the other axes.

    Raises:
        ValueError: the variable does not pass the value.
    """
    log_a = np.log(variable["alpha_mf"].values.astype(float))

    def interpolate(row: np.ndarray) -> float:
        excess = np.log(row / value)
        if not (excess.max() > 0 > excess.min()):
            raise ValueError(
                f"{variable.name} must pass {value:g} within the grid, got values from "
                f"{row.min():.3g} to {row.max():.3g}"
            )
        k = int(np.flatnonzero(excess > 0).max())
        share = excess[k] / (excess[k] - excess[k + 1])
        return float(np.exp(log_a[k] + share * (log_a[k + 1] - log_a[k])))

    return xr.apply_ufunc(
        interpolate, variable, input_core_dims=[["alpha_mf"]], vectorize=True
    )


def slope_in_width(variable: xr.DataArray) -> Slope:
    """Log-log slope in the width of the mean logarithm over everything else, with a
    bootstrap error over seeds."""
    return slope_over_seeds(variable, axis="h")
