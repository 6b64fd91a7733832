"""The smallest eigenvalue and the window of depth: pictures."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lazyrich.figures.deep_relu.axes import log_depth
from lazyrich.figures.style import COLOURS, MARKERS, new


def smallest_eigenvalues(
    sizes: Sequence[int], depths: Sequence[int], table: np.ndarray
) -> Figure:
    """Smallest eigenvalue against depth, one curve a size (Fig. 7)."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, n in enumerate(sizes):
        axis.plot(
            depths, table[k], color=COLOURS[k], marker=MARKERS[k], label=f"$N={n}$"
        )
    axis.axhline(0.75, color="k", ls="--", lw=1.0)
    axis.set(yscale="log", ylabel=r"$\lambda_{\min}$")
    log_depth(axis)
    axis.set_xticks(list(depths), [str(d) for d in depths])
    axis.minorticks_off()
    axis.legend(fontsize=10, ncols=2)
    return figure


def _curves_of_window(
    axis: Axes, depths: np.ndarray, stable: np.ndarray, expressive: np.ndarray
) -> None:
    axis.plot(depths, stable, color=COLOURS[0], label=r"stability $1-F(L\delta/3\pi)$")
    axis.plot(depths, expressive, color=COLOURS[1],
              label=r"nearest point's weight $w(L\eta/3\pi)$")  # fmt: skip


def depth_window(
    depths: np.ndarray, stable: np.ndarray, expressive: np.ndarray,
    window: tuple[float, float],
    eigenvalues: tuple[Sequence[int], np.ndarray],
    accuracy: tuple[Sequence[int], np.ndarray],
) -> Figure:  # fmt: skip
    """The Goldilocks chart of a data set: both laws of the crossover, the window, and
    what was measured."""
    figure, axes = new(1, 1, height=4.2)
    axis = axes[0, 0]
    if window[0] <= window[1]:
        axis.axvspan(*window, color="0.9", lw=0)
    _curves_of_window(axis, depths, stable, expressive)
    axis.plot(*eigenvalues, ls="none", marker="o", color=COLOURS[0],
              label=r"measured $\lambda_{\min}$")  # fmt: skip
    axis.plot(*accuracy, marker="^", color=COLOURS[2], lw=1.0, label="accuracy")
    log_depth(axis)
    axis.set_ylim(0, 1.02)
    axis.legend(fontsize=10, loc="center right", bbox_to_anchor=(1.0, 0.4))
    return figure
