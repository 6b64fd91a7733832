"""Figures of the alpha-sweep: tables in, pictures out."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lazyrich.figures.phase_map import PhaseMap
from lazyrich.figures.style import (
    COLOURS,
    MARKERS,
    alpha_bar,
    alpha_colours,
    new,
    power_guide,
)

_COLLAPSE = r"$\sqrt{h}\,\alpha$"


def _by_width(
    axis: Axes, variable: xr.DataArray, collapsed: bool, factor: float = 0.0
) -> None:
    """Means over seeds of the logarithm with bars of one standard error, by width;
    multiplied by h^factor."""
    for k, h in enumerate(variable["h"].values):
        a = variable["alpha_mf"].values
        logs = np.log(variable.sel(h=h)) + factor * np.log(float(h))
        mean = logs.mean("seed").values
        bar = logs.std("seed", ddof=1).values / np.sqrt(logs.sizes["seed"])
        x = a if collapsed else a / np.sqrt(h)
        low, high = np.exp(mean) - np.exp(mean - bar), np.exp(mean + bar) - np.exp(mean)
        axis.errorbar(
            x, np.exp(mean), (low, high), color=COLOURS[k], marker=MARKERS[k],
            label=f"$h={int(h)}$", lw=1.4,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(_COLLAPSE if collapsed else r"$\alpha$")


def kernel_change(table: xr.Dataset, exponent: float) -> Figure:
    """Relative kernel change against alpha and against sqrt(h) alpha (Fig. 3a), with the
    predicted powers -``exponent`` and -1."""
    figure, axes = new(1, 2, height=3.8, sharey=True)
    variable = table["kernel_change_end"]
    _by_width(axes[0, 0], variable, collapsed=False)
    _by_width(axes[0, 1], variable, collapsed=True)
    axes[0, 0].set_ylabel(r"$\|\Delta\Theta\|\,/\,\|\Theta_0\|$")
    axes[0, 0].legend()
    middle = float(np.exp(np.log(variable.sel(alpha_mf=1e-2)).mean()))
    power_guide(
        axes[0, 1],
        (3e-4, 1.0),
        6 * middle * (1e-2 / 3e-4) ** exponent,
        -exponent,
        f"$-{exponent:.3g}$",
    )
    right = float(np.exp(np.log(variable.sel(alpha_mf=1e2)).mean()))
    power_guide(axes[0, 1], (1e2, 1e4), 5 * right, -1.0, "$-1$")
    return figure


def times(table: xr.Dataset, to_zero: xr.Dataset | None = None) -> Figure:
    """t1 against sqrt(h) alpha (Fig. 3c), and t2 where runs went to zero loss."""
    figure, axes = new(1, 2, height=3.8, sharey=True)
    _by_width(axes[0, 0], table["t1"], collapsed=True)
    axes[0, 0].set_title("$t_1$: half the loss")
    axes[0, 0].set_ylabel("time")
    power_guide(axes[0, 0], (3e-4, 3e-1), 0.4 * 3e-4, 1.0, "$+1$", offset=(7, -9))
    axes[0, 0].legend()
    if to_zero is not None:
        n = to_zero.attrs.get("n_train", 100)
        _by_width(axes[0, 1], to_zero["t1"], collapsed=True)
        for k, h in enumerate(to_zero["h"].values):
            t2 = to_zero["t2"].sel(h=h).median("seed")
            axes[0, 1].plot(
                to_zero["alpha_mf"], t2, color=COLOURS[k + 2], marker=MARKERS[k + 2],
                label=f"$t_2$, $h={int(h)}$",
            )  # fmt: skip
        handles, labels = axes[0, 1].get_legend_handles_labels()
        order = sorted(range(len(labels)), key=lambda i: "t_2" in labels[i])
        names = [s if "t_2" in s else f"$t_1$, {s}" for s in labels]
        axes[0, 1].legend([handles[i] for i in order], [names[i] for i in order])
        axes[0, 1].set_title(f"$n={n}$, to zero loss")
    return figure


def weights(table: xr.Dataset, exponent: float) -> Figure:
    """sqrt(h) |w - w0| / |w0| against sqrt(h) alpha (Fig. 6)."""
    figure, axes = new(1, 1, height=3.8)
    axis = axes[0, 0]
    _by_width(axis, table["weight_change_end"], collapsed=True, factor=0.5)
    variable = table["weight_change_end"]
    scale = np.sqrt(variable["h"])
    left = float(np.exp(np.log((variable * scale).sel(alpha_mf=1e-2)).mean()))
    power_guide(
        axis,
        (3e-4, 1.0),
        2 * left * (1e-2 / 3e-4) ** exponent,
        -exponent,
        f"$-{exponent:.2g}$",
    )
    right = float(np.exp(np.log((variable * scale).sel(alpha_mf=1e2)).mean()))
    power_guide(axis, (1e2, 1e4), 2.5 * right, -1.0, "$-1$")
    axis.set_ylabel(r"$\sqrt{h}\,\|w-w_0\|\,/\,\|w_0\|$")
    axis.legend()
    return figure


def loss_curves(table: xr.Dataset, limit: xr.Dataset, h: int, seed: int) -> Figure:
    """alpha^2 L against t, and against t / (sqrt(h) alpha) (Fig. 3b)."""
    figure, axes = new(1, 2, height=3.8, sharey=True)
    alphas = [float(a) for a in table["alpha_mf"].values]
    for a, colour in zip(alphas, alpha_colours(alphas), strict=True):
        one = table.sel(h=h, seed=seed, alpha_mf=a)
        axes[0, 0].plot(one["t"], one["loss"], color=colour, lw=1.4)
        axes[0, 1].plot(one["t"] / a, one["loss"], color=colour, lw=1.4)
    frozen = limit.sel(h=limit["h"].values[0], seed=seed)
    axes[0, 0].plot(frozen["t"], frozen["loss"], "k:", lw=1.6,
                    label=f"frozen kernel, $h={int(frozen['h'])}$")  # fmt: skip
    axes[0, 0].legend(loc="lower left", fontsize=10)
    axes[0, 0].set_xlabel("$t$")
    axes[0, 1].set_xlabel(r"$t\,/\,(\sqrt{h}\,\alpha)$")
    axes[0, 0].set_ylabel(r"$\alpha^2\mathcal{L}$")
    for axis in axes[0]:
        axis.set_xscale("log")
    axes[0, 1].set_xlim(1e-2, 1e3)
    alpha_bar(axes[0, 1], alphas, _COLLAPSE)
    return figure


def test_errors(table: xr.Dataset, limit: xr.Dataset) -> Figure:
    """Test error against sqrt(h) alpha, with the frozen-kernel limit at the right."""
    figure, axes = new(1, 1, height=3.8)
    axis = axes[0, 0]
    error = 100 * table["test_error"]
    for k, h in enumerate(table["h"].values):
        mean = error.sel(h=h).mean("seed")
        bar = error.sel(h=h).std("seed", ddof=1) / np.sqrt(error.sizes["seed"])
        axis.errorbar(table["alpha_mf"], mean, bar, color=COLOURS[k], lw=1.4,
                      marker=MARKERS[k], label=f"$h={int(h)}$")  # fmt: skip
    for k, h in enumerate(limit["h"].values):
        frozen = 100 * limit["test_error"].sel(h=h)
        axis.errorbar(
            [1e5 * 1.8**k], frozen.mean(),
            frozen.std("seed", ddof=1) / np.sqrt(frozen.sizes["seed"]),
            color="k", marker=MARKERS[k], ls="none", mfc="white",
            label=f"frozen, $h={int(h)}$",
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlabel(_COLLAPSE)
    axis.set_ylabel("test error (%)")
    axis.legend(ncols=2, fontsize=10)
    return figure


test_errors.__test__ = False  # type: ignore[attr-defined]  # not a test, for pytest


def linear_response(widths: Sequence[int], change: np.ndarray) -> Figure:
    """First-order kernel change at fixed alpha against h, with both candidate powers."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    h = np.array(widths, dtype=float)
    rms = np.sqrt((change**2).mean(1))
    axis.plot(np.repeat(h, change.shape[1]), change.ravel(), ".", color="0.65", ms=4,
              label="one seed")  # fmt: skip
    axis.plot(h, rms, marker="o", color=COLOURS[0], label="rms over seeds")
    axis.plot(h, rms[0] * (h / h[0]) ** -1.0, "--", color="k", lw=1.2, label="$1/h$")
    axis.plot(h, rms[0] * (h / h[0]) ** -0.5, ":", color=COLOURS[1], lw=1.6,
              label=r"$1/\sqrt{h}$ (printed)")  # fmt: skip
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(h, [str(int(v)) for v in h])
    axis.minorticks_off()
    axis.set_xlabel("width $h$")
    axis.set_ylabel(r"$\alpha\,\|\delta\Theta\|\,/\,\|\Theta\|$ at fixed $\alpha$")
    axis.legend()
    return figure


