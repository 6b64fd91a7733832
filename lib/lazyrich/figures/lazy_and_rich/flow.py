"""Figures of the chapter on the model and its flow."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def tolerances(
    runs: Mapping[str, Mapping[str, np.ndarray]], alpha_mf: Sequence[float]
) -> Figure:
    """t1 and kernel change under several step rules, relative to the last one.

    Args:
        runs: by name of the rule, from loose to fine, as from
            ``flow_checks.tolerance_study``; "no weight rule" is drawn apart.
        alpha_mf: sqrt(h) alpha of the rows.
    """
    figure, axes = new(1, 2, height=3.8, sharey=True)
    names = [name for name in runs if name != "no weight rule"]
    for axis, quantity, title in (
        (axes[0, 0], "t1", "half-loss time $t_1$"),
        (axes[0, 1], "kernel_change", "kernel change"),
    ):
        finest = np.log(runs[names[-1]][quantity])
        for k, a in enumerate(alpha_mf):
            style = {"color": COLOURS[k], "marker": MARKERS[k]}
            ratio = [
                np.exp((np.log(runs[n][quantity]) - finest)[k].mean()) for n in names
            ]
            axis.plot(range(len(names)), ratio, label=f"{a:g}", **style)
            if "no weight rule" in runs:
                alone = np.log(runs["no weight rule"][quantity]) - finest
                axis.plot(
                    [-1], [np.exp(alone[k].mean())], mfc="white", ls="none", **style
                )
        axis.set_title(title)
        axis.set_yscale("log")
        axis.set_xticks([-1, *range(len(names))], ["output\nrule only", *names])
        axis.set_xlabel("tolerances / default")
        ticks = [0.5, 1, 2, 4, 8]
        axis.set_yticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
    axes[0, 0].set_ylabel("ratio to the finest run")
    axes[0, 1].legend(title=r"$\sqrt{h}\,\alpha$")
    return figure
