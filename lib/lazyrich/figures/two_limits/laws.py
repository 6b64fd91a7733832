"""Figures of the chapters on mean-field and tangent-kernel limits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lazyrich.figures.slider import Slider
from lazyrich.figures.style import ALPHA_MAP, COLOURS, MARKERS, alpha_colours, new

Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


def _array(value: torch.Tensor | np.ndarray) -> Any:
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


def dissipation(
    t: np.ndarray, risk: np.ndarray, at: np.ndarray, rates: Mapping[str, np.ndarray]
) -> Figure:
    """Risk of a net along its flow, and -dR/dt by three routes at some times."""
    figure, axes = new(1, 2, height=3.6)
    axes[0, 0].plot(t, risk, color=COLOURS[0])
    axes[0, 0].set_ylabel("risk $R$")
    for k, (name, values) in enumerate(rates.items()):
        axes[0, 1].plot(
            at, -values, ls="none", marker=MARKERS[k], ms=11 - 3 * k, mfc="none",
            mew=1.6, color=COLOURS[k], label=name,
        )  # fmt: skip
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_title(r"dissipation $-\dot R$")
    axes[0, 1].legend()
    for axis in axes[0]:
        axis.set_xlabel("time $t$")
    return figure


# ------------------------------------------------------------------- density, particles


def _density(axis: Axes, edges: Any, mass: Any, label: str) -> None:
    axis.stairs(
        mass / np.diff(edges),
        edges,
        color=COLOURS[1],
        lw=2.0,
        label=label,
        baseline=None,
    )


def _histogram(axis: Axes, theta: Any, edges: Any, label: str) -> None:
    axis.hist(theta, edges, density=True, color=COLOURS[0], alpha=0.35, label=label)


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
    borders, cells = _array(edges), _array(mass)
    bins = borders[:: max(1, (len(borders) - 1) // 40)]
    centre = 0.5 * (borders[1:] + borders[:-1])
    for k, time in enumerate(_array(t)):
        figure, axes = new(1, 2, height=4.0)
        left, right = axes[0]
        left.plot(_array(paths), _array(t), color="0.8", lw=0.8)
        left.plot(_array(paths)[: k + 1], _array(t)[: k + 1], color=COLOURS[0], lw=1.0)
        left.plot(
            _array(paths)[k], np.full(paths.shape[1], time), ".", color=COLOURS[0]
        )
        left.set_ylabel("time $t$")
        left.set_title("particles")
        _histogram(right, _array(sample)[k], bins, f"{sample.shape[1]:,} particles")
        _density(right, borders, cells[k], "DD")
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
    return Slider(frames, [f"{x:g}" for x in _array(t)], "time", alts)


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
    first, second = (_array(e) for e in edges)
    for axis, time, rho, points in zip(axes[0], t, density, particles, strict=True):
        shown = _array(rho).clip(min=1e-4)
        axis.pcolormesh(
            first, second, shown.T, norm=LogNorm(1e-4, 1.0), cmap="Oranges",
            rasterized=True,
        )  # fmt: skip
        axis.plot(*_array(points).T, ".", ms=2.2, color=COLOURS[0])
        axis.set_title(f"$t$ = {time:g}")
        axis.set_xlabel("read-out $a$")
        axis.set_xlim(-reach, reach)
        axis.set_ylim(-reach, reach)
        axis.grid(False)
    axes[0, 0].set_ylabel("weight $w$")
    return figure


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
    borders = _array(edges)
    bins = borders[:: max(1, (len(borders) - 1) // 40)]
    for h, sample, row in zip(widths, samples, distances, strict=True):
        figure, axes = new(1, len(t), height=3.8, sharey=True)
        for k, axis in enumerate(axes[0]):
            _histogram(axis, _array(sample)[k], bins, "particles")
            _density(axis, borders, _array(mass)[k], "limit")
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


def radial(
    t: torch.Tensor, edges: torch.Tensor, mass: torch.Tensor, risks: Curves
) -> Figure:
    """The density of the radius at several times, and the risk in several dimensions."""
    figure, axes = new(1, 2, height=3.8)
    borders, times = _array(edges), _array(t)
    shades = alpha_colours([float(x) + 1.0 for x in times])
    for k, time in enumerate(times):
        axes[0, 0].stairs(
            _array(mass)[k] / np.diff(borders), borders, color=shades[k],
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


# ---------------------------------------------------------------------- tangent kernel


def modes(t: np.ndarray, found: Mapping[float, Mapping[str, np.ndarray]]) -> Figure:
    """Eigenmodes of the residual: a net, full lines, and exp(-lambda t), dashed."""
    figure, axes = new(1, len(found), height=3.8, sharey=True)
    for axis, (alpha, run) in zip(axes[0], found.items(), strict=True):
        for k, rate in enumerate(run["rates"]):
            axis.plot(
                t, run["net"][:, k], color=COLOURS[k], label=rf"$\lambda$ = {rate:.2f}"
            )
            axis.plot(t, run["frozen"][:, k], color=COLOURS[k], ls="--", lw=1.2)
        axis.set_yscale("log")
        axis.set_ylim(0.03, 4)
        axis.set_title(rf"$\alpha$ = {alpha:g}")
        axis.set_xlabel("time $t$")
    axes[0, 0].set_ylabel("mode of $u_t$ / start")
    axes[0, 0].legend(fontsize=10)
    return figure


def crossover(
    alphas: Sequence[float], widths: Sequence[int], change: np.ndarray
) -> Figure:
    """Kernel change over (alpha, N) with the path alpha = sqrt(N) and level lines."""
    figure, axes = new(height=4.2)
    axis = axes[0, 0]
    mesh = axis.pcolormesh(
        alphas, widths, change, norm=LogNorm(), cmap=f"{ALPHA_MAP}_r", shading="nearest"
    )
    axis.contour(
        alphas, widths, change, levels=[1e-3, 1e-2, 1e-1, 1.0], colors="k", linewidths=1
    )
    line = np.array([min(widths), max(widths)], dtype=float)
    axis.plot(
        np.sqrt(line), line, color="white", ls="--", lw=2.2, label=r"$\alpha=\sqrt{N}$"
    )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.grid(False)
    axis.set_xlabel(r"scale $\alpha$")
    axis.set_ylabel("neurons $N$")
    axis.legend(loc="lower right", labelcolor="white", facecolor="0.3", frameon=True)
    figure.colorbar(mesh, ax=axis, label="kernel change")
    return figure


def from_rich_to_lazy(t: np.ndarray, portraits: Sequence) -> Slider:
    """One net at several alphas: where its neurons go, its risk, and its kernel.

    Args:
        t: times of the risks.
        portraits: of ``tangent_limit.portraits``.
    """
    frames, alts = [], []
    largest = max(float(np.abs(p.kernel_before).max()) for p in portraits)
    for p in portraits:
        figure, axes = new(2, 2, height=6.6)
        plane, risk, before, after = axes.flat
        sign = np.where(p.after[:, 0] > 0, COLOURS[1], COLOURS[0])
        for start, end, colour in zip(p.before, p.after, sign, strict=True):
            plane.plot(
                [start[1], end[1]], [start[2], end[2]], color=colour, lw=0.7, alpha=0.6
            )
        plane.scatter(p.after[:, 1], p.after[:, 2], s=7, c=sign, zorder=3)
        plane.set_xlim(-4, 4)
        plane.set_ylim(-4, 4)
        plane.set_xlabel("$w_1$")
        plane.set_ylabel("$w_2$")
        plane.set_title("neurons, start to end")
        risk.plot(t, p.risk, color=COLOURS[0], label="net")
        risk.plot(t, p.frozen_risk, color="0.4", ls="--", label="frozen kernel")
        risk.set_yscale("log")
        risk.set_ylim(2e-2, 1.2)
        risk.set_xlabel("time $t$")
        risk.set_title("risk")
        risk.legend(fontsize=10)
        for axis, kernel, title in (
            (before, p.kernel_before, "kernel before"),
            (after, p.kernel_after, f"after: changed by {p.change:.2g}"),
        ):
            axis.imshow(kernel, cmap="RdBu_r", vmin=-largest, vmax=largest)
            axis.set_title(title)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
        frames.append(figure)
        alts.append(
            f"alpha {p.alpha:g}: neurons move from start to end, the risk ends at "
            f"{p.risk[-1]:.2g} against {p.frozen_risk[-1]:.2g} with the kernel frozen, "
            f"and the kernel changes by {p.change:.2g} of its norm."
        )
    labels = [f"{p.alpha:g}" for p in portraits]
    return Slider(frames, labels, r"scale alpha", alts)
