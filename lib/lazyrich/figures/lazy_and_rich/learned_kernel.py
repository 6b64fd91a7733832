"""Figures of convolutional nets, and of kernels at the start and at the end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def diagram(net: Any) -> Figure:
    """A fully connected net drawn from its description (Fig. 4): nodes, layers of
    weights with their shapes, and which pre-activation stands where."""
    figure, axes = new(1, 1, height=3.3)
    axis = axes[0, 0]
    axis.axis("off")
    axis.grid(False)
    shown = [min(size, 5) for size in (net.d, *[net.h] * net.L, net.c)]
    names = ["$x$", *[rf"$z^{k + 1}$" for k in range(net.L)], "$f$"]
    places = [np.linspace(-1, 1, k) if k > 1 else np.zeros(1) for k in shown]
    for layer in range(net.L + 1):
        for a in places[layer]:
            for b in places[layer + 1]:
                axis.plot((layer, layer + 1), (a, b), color="0.75", lw=0.7, zorder=1)
        rows, columns = net.shapes[f"W{layer}"]
        axis.text(
            layer + 0.5, 1.22, f"$W^{layer}$\n${rows}\\times{columns}$",
            ha="center", fontsize=11,
        )  # fmt: skip
    for layer, (name, ys) in enumerate(zip(names, places, strict=True)):
        colour = COLOURS[0] if 0 < layer <= net.L else COLOURS[1]
        axis.scatter(np.full(len(ys), layer), ys, s=110, color=colour, zorder=2)
        axis.text(layer, -1.35, name, ha="center", va="top")
    axis.set_xlim(-0.3, net.L + 1.3)
    axis.set_ylim(-1.7, 1.75)
    return figure


def errors(table: xr.Dataset, fully_connected: xr.Dataset, lazy: xr.Dataset) -> Figure:
    """Test errors of nets, and of their kernels frozen at the start and at the end;
    for convolutional nets also of nets trained in the lazy regime."""
    figure, axes = new(1, 2, height=3.9)
    curves = {
        "network": "test_error",
        "initial kernel": "initial_kernel_error",
        "final kernel": "final_kernel_error",
    }
    for axis, source in ((axes[0, 0], fully_connected), (axes[0, 1], table)):
        h = source["h"].values
        shown = [(label, source[name]) for label, name in curves.items()]
        if source is table:
            shown.append(("lazy network", lazy["test_error"]))
        for k, (label, values) in enumerate(shown):
            bar = values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])
            axis.errorbar(
                h, values.mean("seed"), bar, color=COLOURS[k], marker=MARKERS[k],
                label=label, ls="--" if "kernel" in label else "-",
            )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_xticks(h, [f"{int(v)}" for v in h])
        axis.minorticks_off()
        axis.set_xlabel("width $h$")
        axis.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}")
        axis.set_ylim(0, None)
    axes[0, 0].set_ylabel("test error (%)")
    axes[0, 0].set_title("fully connected")
    axes[0, 1].set_title("convolutional")
    axes[0, 1].legend(fontsize=10)
    return figure


def gram_matrices(pairs: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Figure:
    """Kernels at the start and at the end, each on a scale of its own, with the factor by
    which its norm has grown."""
    figure, axes = new(len(pairs), 2, height=3.3 * len(pairs))
    for row, (name, start, end) in enumerate(pairs):
        for axis, theta, when in zip(
            axes[row], (start, end), ("start", "end"), strict=True
        ):
            top = float(np.abs(theta).max())
            axis.imshow(theta, vmin=0, vmax=top, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
            axis.set_title(f"{name}, {when}")
        ratio = float(np.linalg.norm(end) / np.linalg.norm(start))
        axes[row, 1].set_xlabel(f"norm grown by {ratio:.3g}")
    return figure