def explorer(table: xr.Dataset, labels: np.ndarray, seed: int) -> PhaseMap:
    """The phase diagram over width and alpha; a click shows loss curve, Gram matrices and
    outputs of that net. Cells are coloured by the change of the kernel.

    Args:
        table: of the study.
        labels: (n,) targets of the training points, for the outputs.
        seed: which net of every cell.
    """
    alphas = [float(a) for a in table["alpha_mf"].values]
    widths = [int(h) for h in table["h"].values]
    change = table["kernel_change_end"].sel(seed=seed)
    least, most = float(change.min()), float(change.max())
    frames, alts, colours = [], [], []
    for h in widths:
        for a in alphas:
            one = table.sel(h=h, seed=seed, alpha_mf=a)
            frames.append(_frame(table.sel(h=h, seed=seed), one, alphas, a, labels))
            moved = float(change.sel(h=h, alpha_mf=a))
            alts.append(
                f"h = {h}, sqrt(h) alpha = {a:g}: the loss is halved at t = "
                f"{float(one['t1']):.2g}; the kernel at the end differs from its start by "
                f"{moved:.2g} times its norm; outputs end beyond the margin on the side "
                "of their label."
            )
            # white where the kernel moves by its own norm, each side to its own end
            end = most if moved > 1.0 else least
            colours.append(
                colormaps["RdBu_r"](0.5 + 0.5 * np.log(moved) / abs(np.log(end)))
            )
    start = len(alphas) * (len(widths) - 1) + len(alphas) // 2
    return PhaseMap(
        frames,
        [f"h = {h}" for h in widths],
        [f"{a:g}" for a in alphas],
        colours,
        "width h and √h α",
        alts,
        "Columns: √h α. Red: the kernel moves by many times its norm; blue: it stands "
        "still; white: it moves by its own norm.",
        labels=[f"h = {h}, √h α = {a:g}" for h in widths for a in alphas],
        start=start,
    )


