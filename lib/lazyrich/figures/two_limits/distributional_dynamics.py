"""Particles and densities: pictures."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lazyrich.figures.slider import Slider
from lazyrich.figures.style import COLOURS, new
from lazyrich.figures.two_limits.laws import as_array, draw_density, draw_histogram


def particles_and_density(
    t: torch.Tensor,
    paths: torch.Tensor,
    sample: torch.Tensor,
    edges: torch.Tensor,
    mass: torch.Tensor,
    target: np.ndarray,
    *,
    top: float = 1.6,
) -> Slider:
    """Particle by particle, and as a density: one frame a time.

    Args:
        t: (m,) times.
        paths: (m, few) particles to follow as lines.
        sample: (m, many) particles to count.
        edges, mass: cells of the density and their masses (m, cells).
        target: density that the target was made from, at the cell centres.
        top: upper end of the density axis.
    """
    frames, alts = [], []
    borders, cells = as_array(edges), as_array(mass)
    bins = borders[:: max(1, (len(borders) - 1) // 40)]
    centre = 0.5 * (borders[1:] + borders[:-1])
    for k, time in enumerate(as_array(t)):
        figure, axes = new(1, 2, height=4.0)
        left, right = axes[0]
        left.plot(as_array(paths), as_array(t), color="0.8", lw=0.8)
        left.plot(
            as_array(paths)[: k + 1], as_array(t)[: k + 1], color=COLOURS[0], lw=1.0
        )
        left.plot(
            as_array(paths)[k], np.full(paths.shape[1], time), ".", color=COLOURS[0]
        )
        left.set_ylabel("time $t$")
        left.set_title("particles")
        draw_histogram(
            right, as_array(sample)[k], bins, f"{sample.shape[1]:,} particles"
        )
        draw_density(right, borders, cells[k], "DD")
        right.plot(centre, target, color="0.4", ls=":", label="target")
        right.set_ylim(0, top)
        right.set_title("density")
        right.legend(loc="upper left", fontsize=10)
        for axis in axes[0]:
            axis.set_xlim(-3, 3)
            axis.set_xlabel(r"parameter $\theta$")
        frames.append(figure)
        alts.append(
            f"At time {time:g}: paths of {paths.shape[1]} particles, and the histogram "
            f"of {sample.shape[1]} particles under the density of DD."
        )
    return Slider(frames, [f"{x:g}" for x in as_array(t)], "time", alts)


def plane(
    t: Sequence[float],
    edges: Sequence[torch.Tensor],
    density: torch.Tensor,
    particles: torch.Tensor,
    *,
    reach: float = 5.0,
) -> Figure:
    """A density in the plane, as colour, and particles on top of it, time by time.

    Args:
        t: (m,) times.
        edges: borders of the cells along both axes.
        density: (m, cells, cells).
        particles: (m, h, 2).
        reach: how far both axes go.
    """
    figure, axes = new(1, len(t), height=3.1, sharey=True)
    first, second = (as_array(e) for e in edges)
    for axis, time, rho, points in zip(axes[0], t, density, particles, strict=True):
        shown = as_array(rho).clip(min=1e-4)
        axis.pcolormesh(
            first, second, shown.T, norm=LogNorm(1e-4, 1.0), cmap="Oranges",
            rasterized=True,
        )  # fmt: skip
        axis.plot(*as_array(points).T, ".", ms=2.2, color=COLOURS[0])
        axis.set_title(f"$t$ = {time:g}")
        axis.set_xlabel("read-out $a$")
        axis.set_xlim(-reach, reach)
        axis.set_ylim(-reach, reach)
        axis.grid(False)
    axes[0, 0].set_ylabel("weight $w$")
    return figure


def convexities(
    share: np.ndarray, mixed: np.ndarray, places: np.ndarray, moved: np.ndarray
) -> Figure:
    """The risk along a mixture of two measures, and along a geodesic between them."""
    figure, axes = new(1, 2, height=3.6)
    for axis, x, y, label, title in (
        (axes[0, 0], share, mixed, "share of the second measure", "mixture"),
        (axes[0, 1], places, moved, "place of the mass", "Wasserstein geodesic"),
    ):
        axis.plot(x, y, color=COLOURS[0])
        axis.plot(x[[0, -1]], y[[0, -1]], color="0.5", ls="--", marker="o", lw=1.2)
        axis.set_xlabel(label)
        axis.set_title(title)
    axes[0, 0].set_ylabel("risk $R$")
    return figure
