"""Gradient flow of a shallow net: pictures."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def dissipation(
    t: np.ndarray, risk: np.ndarray, at: np.ndarray, rates: Mapping[str, np.ndarray]
) -> Figure:
    """Risk of a net along its flow, and -dR/dt by three routes at some times."""
    figure, axes = new(1, 2, height=3.6)
    axes[0, 0].plot(t, risk, color=COLOURS[0])
    axes[0, 0].set_ylabel("risk $R$")
    for k, (name, values) in enumerate(rates.items()):
        axes[0, 1].plot(
            at, -values, ls="none", marker=MARKERS[k], ms=11 - 3 * k, mfc="none",
            mew=1.6, color=COLOURS[k], label=name,
        )  # fmt: skip
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_title(r"dissipation $-\dot R$")
    axes[0, 1].legend()
    for axis in axes[0]:
        axis.set_xlabel("time $t$")
    return figure
