"""Axes and colours of depth, for all pictures of the deep ReLU kernel."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes


def by_depth(depths: Sequence[int]) -> list[tuple[float, ...]]:
    """One colour a depth: dark is shallow."""
    places = np.linspace(0, 0.85, len(depths))
    return [tuple(colormaps["viridis"](float(p))) for p in places]


def log_depth(axis: Axes, label: str = "depth $L$") -> None:
    """Make the horizontal axis one of depths, on a logarithmic scale."""
    axis.set_xscale("log")
    axis.set_xlabel(label)
