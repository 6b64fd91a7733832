"""Noise in most directions: pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from lazyrich.figures.style import COLOURS, MARKERS, new


def against_ratio(
    ratios: Sequence[float], errors: Mapping[str, np.ndarray],
    radii: Mapping[str, np.ndarray], radius_ratios: Sequence[float],
) -> Figure:  # fmt: skip
    """Errors against the signal-to-noise ratio: kernel and net, and both noise radii.

    Args:
        ratios: values of r of ``errors``.
        errors: (ratios, seeds) by method.
        radii: (ratios, seeds) by radius of the noise.
        radius_ratios: values of r of ``radii``.
    """
    figure, axes = new(1, 2, height=3.7, sharey=True)
    groups = ((axes[0, 0], ratios, errors, 0), (axes[0, 1], radius_ratios, radii, 2))
    for axis, x, found, first in groups:
        for k, (name, values) in enumerate(found.items(), first):
            axis.errorbar(
                x, values.mean(1), values.std(1, ddof=1), color=COLOURS[k],
                marker=MARKERS[k], capsize=3, label=name,
            )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel("signal to noise $r$")
        axis.set_xticks(list(x), [f"{r:g}" for r in x])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.legend(loc="upper right", fontsize=11)
    axes[0, 0].set_ylim(top=6)
    axes[0, 0].set_ylabel("normalised test error")
    axes[0, 0].set_title("kernel and net")
    axes[0, 1].set_title("kernel, two radii")
    return figure


def noisy_images(images: Mapping[str, np.ndarray]) -> Figure:
    """Rows of images (k, side, side) by name, in grey."""
    count = max(len(row) for row in images.values())
    figure, axes = new(len(images), count, height=1.15 * len(images))
    for row, (name, pictures) in zip(axes, images.items(), strict=True):
        for axis, picture in zip(row, pictures, strict=False):
            axis.imshow(picture, cmap="gray")
            axis.set_axis_off()
        row[0].set_title(name, fontsize=10)
    return figure


def against_frequencies(
    cuts: Sequence[int], accuracy: np.ndarray, energy: np.ndarray
) -> Figure:
    """Accuracy and energy of images made of their lowest frequencies."""
    figure, axes = new(1, 1, height=3.2)
    axis = axes[0, 0]
    axis.plot(
        cuts, energy, "s-", color=COLOURS[1], label="energy, mean image taken off"
    )
    axis.plot(
        cuts, accuracy, "o-", color=COLOURS[0], label="accuracy of a linear classifier"
    )
    axis.axhline(accuracy[-1], color=COLOURS[0], ls="--", lw=1)
    axis.set_xlabel("frequencies kept along each axis")
    axis.set_ylabel("share")
    axis.set_ylim(0, 1.02)
    axis.legend(loc="lower right")
    return figure


def against_noise(levels: Sequence[float], errors: Mapping[str, np.ndarray]) -> Figure:
    """Accuracy against the size of noise at high frequencies, mean and spread of seeds.

    Args:
        levels: of the noise.
        errors: (levels, seeds) by method.
    """
    figure, axes = new(1, 1, height=3.4)
    axis = axes[0, 0]
    for k, (name, values) in enumerate(errors.items()):
        axis.errorbar(
            levels, 1 - values.mean(1), values.std(1, ddof=1), color=COLOURS[k],
            marker=MARKERS[k], capsize=3, label=name,
        )  # fmt: skip
    axis.set_xlabel(r"size of the noise $\tau$")
    axis.set_ylabel("test accuracy")
    axis.legend()
    return figure
