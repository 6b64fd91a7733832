"""Exponents with error bars, and the quality of a collapse as a number."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr

from lazyrich.core import check, rng


@dataclass(frozen=True)
class Slope:
    """A log-log slope and its standard error over seeds."""

    value: float
    error: float


def window(table: xr.Dataset, low: float, high: float) -> xr.Dataset:
    """The part of a table with ``low <= alpha_mf <= high``, up to rounding.

    Raises:
        ValueError: fewer than two values are left to fit a slope to.
    """
    a = table["alpha_mf"]
    part = table.sel(alpha_mf=a[(a >= low * 0.999) & (a <= high * 1.001)])
    if part.sizes["alpha_mf"] < 2:
        raise ValueError(
            f"the window [{low:g}, {high:g}] must hold two values of alpha_mf at least, "
            f"got {part['alpha_mf'].values.tolist()}"
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
    their offsets do not enter the slope.

    Args:
        variable: positive, over ``seed``, ``axis`` and possibly more.
        axis: what it is fitted against.

    Raises:
        ValueError: values that are not positive and finite in the fit window.
    """
    arranged = variable.transpose("seed", axis, ...)
    values = arranged.values.reshape(*arranged.shape[:2], -1)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(
            f"{variable.name} must be positive and finite to fit its logarithm against "
            f"{axis}, got {values.min():.3g} to {values.max():.3g}"
        )
    x = np.log(variable[axis].values.astype(float))

    def statistic(sample: np.ndarray) -> float:
        return float(np.polyfit(x, np.log(sample).mean(axis=(0, 2)), 1)[0])

    return bootstrap(values, statistic, f"{variable.name}/{axis}")


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
