"""Figures of the chapter on tangent kernels as classifiers."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from lazyrich.figures.style import COLOURS, MARKERS, new

COLUMNS = ("initial kernel", "trained kernel", "net")


def accuracies(
    measured: Mapping[str, Mapping[int, np.ndarray]],
    printed: Mapping[str, Mapping[int, Sequence[float | None]]],
) -> Figure:
    """Accuracy against the width: measured (full) and printed (hollow), one panel a kind.

    Args:
        measured: (seeds, 3) accuracies by width, by kind.
        printed: three accuracies by width, by kind; ``None`` for an empty cell.
    """
    figure, axes = new(1, len(measured), height=4.0, sharey=True)
    for axis, (kind, rows) in zip(axes[0], measured.items(), strict=True):
        for k, name in enumerate(COLUMNS):
            widths = list(rows)
            mean = [rows[w][:, k].mean() for w in widths]
            low = [rows[w][:, k].mean() - rows[w][:, k].min() for w in widths]
            high = [rows[w][:, k].max() - rows[w][:, k].mean() for w in widths]
            axis.errorbar(
                widths, mean, (low, high), color=COLOURS[k], marker=MARKERS[k], capsize=3,
                label=name,
            )  # fmt: skip
            cells = [
                (w, row[k]) for w, row in printed[kind].items() if row[k] is not None
            ]
            axis.plot(
                *zip(*cells, strict=True), color=COLOURS[k], marker=MARKERS[k], ls=":",
                markerfacecolor="white",
            )  # fmt: skip
        axis.set_xscale("log", base=2)
        ticks = sorted({*rows, *printed[kind]})[::2]
        axis.set_xticks(ticks, [str(w) for w in ticks])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(kind)
        axis.set_xlabel("width" if kind == "MLP" else "channels")
    axes[0, 0].set_ylabel("test accuracy")
    axes[0, 0].legend(loc="lower left", fontsize=11)
    return figure


def gram_matrices(kernels: Mapping[str, np.ndarray], classes: np.ndarray) -> Figure:
    """Gram matrices with images sorted by class, each over its largest entry."""
    order = np.argsort(classes, kind="stable")
    edges = np.flatnonzero(np.diff(classes[order])) + 0.5
    figure, axes = new(1, len(kernels), height=3.7)
    for axis, (name, kernel) in zip(axes[0], kernels.items(), strict=True):
        axis.imshow(kernel[np.ix_(order, order)] / kernel.max(), vmin=0, vmax=1)
        for edge in edges:
            axis.axhline(edge, color="white", lw=0.4)
            axis.axvline(edge, color="white", lw=0.4)
        axis.set_title(name)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(visible=False)
    return figure
