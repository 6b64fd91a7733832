"""Networks against their linearisations: pictures."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.slider import Slider
from lazyrich.figures.style import COLOURS, MARKERS, new

Curve = tuple[np.ndarray, np.ndarray]


def staircase(d: int, curves: Mapping[str, Curve]) -> Figure:
    """Error of each degree against log N / log d, one panel a class of features."""
    figure, axes = new(1, len(curves), height=3.7, sharey=True)
    for axis, (title, (widths, errors)) in zip(axes[0], curves.items(), strict=True):
        x = np.log(widths) / np.log(d)
        for k in range(1, errors.shape[1]):
            axis.plot(
                x,
                errors[:, k],
                marker=MARKERS[k - 1],
                color=COLOURS[k - 1],
                label=f"{k}",
            )
        axis.set_title(f"{title}, $d={d}$")
        axis.set_xlabel(r"$\log N/\log d$")
        axis.set_xlim(0.0, 3.6)
        axis.set_ylim(-0.04, 1.04)
    axes[0, 0].set_ylabel("share left")
    axes[0, -1].legend(title="degree", loc="center right")
    return figure


def staircases(curves: Mapping[int, Mapping[str, Curve]]) -> Slider:
    """``staircase`` for several dimensions, with a slider."""
    frames = [staircase(d, found) for d, found in curves.items()]
    alts = []
    for d, found in curves.items():
        words = []
        for title, (widths, errors) in found.items():
            half = [
                f"degree {k} at N = {_passes(widths, errors[:, k])}"
                for k in range(1, errors.shape[1])
            ]
            words.append(f"{title}: half is fitted in {', '.join(half)}")
        alts.append(f"Falling curves, one a degree, d = {d}. {'. '.join(words)}.")
    return Slider(frames, [str(d) for d in curves], "dimension d", alts, start=2)


def _passes(widths: np.ndarray, errors: np.ndarray) -> str:
    """The width at which a falling error passes one half, in words."""
    below = np.flatnonzero(errors < 0.5)
    return f"about {widths[below[0]]}" if below.size else "none shown"


def budget(widths: np.ndarray, errors: np.ndarray, counts: np.ndarray) -> Figure:
    """Which degrees the features are spent on: N_k (1 - error_k) / N, stacked.

    Args:
        widths: numbers of random features N.
        errors: by degree, (widths, degrees + 1).
        counts: harmonics N_k by degree.
    """
    figure, axes = new(1, 1, height=3.4)
    axis = axes[0, 0]
    spent = counts * (1 - errors) / widths[:, None]
    shades = ("#DDDDDD", *COLOURS)
    axis.stackplot(
        widths, spent.T, colors=[*shades[: spent.shape[1]]], alpha=0.8,
        labels=[f"{k}" for k in range(spent.shape[1])],
    )  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlim(widths[0], widths[-1])
    axis.set_ylim(0, 1)
    axis.set_xlabel("random features $N$")
    axis.set_ylabel("share of features")
    axis.legend(title="degree", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def one_neuron(
    linear: Mapping[str, tuple[np.ndarray, np.ndarray, float]],
    learned: Mapping[str, Mapping[str, np.ndarray]],
) -> Figure:
    """A single neuron: linear models against the number of neurons, and one neuron
    against the steps of gradient descent.

    Args:
        linear: widths, errors and the tail (dashed) by class of features.
        learned: results of ``learn_neuron`` by activation.
    """
    figure, axes = new(1, 2, height=3.7, sharey=True)
    left, right = axes[0]
    for k, (name, (widths, errors, tail)) in enumerate(linear.items()):
        left.plot(widths, errors, MARKERS[k] + "-", color=COLOURS[k], label=name)
        left.axhline(tail, color=COLOURS[k], ls="--", lw=1)
    left.set_xscale("log")
    left.set_xlabel("neurons $N$")
    left.set_ylabel("share left")
    left.set_title("linear models")
    left.legend(loc="lower left")
    for k, (name, run) in enumerate(learned.items()):
        for j, error in enumerate(run["error"].T):
            right.plot(
                run["step"], np.maximum(error, 1e-9), color=COLOURS[k + 2], lw=0.8,
                label=name if j == 0 else None,
            )  # fmt: skip
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_ylim(1e-6, 3)
    right.set_xlabel("steps")
    right.set_title("one neuron, 20 starts")
    right.legend(loc="lower left")
    return figure
