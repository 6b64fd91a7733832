"""The limit of depth: pictures."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.deep_relu.axes import by_depth, log_depth
from lazyrich.figures.style import COLOURS, MARKERS, new


def profiles(
    angle: np.ndarray,
    kernels: Mapping[int, np.ndarray],
    crossover: np.ndarray | None = None,
) -> Figure:
    """Normalised kernel against the angle between inputs, one curve a depth (Fig. 2).

    Args:
        angle: in radians.
        kernels: values by depth.
        crossover: F(z) by depth index, shape (len(kernels), len(angle)), drawn dotted.
    """
    figure, axes = new(1, 1, height=4.0)
    axis = axes[0, 0]
    colours = by_depth(list(kernels))
    for k, (depth, values) in enumerate(kernels.items()):
        axis.plot(angle, values, color=colours[k], label=f"$L={depth}$")
        if crossover is not None and depth >= 30:
            axis.plot(angle, crossover[k], color="k", ls=":", lw=1.4)
    axis.axhline(0.25, color="0.5", lw=1.0, ls="--")
    axis.set(xlabel="angle between the inputs", ylabel=r"$\bar\Theta^{(L)}$")
    axis.set_xticks([0, math.pi / 2, math.pi], ["0", r"$\pi/2$", r"$\pi$"])
    axis.legend(ncols=2, fontsize=11)
    return figure


def arithmetic(depths: Sequence[int], errors: Mapping[str, np.ndarray]) -> Figure:
    """Relative errors of 1 - rho and of the kernel against depth, by formulation."""
    figure, axes = new(1, 2, height=3.6, sharey=True)
    for column, title in enumerate((r"$1-\rho_{L-1}$", r"$\bar\Theta^{(L)}$")):
        axis = axes[0, column]
        for k, (name, rows) in enumerate(errors.items()):
            shown = np.maximum(rows[:, column], 1e-17)
            axis.plot(depths, shown, color=COLOURS[k], marker=MARKERS[k], label=name)
        axis.set_yscale("log")
        axis.set_title(title)
        log_depth(axis)
    axes[0, 0].set_ylabel("relative error")
    axes[0, 1].legend(fontsize=9, loc="upper left")
    axes[0, 1].set_ylim(top=1e6)
    return figure


def entries(
    depths: Sequence[int], curves: Mapping[str, np.ndarray], weight_limit: float
) -> Figure:
    """Kernel entries and prediction weights against depth (Fig. 4)."""
    figure, axes = new(1, 3, height=3.2)
    titles = {
        "train": r"$\bar\Theta(x_i,x_j)$", "cross": r"$\bar\Theta(x,x_i)$",
        "weights": "weights",
    }  # fmt: skip
    for axis, (name, title) in zip(axes[0], titles.items(), strict=True):
        axis.plot(depths, curves[name][:, :60], color=COLOURS[0], lw=0.7, alpha=0.6)
        limit = weight_limit if name == "weights" else 0.25
        axis.axhline(limit, color="k", ls="--", lw=1.2)
        axis.set_title(title)
        log_depth(axis)
    return figure
