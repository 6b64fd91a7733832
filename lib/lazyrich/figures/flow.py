"""Figures of the chapter on the model and its flow."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.figure import Figure

from lazyrich.dynamics import Trajectory
from lazyrich.figures.style import COLOURS, MARKERS, new


def tolerances(runs: Mapping[str, Trajectory], alpha_mf: Sequence[float]) -> Figure:
    """t1 and kernel change under several step rules, relative to the last one.

    Args:
        runs: by name of the rule, from loose to fine; "no weight rule" is drawn apart.
        alpha_mf: sqrt(h) alpha of the members of every run.
    """
    figure, axes = new(1, 2, height=3.6)
    names = [name for name in runs if name != "no weight rule"]
    finest = runs[names[-1]]
    for axis, title in zip(
        axes[0], ("half-loss time $t_1$", "kernel change"), strict=True
    ):
        value = _t1 if title.startswith("half") else _kernel_change
        reference = value(finest)
        for k, a in enumerate(alpha_mf):
            ratio = [float(value(runs[name])[k] / reference[k]) for name in names]
            style = dict(color=COLOURS[k], marker=MARKERS[k])
            axis.plot(range(len(names)), ratio, label=f"{a:g}", **style)
            if "no weight rule" in runs:
                alone = float(value(runs["no weight rule"])[k] / reference[k])
                axis.plot([-1], [alone], mfc="white", ls="none", **style)
        axis.set_title(title)
        axis.set_yscale("log")
        axis.set_xticks([-1, *range(len(names))], ["output\nrule only", *names])
        axis.set_xlabel("tolerances / default")
        ticks = [0.5, 1, 2, 4, 8]
        axis.set_yticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
    axes[0, 0].set_ylabel("ratio to the finest run")
    axes[0, 0].legend(title=r"$\sqrt{h}\,\alpha$")
    return figure


def _t1(run: Trajectory) -> torch.Tensor:
    return run.t1


def _kernel_change(run: Trajectory) -> torch.Tensor:
    curve = run.observed["kernel_change"]
    last = (~run.t.isnan()).sum(1) - 1
    return curve[torch.arange(len(last)), last]
