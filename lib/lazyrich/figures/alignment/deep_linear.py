"""Deep linear networks: pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new

Array = np.ndarray


def spike_sizes(ratios: Sequence[float], plain: Array, weighted: Array) -> Figure:
    """Fig. D.1b: spike over bulk of the plain and of the rate-weighted final kernel."""
    figure, axes = new(1, 1, height=3.8)
    axis = axes[0, 0]
    axis.plot(ratios, plain, "o", ms=8, color=COLOURS[0], label="plain kernel")
    axis.plot(
        ratios, weighted, "s", ms=8, color=COLOURS[1], label="rate-weighted kernel"
    )
    axis.plot(ratios, ratios, "k--", lw=1, label=r"$\eta_1/\eta_2$")
    axis.set(xlabel=r"$\eta_1/\eta_2$", ylabel=r"$\lambda_{\max}/\lambda_{\min}-1$")
    axis.legend()
    return figure


def power_law(
    equation: Mapping[int, tuple[Array, Array]],
    nets: Mapping[int, tuple[Sequence[float], Array, Array]],
) -> Figure:
    """Figs. 4a, 4c: half-loss times against sigma of the equation for c, with and without
    its factor L, and half-loss and alignment times of trained nets.

    Args:
        equation: depth -> (sigmas, times).
        nets: depth -> (sigmas, half-loss times, alignment times).
    """
    figure, axes = new(1, 1, height=4.6)
    axis = axes[0, 0]
    for k, (depth, (sigmas, times)) in enumerate(equation.items()):
        axis.loglog(sigmas, times, color=COLOURS[k], label=f"$L={depth}$")
        axis.loglog(sigmas, depth * times, color=COLOURS[k], ls=":")
        if depth in nets:
            places, learned, aligned = nets[depth]
            style = {"color": COLOURS[k], "ls": "none"}
            axis.loglog(places, learned, marker=MARKERS[k], ms=8, mfc="white", **style)
            axis.loglog(places, aligned, marker="x", ms=7, **style)
    axis.plot([], [], "k:", label="without the factor $L$")
    axis.plot([], [], "ko", mfc="white", ms=8, label="nets: half of the loss")
    axis.plot([], [], "kx", ms=7, label="nets: first layer aligned")
    axis.set(xlabel=r"initial scale $\sigma$", ylabel="time", ylim=(1, 1e5))
    axis.legend(fontsize=10)
    return figure


def cosine_and_loss(runs: Sequence[Any]) -> Figure:
    """Fig. 4b: loss and first-layer cosine of nets of several sigmas, against time over
    half-loss time."""
    figure, axes = new(1, 2, height=3.7, sharey=True)
    for k, run in enumerate(runs):
        t = run.t / run.half_loss_time
        name = rf"$\sigma={run.sigma:g}$"
        axes[0, 0].plot(t, run.cosine, color=COLOURS[k], label=name)
        axes[0, 1].plot(t, run.loss, color=COLOURS[k])
    for axis, title in zip(axes[0], ("first-layer cosine", "loss"), strict=True):
        axis.set(title=title, xlabel=r"$t/t_{1/2}$", xlim=(0, 2))
        axis.axvline(1.0, color="0.5", lw=0.8, ls="--")
    axes[0, 0].legend(fontsize=10)
    return figure


def depth_curves(runs: Sequence[Any], ceilings: Sequence[float]) -> Figure:
    """Fig. D.3: loss, kernel alignment and first-layer cosine of nets of several depths,
    against time over half-loss time."""
    figure, axes = new(1, 3, height=3.6)
    for k, (run, ceiling) in enumerate(zip(runs, ceilings, strict=True)):
        t = run.t / run.half_loss_time
        name = rf"$L={run.depth}$"
        axes[0, 0].plot(t, run.loss, color=COLOURS[k], label=name)
        axes[0, 1].plot(t, run.alignment, color=COLOURS[k])
        axes[0, 1].axhline(ceiling, color=COLOURS[k], ls="--", lw=1)
        axes[0, 2].plot(t, run.cosine, color=COLOURS[k])
    for axis, title in zip(
        axes[0], ("loss", "kernel alignment", "first layer"), strict=True
    ):
        axis.set(title=title, xlim=(0, 2), xlabel=r"$t/t_{1/2}$")
    axes[0, 0].legend(fontsize=10)
    return figure


def image_kernels(runs: Sequence[Any]) -> Figure:
    """Fig. D.4b: final Gram matrices, images sorted by class, one panel a depth; above
    them the alignment over time."""
    figure, axes = new(2, len(runs), height=5.6)
    for k, run in enumerate(runs):
        top, bottom = axes[0, k], axes[1, k]
        top.plot(run.t, run.alignment, color=COLOURS[0])
        top.axhline(run.expected_alignment, color="black", ls="--", lw=1)
        top.set(title=f"$L={run.depth}$", xlabel="time", ylim=(0, 0.6))
        limit = np.percentile(np.abs(run.gram), 99)
        bottom.imshow(run.gram, cmap="RdBu_r", vmin=-limit, vmax=limit)
        bottom.set(xticks=[], yticks=[])
        bottom.grid(False)
    axes[0, 0].set_ylabel("alignment")
    axes[1, 0].set_ylabel("images by class")
    return figure
