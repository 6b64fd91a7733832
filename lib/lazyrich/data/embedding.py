r"""Inputs of any length as points of a sphere: the inverse stereographic projection.

A bias-free network is homogeneous and confuses inputs of one direction. On the sphere
of one dimension more all of them are different points.
"""

import torch
from torch import Tensor

from lazyrich.core import check


def stereographic(x: Tensor) -> Tensor:
    r"""phi(x) = (2 x, |x|^2 - 1) / (|x|^2 + 1), on the unit sphere of R^(d+1).

        1 - <phi(x), phi(y)> = 2 |x - y|^2 / ((1 + |x|^2)(1 + |y|^2))

    The north pole is infinity. Distinct inputs have distinct images; the images of x and
    -x/|x|^2 are opposite.

    Args:
        x: inputs (n, d).

    Returns:
        (n, d + 1).

    Raises:
        TypeError, ValueError: no floating-point matrix, values that are not finite, or so
            large that their squares overflow.

    >>> x = torch.tensor([[0.0, 0.5]], dtype=torch.float64)
    >>> p = data.stereographic(x)
    >>> p.shape, float(p.norm())
    (torch.Size([1, 3]), 1.0)
    """
    x = check.constant("x", x, ndim=2)
    if not x.shape[1]:
        raise ValueError(f"x must have at least one column, got shape {tuple(x.shape)}")
    square = check.result("x", x.square().sum(1, keepdim=True))
    return torch.cat([2 * x, square - 1], 1) / (square + 1)


def inverse_stereographic(p: Tensor) -> Tensor:
    """x with ``stereographic(x)`` = p: the first components over 1 minus the last.

    Args:
        p: unit vectors (n, d + 1).

    Raises:
        TypeError, ValueError: no floating-point matrix of two columns at least, values
            that are not finite, rows that are not of unit length, or the north pole.

    >>> x = torch.tensor([[0.0, 0.5]], dtype=torch.float64)
    >>> torch.allclose(data.inverse_stereographic(data.stereographic(x)), x)
    True
    """
    p = check.constant("p", p, ndim=2)
    if p.shape[1] < 2:
        raise ValueError(f"p must have at least 2 columns, got shape {tuple(p.shape)}")
    off = (torch.linalg.vector_norm(p, dim=1) - 1).abs()
    if not len(p):
        return p[:, :-1]
    if float(off.max()) > max(1e-6, 4 * torch.finfo(p.dtype).eps):
        raise ValueError(
            f"p must hold unit vectors, got lengths off by {float(off.max()):.2g}"
        )
    height = p[:, -1:]
    if bool((height >= 1).any()):
        raise ValueError(
            "p must not hold the north pole, which is the image of infinity"
        )
    return p[:, :-1] / (1 - height)
