r"""Kernels against networks when most directions of the inputs are noise.

mdl2022, Sec. 5, after ghorbani2020: spiked covariates, whose labels depend on a few
directions, and images with noise at high frequencies, whose labels do not depend on it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lazyrich import data, sweeps
from lazyrich.core import rng
from lazyrich.kernels import feature_kernels, relu_ntk
from lazyrich.studies.tools import adam

RIDGES = (1e-3, 1e-2, 1e-1)
"""Candidates, relative to the mean of the kernel's diagonal."""


@dataclass(frozen=True, kw_only=True)
class Sizes(sweeps.Settings):
    """Sizes at one scale; ``*_check`` examples choose ridge and epoch.

    Attributes:
        d, d0: dimensions of spiked covariates, and of their signal.
        n_train, n_check, n_test: examples of them.
        h, epochs: width and training of nets on them.
        ratios: of the signal's to the noise's size.
        seeds: of everything.
        images, images_check, images_test: how many of these.
        image_h, image_epochs: width and training of nets on images.
        noise: sizes of the noise on images.
    """

    d: int
    d0: int
    n_train: int
    n_check: int
    n_test: int
    h: int
    epochs: int
    ratios: Sequence[float]
    seeds: Sequence[int]
    images: int
    images_check: int
    images_test: int
    image_h: int
    image_epochs: int
    noise: Sequence[float]


SETTINGS = {
    "laptop": Sizes(
        d=100, d0=5, n_train=3000, n_check=500, n_test=2000, h=256, epochs=60,
        ratios=(1.0, 2.0, 4.0), seeds=(0, 1, 2), images=3000, images_check=500,
        images_test=2000, image_h=512, image_epochs=12, noise=(0.0, 1.0, 2.0, 3.0),
    ),
    "paper": Sizes(
        d=1000, d0=10, n_train=100_000, n_check=5000, n_test=10_000, h=1024,
        epochs=100, ratios=(1.0, 1.5, 2.0, 4.0), seeds=range(10), images=54_000,
        images_check=6000, images_test=10_000, image_h=4096, image_epochs=30,
        noise=(0.0, 1.0, 2.0, 3.0),
    ),
}  # fmt: skip
"""Sizes by scale."""


def covariance_errors(
    n: int, d: int, d0: int, r: float, seed: int = 0
) -> dict[str, float]:
    """Sample covariance of spiked covariates against r^2 U U^T + (I - U U^T).

    Returns:
        ``covariance``: largest entry of the difference in the eigenbasis, over the
        standard deviations of both coordinates; ``isotropic``: the same at r = 1, where
        the law has to be that of the plain sphere in its second moments.
    """
    found = {}
    for name, ratio in (("covariance", r), ("isotropic", 1.0)):
        x, basis = data.spiked(n, d, seed, d_signal=d0, signal_to_noise=ratio)
        full, _ = torch.linalg.qr(torch.cat((basis, torch.eye(d, dtype=x.dtype)), 1))
        z = x @ full
        size = torch.cat((torch.full((d0,), ratio), torch.ones(d - d0))).to(x)
        sample = (z / size).mT @ (z / size) / n
        found[name] = float((sample - torch.eye(d)).abs().max())
    return found


def with_noise_radius(x: Tensor, basis: Tensor, radius: float) -> Tensor:
    """Spiked covariates with the noise component brought to another radius."""
    signal = x @ basis @ basis.mT
    noise = x - signal
    return signal + noise * (radius / noise.norm(dim=1, keepdim=True))


