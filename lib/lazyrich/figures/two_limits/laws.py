"""Power laws, densities and histograms, for all pictures of the two limits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


def as_array(value: torch.Tensor | np.ndarray) -> Any:
    """The values as a NumPy array."""
    return value.numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def _power(axis: Axes, x: np.ndarray, power: float, start: float, label: str) -> None:
    """A dashed power law through (x[0], start)."""
    x = np.asarray(x, dtype=float)
    axis.plot(
        x, start * (x / x[0]) ** power, ls="--", lw=1.2, color="0.45", label=label
    )


def _laws(
    axis: Axes, curves: Curves, labels: tuple[str, str], guides: Sequence
) -> None:
    for k, (name, (x, y)) in enumerate(curves.items()):
        axis.plot(x, y, color=COLOURS[k], marker=MARKERS[k], label=name)
    for power, start, label in guides:
        _power(axis, np.asarray(next(iter(curves.values()))[0]), power, start, label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel(labels[0])
    axis.set_ylabel(labels[1])
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22)}
    axis.legend(fontsize=10, ncols=2, columnspacing=1.0, **below)


def power_laws(
    parts: Sequence[tuple[str, Curves, tuple[str, str], Sequence]],
    height: float = 3.9,
) -> Figure:
    """Curves on logarithmic axes with dashed powers to compare with, side by side.

    Args:
        parts: one an axis: a title; curves by name, abscissae and ordinates; labels of
            the two axes; and guides (power, value at the first abscissa, label).
        height: inches.
    """
    figure, axes = new(1, len(parts), height=height)
    for axis, (title, curves, labels, guides) in zip(axes[0], parts, strict=True):
        _laws(axis, curves, labels, guides)
        axis.set_title(title)
    return figure


def draw_density(axis: Axes, edges: Any, mass: Any, label: str) -> None:
    """A density as steps, from the mass of every cell between ``edges``."""
    axis.stairs(
        mass / np.diff(edges),
        edges,
        color=COLOURS[1],
        lw=2.0,
        label=label,
        baseline=None,
    )


def draw_histogram(axis: Axes, theta: Any, edges: Any, label: str) -> None:
    """A shaded histogram of particles, normalised to a density."""
    axis.hist(theta, edges, density=True, color=COLOURS[0], alpha=0.35, label=label)
