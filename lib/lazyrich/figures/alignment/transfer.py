"""Figures of the chapter on transfer with an aligned kernel."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new

Curve = tuple[np.ndarray, np.ndarray]
Points = tuple[np.ndarray, np.ndarray, np.ndarray]


def learning_curves(
    panels: Sequence[tuple[str, str, Mapping[float, Curve], Mapping[float, Points]]],
) -> Figure:
    """Error against the number of examples: theory as lines, simulation as markers.

    Args:
        panels: (title, name of the parameter, curves, points) each; ``curves`` holds
            (n, error) and ``points`` (n, mean, standard error) by the parameter's value.
    """
    figure, axes = new(1, len(panels), height=3.9, sharey=True)
    for axis, (title, name, curves, points) in zip(axes[0], panels, strict=True):
        for k, (value, (n, error)) in enumerate(curves.items()):
            label = f"{name} = {value:g}"
            axis.plot(n, error, color=COLOURS[k], label=label)
            if value in points:
                at, mean, bar = points[value]
                axis.errorbar(
                    at, mean, bar, color=COLOURS[k], marker=MARKERS[k], ls="none",
                    mfc="white",
                )  # fmt: skip
        axis.set_title(title)
        axis.set_xlabel("examples $P$")
        axis.set_ylim(-0.03, 1.05)
        axis.legend()
    axes[0, 0].set_ylabel("test error $E_g$")
    return figure


def error_map(
    A: np.ndarray, alpha: np.ndarray, error: np.ndarray, best: np.ndarray, title: str
) -> Figure:
    """Error over spike and correlation, with the best spike for every correlation.

    Args:
        A: (a,) strengths, on a logarithmic axis of 1 + A.
        alpha: (b,) correlations.
        error: (b, a).
        best: (b,) 1 + A*.
    """
    figure, axes = new(1, 1, height=4.0)
    axis = axes[0, 0]
    axis.grid(False)
    shown = axis.pcolormesh(
        1.0 + A, alpha, error, vmin=0.0, vmax=1.2, shading="gouraud", rasterized=True
    )
    inside = (best >= 1.0 + A[0]) & (best <= 1.0 + A[-1])
    axis.plot(best[inside], alpha[inside], color="white", lw=2.5)
    axis.plot(best[inside], alpha[inside], color="black", lw=1.2, label="best spike")
    axis.set_xscale("log")
    axis.set_xlabel("eigenvalue of the learned direction, $1+A$")
    axis.set_ylabel(r"correlation of the tasks $\alpha$")
    axis.set_title(title)
    axis.legend(loc="lower right", facecolor="white", frameon=True)
    figure.colorbar(shown, ax=axis, label="test error $E_g$")
    return figure


def printed_and_corrected(
    n: np.ndarray, corrected: np.ndarray, printed: np.ndarray, points: Points
) -> Figure:
    """The learning curve with and without kappa^2, and simulated regression."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    axis.plot(n, corrected, label=r"with $\kappa^2$")
    axis.plot(n, printed, ls="--", label="as printed")
    at, mean, bar = points
    axis.errorbar(
        at, mean, bar, color="black", marker="o", ls="none", label="simulated"
    )
    axis.set_yscale("log")
    axis.set_xlabel("examples $P$")
    axis.set_ylabel("test error $E_g$")
    axis.legend(loc="center right")
    return figure
