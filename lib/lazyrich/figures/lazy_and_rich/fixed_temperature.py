"""Figures of stochastic descent at fixed temperature."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, new


def descents(runs: Any) -> Figure:
    """Mean loss over time of nets at several (dt, batch); colour is the temperature.

    Args:
        runs: ``studies.fixed_temperature.Descents``.
    """
    figure, axes = new(1, 1)
    axis = axes[0, 0]
    temperatures = sorted({T for T, _, _ in runs.labels})
    strokes = ("-", "--", ":")
    seen: dict[float, int] = {}
    for (T, dt, b), curve in zip(runs.labels, runs.loss, strict=True):
        k = seen.get(T, 0)
        seen[T] = k + 1
        label = "full batch" if T == 0 else f"$T={T:g}$: $dt={dt:.3g}$, $b={b}$"
        axis.plot(
            runs.t, curve.mean(0), color=COLOURS[temperatures.index(T)],
            ls=strokes[k % 3], label=label,
        )  # fmt: skip
    axis.set_yscale("log")
    axis.set_ylim(0.92 * float(runs.loss.mean(1).min()), None)
    axis.set_xlabel("time")
    axis.set_ylabel("loss on all patterns")
    axis.legend(fontsize=10)
    return figure


def stationary(cases: dict[str, Any]) -> Figure:
    """Stationary variance over its prediction against the batch size.

    Args:
        cases: ``studies.fixed_temperature.Stationary`` by name.
    """
    figure, axes = new(1, 1, height=3.4)
    axis = axes[0, 0]
    for k, (name, case) in enumerate(cases.items()):
        ratio = np.trace(case.measured, axis1=1, axis2=2) / np.trace(case.predicted)
        batches = [b for _, b in case.pairs]
        axis.plot(batches, ratio, color=COLOURS[k], marker="os"[k], label=name)
    axis.axhline(1.0, color="k", ls="--", lw=1.2)
    axis.set_ylim(0.85, 1.15)
    axis.set_xlabel("batch size $b$, with $dt$ such that $T$ is the same")
    axis.set_ylabel("variance / prediction")
    axis.legend()
    return figure
