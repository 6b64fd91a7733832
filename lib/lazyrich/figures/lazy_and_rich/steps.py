"""Figures of the work-precision chapter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lazyrich.figures.style import COLOURS, MARKERS, new

_NAMES = {
    "impulse": "impulses",
    "momentum": "steps, momentum",
    "euler": "steps, gradient flow",
}


def chatter(found: Any) -> Figure:
    """Margins on the exact path and in Euler steps, and the forces of the path.

    Args:
        found: ``studies.work_precision.Chatter``.
    """
    figure, axes = new(1, 3, height=3.4)
    exact, forces, steps = axes[0]
    for k in range(found.m.shape[1]):
        colour = COLOURS[k % len(COLOURS)]
        exact.plot(found.t, found.m[:, k], color=colour, lw=1.5)
        forces.step(found.t, found.s[:, k], where="post", color=colour, lw=1.5)
        steps.plot(found.t_step, found.m_step[:, k], color=colour, lw=0.9)
    for axis, title in ((exact, "margins, exact"), (steps, "margins, Euler steps")):
        axis.axhline(1.0, color="k", lw=1.0, ls="--")
        axis.set_title(title)
        axis.set_ylim(-0.4, 1.6)
    forces.set_title("forces $s$")
    for axis in axes[0]:
        axis.set_xlabel("$t$")
    return figure


def work_precision(
    runs: Mapping[float, Mapping[str, Sequence[Any]]],
    errors: Mapping[float, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    what: str = "passes",
) -> Figure:
    """Errors of t1 and of the kernel change against the work, a column a value of alpha.

    Args:
        runs: by sqrt(h) alpha and scheme, ``studies.work_precision.Solved``.
        errors: the same, as from ``studies.work_precision.errors``.
        what: ``"passes"`` or ``"cpu"``.
    """
    figure, axes = new(2, len(runs), height=5.6, sharex=True, sharey="row")
    labels = {"passes": "passes through the net", "cpu": "CPU seconds"}
    ticks = {"passes": (1.0,), "cpu": (1.0, 3.0)}
    for column, (alpha_mf, by_scheme) in enumerate(runs.items()):
        for k, (scheme, some) in enumerate(by_scheme.items()):
            work = [getattr(run, what) for run in some]
            for row in (0, 1):
                off = 100.0 * np.abs(errors[alpha_mf][scheme][row])
                axes[row, column].plot(
                    work, np.maximum(off, 1e-3), color=COLOURS[k], marker=MARKERS[k],
                    label=_NAMES[scheme],
                )  # fmt: skip
        axes[0, column].set_title(rf"$\sqrt{{h}}\,\alpha={alpha_mf:g}$")
    for axis in axes.ravel():
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=ticks[what]))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())  # they would overlap
        axis.axhline(1.0, color="k", lw=0.9, ls=":")
    axes[1, len(runs) // 2].set_xlabel(labels[what])
    axes[0, 0].set_ylabel("error of $t_1$ (%)")
    axes[1, 0].set_ylabel("error of $\\|\\Delta\\Theta\\|$ (%)")
    axes[0, len(runs) // 2].legend(fontsize=9, loc="lower center")
    return figure


def progress(cases: Mapping[float, Sequence[Any]]) -> Figure:
    """Loss against passes through the net, a panel a value of sqrt(h) alpha."""
    figure, axes = new(1, len(cases), height=3.6, sharey=True)
    for axis, (alpha_mf, runs) in zip(axes[0], cases.items(), strict=True):
        for run in runs:
            k = list(_NAMES).index(run.scheme)
            axis.plot(
                run.work, np.maximum(run.loss, 1e-7), color=COLOURS[k],
                label=_NAMES[run.scheme],
            )  # fmt: skip
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(rf"$\sqrt{{h}}\,\alpha={alpha_mf:g}$")
        axis.set_xlabel("passes through the net")
    axes[0, 0].set_ylabel(r"$\alpha^2\mathcal{L}$")
    axes[0, -1].legend(fontsize=10, loc="lower left")
    return figure
