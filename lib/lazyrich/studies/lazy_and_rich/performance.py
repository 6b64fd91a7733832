r"""Test error against width and alpha, and its lazy asymptote (geiger2020, Fig. 1)."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lazyrich import sweeps
from lazyrich.core.pullback import member
from lazyrich.dynamics import hinge_flow, hinge_path
from lazyrich.kernels import kernel_distance, ntk
from lazyrich.networks import FullyConnected
from lazyrich.studies.lazy_and_rich import alpha_sweep
from lazyrich.studies.tools import digits, statistics, tables
from lazyrich.studies.tools.digits import Digits, load_data, test_error


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Test error and kernel change of trained nets at fixed alpha, and test error of the
    frozen kernel of each."""
    settings, h = chunk.typed(Digits), int(chunk.shared("h"))
    task = load_data(settings, chunk.device)
    alpha = chunk.axis("alpha").astype(float)
    net, w, flow = alpha_sweep.train(
        h,
        (alpha * math.sqrt(h)).tolist(),
        chunk.axis("seed").tolist(),
        settings,
        task,
        checkpoint,
    )
    scale = flow.alpha.to(task.x_test).unsqueeze(1)
    with torch.no_grad():
        F = scale * (net(flow.w, task.x_test) - net(w, task.x_test))
    lazy = hinge_path(
        ntk(net, w, task.x_train).cpu(),
        task.y_train.cpu(),
        ntk(net, w, task.x_test, task.x_train).cpu(),
        stop_loss=settings.stop_loss,
    )
    frozen, y = lazy.end("F_test"), task.y_test
    few = task.x_test[: settings.n_kernel]
    changes = []
    for k in range(len(chunk)):
        start, end = member(w, k), member(flow.w, k)
        changes.append(float(kernel_distance(ntk(net, end, few), ntk(net, start, few))))
    return tables.of_flow(chunk, flow, ("status", "tries"), task.source).assign(
        test_error=("member", test_error(F, y).cpu().numpy()),
        frozen_error=("member", test_error(frozen, y.cpu()).numpy()),
        kernel_change_end=("member", np.array(changes)),
    )


PERFORMANCE = sweeps.register(
    sweeps.Study(
        name="performance",
        title="Test error of ReLU nets against width at fixed alpha",
        version=2,
        scales={
            "laptop": sweeps.Scale(
                grid={
                    "h": (8, 16, 32, 64, 128),
                    "alpha": (1e-2, 1.0, 1e2, 1e3),
                    "seed": (0, 1, 2),
                },
                settings=replace(
                    digits.LAPTOP, activation="relu", L=2, n_train=300, n_test=4000,
                    n_kernel=100, stop_loss=0.02,
                ),
            ),
            "paper": sweeps.Scale(
                grid={
                    "h": (8, 16, 32, 64, 128, 256, 512, 1024),
                    "alpha": (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3),
                    "seed": (0, 1, 2),
                },
                settings=replace(digits.PAPER, activation="relu", n_kernel=1000),
            ),
        },
        measure=measure,
        chunk_axes=("alpha", "seed"),
        cost=lambda at, scale: alpha_sweep.cost(
            {**at, "alpha_mf": float(at["alpha"]) * float(at["h"]) ** 0.5},
            scale,
        ),
        # small nets cost their overhead alone, which a batch shares
        chunk_size=lambda at, scale, device: (
            64 if device == "cuda" else 12 if float(at["h"]) <= 32 else 3
        ),
    )
)  # fmt: skip


def distance_to_frozen(
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    alphas: Sequence[float],
    *,
    activation: str = "softplus",
    h: int = 64,
    L: int = 2,
    stop_loss: float = 0.02,
    seeds: int = 4,
) -> tuple[np.ndarray, np.ndarray]:
    """How fast nets approach the dynamics of their own frozen kernels (Fig. 1a).

    Both end at the same fraction of the initial loss. The kernel is followed exactly, the
    net in impulses, which are exact for a frozen kernel: their error falls with the
    distance that is measured.

    Returns:
        (seeds, alphas) rms of F_net - F_frozen over that of F_frozen on the test points,
        and (seeds, alphas) share of the points on which their signs agree.
    """
    net = FullyConnected(x.shape[1], h, L, activation)
    away, agree = [], []
    for seed in range(seeds):
        w = net.init(seed)
        frozen = hinge_path(
            ntk(net, w, x), y, ntk(net, w, x_test, x), stop_loss=stop_loss
        )
        F0 = frozen.end("F_test")[0]
        flow = hinge_flow(
            net, w, x, y, list(alphas), integrator="impulse", tolerance=0.002,
            stop_loss=stop_loss, x_test=x_test,
        )  # fmt: skip
        ends = flow.end("F_test")
        away.append((ends - F0).square().mean(1).sqrt() / F0.square().mean().sqrt())
        agree.append((ends.sign() == F0.sign()).double().mean(1))
    return torch.stack(away).numpy(), torch.stack(agree).numpy()


