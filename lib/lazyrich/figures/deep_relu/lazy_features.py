"""Features that move in the lazy regime: pictures."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def feature_movement(
    ratios: Mapping[int, tuple[np.ndarray, np.ndarray]],
) -> Figure:
    """Measured over predicted squared movement by point: with the equal-width term
    (filled) and without (open), by width."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, (n, (full, without)) in enumerate(ratios.items()):
        shift = np.arange(len(full)) + 0.15 * (k - 1)
        axis.plot(shift, full, ls="none", marker=MARKERS[k], color=COLOURS[k],
                  label=f"$n={n}$")  # fmt: skip
        axis.plot(shift, without, ls="none", marker=MARKERS[k], color=COLOURS[k],
                  mfc="white")  # fmt: skip
    axis.axhline(1.0, color="k", lw=1.0)
    count = len(next(iter(ratios.values()))[0])
    names = [f"$x_{j}$" for j in range(1, count)] + ["query"]
    axis.set_xticks(range(count), names)
    axis.set_ylabel("measured over predicted")
    axis.legend()
    return figure