def polynomial_target(d0: int, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """A quadratic form with standard normal coefficients plus u_1 u_2 u_3: a function of a
    few directions, (n, d0) to (n,), most of whose variance is of degree two."""
    draw = rng.numpy_generator("spiked/target", seed, d0)
    a = torch.from_numpy(draw.standard_normal((d0, d0)))
    return lambda u: ((u @ a) * u).sum(1) + u[:, :3].prod(1)


@dataclass(frozen=True)
class Task:
    """Regression or classification, with examples apart to choose ridge and epoch by."""

    x: Tensor
    y: Tensor
    x_check: Tensor
    y_check: Tensor
    x_test: Tensor
    y_test: Tensor


def spiked_task(
    r: float, settings: Mapping[str, Any], seed: int = 0, radius: float | None = None
) -> Task:
    """Labels phi(U^T x / r) of unit variance; inputs on the common scale |x|^2 = d.

    Args:
        r: ratio of the signal's to the noise's size, coordinate by coordinate.
        settings: ``Sizes``, or a mapping of its fields.
        seed: of inputs and target.
        radius: of the noise instead of sqrt(d - d0).
    """
    chosen = Sizes.of(settings)
    d, d0 = chosen.d, chosen.d0
    sizes = [chosen.n_train, chosen.n_check, chosen.n_test]
    x, basis = data.spiked(sum(sizes), d, seed, d_signal=d0, signal_to_noise=r)
    y = polynomial_target(d0, seed)(x @ basis / r)
    y = (y - y.mean()) / y.std()
    if radius is not None:
        x = with_noise_radius(x, basis, radius)
    x = x * (d / x.square().sum(1)).sqrt()[:, None]  # |x| is the same for all of them
    parts = [
        pair
        for part in zip(x.split(sizes), y.split(sizes), strict=True)
        for pair in part
    ]
    return Task(*parts)


def ridge_error(
    kernels: tuple[Tensor, Tensor, Tensor],
    task: Task,
    score: Callable[[Tensor, Tensor], float],
) -> float:
    """Test score of kernel ridge regression with the ridge that is best on the check set.

    Args:
        kernels: between training points, and rows for check and test points.
        task: its targets may be one-hot.
        score: of outputs and targets, lower is better.
    """
    k_train, k_check, k_test = kernels
    size = float(k_train.diagonal().mean())
    eye = torch.eye(len(k_train)).to(k_train)
    outputs = []
    for ridge in RIDGES:
        factor = torch.linalg.cholesky(k_train + ridge * size * eye)
        weights = torch.cholesky_solve(task.y.reshape(len(task.y), -1), factor)
        found = [
            (k @ weights).reshape(len(k), *task.y.shape[1:]) for k in (k_check, k_test)
        ]
        outputs.append(found)
    best = min(outputs, key=lambda f: score(f[0], task.y_check))
    return score(best[1], task.y_test)


def mean_square(outputs: Tensor, targets: Tensor) -> float:
    """Mean squared error over the mean square of the targets."""
    return float((outputs - targets).square().mean() / targets.square().mean())


def wrong(outputs: Tensor, targets: Tensor) -> float:
    """Share of inputs whose largest output is not that of their one-hot target."""
    return float((outputs.argmax(1) != targets.argmax(1)).double().mean())


def ntk_error(task: Task) -> float:
    """Normalised error of ridge regression with the tangent kernel of an infinitely wide
    two-layer ReLU net with biases."""

    def kernel(x: Tensor) -> Tensor:
        return relu_ntk(x, task.x, depth=2, bias=1.0)[1]

    k_train = relu_ntk(task.x, depth=2, bias=1.0)[1]
    return ridge_error(
        (k_train, kernel(task.x_check), kernel(task.x_test)), task, mean_square
    )


def net_error(task: Task, h: int, epochs: int, seed: int = 0) -> float:
    """Normalised test error of a two-layer ReLU net, trained by Adam, at the epoch that
    is best on the check set. Computed in float32."""
    net = adam.initialised(lambda: adam.perceptron(task.x.shape[1], h, 1), seed)
    x_check, y_check = task.x_check.float(), task.y_check
    adam.train(
        net, task.x.float(), task.y.float()[:, None], functional.mse_loss,
        epochs=epochs, batch=50, rate=3e-3, seed=seed,
        score=lambda m: mean_square(m(x_check)[:, 0].double(), y_check),
    )  # fmt: skip
    with torch.no_grad():
        return mean_square(net(task.x_test.float())[:, 0].double(), task.y_test)


def errors_against_ratio(settings: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """``kernel`` and ``net``: normalised test errors, (ratios, seeds)."""
    sizes = Sizes.of(settings)
    found: dict[str, list] = {"kernel": [], "net": []}
    for r in sizes.ratios:
        tasks = [spiked_task(r, sizes, seed) for seed in sizes.seeds]
        found["kernel"].append([ntk_error(task) for task in tasks])
        found["net"].append(
            [
                net_error(task, sizes.h, sizes.epochs, seed)
                for task, seed in zip(tasks, sizes.seeds, strict=True)
            ]
        )
    return {name: np.array(values) for name, values in found.items()}


def radius_comparison(
    settings: Mapping[str, Any], ratios: Sequence[float], seeds: Sequence[int]
) -> dict[str, np.ndarray]:
    """Errors of kernel ridge regression with the noise radius sqrt(d - d0) (``corrected``)
    and with sqrt(d0) (``printed``): (ratios, seeds)."""
    d0 = Sizes.of(settings).d0
    return {
        name: np.array(
            [
                [ntk_error(spiked_task(r, settings, seed, radius)) for seed in seeds]
                for r in ratios
            ]
        )
        for name, radius in (("corrected", None), ("printed", math.sqrt(d0)))
    }


def distinct_signals(n: int, d: int, r: float, seed: int = 0) -> np.ndarray:
    """The different values of U^T x for a signal of one dimension."""
    x, basis = data.spiked(n, d, seed, d_signal=1, signal_to_noise=r)
    return np.unique(np.round((x @ basis)[:, 0].numpy(), 9))


def image_task(
    name: str, settings: Mapping[str, Any], seed: int = 0, *,
    noise: float = 0.0, cut: int = 14, low: int | None = None, source: str = "auto",
) -> Task:  # fmt: skip
    """Classes of images, one-hot, with noise at high frequencies or without these.

    Args:
        name: of the data set.
        settings: ``Sizes``, or a mapping of its fields.
        seed: of the choice of images and of the noise.
        noise: size of the noise in root mean square pixels, on all images.
        cut: frequencies that the noise spares, along each axis.
        low: keep only so many frequencies along each axis.
        source: of the data set.

    Raises:
        MissingData: the set is not on this machine.
    """
    chosen = Sizes.of(settings)
    sizes = [chosen.images, chosen.images_check, chosen.images_test]
    found = data.load(
        name, sizes[0] + sizes[1], sizes[2], seed, labels="class", source=source
    )
    x = torch.cat((found.x_train, found.x_test))
    if noise:
        x = x + data.high_frequency_noise(x, cut, noise, seed)
    if low is not None:
        x = data.low_frequency(x, low)
    x = x - x[: sizes[0]].mean(0)
    x = x / x[: sizes[0]].std()
    y = torch.cat((found.y_train, found.y_test))
    parts = [
        pair
        for part in zip(x.split(sizes), y.split(sizes), strict=True)
        for pair in part
    ]
    return Task(*parts)


def image_kernel_errors(task: Task) -> dict[str, float]:
    """Test errors of ridge regression with the kernel of random features and with the
    tangent kernel (both parts) of an infinitely wide two-layer ReLU net."""
    y = task.y - task.y.mean(0)
    centred = Task(task.x, y, task.x_check, task.y_check, task.x_test, task.y_test)
    rows = [feature_kernels(x, task.x) for x in (task.x, task.x_check, task.x_test)]
    rf = [pair[0] for pair in rows]
    tangent = [pair[0] + pair[1] for pair in rows]
    return {
        name: ridge_error((0.5 * (k[0] + k[0].mT), k[1], k[2]), centred, wrong)
        for name, k in (("rf", rf), ("ntk", tangent))
    }


def image_net_error(task: Task, h: int, epochs: int, seed: int = 0) -> float:
    """Test error of a two-layer ReLU net trained by Adam on cross-entropy, at the epoch
    that is best on the check set. Computed in float32."""
    net = adam.initialised(
        lambda: adam.perceptron(task.x.shape[1], h, task.y.shape[1]), seed
    )
    x_check = task.x_check.float()
    adam.train(
        net, task.x.float(), task.y.argmax(1), functional.cross_entropy,
        epochs=epochs, seed=seed, score=lambda m: wrong(m(x_check), task.y_check),
    )  # fmt: skip
    with torch.no_grad():
        return wrong(net(task.x_test.float()), task.y_test)


def errors_against_noise(
    name: str, settings: Mapping[str, Any], source: str = "auto"
) -> dict[str, np.ndarray]:
    """``net``, ``ntk``, ``rf``: test errors, (noise levels, seeds); the same noisy images
    for all three."""
    sizes = Sizes.of(settings)
    found: dict[str, list[list[float]]] = {"net": [], "ntk": [], "rf": []}
    for noise in sizes.noise:
        rows: dict[str, list[float]] = {method: [] for method in found}
        for seed in sizes.seeds:
            task = image_task(name, sizes, seed, noise=noise, source=source)
            errors = image_kernel_errors(task)
            errors["net"] = image_net_error(
                task, sizes.image_h, sizes.image_epochs, seed
            )
            for method, value in errors.items():
                rows[method].append(value)
        for method, row in rows.items():
            found[method].append(row)
    return {method: np.array(rows) for method, rows in found.items()}


def low_frequency_accuracies(
    name: str,
    settings: Mapping[str, Any],
    cuts: Sequence[int],
    seed: int = 0,
    source: str = "auto",
) -> dict[str, np.ndarray]:
    """Linear ridge classification from the lowest frequencies alone.

    Returns:
        ``accuracy`` and ``energy`` (of the images less their mean), one a cut.
    """
    whole = image_task(name, settings, seed, source=source)
    accuracies, energies = [], []
    for cut in cuts:
        energies.append(data.low_frequency_energy(whole.x, cut))
        part = image_task(name, settings, seed, low=cut, source=source)
        accuracies.append(1 - linear_error(part))
    return {"accuracy": np.array(accuracies), "energy": np.array(energies)}


def linear_error(task: Task) -> float:
    """Test error of linear ridge classification, the ridge chosen on the check set."""
    mean = task.y.mean(0)
    gram = task.x.mT @ task.x
    size = float(gram.diagonal().mean())
    eye = torch.eye(len(gram)).to(gram)
    readouts = [
        torch.linalg.solve(gram + ridge * size * eye, task.x.mT @ (task.y - mean))
        for ridge in RIDGES
    ]
    best = min(readouts, key=lambda a: wrong(task.x_check @ a + mean, task.y_check))
    return wrong(task.x_test @ best + mean, task.y_test)
