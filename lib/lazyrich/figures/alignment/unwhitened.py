"""Data that are not white: pictures."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, new


def turning(runs: Mapping[str, Any]) -> Figure:
    """Loss, overlap of the first layer with Sigma beta and with beta, run by run.

    Args:
        runs: title -> run with ``t``, ``loss``, ``to_spike``, ``to_target``.
    """
    figure, axes = new(1, len(runs), height=3.8, sharey=True)
    for axis, (title, run) in zip(axes[0], runs.items(), strict=True):
        positive = run.t > 0
        t = run.t[positive]
        axis.semilogx(t, run.loss[positive], color=COLOURS[2], label="loss")
        axis.semilogx(
            t, run.to_spike[positive], color=COLOURS[1], label=r"$v_1\cdot\Sigma\beta$"
        )
        axis.semilogx(
            t, run.to_target[positive], color=COLOURS[0], label=r"$v_1\cdot\beta$"
        )
        axis.set(xlabel="time", title=title)
        axis.set_xlim(left=0.3)
    axes[0, -1].legend(fontsize=10, loc="center left")
    return figure
