"""Figures of the chapter on anisotropic data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, alpha_colours, new


def spectra(found: Mapping[float, np.ndarray]) -> Figure:
    """Covariance eigenvalues of the partially whitened inputs against rank."""
    figure, axes = new(1, 1, height=3.4)
    axis = axes[0, 0]
    colours = alpha_colours([1.0 + g for g in found])
    for colour, (gamma, values) in zip(colours, found.items(), strict=True):
        axis.plot(
            np.arange(1, len(values) + 1), values, color=colour, label=f"{gamma:g}"
        )
    axis.set(xscale="log", yscale="log")
    axis.set_xlabel("rank $k$")
    axis.set_ylabel(r"eigenvalue $\lambda_k$")
    axis.legend(title=r"$\gamma$", ncols=2)
    return figure


def dynamics(sweep: Any) -> Figure:
    """Loss, test error, kernel norm and alignment of the first seed, by gamma."""
    figure, axes = new(2, 2, height=6.2, sharex=True)
    colours = alpha_colours([1.0 + g for g in sweep.gammas])
    for colour, gamma, row in zip(colours, sweep.gammas, sweep.runs, strict=True):
        run = row[0]
        t = run.t / run.time(0.5)
        for axis, curve in zip(
            axes.flat,
            (
                run.loss,
                run.error,
                run.norm / run.norm[-1],
                run.alignment / run.alignment[-1],
            ),
            strict=True,
        ):
            axis.plot(t, curve, color=colour, label=f"{gamma:g}")
    names = ("loss", "test error", "kernel norm / final", "alignment / final")
    for axis, name in zip(axes.flat, names, strict=True):
        axis.set_ylabel(name)
        axis.set_xscale("log")
        axis.set_xlim(0.05, 30)
    for axis in axes[1]:
        axis.set_xlabel("time / half-loss time")
    axes[0, 0].legend(title=r"$\gamma$")
    return figure


def frame(run: Any, gamma: float) -> Figure:
    """One value of gamma: the three curves, and final-kernel regression on test points."""
    figure, axes = new(1, 2, height=3.7)
    left, right = axes[0]
    t = run.t / run.time(0.5)
    left.plot(t, run.loss, label="loss")
    left.plot(t, run.norm / run.norm[-1], label="kernel norm")
    left.plot(t, run.alignment / run.alignment[-1], label="alignment")
    left.set_xscale("log")
    left.set_xlim(0.05, 30)
    left.set_ylim(0, 2.1)
    left.set_xlabel("time / half-loss time")
    left.legend(loc="upper left", fontsize=10)
    left.set_title(rf"$\gamma={gamma:g}$")
    right.plot([-2, 2], [-2, 2], color="black", lw=1)
    right.plot(run.f_test, run.initial, ".", ms=4, color=COLOURS[1], label="initial")
    right.plot(run.f_test, run.final, ".", ms=4, color=COLOURS[2], label="final kernel")
    right.set(xlim=(-2, 2), ylim=(-2, 2))
    right.set_xlabel("trained net")
    right.set_ylabel("kernel regression")
    right.set_title(f"$R^2={run.r2('final'):.3f}$")
    right.legend(loc="upper left", fontsize=10)
    return figure


def quality(panels: Mapping[str, Any]) -> Figure:
    """R^2 of final and initial kernel against gamma, one panel a sweep."""
    figure, axes = new(1, len(panels), height=3.6, sharey=True)
    for axis, (title, sweep) in zip(axes[0], panels.items(), strict=True):
        for k, kernel in ((2, "final"), (1, "initial")):
            values = sweep.r2(kernel)
            axis.errorbar(
                sweep.gammas, values.mean(1), values.std(1), color=COLOURS[k],
                marker=MARKERS[k], label=f"{kernel} kernel",
            )  # fmt: skip
        axis.set_title(title, fontsize=12)
        axis.set_xlabel(r"$\gamma$")
    axes[0, 0].set_ylabel("$R^2$ against the net")
    axes[0, 0].legend(loc="lower left")
    return figure
