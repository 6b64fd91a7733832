"""Random data on spheres: pictures."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def sphere_depths(
    sizes: Sequence[int], inverse: Mapping[int, np.ndarray],
    angles: Mapping[int, Sequence[float]], wide: Sequence[int],
) -> Figure:  # fmt: skip
    """3 pi/theta_min against the number of points: simulated medians of 1/theta_min,
    medians of theta_min in theory at ``wide`` sizes, and powers."""
    figure, axes = new(1, 1, height=3.8)
    axis = axes[0, 0]
    unit = 3 * math.pi
    n = np.array(wide, dtype=float)
    for k, d in enumerate(inverse):
        theory = unit / np.array(angles[d])
        axis.plot(sizes, unit * inverse[d], ls="none", marker=MARKERS[k], color=COLOURS[k],
                  label=f"$d={d}$")  # fmt: skip
        axis.plot(n, theory, color=COLOURS[k], lw=1.4)
        power = theory[-1] * (n / n[-1]) ** (2 / (d - 1))
        axis.plot(n, power, color="k", ls=":", lw=1.2)
    axis.set(
        xscale="log", yscale="log", xlabel="points $N$", ylabel=r"$3\pi/\theta_{\min}$"
    )
    axis.legend()
    return figure
