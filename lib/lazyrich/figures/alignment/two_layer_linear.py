"""Two linear layers: pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.slider import Slider
from lazyrich.figures.style import COLOURS, MARKERS, new


def level_sets(
    t: np.ndarray,
    M: np.ndarray,
    function: np.ndarray,
    beta: np.ndarray,
    names: Sequence[str],
) -> Slider:
    """Fig. 2 as an animation: level sets of the norm b . M^(-1) b in the plane, over its
    mean, with the network and the line of interpolators.

    Args:
        t: (m,) times.
        M: (m, 2, 2) kernels; function: (m, 2) networks.
        beta: min-norm interpolator (2,).
        names: what happens, by frame.
    """
    grid = np.linspace(-1.6, 1.6, 121)
    u, v = np.meshgrid(grid, grid)
    points = np.stack([u.ravel(), v.ravel()], 1)
    across = np.array([-beta[1], beta[0]])
    frames, alts = [], []
    for k, time in enumerate(t):
        figure, axes = new(1, 1, height=5.6)
        axis = axes[0, 0]
        inverse = np.linalg.inv(M[k] / (np.trace(M[k]) / 2))
        norm = np.einsum("ni,ij,nj->n", points, inverse, points).reshape(u.shape)
        axis.contour(
            u,
            v,
            norm,
            levels=[0.1, 0.4, 0.9, 1.6, 2.5],
            colors=COLOURS[3],
            linewidths=1.2,
        )
        line = beta + np.outer([-3, 3], across)
        axis.plot(line[:, 0], line[:, 1], color="black", lw=1.5, label="interpolators")
        axis.plot(*function[k], "o", ms=10, color=COLOURS[0], label="network", zorder=4)
        axis.plot(
            *beta, marker="*", ms=15, mfc="none", mec=COLOURS[1], ls="none",
            label="smallest interpolator",
        )  # fmt: skip
        axis.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal", title=names[k])
        axis.set_xlabel("first component")
        axis.set_ylabel("second component")
        axis.legend(loc="lower left", fontsize=10)
        values = np.linalg.eigvalsh(M[k])
        size = float(np.linalg.norm(function[k]))
        alts.append(
            f"Time {time:.1f}: ratio of the kernel's eigenvalues "
            f"{values[1] / values[0]:.2f}, length of the network {size:.3f} of 1."
        )
        frames.append(figure)
    return Slider(frames, [f"{x:.1f}" for x in t], "time", alts)


def loss_and_half_times(
    runs: Mapping[float, Any],
    curves: Mapping[float, np.ndarray],
    predicted: Mapping[float, np.ndarray],
) -> Figure:
    """Figs. 3a, 3b: losses with the closed form, and half-loss times against sigma.

    Args:
        runs: sigma -> runs with ``t``, ``loss`` and ``half_loss_time``.
        curves: sigma -> predicted loss of the first run.
        predicted: sigma -> predicted half-loss times of all runs.
    """
    figure, axes = new(1, 2, height=3.7)
    left, right = axes[0]
    for k, (sigma, many) in enumerate(runs.items()):
        run = many[0]
        left.plot(run.t, run.loss, color=COLOURS[k], label=rf"$\sigma={sigma:g}$")
        left.plot(run.t, curves[sigma], "k:", lw=1.5)
        times = [run.half_loss_time for run in many]
        right.semilogx(
            [sigma] * len(many), times, "o", mfc="none", mec=COLOURS[0], ms=7
        )
        right.semilogx([sigma] * len(many), predicted[sigma], "k_", ms=12)
    left.set(xlabel="time", ylabel="loss", title="dotted: closed form")
    left.legend(fontsize=10)
    right.set(xlabel=r"$\sigma$", ylabel="half-loss time", title="dashes: closed form")
    return figure


def one_clock(run: Any, ceiling: float, aligned: float, learned: float) -> Figure:
    """Alignment, kernel norm and loss of one run on one clock, with two times marked.

    Args:
        run: with ``t``, ``alignment``, ``M``, ``loss``.
        ceiling: the alignment it should reach.
        aligned, learned: predicted times.
    """
    figure, axes = new(1, 1, height=4.0)
    axis = axes[0, 0]
    norm = np.linalg.norm(run.M, axis=(1, 2))
    axis.plot(
        run.t, run.alignment / ceiling, color=COLOURS[1], label="alignment / ceiling"
    )
    axis.plot(run.t, norm / norm[-1], color=COLOURS[0], label="kernel norm / final")
    axis.plot(run.t, run.loss, color=COLOURS[2], label="loss / initial")
    axis.axhline(1.0, color="0.6", lw=0.8)
    for when, text in ((aligned, "$1/s$"), (learned, r"$\frac{1}{2s}\ln(s/u_0^2)$")):
        axis.axvline(when, color="black", ls="--", lw=1)
        axis.text(when + 0.1, 0.5, text)
    axis.set(xlabel="time", ylim=(-0.03, 1.08))
    axis.legend(loc="center right")
    return figure


def matched_solutions(
    run: Any,
    with_r0: tuple[np.ndarray, np.ndarray],
    without: tuple[np.ndarray, np.ndarray],
    sigmas: Sequence[float],
    errors: Mapping[str, np.ndarray],
) -> Figure:
    """Fig. B.1: q and r of a run with the closed forms, and the errors against sigma.

    Args:
        run: with ``t``, ``q``, ``r``.
        with_r0, without: (q, r) of the two formulas.
        sigmas, errors: ``corrected`` and ``printed``, (shapes, sigmas, seeds).
    """
    figure, axes = new(1, 2, height=3.7)
    left, right = axes[0]
    left.plot(run.t, run.q, color=COLOURS[0], label="$q$")
    left.plot(run.t, run.r, color=COLOURS[1], label="$r$")
    for k, (curves, style) in enumerate(((with_r0, ":"), (without, "--"))):
        for curve in curves:
            name = ("with $r_0$", "without")[k] if curve is curves[0] else None
            left.plot(run.t, curve, style, color="black", lw=1.3, label=name)
    left.set(xlabel="time", title="one net")
    left.legend(fontsize=10, loc="lower right")
    for k, (name, label) in enumerate(
        (("printed", "without $r_0$"), ("corrected", "with"))
    ):
        values = errors[name].swapaxes(1, 2).reshape(-1, len(sigmas))
        for row in values:
            right.loglog(sigmas, row, color=COLOURS[1 - k], alpha=0.5, lw=1)
        right.loglog(
            sigmas, np.exp(np.log(values).mean(0)), color=COLOURS[1 - k],
            marker=MARKERS[k], label=label,
        )  # fmt: skip
    right.set(
        xlabel=r"$\sigma$", ylabel="largest error of $r$", title="12 nets a point"
    )
    right.legend()
    return figure
