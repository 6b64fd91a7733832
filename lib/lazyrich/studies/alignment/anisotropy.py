r"""Measurements on partially whitened data (atanasov2022, Sec. 5 and Fig. 6).

Data X = U S V^T become U S^gamma V^T: gamma = 0 is white, gamma = 1 are the originals. A
two-layer ReLU net is trained from small weights for several gamma, and the runs of
``silent_nonlinear`` are compared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.data import Dataset, principal_components
from lazyrich.studies.alignment.silent_nonlinear import (
    Run,
    partially_whitened,
    perceptron_run,
)


def power_law_task(
    n_train: int, n_test: int, d: int = 300, power: float = 1.2, seed: int = 0
) -> Dataset:
    """Gaussian inputs with covariance eigenvalues k^(-power), and nonlinear +-1 labels.

    The labels are the sign of a small random ReLU network of the leading directions,
    minus its median, so that classes are balanced.
    """
    check.real("power", power, above=0.0)
    generator = rng.numpy_generator("anisotropy/inputs", seed, d)
    scale = np.arange(1, d + 1) ** (-power / 2)
    x = generator.standard_normal((n_train + n_test, d)) * scale
    hidden = np.maximum(x @ generator.standard_normal((d, 20)), 0.0)
    score = hidden @ generator.standard_normal(20) + x @ generator.standard_normal(d)
    y = np.where(score > np.median(score), 1.0, -1.0)
    parts = (x[:n_train], y[:n_train], x[n_train:], y[n_train:])
    x_train, y_train, x_test, y_test = (torch.from_numpy(part) for part in parts)
    return Dataset(
        x_train, y_train, x_test, y_test, name="power law", source="drawn, synthetic"
    )


def whitening_errors(x: Tensor, gammas: Sequence[float]) -> dict[str, float]:
    """Sec. 5 exactly: the spectrum's power, and the two ends gamma = 1 and 0.

    Returns:
        ``slope_error``, ``identity`` and ``flatness``, relative errors.
    """
    raw = principal_components(x, "all", 0.0)
    spectrum = raw.variance.log()
    slope = 0.0
    for gamma in gammas:
        new = _variances(principal_components(x, "all", 1.0 - gamma)(x)).log()
        steep = (new - new.mean()) @ (spectrum - spectrum.mean())
        fitted = float(steep / (spectrum - spectrum.mean()).square().sum())
        slope = max(slope, abs(fitted - gamma))
    # up to one factor and the directions that were dropped, gamma = 1 is the identity
    kept = (x - x.mean(0)) @ raw.basis.mT @ raw.basis
    back = raw(x) @ raw.basis
    factor = float((back * kept).sum() / kept.square().sum())
    identity = float((back / factor - kept).norm() / kept.norm())
    white = _variances(principal_components(x, "all", 1.0)(x))
    flatness = float((white.max() - white.min()) / white.mean())
    return {"slope_error": slope, "identity": identity, "flatness": flatness}


def _variances(x: Tensor) -> Tensor:
    return x.square().mean(0)


def spectra(task: Dataset, gammas: Sequence[float]) -> dict[float, np.ndarray]:
    """Covariance eigenvalues of the partially whitened inputs that were kept, in falling
    order, by gamma (Fig. 6a)."""
    found = {}
    for gamma in gammas:
        x = partially_whitened(task, gamma).x_train
        values = torch.linalg.svdvals(x).square() / len(x)
        found[gamma] = values[values > 1e-9 * values[0]].numpy()
    return found


def spectral_powers(
    found: dict[float, np.ndarray], first: int = 3, last: int = 60
) -> dict[float, float]:
    """Slope of log eigenvalue against log rank between two ranks, by gamma."""
    rank = np.log(np.arange(first, last + 1))
    return {
        gamma: float(np.polyfit(rank, np.log(values[first - 1 : last]), 1)[0])
        for gamma, values in found.items()
    }


@dataclass(frozen=True)
class Sweep:
    """Runs over gamma and seeds.

    Attributes:
        gammas: values of gamma.
        runs: one list of seeds a gamma.
    """

    gammas: tuple[float, ...]
    runs: tuple[tuple[Run, ...], ...]

    def _mean(self, read: Any) -> np.ndarray:
        return np.array([[read(run) for run in row] for row in self.runs])

    def time_scales(self) -> np.ndarray:
        """(gammas, seeds) time to 1 % of the loss over time to one half."""
        return self._mean(lambda run: run.time(0.01) / run.time(0.5))

    def growth(self) -> np.ndarray:
        """(gammas, seeds) time of the kernel norm from 10 % to 90 %, over half-loss."""
        return self._mean(lambda run: run.norm_span / run.time(0.5))

    def drift(self) -> np.ndarray:
        """(gammas, seeds) largest relative distance of the alignment from its end once
        a tenth of the loss is gone."""
        return self._mean(lambda run: run.drift)

    def r2(self, kernel: str) -> np.ndarray:
        """(gammas, seeds) R^2 of regression with the initial or final kernel."""
        return self._mean(lambda run: run.r2(kernel))

    def test_error(self) -> np.ndarray:
        """(gammas, seeds) share of test points on the wrong side at the end."""
        return self._mean(lambda run: run.error[-1])


def sweep(
    task: Dataset,
    gammas: Sequence[float],
    seeds: int,
    *,
    sigma: float = 0.05,
    width: int = 100,
    stop: float = 1e-4,
    **options: Any,
) -> Sweep:
    """Train for every gamma and seed; ``options`` go to ``silent_nonlinear.train``.

    Without ``lr`` a gradient step is a tenth of the inverse root of the largest covariance
    eigenvalue.
    """
    rows = []
    for gamma in gammas:
        part = partially_whitened(task, gamma)
        chosen = dict(options)
        if "lr" not in chosen:
            x = part.x_train
            top = float(torch.linalg.matrix_norm(x, 2)) / math.sqrt(len(x))
            chosen["lr"] = 0.1 / top
        rows.append(
            tuple(
                perceptron_run(
                    part, sigma=sigma, width=width, seed=k, stop=stop, **chosen
                )
                for k in range(seeds)
            )
        )
    return Sweep(tuple(gammas), tuple(rows))


@dataclass(frozen=True)
class Variant:
    """One way to train, on white against raw data.

    Attributes:
        what: the setting in words.
        white, raw: R^2 of the final kernel at gamma = 0 and 1.
        imbalance: |W^1|^2 / |w^2|^2 after training on raw data; 1 in a balanced net.
        loss_times: time to 1 % over time to 50 % of the loss, on raw data.
    """

    what: str
    white: float
    raw: float
    imbalance: float
    loss_times: float


def variant(what: str, task: Dataset, **options: Any) -> Variant:
    """Fig. 6f for one optimiser, rate, scale, width or sample size, one seed."""
    runs = sweep(task, (0.0, 1.0), 1, **options)
    white, raw = (row[0] for row in runs.runs)
    return Variant(
        what,
        white.r2("final"),
        raw.r2("final"),
        raw.weights["W0"] / raw.weights["W1"],
        raw.time(0.01) / raw.time(0.5),
    )


def variants_table(variants: Sequence[Variant]) -> str:
    """The variants as lines of text."""
    width = max(len(v.what) for v in variants)
    head = f"{'':{width}s}  white   raw     |W1|^2/|w2|^2  t(1%)/t(50%)"
    lines = [
        f"{v.what:{width}s}  {v.white:.4f}  {v.raw:.4f}  {v.imbalance:8.2f}       "
        f"{v.loss_times:6.1f}"
        for v in variants
    ]
    return "\n".join([head, *lines])
