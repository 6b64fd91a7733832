"""Figures of the chapters on silent alignment and linear networks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.slider import Slider
from lazyrich.figures.style import COLOURS, MARKERS, new

Array = np.ndarray


def final_kernel_residuals(
    epsilons: Sequence[float],
    toy: Array,
    sigmas: Sequence[float],
    final: Array,
    initial: Array,
) -> Figure:
    """Distance from kernel regression: left of the two-phase model, right of ReLU nets.

    Args:
        epsilons, toy: scales and errors (draws, epsilons) of the model.
        sigmas, final, initial: scales and residuals (sigmas, seeds) of the nets.
    """
    figure, axes = new(1, 2, height=3.7)
    left, right = axes[0]
    for row in toy:
        left.loglog(epsilons, row, color=COLOURS[3], alpha=0.6, lw=1)
    middle = np.exp(np.log(toy).mean(0))
    left.loglog(epsilons, middle, color=COLOURS[0], marker="o", label="mean")
    guide = middle[0] * np.array(epsilons) / epsilons[0]
    left.loglog(epsilons, guide, "k--", lw=1, label=r"$\propto\epsilon$")
    left.set_xlabel(r"scale $\epsilon$ while turning")
    left.set_ylabel("|trained − final kernel|")
    left.set_title("two-phase model")
    left.legend()
    names = (("initial kernel", initial), ("final kernel", final))
    for k, (name, values) in enumerate(names):
        style = {"color": COLOURS[1 - k], "marker": MARKERS[k]}
        right.loglog(sigmas, values.mean(1), label=name, **style)
    right.set_xlabel(r"initial scale $\sigma$")
    right.set_ylabel("residual / |f|")
    right.set_title("ReLU nets, images")
    right.legend()
    return figure


def level_sets(
    t: Array, M: Array, function: Array, beta: Array, names: Sequence[str]
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
    curves: Mapping[float, Array],
    predicted: Mapping[float, Array],
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
    with_r0: tuple[Array, Array],
    without: tuple[Array, Array],
    sigmas: Sequence[float],
    errors: Mapping[str, Array],
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


def turning(runs: Mapping[str, Any]) -> Figure:
    """Loss, overlap of the first layer with Sigma beta and with beta, run by run.

    Args:
        runs: title -> run with ``t``, ``loss``, ``to_spike``, ``to_target``.
    """
    figure, axes = new(1, len(runs), height=3.8, sharey=True)
    for axis, (title, run) in zip(axes[0], runs.items(), strict=True):
        positive = run.t > 0
        t = run.t[positive]
        axis.semilogx(t, run.loss[positive], color=COLOURS[2], label="loss")
        axis.semilogx(
            t, run.to_spike[positive], color=COLOURS[1], label=r"$v_1\cdot\Sigma\beta$"
        )
        axis.semilogx(
            t, run.to_target[positive], color=COLOURS[0], label=r"$v_1\cdot\beta$"
        )
        axis.set(xlabel="time", title=title)
        axis.set_xlim(left=0.3)
    axes[0, -1].legend(fontsize=10, loc="center left")
    return figure


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
