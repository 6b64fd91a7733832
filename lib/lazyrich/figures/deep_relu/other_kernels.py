"""Kernels with biases: pictures."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, new


def bias_curves(curves: Mapping[float, np.ndarray]) -> Figure:
    """Normalised kernel of orthogonal inputs against depth, by bias."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, (beta, values) in enumerate(curves.items()):
        depth = np.arange(1, len(values) + 1)
        axis.plot(depth, values, color=COLOURS[k], label=rf"$\beta={beta:g}$")
    axis.axhline(0.25, color="k", ls="--", lw=1.0)
    axis.set(xlabel="depth", ylabel=r"$\bar\Theta$")
    axis.legend()
    return figure
