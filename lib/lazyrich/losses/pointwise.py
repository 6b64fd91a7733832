"""Pointwise losses l(F, y) and their slopes d l / d F.

The training loss is L = 1/(alpha^2 n) sum_mu l(F_mu, y_mu) with F = alpha (f - f0)
(geiger2020, Eqs. 4-5). Curves of different alpha are compared through alpha^2 L, which
is 1 at the start for the hinge loss.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lazyrich.core import check

SOFT_HINGE_SHARPNESS = 20.0


@dataclass(frozen=True)
class Loss:
    """A loss of one example.

    Attributes:
        name: the word by which flows ask for it.
        value: l(F, y), element by element; y = +-1 for the three hinges.
        slope: d l / d F, element by element.
        margin: whether l depends on F y alone, so that y must be +-1.
        reaches_zero: whether l is exactly zero on an open set of F.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]
    margin: bool
    reaches_zero: bool


def _soft_hinge(F: Tensor, y: Tensor) -> Tensor:
    return functional.softplus(1.0 - F * y, beta=SOFT_HINGE_SHARPNESS, threshold=40.0)


_LOSSES = {
    "hinge": Loss(
        "hinge",
        lambda F, y: torch.relu(1.0 - F * y),
        lambda F, y: -y * (F * y < 1.0),
        margin=True,
        reaches_zero=True,
    ),
    "soft_hinge": Loss(
        "soft_hinge",
        _soft_hinge,
        lambda F, y: -y * torch.sigmoid(SOFT_HINGE_SHARPNESS * (1.0 - F * y)),
        margin=True,
        reaches_zero=False,
    ),
    "quadratic_hinge": Loss(
        "quadratic_hinge",
        lambda F, y: 0.5 * torch.relu(1.0 - F * y) ** 2,
        lambda F, y: -y * torch.relu(1.0 - F * y),
        margin=True,
        reaches_zero=True,
    ),
    "square": Loss(
        "square",
        lambda F, y: 0.5 * (F - y) ** 2,
        lambda F, y: F - y,
        margin=False,
        reaches_zero=False,
    ),
}

LOSSES = tuple(_LOSSES)
"""Names that ``loss`` accepts."""


def loss(name: str) -> Loss:
    """The loss called ``name``: hinge max(0, 1 - F y), soft_hinge (its softplus version
    of sharpness 20), quadratic_hinge max(0, 1 - F y)^2 / 2 or square (F - y)^2 / 2.

    Raises:
        ValueError: unknown name.
    """
    return _LOSSES[check.one_of("loss", name, _LOSSES)]
