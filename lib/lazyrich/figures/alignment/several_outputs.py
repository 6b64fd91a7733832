"""Figures of the chapter on linear nets with several outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def modes(
    runs: Mapping[float, Mapping[str, np.ndarray]],
    predicted: Mapping[float, Sequence[float]],
    s: Sequence[float],
) -> Figure:
    """Share of every mode that is learned, with the predicted half times.

    Args:
        runs: by sigma, as from ``several_outputs.learning_curves``.
        predicted: half times of the modes, by sigma.
        s: singular values of the teacher.
    """
    figure, axes = new(1, len(runs), height=3.5, sharey=True)
    for axis, (sigma, run) in zip(axes[0], runs.items(), strict=True):
        for k, curve in enumerate(run["modes"].T):
            axis.plot(run["t"], curve, color=COLOURS[k], label=f"$s={s[k]:g}$")
            axis.plot(
                [predicted[sigma][k]], [0.5], marker=MARKERS[k], color=COLOURS[k],
                mfc="white", ms=8,
            )  # fmt: skip
        axis.plot(run["t"], run["loss"], color="black", ls="--", lw=1.2, label="loss")
        axis.set_title(rf"$\sigma={sigma:g}$")
        axis.set_xlabel("time")
    axes[0, 0].set_ylabel("share learned")
    axes[0, -1].legend(loc="center right")
    return figure


def digits(runs: Mapping[str, tuple[Any, float]]) -> Figure:
    """Loss and alignment on ten classes of digits, with the ceiling of the linear net.

    Args:
        runs: (``several_outputs.DigitsRun``, ceiling) by title.
    """
    figure, axes = new(1, len(runs), height=3.6, sharey=True)
    for axis, (title, (run, ceiling)) in zip(axes[0], runs.items(), strict=True):
        axis.plot(run.t, run.loss, label="loss")
        axis.plot(run.t, run.alignment / ceiling, label="alignment")
        axis.axhline(1.0, color=COLOURS[2], ls="--", lw=1.2, label="ceiling")
        rate = -np.gradient(run.loss, run.t)
        axis.fill_between(run.t, 0.35 * rate / rate.max(), color="0.8", label="rate")
        axis.set_title(title)
        axis.set_xlabel("time")
    axes[0, 0].set_ylabel("relative to start, ceiling")
    axes[0, -1].legend(loc="center right", fontsize=10)
    return figure


def drifts(ratios: Sequence[float], found: Mapping[str, np.ndarray]) -> Figure:
    """Change of the kernel's shape while the loss falls, against the ratio of the two
    singular values; (ratios, seeds) by label."""
    figure, axes = new(1, 1, height=3.3)
    axis = axes[0, 0]
    for k, (label, values) in enumerate(found.items()):
        axis.errorbar(
            ratios, values.mean(1), values.std(1), marker=MARKERS[k], color=COLOURS[k],
            label=label,
        )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xticks(list(ratios), [f"{r:g}" for r in ratios])
    axis.minorticks_off()
    axis.set_xlabel(r"$s_{\max}/s_{\min}$")
    axis.set_ylabel("1 − cosine")
    axis.legend()
    return figure


def layer_differences(
    shapes: Sequence[tuple[int, int, int]],
    measured: Sequence[np.ndarray],
    corrected: Sequence[float],
    printed: Sequence[float],
) -> Figure:
    """(u_1^2 - u_2^2) / sigma^2 for several shapes: measured, corrected, printed."""
    figure, axes = new(1, 1, height=3.5)
    axis = axes[0, 0]
    place = np.arange(len(shapes))
    for k, values in enumerate(measured):
        axis.plot(
            np.full(len(values), k), values, "o", color="0.6", ms=4,
            label="trained nets" if k == 0 else None,
        )  # fmt: skip
    axis.plot(
        place, corrected, "_", color=COLOURS[0], ms=26, mew=3, label="$(N_2-N_3)/N_1$"
    )
    axis.plot(
        place,
        printed,
        "_",
        color=COLOURS[1],
        ms=26,
        mew=3,
        label="$1-N_3/N_2$, printed",
    )
    axis.set_xticks(place, ["–".join(map(str, shape)) for shape in shapes], fontsize=11)
    axis.set_xlabel("widths $N_1$–$N_2$–$N_3$")
    axis.set_ylabel(r"$(u_1^2-u_2^2)/\sigma^2$")
    axis.legend(loc="upper left")
    return figure
