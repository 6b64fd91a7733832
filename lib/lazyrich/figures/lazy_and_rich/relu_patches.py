"""Figures of the third regime of ReLU nets."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new, power_guide

_MF = r"$\sqrt{h}\,\alpha$"


def response(
    s: np.ndarray,
    kernel: np.ndarray,
    flips: np.ndarray,
    smooth: np.ndarray,
    widths: Sequence[int],
) -> Figure:
    """Kernel change and number of flipped signs along the lazy displacement.

    Args:
        s: values of sqrt(h) alpha.
        kernel, flips: (widths, s), of ReLU nets.
        smooth: (s,) kernel change of softplus nets of the last width.
        widths: values of h.
    """
    figure, axes = new(1, 2, height=4.1)
    left, right = axes[0]
    for k, h in enumerate(widths):
        left.loglog(s, kernel[k], color=COLOURS[k], marker=MARKERS[k], label=f"$h={h}$")
        seen = flips[k] > 0
        right.loglog(
            s[seen], flips[k][seen], color=COLOURS[k], marker=MARKERS[k],
            label=f"$h={h}$",
        )  # fmt: skip
    left.loglog(s, smooth, color="0.5", ls=":", label="softplus")
    power_guide(
        left, (30.0, 3e3), 2.0 * kernel[0][np.searchsorted(s, 30.0)], -0.5, "$-1/2$"
    )
    far = np.searchsorted(s, 1e7)
    power_guide(left, (s[far], s[-1]), 3.0 * kernel[0][far], -1.0, "$-1$")
    power_guide(
        right, (30.0, 1e4), 2.0 * flips[-1][np.searchsorted(s, 30.0)], -1.0, "$-1$"
    )
    left.set_ylabel(r"$\|\Delta\Theta\|\,/\,\|\Theta_0\|$")
    right.set_ylabel("flipped signs a net")
    for axis in (left, right):
        axis.set_xlabel(_MF)
    left.legend(fontsize=10)
    return figure


def trained(table: xr.Dataset, exponent: float) -> Figure:
    """Kernel change of trained ReLU nets over all regimes (Fig. 9)."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    change = table["kernel_change_end"].where(table["status"] == "fitted")
    for seed in change["seed"].values:
        axis.loglog(
            change["alpha_mf"], change.sel(seed=seed), color="0.7", marker=".", ls=""
        )
    logs: Any = np.log(change)
    mean = np.exp(logs.mean("seed"))
    axis.loglog(change["alpha_mf"], mean, color=COLOURS[0], marker="o")
    at = float(mean.sel(alpha_mf=1e-2))
    power_guide(
        axis,
        (1e-4, 1.0),
        4 * at * 1e-2**exponent * 1e4**exponent,
        -exponent,
        f"$-{exponent:.3g}$",
    )
    power_guide(axis, (1e2, 1e4), 2 * float(mean.sel(alpha_mf=1e2)), -0.5, "$-1/2$")
    axis.set_xlabel(_MF)
    axis.set_ylabel(r"$\|\Delta\Theta\|\,/\,\|\Theta_0\|$")
    return figure
