"""The limit of many particles: pictures."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from lazyrich.figures.slider import Slider
from lazyrich.figures.style import COLOURS, MARKERS, alpha_colours, new
from lazyrich.figures.two_limits.laws import (
    Curves,
    as_array,
    draw_density,
    draw_histogram,
)


def numbers_of_particles(
    widths: Sequence[int],
    samples: Sequence[torch.Tensor],
    t: Sequence[float],
    edges: torch.Tensor,
    mass: torch.Tensor,
    distances: np.ndarray,
    *,
    top: float = 1.6,
) -> Slider:
    """Histograms of N particles over the limiting density at several times, N by N.

    Args:
        widths: numbers of particles, one a frame.
        samples: for each, particles (times, N).
        t: times.
        edges, mass: of the density, (times, cells).
        distances: W_2 (widths, times), shown in the titles.
    """
    frames, alts = [], []
    borders = as_array(edges)
    bins = borders[:: max(1, (len(borders) - 1) // 40)]
    for h, sample, row in zip(widths, samples, distances, strict=True):
        figure, axes = new(1, len(t), height=3.8, sharey=True)
        for k, axis in enumerate(axes[0]):
            draw_histogram(axis, as_array(sample)[k], bins, "particles")
            draw_density(axis, borders, as_array(mass)[k], "limit")
            axis.set_title(f"$t$ = {t[k]:g}\n$W_2$ = {row[k]:.3f}", fontsize=11)
            axis.set_xlabel(r"$\theta$")
            axis.set_xlim(-3, 3)
            axis.set_ylim(0, top)
        axes[0, 0].set_ylabel("density")
        axes[0, 0].legend(fontsize=10, loc="upper left")
        frames.append(figure)
        alts.append(
            f"Histograms of {h} particles over the density of the limit at times "
            f"{', '.join(f'{x:g}' for x in t)}; W2 is "
            f"{', '.join(f'{x:.3f}' for x in row)}."
        )
    return Slider(frames, [f"N = {h:,}" for h in widths], "particles", alts)


def radial(
    t: torch.Tensor, edges: torch.Tensor, mass: torch.Tensor, risks: Curves
) -> Figure:
    """The density of the radius at several times, and the risk in several dimensions."""
    figure, axes = new(1, 2, height=3.8)
    borders, times = as_array(edges), as_array(t)
    shades = alpha_colours([float(x) + 1.0 for x in times])
    for k, time in enumerate(times):
        axes[0, 0].stairs(
            as_array(mass)[k] / np.diff(borders), borders, color=shades[k],
            lw=1.6, label=f"{time:g}", baseline=None,
        )  # fmt: skip
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].set_xlabel("radius $|w|$")
    axes[0, 0].set_ylabel("density")
    axes[0, 0].legend(title="time $t$", fontsize=10)
    for k, (name, (x, y)) in enumerate(risks.items()):
        line = "none" if "particles" in name else "-"
        axes[0, 1].plot(
            x, y, color=COLOURS[k], marker=MARKERS[k], ls=line, mfc="none", label=name
        )
    axes[0, 1].set_xscale("symlog", linthresh=0.3)
    axes[0, 1].set_xticks([0, 1, 10], ["0", "1", "10"])
    axes[0, 1].set_xlabel("time $t$")
    axes[0, 1].set_ylabel("risk $R$")
    axes[0, 1].set_ylim(bottom=0)
    axes[0, 1].legend(fontsize=10)
    return figure
