r"""Measurements on transfer: kernel regression with a spiked kernel on a new task.

Sources are equations of App. E of atanasov2022. Everything is linear algebra on drawn
inputs; the learning-curve formulas that it is compared with are not used here.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check, rng

F64 = torch.float64


def spiked_kernel(
    x: Tensor, beta: Tensor, A: float, other: Tensor | None = None
) -> Tensor:
    """K(x, x') = x . (A beta beta^T + I) x' of Eq. 44, (n, m); PSD for A >= -1.

    Args:
        x, other: inputs (n, d) and (m, d); ``None`` means ``x``.
        beta: unit vector (d,).
        A: strength of the spike, larger than -1 for an invertible metric.
    """
    check.tensor("x", x, ndim=2)
    check.tensor("beta", beta, shape=(x.shape[1],), like=x)
    z = x if other is None else other
    return x @ z.mT + A * torch.outer(x @ beta, z @ beta)


def task_vector(beta: Tensor, alpha: float, seed: int = 0) -> Tensor:
    """w = alpha beta + (1 - alpha^2)^(1/2) w_perp with a random unit w_perp.

    Raises:
        ValueError: |alpha| > 1.
    """
    check.real("alpha", alpha, least=-1.0, most=1.0)
    draw = torch.from_numpy(
        rng.numpy_generator("transfer/task", seed).standard_normal(len(beta))
    )
    draw = draw - (draw @ beta) * beta
    return alpha * beta + math.sqrt(1.0 - alpha**2) * draw / draw.norm()


def kernel_family(
    d: int, strengths: Sequence[float], seed: int = 0
) -> dict[str, float]:
    """Eqs. 44 and 47: symmetry and sign of the kernel, and correlations of the tasks.

    Returns:
        ``asymmetry``; ``smallest_eigenvalue`` of the metric A beta beta^T + I over the
        ``strengths``; the one at A = -1.5, which is ``below_minus_one``; ``task``, the
        largest error of |w| = 1 and w . beta = alpha.
    """
    x = _inputs(1, 2 * d, d, seed)[0]
    beta = _direction(d, seed)
    asymmetry, smallest = 0.0, math.inf
    identity = torch.eye(d, dtype=F64)
    for A in strengths:
        K = spiked_kernel(x, beta, A)
        asymmetry = max(asymmetry, float((K - K.mT).abs().max() / K.abs().max()))
        metric = spiked_kernel(identity, beta, A)
        smallest = min(smallest, float(torch.linalg.eigvalsh(metric)[0]))
    outside = torch.linalg.eigvalsh(spiked_kernel(identity, beta, -1.5))
    task = 0.0
    for alpha in (-1.0, 0.0, 0.3, 1.0):
        w = task_vector(beta, alpha, seed)
        task = max(task, abs(float(w.norm()) - 1.0), abs(float(w @ beta) - alpha))
    return {
        "asymmetry": asymmetry,
        "smallest_eigenvalue": smallest,
        "below_minus_one": float(outside[0]),
        "task": task,
    }


def nystrom_spectrum(d: int, A: float, n: int, seed: int = 0) -> tuple[float, float]:
    """Eq. 45 on ``n`` samples: the largest eigenvalue of K / n, and the mean of the
    other d - 1 that do not vanish."""
    x = _inputs(1, n, d, seed)[0]
    beta = _direction(d, seed)
    # the nonzero spectrum of x M x^T / n is that of M^(1/2) (x^T x / n) M^(1/2)
    root = torch.eye(d, dtype=F64) + (math.sqrt(1.0 + A) - 1.0) * torch.outer(
        beta, beta
    )
    spectrum = torch.linalg.eigvalsh(root @ (x.mT @ x / n) @ root)
    return float(spectrum[-1]), float(spectrum[:-1].mean())


def regression_error(
    d: int,
    n: int,
    A: float,
    alphas: Sequence[float],
    ridge: float = 0.0,
    draws: int = 300,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Test error of kernel (ridge) regression, averaged over drawn training sets.

    A linear kernel learns the linear function w_hat = M X^T (X M X^T + ridge)^-1 X w, so
    that the error over Gaussian test points is |w - w_hat|^2, free of a test set.

    Args:
        d, n: input dimension and number of examples, n < d if ``ridge`` is 0.
        A: strength of the spike.
        alphas: correlations of the new task with the old one.
        draws: training sets; the same ones for all alphas.

    Returns:
        mean over draws and its standard error, (alphas,) each.
    """
    if ridge == 0.0 and n >= d:
        raise ValueError(f"n must be below d = {d} without ridge, got {n}")
    x = _inputs(draws, n, d, seed)
    # beta = e_1 and w_perp = e_2: the inputs have no other preferred direction
    metric = torch.ones(d, dtype=F64)
    metric[0] += A
    stretched = x * metric
    gram = stretched @ x.mT + ridge * torch.eye(n, dtype=F64)
    coefficients = torch.linalg.solve(gram, x[:, :, :2])
    learned = stretched.mT @ coefficients
    missed = torch.eye(d, dtype=F64)[:, :2] - learned
    means, errors = [], []
    for alpha in alphas:
        mixed = alpha * missed[..., 0] + math.sqrt(1.0 - alpha**2) * missed[..., 1]
        sample = mixed.square().sum(1)
        means.append(float(sample.mean()))
        errors.append(float(sample.std()) / math.sqrt(draws))
    return np.array(means), np.array(errors)


def misfit(
    theory: np.ndarray, mean: np.ndarray, error: np.ndarray, relative: float
) -> float:
    """Largest |theory - mean| / (3 standard errors + relative share of the mean)."""
    return float(np.max(np.abs(theory - mean) / (3.0 * error + relative * mean)))


def _inputs(draws: int, n: int, d: int, seed: int) -> Tensor:
    generator = rng.numpy_generator("transfer/inputs", seed, n, d)
    return torch.from_numpy(generator.standard_normal((draws, n, d)))


def _direction(d: int, seed: int) -> Tensor:
    draw = torch.from_numpy(
        rng.numpy_generator("transfer/direction", seed).standard_normal(d)
    )
    return draw / draw.norm()
