r"""Regression with a fixed kernel: gradient flow at any time, ridge, and their limit."""

import math

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.spectrum import modes

_GIVEN = "k_train, k_test and y"


def kernel_predict(
    k_train: Tensor,
    k_test: Tensor,
    y: Tensor,
    t: float = math.inf,
    ridge: float = 0.0,
    *,
    method: str = "spectral",
) -> Tensor:
    r"""Predictions of a model whose tangent kernel is frozen.

    On another number of threads predictions differ by roundings, times the condition
    number of the kernel where it is inverted.

    Gradient flow on the square loss (1/2n) sum_mu (F_mu - y_mu)^2 (+ ridge) from F = 0
    obeys dF/dt = -(1/n) (K (F - y) + ...), and is solved mode by mode of K:

        F(x, t) = k(x) Q [(1 - exp(-(s + ridge) t / n)) / (s + ridge)] Q^T y,   K = Q s Q^T.

    t = inf with ridge = 0 is kernel regression without ridge. Eigenvalues below n times
    the rounding error of the largest count as zero at every time: what they add is
    rounding that grows like t, and at t = inf a singular K gives the minimum-norm
    solution.

    Args:
        k_train: K between training points, (n, n), symmetric and positive semi-definite
            up to rounding.
        k_test: rows of K between other points and the training points, (m, n).
        y: targets, (n,) or (n, c).
        t: time, in the units of the flow with the *mean* loss (multiply by n to compare
            with a summed loss).
        ridge: added to the eigenvalues of K; same units as K.
        method: ``"spectral"`` holds for everything: time about 9 n^3, memory of three
            matrices n x n besides K. ``"cholesky"``, for t = inf and K + ridge positive
            definite, takes n^3/3 by blocks (LAPACK, or the GPU's own) and one matrix:
            0.8 GB at n = 10^4 in float64.

    Returns:
        (m,) or (m, c).

    Raises:
        TypeError, ValueError: shapes that do not fit, values that are not finite, a
            kernel that is not symmetric or, with its ridge, clearly indefinite,
            negative time or ridge, an unknown method, or one that does not apply:
            Cholesky at a finite time or of a singular kernel.

    >>> k = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    >>> y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    >>> print(kernels.kernel_predict(k, k, y))
    tensor([ 1., -1.], dtype=torch.float64)
    >>> print(kernels.kernel_predict(k, k, y, t=2.0))  # 1 - exp(-2), -(1 - exp(-1))
    tensor([ 0.8647, -0.6321], dtype=torch.float64)
    """
    k_train = check.kernel("k_train", k_train)
    n = k_train.shape[0]
    k_test = check.constant("k_test", k_test, shape=(None, n), like=k_train)
    y = check.constant("y", y, ndim=(1, 2), like=k_train)
    if y.shape[0] != n:
        raise ValueError(f"y must have {n} rows like k_train, got {tuple(y.shape)}")
    t = check.real("t", t, least=0.0, infinite=True)
    ridge = check.real("ridge", ridge, least=0.0)
    check.one_of("method", method, ("spectral", "cholesky"))
    if method == "cholesky":
        if not math.isinf(t):
            raise ValueError(f"method must be 'spectral' at a finite time, got t = {t}")
        return check.result(_GIVEN, k_test @ _cholesky_solve(k_train, y, ridge))
    s, q = modes("k_train", k_train)
    rate = check.positive("k_train", s + ridge)
    floor = n * torch.finfo(s.dtype).eps * float(s.abs().max())
    if math.isinf(t):
        gain = torch.where(rate > floor, 1.0 / rate, torch.zeros_like(rate))
    else:
        # (1 - exp(-rate t / n)) / rate, finite for rate -> 0
        phase = rate * (t / n)
        safe = torch.where(phase.abs() > 1e-300, phase, torch.ones_like(phase))
        ratio = torch.where(
            phase.abs() > 1e-300, -torch.expm1(-phase) / safe, torch.ones_like(phase)
        )
        gain = torch.where(phase.isinf(), 1.0 / rate, (t / n) * ratio)
        gain = torch.where(rate > floor, gain, torch.zeros_like(rate))
    parts = q.mT @ (y if y.ndim == 2 else y.unsqueeze(-1))
    prediction = check.result(_GIVEN, k_test @ (q @ (gain.unsqueeze(-1) * parts)))
    return prediction if y.ndim == 2 else prediction.squeeze(-1)


def _cholesky_solve(kernel: Tensor, y: Tensor, ridge: float) -> Tensor:
    shifted = kernel.clone()
    shifted.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if int(failed):
        raise ValueError(
            "method must be 'spectral' for this k_train: with its ridge it is not "
            f"positive definite to rounding (pivot {int(failed)} of {len(kernel)})"
        )
    right = y if y.ndim == 2 else y.unsqueeze(-1)
    found = torch.cholesky_solve(right, factor)
    return found if y.ndim == 2 else found.squeeze(-1)