def _frame(
    every: xr.Dataset, one: xr.Dataset, alphas: list[float], a: float, y: np.ndarray
) -> Figure:
    figure, axes = new(2, 2, height=5.6)
    loss, outputs, before, after = axes.ravel()
    for other in alphas:
        curve = every.sel(alpha_mf=other)
        loss.plot(curve["t"], curve["loss"], color="0.82", lw=1.0)
    loss.plot(one["t"], one["loss"], color=COLOURS[0], lw=2.4)
    loss.axvline(float(one["t1"]), color=COLOURS[1], lw=1.2, ls="--")
    loss.set(xscale="log", xlabel="$t$", ylabel=r"$\alpha^2\mathcal{L}$", title="loss")
    F = one["F"].values
    last = np.flatnonzero(np.isfinite(one["t"].values))[-1]
    margin = F[last] * y
    top = max(4.0, float(np.percentile(margin, 98)))
    outputs.hist(np.clip(margin, -1, top), bins=np.linspace(-1, top, 41),
                 color=COLOURS[2])  # fmt: skip
    outputs.axvline(1.0, color="k", lw=1.2, ls="--")
    outputs.set(xlabel=r"$y_\mu F(x_\mu)$ at the end", ylabel="examples",
                title="outputs and margin")  # fmt: skip
    for axis, name, title in (
        (before, "theta_start", "kernel at the start"),
        (after, "theta_end", "kernel at the end"),
    ):
        theta = one[name].values
        scale = np.abs(theta).max()
        image = axis.imshow(theta / scale, vmin=-1, vmax=1, cmap="RdBu_r")
        axis.set_title(f"{title} (max {scale:.2g})")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(visible=False)
        figure.colorbar(image, ax=axis, fraction=0.046)
    figure.suptitle(rf"$\sqrt{{h}}\,\alpha={a:g}$", x=0.02, ha="left")
    return figure


def cover(table: xr.Dataset, h: int, seed: int) -> Figure:
    """The picture of the front page: kernel change against sqrt(h) alpha, and the kernel
    of one net before and after training at both ends."""
    figure, axes = new(1, 3, height=2.7, gridspec_kw={"width_ratios": [1.6, 1, 1]})
    _by_width(axes[0, 0], table["kernel_change_end"], collapsed=True)
    axes[0, 0].axhline(1.0, color="k", lw=1.0, ls=":")
    axes[0, 0].set_title("change of the tangent kernel")
    axes[0, 0].legend()
    for axis, a, title in (
        (axes[0, 1], 1e-2, "rich: trained kernel"),
        (axes[0, 2], 1e4, "lazy: trained kernel"),
    ):
        theta = table["theta_end"].sel(h=h, seed=seed, alpha_mf=a).values
        axis.imshow(theta / np.abs(theta).max(), vmin=-1, vmax=1, cmap="RdBu_r")
        axis.set_title(title)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(visible=False)
    return figure
