"""Figures of the growth phase, of depth and of the inflating layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new

_MF = r"$\sqrt{h}\,\alpha$"
_S = r"$t\,/\,(\sqrt{h}\,\alpha)$"


def _guide(axis: Axes, x: Sequence[float], y0: float, power: float, text: str) -> None:
    """A dashed power law through (x[0], y0) with its exponent beside it."""
    ends = np.array([x[0], x[1]], dtype=float)
    axis.plot(ends, y0 * (ends / ends[0]) ** power, "k--", lw=1.2)
    middle = np.sqrt(ends[0] * ends[1])
    axis.annotate(
        text, (middle, y0 * (middle / ends[0]) ** power),
        xytext=(7, -3), textcoords="offset points", fontsize=11,
    )  # fmt: skip


def start_sizes(widths: Sequence[int], groups: dict[str, np.ndarray]) -> Figure:
    """Sizes by group of parameters (Eqs. 11, 12) or by layer (Fig. 8) against the width."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    h = np.array(widths, dtype=float)
    for k, (name, values) in enumerate(groups.items()):
        axis.loglog(
            h, values.mean(1), color=COLOURS[k % 7], marker=MARKERS[k % 7], label=name
        )
    top = max(float(v.mean(1)[0]) for v in groups.values())
    _guide(axis, (h[0], h[-1]), 1.3 * top, -0.5, "$-1/2$")
    axis.set_xlabel("width $h$")
    axis.set_ylabel("root mean square at $t=0$")
    axis.legend(fontsize=10, ncols=2)
    return figure


def growth(by_width: Any, by_alpha: Any) -> Figure:
    """The output grows in proportion to t: by width, and rescaled, up to sqrt(h) alpha.

    Args:
        by_width, by_alpha: runs of ``studies.early_phase.early_runs``.
    """
    figure, axes = new(1, 2, height=3.9)
    for k, h in enumerate(by_width.labels):
        mean = by_width.output[k].mean(0)
        style: dict[str, Any] = {"color": COLOURS[k], "label": f"$h={h:g}$"}
        axes[0, 0].loglog(by_width.s, mean, **style)
        axes[0, 1].loglog(by_width.s, mean / np.sqrt(h), **style)
    _guide(axes[0, 1], (1.5e-2, 4e-1), 6e-4, 1.0, "$+1$")
    axes[0, 0].set_ylabel(r"$\|f_t-f_0\|$")
    axes[0, 1].set_ylabel(r"$h^{-1/2}\,\|f_t-f_0\|$")
    for axis in axes[0]:
        axis.set_xlabel(_S)
    axes[0, 0].legend()
    return figure


def still(by_width: Any) -> Figure:
    """What has moved before t1 (Eq. 13): read-out weights, pre-activations, kernel."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    quantities = {
        "read-out weights": by_width.read_out,
        "pre-activations": by_width.preactivation,
        "kernel, relative": by_width.kernel,
    }
    for k, (name, curves) in enumerate(quantities.items()):
        for e, h in enumerate(by_width.labels):
            axis.loglog(
                by_width.s, curves[e].mean(0), color=COLOURS[k],
                ls=("-", "--", ":", "-.")[e % 4], label=f"{name}, $h={h:g}$",
            )  # fmt: skip
    axis.set_xlabel(_S)
    axis.set_ylabel("change")
    axis.legend(fontsize=10)
    return figure


def depth_laws(
    table: xr.Dataset, kernel: dict[int, float], weight: dict[int, float]
) -> Figure:
    """Kernel and weight change against sqrt(h) alpha for several depths, with the powers
    of the heuristic (Table 1)."""
    figure, axes = new(1, 2, height=4.0)
    a = table["alpha_mf"].values
    pairs = ((0, "kernel_change_end", kernel), (1, "weight_change_end", weight))
    for column, name, powers in pairs:
        axis = axes[0, column]
        for k, L in enumerate(powers):
            logs: Any = np.log(table[name].sel(L=L))
            mean = np.exp(logs.mean("seed")).values
            axis.loglog(
                a, mean, color=COLOURS[k], marker=MARKERS[k], ls="", label=f"$L={L}$"
            )
            at = len(a) // 2
            axis.loglog(
                a,
                mean[at] * (a / a[at]) ** powers[L],
                color=COLOURS[k],
                ls="--",
                lw=1.2,
            )
        axis.set_xlabel(_MF)
    axes[0, 0].set_ylabel(r"$\|\Delta\Theta\|\,/\,\|\Theta_0\|$")
    axes[0, 1].set_ylabel(r"$\|\Delta w\|\,/\,\|w_0\|$")
    axes[0, 0].legend()
    return figure


def layers(amplifications: dict[int, xr.DataArray]) -> Figure:
    """Amplification of every layer between t1 and the end, one panel a depth."""
    figure, axes = new(1, len(amplifications), height=3.8, sharey=True)
    for axis, (L, value) in zip(axes[0], amplifications.items(), strict=True):
        logs: Any = np.log(value)
        mean = np.exp(logs.mean("seed")).transpose("alpha_mf", "layer")
        for layer in range(L + 1):
            axis.loglog(
                value["alpha_mf"], mean[:, layer], color=COLOURS[layer % 7],
                marker=MARKERS[layer % 7], label=f"$W^{layer}$",
            )  # fmt: skip
        axis.set_title(f"$L={L}$")
        axis.set_xlabel(_MF)
        axis.legend(fontsize=10)
    axes[0, 0].set_ylabel(r"$\lambda^\ell$")
    return figure


def half_loss(table: xr.Dataset) -> Figure:
    """Half-loss time over sqrt(h) alpha: a constant for L > 1, a logarithm for L = 1."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    a = table["alpha_mf"].values
    for k, L in enumerate(table["L"].values):
        ratio = (table["t_half"].sel(L=L) / table["alpha_mf"]).mean("seed")
        axis.semilogx(
            1 / a, ratio, color=COLOURS[k], marker=MARKERS[k], label=f"$L={int(L)}$"
        )
    axis.set_xlabel(r"$1/(\sqrt{h}\,\alpha)$")
    axis.set_ylabel(r"$t_{1/2}\,/\,(\sqrt{h}\,\alpha)$")
    axis.legend()
    return figure
