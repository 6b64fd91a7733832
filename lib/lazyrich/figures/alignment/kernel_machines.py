"""Figures of the chapter on linear nets as kernel machines."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def smallest_norm(A: float) -> Figure:
    """Level sets of the norm b . (A v v^T + I)^-1 b and the line of interpolators, in two
    dimensions with one example: v along the example (left), and elsewhere (right)."""
    figure, axes = new(1, 2, height=3.7, sharey=True)
    x = np.array([np.cos(0.6), np.sin(0.6)])
    side = np.array([-x[1], x[0]])
    grid = np.linspace(-1.6, 1.6, 161)
    b = np.stack(np.meshgrid(grid, grid), axis=-1)
    tilted = np.array([np.cos(1.7), np.sin(1.7)])
    for axis, v, title in (
        (axes[0, 0], x, "spike in the data span"),
        (axes[0, 1], tilted, "spike elsewhere"),
    ):
        metric = A * np.outer(v, v) + np.eye(2)
        norm = np.einsum("...i,ij,...j", b, np.linalg.inv(metric), b)
        learned = metric @ x / (x @ metric @ x)
        touching = learned @ np.linalg.solve(metric, learned)
        axis.contour(
            grid, grid, norm, levels=touching * np.array([0.1, 0.4, 1.0, 2.2, 4.0]),
            colors=COLOURS[0], linewidths=1.0,
        )  # fmt: skip
        line = x + np.outer(np.linspace(-3, 3, 2), side)
        axis.plot(*line.T, color="black", label="interpolators")
        axis.plot(*learned, "o", color=COLOURS[1], ms=9, label="regression")
        axis.annotate(
            "", 0.75 * v, (0, 0), arrowprops={"arrowstyle": "->", "color": COLOURS[2]}
        )
        axis.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", title=title)
        axis.set_xlabel("$b_1$")
    axes[0, 0].set_ylabel("$b_2$")
    axes[0, 0].legend(loc="lower left", fontsize=10)
    return figure


def along_training(runs: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Loss, and distances of net and kernel regression from the final function.

    Args:
        runs: as from ``kernel_machines.regression_along_training``, by title.
    """
    figure, axes = new(1, len(runs), height=3.6, sharey=True)
    for axis, (title, run) in zip(axes[0], runs.items(), strict=True):
        axis.plot(run["t"], run["loss"], label="loss")
        axis.plot(run["t"], run["net"], label="net")
        axis.plot(run["t"], run["regression"], label="kernel regression", ls="--")
        axis.set_title(title)
        axis.set_xlabel("time")
        axis.set_yscale("log")
        axis.set_ylim(1e-4, 3)
    axes[0, 0].set_ylabel("loss, relative distances")
    axes[0, -1].legend(loc="upper right")
    return figure


def norms(curves: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """1 / (1 + A(t)) for several depths, with the final values 1 / L."""
    figure, axes = new(1, 1, height=3.4)
    axis = axes[0, 0]
    for k, (depth, (t, norm)) in enumerate(curves.items()):
        axis.plot(t, norm, color=COLOURS[k], label=f"$L={depth}$")
        axis.axhline(1 / depth, color=COLOURS[k], ls=":", lw=1)
    axis.set_xlabel("time over learning time")
    axis.set_ylabel("norm $1/(1+A)$")
    axis.set_xlim(0, 1.6)
    axis.set_ylim(0, 0.65)
    axis.legend()
    return figure


def off_the_span(
    parts: Mapping[int, tuple[Sequence[float], Mapping[str, np.ndarray]]],
) -> Figure:
    """Off-span part of the net, and what the kernel machine misses of it, against sigma.

    Args:
        parts: (sigmas, result of ``kernel_machines.off_span``) by depth.
    """
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, (depth, (sigmas, found)) in enumerate(parts.items()):
        for name, fill, label in (
            ("net", COLOURS[k], "net"),
            ("difference", "white", "net minus machine"),
        ):
            values = np.exp(np.log(found[name]).mean(1))
            axis.plot(
                sigmas, values, marker=MARKERS[k], color=COLOURS[k], mfc=fill,
                label=f"{label}, $L={depth}$", ls="-" if name == "net" else "--",
            )  # fmt: skip
    axis.set(xscale="log", yscale="log")
    axis.set_xlabel(r"scale of the initial weights $\sigma$")
    axis.set_ylabel("norm off the span")
    axis.legend()
    return figure
