"""Scalars that compare kernels, or a kernel with a task."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.kernels.empirical import ntk


def alignment(K: Tensor, y: Tensor) -> Tensor:
    """Kernel-target alignment y^T K y / (|K|_F |y|^2), in [-1, 1].

    1 if K is proportional to y y^T; about 1/sqrt(n) for a kernel that ignores y. On
    another number of threads it differs by roundings, some 1e-15 in float64.

    Args:
        K: (..., n, n), any leading axes.
        y: targets (n,).

    Raises:
        TypeError, ValueError: shapes that do not fit, values that are not finite, or a
            kernel or target that is exactly zero.

    >>> y = torch.tensor([1.0, -1.0, 1.0])
    >>> kernels.alignment(torch.outer(y, y), y), kernels.alignment(torch.eye(3), y)
    (tensor(1.), tensor(0.5774))
    """
    y = check.constant("y", y, ndim=1)
    K = _checked("K", K, len(y), like=y)
    norm = check.result("K and y", torch.linalg.matrix_norm(K) * (y @ y))
    if not bool((norm > 0).all()):
        raise ValueError("K and y must not be zero: their alignment is undefined")
    return torch.einsum("i,...ij,j->...", y, K, y) / norm


def kernel_distance(K: Tensor, K0: Tensor) -> Tensor:
    """Relative change |K - K0|_F / |K0|_F of a kernel (geiger2020, Eq. 9).

    Args:
        K, K0: (..., n, m), of one shape.

    Raises:
        TypeError, ValueError: other shapes, values not finite, or K0 = 0.

    >>> kernels.kernel_distance(1.5 * torch.eye(3), torch.eye(3))
    tensor(0.5000)
    """
    K0 = check.constant("K0", K0)
    if K0.ndim < 2:
        raise ValueError(f"K0 must have at least 2 axes, got {tuple(K0.shape)}")
    K = check.constant("K", K, shape=tuple(K0.shape), like=K0)
    start = check.result("K0", torch.linalg.matrix_norm(K0))
    if not bool((start > 0).all()):
        raise ValueError("K0 must not be zero: a relative change is undefined")
    return check.result("K and K0", torch.linalg.matrix_norm(K - K0) / start)


def effective_rank(A: Tensor) -> Tensor:
    """Effective rank exp(-sum p log p), p = s / sum s, of the singular values s.

    Between 1 and the rank; equal to the rank when all singular values are equal, and
    blind to the scale of A. Note that the singular values of a feature matrix are the
    *roots* of its Gram matrix's eigenvalues.

    Args:
        A: (..., n, m).

    Raises:
        TypeError, ValueError: fewer than two axes, values not finite, or A = 0.

    Source: Roy and Vetterli (2007), as used by samarin2020, Sec. 3.2.

    >>> kernels.effective_rank(torch.eye(3)), kernels.effective_rank(torch.ones(3, 3))
    (tensor(3.), tensor(1.0000))
    """
    A = check.constant("A", A, dtypes=check.SOLVED)
    if A.ndim < 2:
        raise ValueError(f"A must have at least 2 axes, got {tuple(A.shape)}")
    s = torch.linalg.svdvals(A)
    total = check.result("A", s.sum(-1, keepdim=True))
    if not bool((total > 0).all()):
        raise ValueError("A must not be zero: its effective rank is undefined")
    p = s / total
    return torch.exp(torch.special.entr(p).sum(-1))


def kernel_change(
    x: Tensor,
) -> Callable[[Any, Mapping[str, Tensor]], Callable[[Mapping[str, Tensor]], Tensor]]:
    """A probe for ``dynamics``: the relative change of the tangent kernel on ``x``.

    ``kernel_change(x)(net, w0)`` remembers Theta(w0, x, x) and returns a function that
    gives ``kernel_distance`` of Theta(w, x, x) from it.

    >>> net = networks.FullyConnected(d=2, h=8, L=2)
    >>> w, x = net.init(0), torch.eye(2, dtype=torch.float64)
    >>> change = kernels.kernel_change(x)(net, w)
    >>> print(float(change(w)))
    0.0
    """
    x = check.constant("x", x)

    def start(net: Any, w0: Mapping[str, Tensor]) -> Callable[..., Tensor]:
        theta0 = ntk(net, w0, x)
        norm0 = torch.linalg.matrix_norm(theta0)
        return lambda w: torch.linalg.matrix_norm(ntk(net, w, x) - theta0) / norm0

    return start


def _checked(name: str, K: Tensor, n: int, like: Tensor) -> Tensor:
    K = check.constant(name, K, like=like)
    if K.ndim < 2 or K.shape[-2:] != (n, n):
        raise ValueError(
            f"{name} must have shape (..., {n}, {n}) to fit y, got {tuple(K.shape)}"
        )
    return K
