"""Figures of the growth phase, of depth and of the inflating layers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from lazyrich.figures.slider import Sliders
from lazyrich.figures.style import COLOURS, MARKERS, new, power_guide

_MF = r"$\sqrt{h}\,\alpha$"
_S = r"$t\,/\,(\sqrt{h}\,\alpha)$"


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
    power_guide(axis, (h[0], h[-1]), 1.3 * top, -0.5, "$-1/2$", offset=(7, -3))
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
    power_guide(axes[0, 1], (1.5e-2, 4e-1), 6e-4, 1.0, "$+1$", offset=(7, -3))
    axes[0, 0].set_ylabel(r"$\|f_t-f_0\|$")
    axes[0, 1].set_ylabel(r"$h^{-1/2}\,\|f_t-f_0\|$")
    for axis in axes[0]:
        axis.set_xlabel(_S)
    axes[0, 0].legend()
    return figure


def still(by_width: Any) -> Figure:
    """What has moved before sqrt(h) alpha (Eq. 13): read-out weights, pre-activations,
    kernel, with guides for the two orders of the kernel."""
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    quantities = {
        "read-out weights": by_width.read_out,
        "pre-activations": by_width.preactivation,
        "kernel, relative": by_width.kernel,
    }
    strokes = ("-", "--", ":", "-.")
    for k, (name, curves) in enumerate(quantities.items()):
        axis.plot([], [], color=COLOURS[k], label=name)
        for e in range(len(by_width.labels)):
            axis.loglog(
                by_width.s, curves[e].mean(0), color=COLOURS[k], ls=strokes[e % 4]
            )
    for e, h in enumerate(by_width.labels):
        axis.plot([], [], color="0.4", ls=strokes[e % 4], label=f"$h={h:g}$")
    lowest = by_width.kernel.mean(1).min(0)
    power_guide(axis, (1e-2, 1e-1), 0.6 * lowest[0], 1.0, "$+1$", offset=(7, -9))
    power_guide(axis, (0.3, 1.0), 0.045 * lowest[-1], 2.0, "$+2$", offset=(7, -9))
    axis.set_xlabel(_S)
    axis.set_ylabel("change")
    axis.legend(fontsize=10, ncols=2, loc="upper left")
    axis.set_ylim(None, 3.0)
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
    """Amplification of every layer between sqrt(h) alpha and the end, a panel a depth."""
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


def explorer(table: xr.Dataset, labels: np.ndarray, seed: int) -> Sliders:
    """Loss, kernel change, weight change and margins along time, by width and alpha.

    Args:
        table: of the alpha-sweep.
        labels: (n,) targets of the training points.
        seed: which net of every pair.
    """
    widths = [int(h) for h in table["h"].values]
    alphas = [float(a) for a in table["alpha_mf"].values]
    some = table.sel(seed=seed)
    limits = {
        name: (0.5 * float(values.min()), 2.0 * float(values.max()))
        for name, values in (
            (name, some[name].where(some[name] > 0.0))
            for name in ("t", "loss", "kernel_change", "weight_change")
        )
    }
    frames, alts = [], []
    for h in widths:
        for a in alphas:
            one = some.sel(h=h, alpha_mf=a)
            margins = (one["F"] * labels).values
            frames.append(_along(some.sel(h=h), one, margins, a, limits))
            seen = np.isfinite(one["t"].values)
            alts.append(
                f"h = {h}, sqrt(h) alpha = {a:g}: the loss is halved at t = "
                f"{float(one['t1']):.2g} and the run ends at t = "
                f"{float(one['t'].max()):.2g}; there the kernel has changed by "
                f"{float(one['kernel_change_end']):.2g} and the weights by "
                f"{float(one['weight_change_end']):.2g} of their norm, and the median "
                f"margin is {float(np.median(margins[seen][-1])):.2g}."
            )
    axes = {"width h": [str(h) for h in widths], "√h α": [f"{a:g}" for a in alphas]}
    start = len(alphas) * (len(widths) - 1) + len(alphas) // 2
    return Sliders(frames, axes, alts, start=start)


def _along(
    every: xr.Dataset,
    one: xr.Dataset,
    margins: np.ndarray,
    a: float,
    limits: dict[str, tuple[float, float]],
) -> Figure:
    figure, axes = new(2, 2, height=5.4, sharex=True)
    curves = (
        (axes[0, 0], "loss", r"$\alpha^2\mathcal{L}$"),
        (axes[0, 1], "kernel_change", r"$\|\Delta\Theta\|/\|\Theta_0\|$"),
        (axes[1, 0], "weight_change", r"$\|w-w_0\|/\|w_0\|$"),
    )
    for axis, name, title in curves:
        for other in every["alpha_mf"].values:
            curve = every.sel(alpha_mf=other)
            axis.plot(curve["t"], curve[name], color="0.85", lw=0.9)
        axis.plot(one["t"], one[name], color=COLOURS[0], lw=2.2)
        axis.set(yscale="log", ylim=limits[name], title=title)
    spread = axes[1, 1]
    seen = np.isfinite(one["t"].values)
    low, quarter, middle, three, high = np.percentile(
        margins[seen], (5, 25, 50, 75, 95), axis=1
    )
    t = one["t"].values[seen]
    spread.fill_between(t, low, high, color=COLOURS[2], alpha=0.2, lw=0)
    spread.fill_between(t, quarter, three, color=COLOURS[2], alpha=0.35, lw=0)
    spread.plot(t, middle, color=COLOURS[2])
    spread.axhline(1.0, color="k", lw=1.0, ls="--")
    spread.set(ylim=(-0.6, 4.0), title=r"margins $y_\mu F(x_\mu)$")
    for axis in axes.ravel():
        axis.axvline(float(one["t1"]), color=COLOURS[1], lw=1.2, ls="--")
        axis.set(xscale="log", xlim=limits["t"])
    for axis in axes[1]:
        axis.set_xlabel("$t$")
    figure.suptitle(
        rf"$h={int(one['h'])}$, $\sqrt{{h}}\,\alpha={a:g}$", x=0.02, ha="left"
    )
    return figure
