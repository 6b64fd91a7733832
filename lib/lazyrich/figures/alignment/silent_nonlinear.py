"""Figures of the chapters on silent alignment in nonlinear nets and anisotropic data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def clock(run: Any, title: str, ceiling: float | None = None) -> Figure:
    """Loss, kernel norm and alignment on one clock, with the time of alignment and the
    time at which a tenth of the loss is gone.

    Args:
        run: as from ``silent_nonlinear.train``.
        ceiling: final alignment of a linear net, drawn as a dashed line.
    """
    figure, axes = new(1, 1, height=3.7)
    axis = axes[0, 0]
    scale = max(float(run.alignment.max()), ceiling or 0.0)
    axis.plot(run.t, run.loss, label="loss")
    axis.plot(run.t, run.norm / run.norm.max(), label="kernel norm")
    axis.plot(run.t, run.alignment / scale, label="alignment")
    if ceiling is not None:
        axis.axhline(
            ceiling / scale, color=COLOURS[2], ls="--", lw=1.2, label="linear ceiling"
        )
    for time, colour in ((run.alignment_time, COLOURS[2]), (run.time(0.9), COLOURS[0])):
        axis.axvline(time, color=colour, ls=":", lw=1.4)
    axis.set_xlim(0, min(float(run.t[-1]), 3.0 * run.time(0.5)))
    axis.set_ylim(0, 1.05)
    axis.set_xlabel("time")
    axis.set_ylabel("relative")
    axis.set_title(title)
    axis.legend(loc="center right")
    return figure


def clocks(runs: Mapping[str, Any]) -> Figure:
    """The same for several runs side by side, against time over half-loss time."""
    figure, axes = new(1, len(runs), height=3.6, sharey=True)
    for axis, (title, run) in zip(axes[0], runs.items(), strict=True):
        t = run.t / run.time(0.5)
        axis.plot(t, run.loss, label="loss")
        axis.plot(t, run.norm / run.norm.max(), label="kernel norm")
        axis.plot(t, run.alignment / run.alignment.max(), label="alignment")
        axis.set_xlim(0, 2.5)
        axis.set_ylim(0, 1.05)
        axis.set_title(title)
        axis.set_xlabel("time / half-loss time")
    axes[0, 0].set_ylabel("relative")
    axes[0, -1].legend(loc="center right", fontsize=10)
    return figure


def scatter(run: Any, title: str) -> Figure:
    """Kernel regression against the net on test points: final and initial kernel."""
    figure, axes = new(1, 2, height=3.9, sharex=True, sharey=True)
    low, high = float(run.f_test.min()), float(run.f_test.max())
    for axis, kernel in zip(axes[0], ("final", "initial"), strict=True):
        axis.plot([low, high], [low, high], color="black", lw=1)
        axis.plot(
            run.f_test, getattr(run, kernel), ".", ms=4,
            color=COLOURS[2 if kernel == "final" else 1],
        )  # fmt: skip
        axis.set_title(f"{kernel} kernel, $R^2={run.r2(kernel):.3f}$")
        axis.set_xlabel("trained net")
    axes[0, 0].set_ylabel("kernel regression")
    figure.suptitle(title, fontsize=12)
    return figure


def quality(
    sigmas: Sequence[float], panels: Mapping[str, Mapping[str, np.ndarray]]
) -> Figure:
    """R^2 of final- and initial-kernel regression against sigma.

    Args:
        panels: by title, arrays (sigmas, seeds) under ``final`` and ``initial``.
    """
    figure, axes = new(1, len(panels), height=3.5, sharey=True)
    for axis, (title, found) in zip(axes[0], panels.items(), strict=True):
        for k, kernel in ((2, "final"), (1, "initial")):
            values = found[kernel]
            axis.errorbar(
                sigmas, values.mean(1), values.std(1), color=COLOURS[k],
                marker=MARKERS[k], label=f"{kernel} kernel",
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_xlabel(r"scale of initial weights $\sigma$")
        axis.set_title(title)
        axis.set_ylim(0.2, 1.03)
    axes[0, 0].set_ylabel("$R^2$ against the net")
    axes[0, -1].legend(loc="lower left")
    return figure
