r"""Random features and tangent features: the two halves of a linearised two-layer net.

To first order in its parameters a net f(x) = sum_i a_i phi(<w_i, x>) moves within

    F_RF = { sum_i a_i phi(<w_i, x>) },             N parameters,
    F_NT = { sum_i <a_i, x> phi'(<w_i, x>) },       N d parameters,

with the w_i where they were drawn (mdl2022, Sec. 5; [ghorbani2021]). Both are linear
models; with the factor N^(-1/2) below their Gram matrices have a limit as N grows, the
kernels of ``feature_kernels``. "NT" names the second half alone, not the tangent space.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.kernels.relu import relu_ntk

Pointwise = Callable[[Tensor], Tensor]


def random_features(x: Tensor, w: Tensor, phi: Pointwise = torch.relu) -> Tensor:
    """Features phi(<w_i, x>) / sqrt(N) of inputs x (n, d) and weights w (N, d): (n, N).

    Raises:
        TypeError, ValueError: x or w is no matrix, or they do not fit.

    >>> x, w = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0], [-1.0, 0.0]])
    >>> kernels.random_features(x, w)
    tensor([[1.4142, 0.0000]])
    """
    x, w = _checked(x, w)
    check.function("phi", phi)
    return check.result("x, w and phi", phi(x @ w.mT) / math.sqrt(len(w)))


def tangent_features(x: Tensor, w: Tensor, slope: Pointwise | None = None) -> Tensor:
    """Features x_a phi'(<w_i, x>) / sqrt(N), neuron by neuron: shape (n, N d).

    Args:
        x: inputs (n, d).
        w: weights (N, d).
        slope: phi'; by default that of the ReLU, which is zero at zero.

    Raises:
        TypeError, ValueError: x or w is no matrix, or they do not fit.

    >>> x, w = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 0.0], [-1.0, 0.0]])
    >>> kernels.tangent_features(x, w)
    tensor([[0.7071, 2.1213, 0.0000, 0.0000]])
    """
    x, w = _checked(x, w)
    if slope is not None:
        check.function("slope", slope)
    u = x @ w.mT
    gate = (u > 0).to(x) if slope is None else slope(u)
    features = (gate[:, :, None] * x[:, None, :]).flatten(1) / math.sqrt(len(w))
    return check.result("x, w and slope", features)


def feature_kernels(x: Tensor, x2: Tensor | None = None) -> tuple[Tensor, Tensor]:
    r"""Kernels of both classes for infinitely many ReLU features with w ~ N(0, I).

    With phi the angle between x and x' these are the arc-cosine kernels [cho2009]

        k_RF = |x||x'| (sin(phi) + (pi - phi) cos(phi)) / (2 pi),
        k_NT = <x, x'> (pi - phi) / (2 pi);

    for weights uniform on the unit sphere divide by d. They are the two terms of the
    tangent kernel of one hidden layer, in the units of the features.

    Args:
        x: inputs (n, d).
        x2: second set (m, d); ``None`` means ``x``.

    Returns:
        k_RF and k_NT, (n, m) each.

    Raises:
        TypeError, ValueError: as ``relu_ntk``.

    >>> random, tangent = kernels.feature_kernels(torch.eye(2))
    >>> random[0, 0], tangent[0, 0]
    (tensor(0.5000), tensor(0.5000))
    """
    sigma, theta = relu_ntk(x, x2, depth=2)
    d = x.shape[-1]
    return (
        check.result("x and x2", d * sigma),
        check.result("x and x2", d * (theta - sigma)),
    )


def _checked(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    x = check.constant("x", x, ndim=2)
    w = check.constant("w", w, shape=(None, x.shape[1]), like=x)
    if not len(w):
        raise ValueError("w must hold at least one neuron, got none")
    return x, w
