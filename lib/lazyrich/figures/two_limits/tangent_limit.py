"""From the tangent-kernel limit to the mean field: pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from lazyrich.figures.slider import Slider
from lazyrich.figures.style import ALPHA_MAP, COLOURS, new


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
