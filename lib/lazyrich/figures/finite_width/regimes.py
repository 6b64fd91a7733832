"""Figures of the comparison of regimes: widths, depths, large steps, a student."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lazyrich.figures.style import COLOURS, MARKERS, new

_MF = r"$\sqrt{h}\,\alpha$"


def _bars(axis: Axes, x: np.ndarray, values: xr.DataArray, k: int, label: str) -> None:
    """Means over seeds with standard errors."""
    bar = values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])
    axis.errorbar(
        x, values.mean("seed"), bar, color=COLOURS[k], marker=MARKERS[k], label=label
    )


def _widths(axis: Axes, h: np.ndarray) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(h, [f"{int(v)}" for v in h])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("width $h$")


def widths(table: xr.Dataset, fixed: xr.Dataset) -> Figure:
    """Test error and kernel change against the width, one curve a series."""
    figure, axes = new(1, 2)
    left, right = axes[0]
    h = table["h"].values
    for k, a in enumerate(table["alpha_mf"].values):
        label = f"{_MF} = $10^{{{round(np.log10(a))}}}$"
        _bars(left, h, 100 * table["test_error"].sel(alpha_mf=a), k, label)
        _bars(right, h, table["kernel_change_end"].sel(alpha_mf=a), k, label)
    k = table.sizes["alpha_mf"]
    for alpha in fixed["alpha"].values:
        change = fixed["kernel_change_end"].sel(alpha=alpha)
        _bars(right, h, change, k, rf"$\alpha={alpha:g}$")
    left.set_ylabel("test error (%)")
    right.set_yscale("log")
    right.set_ylabel("relative kernel change")
    for axis in (left, right):
        _widths(axis, h)
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def depths(table: xr.Dataset) -> Figure:
    """Kernel change and test error against sqrt(h) alpha, one curve a depth."""
    figure, axes = new(1, 2)
    left, right = axes[0]
    a = table["alpha_mf"].values
    for k, L in enumerate(table["L"].values):
        part = table.sel(L=L)
        _bars(left, a, part["kernel_change_end"], k, f"$L={int(L)}$")
        _bars(right, a, 100 * part["test_error"], k, f"$L={int(L)}$")
    left.axhline(1.0, color="0.5", lw=0.8)
    left.set_yscale("log")
    left.set_ylabel("relative kernel change")
    right.set_ylabel("test error (%)")
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xlabel(_MF)
    left.legend()
    return figure


def student(table: xr.Dataset) -> Figure:
    """Test loss of students against alpha: tasks in grey, their mean in front."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    alpha, least = table["alpha"].values, float(table["test_loss"].min())
    for seed in table["seed"].values:
        axis.plot(alpha, table["test_loss"].sel(seed=seed), color="0.6", lw=0.8)
    _bars(axis, alpha, table["test_loss"], 0, "mean")
    axis.set_xscale("log")
    axis.set_yscale("log")
    ticks = [t for t in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if t > 0.5 * least]
    axis.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(r"$\alpha$")
    axis.set_ylabel("test loss / variance of the target")
    return figure
