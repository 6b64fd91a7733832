"""Figures of test errors, fluctuations over initialisations, and ensembles."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lazyrich.figures.style import COLOURS, MARKERS, new

_MF = r"$\sqrt{h}\,\alpha$"


def _percent(axis: Axes) -> None:
    axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")


def performance(table: xr.Dataset) -> Figure:
    """Test error against width at fixed alpha, with the frozen kernel (Fig. 1a)."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    h = table["h"].values
    error = table["test_error"]
    for k, alpha in enumerate(table["alpha"].values):
        mean = error.sel(alpha=alpha).mean("seed")
        bar = error.sel(alpha=alpha).std("seed", ddof=1) / np.sqrt(error.sizes["seed"])
        axis.errorbar(
            h, mean, bar, color=COLOURS[k], marker=MARKERS[k],
            label=rf"$\alpha={alpha:g}$",
        )  # fmt: skip
    frozen = table["frozen_error"].mean(("seed", "alpha"))
    axis.plot(h, frozen, "k--", lw=1.4, label="frozen kernel")
    axis.set_xscale("log", base=2)
    axis.set_xlabel("width $h$")
    axis.set_ylabel("test error (%)")
    _percent(axis)
    axis.legend()
    return figure


def variances(rich: xr.DataArray, lazy: xr.DataArray) -> Figure:
    """Variance of the predictor over initialisations against width (Fig. 2a): trained
    nets over ``h``, frozen kernels over ``n`` and ``h``."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    pairs = [(rich, rf"{_MF}$=10^{{-2}}$")]
    pairs += [(lazy.sel(n=n), f"frozen, $n={int(n)}$") for n in lazy["n"].values]
    for k, (values, label) in enumerate(pairs):
        h = values["h"].values.astype(float)
        axis.loglog(h, values, color=COLOURS[k], marker=MARKERS[k], label=label)
    h = lazy["h"].values.astype(float)
    least = float(lazy.min("n").sel(h=h[-1]))
    axis.loglog(h, 0.6 * least * h[-1] / h, "k--", lw=1.2, label="$-1$")
    axis.set_xticks(h, [f"{int(v)}" for v in h])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("width $h$")
    axis.set_ylabel(r"Var $\alpha(f-f_0)$")
    axis.legend()
    return figure


def ensembles(
    single: xr.DataArray, averaged: xr.DataArray, lazy: Any, lazy_averaged: Any
) -> Figure:
    """Errors of single nets and of averaged predictors over sqrt(h) alpha (Fig. 2b), with
    the frozen kernel at the right end."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    a = single["alpha_mf"].values
    far = a[-1] * 30
    for k, h in enumerate(single["h"].values):
        style: dict[str, Any] = {"color": COLOURS[k], "marker": MARKERS[k]}
        axis.semilogx(a, single.sel(h=h), ls=":", **style)
        axis.semilogx(a, averaged.sel(h=h), label=f"$h={int(h)}$", **style)
        axis.semilogx(far, lazy.sel(h=h), mfc="none", ls="", **style)
        axis.semilogx(far, lazy_averaged.sel(h=h), ls="", **style)
    axis.axvline(far / 6, color="0.7", lw=1)
    axis.set_xticks([*a, far], [f"{v:g}" for v in a] + ["frozen"])
    axis.minorticks_off()
    axis.set_xlabel(_MF)
    axis.set_ylabel("test error (%)")
    _percent(axis)
    axis.legend(title="dotted: single nets", fontsize=10)
    return figure


def threshold(table: xr.Dataset) -> Figure:
    """Share of nets that fit n patterns against width."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    share = (table["violated"] == 0).mean("seed")
    for k, n in enumerate(table["n"].values):
        axis.plot(
            table["h"], share.sel(n=n), color=COLOURS[k], marker=MARKERS[k],
            label=f"$n={int(n)}$",
        )  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_xlabel("width $h$")
    axis.set_ylabel("share of nets that fit")
    axis.legend()
    return figure