def slope_in_alpha(alphas: Sequence[float], distances: np.ndarray) -> statistics.Slope:
    """Log-log slope of the mean distance in alpha, with its bootstrap error over seeds.

    Args:
        alphas: of the columns.
        distances: (seeds, alphas).
    """
    a = np.array(alphas, dtype=float)
    return statistics.bootstrap(
        distances,
        lambda sample: statistics.loglog_slope(a, sample.mean(0)),
        "distance to the frozen kernel",
    )


def saturation(
    table: xr.Dataset, low: float = 1e2, high: float = 1e3
) -> tuple[float, float]:
    """What is left to change between two large alphas, against the noise of seeds.

    Args:
        table: of this study; widths at which a net of either alpha did not fit are left
            out.

    Returns:
        the rms over widths of the difference of mean test errors, and the rms over
        widths of the standard error of such a mean.
    """
    pair = table.sel(alpha=[low, high])
    fitted = (pair["status"] == "fitted").all(("alpha", "seed"))
    error = pair["test_error"].sel(h=pair["h"][fitted])
    mean = error.mean("seed")
    difference = mean.sel(alpha=high) - mean.sel(alpha=low)
    seeds = error.var("seed", ddof=1) / error.sizes["seed"]
    return float(np.sqrt(np.square(difference).mean())), float(np.sqrt(seeds.mean()))


def rise_beyond_minimum(table: xr.Dataset) -> float:
    """By how many standard errors the test error of the widest nets lies above the least
    error of any width at the same alpha; the largest over alpha, 0 where the widest net
    is the best."""
    error = table["test_error"].where(table["status"] == "fitted")
    mean = error.mean("seed").transpose("alpha", "h").values
    seeds = error.count("seed").transpose("alpha", "h").values
    variance = error.var("seed", ddof=1).transpose("alpha", "h").values / seeds
    found = []
    for at, noise in zip(mean, variance, strict=True):
        best = int(np.nanargmin(at))
        last = len(at) - 1
        rise = (at[last] - at[best]) / math.sqrt(noise[last] + noise[best])
        found.append(rise if best < last else 0.0)
    return max(found)


def kernel_drift(table: xr.Dataset, low: float, high: float) -> tuple[float, float]:
    """How the kernel change of nets of fixed alpha falls with the width, and how it falls
    with alpha at fixed width.

    Args:
        table: of this study.
        low, high: values of alpha.

    Returns:
        the log-log slope in the width, mean of both alphas, and minus the slope in alpha
        from one to the other, mean of all widths: the exponent a.
    """
    table = table.sel(alpha=[low, high])
    fitted = (table["status"] == "fitted").all(("alpha", "seed"))
    change = table["kernel_change_end"].sel(h=table["h"][fitted])
    along = statistics.slope_over_seeds(change, "h")
    across = statistics.slope_over_seeds(change, "alpha")
    return along.value, -across.value


def error_collapse(
    errors: xr.DataArray, powers: np.ndarray | None = None
) -> tuple[statistics.Slope, float, float]:
    """The power p in alpha h^p that collapses rescaled test errors best (Fig. 1d).

    Args:
        errors: over ``h``, ``alpha_mf`` and ``seed``.
        powers: candidate values of p.

    Returns:
        best p with its error over seeds, Q(1/2), and Q(0), the null of no collapse.
    """
    candidates = np.arange(-0.5, 1.501, 0.02) if powers is None else powers
    alpha_mf = errors["alpha_mf"].values.astype(float)
    widths = [int(h) for h in errors["h"].values]

    def quality(sample: np.ndarray, p: float) -> float:
        curves = dict(zip(widths, rescaled(sample.mean(0)), strict=True))
        return statistics.collapse_quality(alpha_mf, curves, p)

    def best(sample: np.ndarray) -> float:
        return float(candidates[np.argmin([quality(sample, p) for p in candidates])])

    values = errors.transpose("seed", "h", "alpha_mf").values
    found = statistics.bootstrap(values, best, "error collapse", draws=100)
    return found, quality(values, 0.5), quality(values, 0.0)


def rescaled(errors: np.ndarray) -> np.ndarray:
    """Curves mapped to [0, 1], each by the mean of its three lowest and three highest
    values: single extremes would be biased by noise."""
    ordered = np.sort(errors, axis=-1)
    low, high = ordered[..., :3].mean(-1), ordered[..., -3:].mean(-1)
    return (errors - low[..., None]) / (high - low)[..., None]
