r"""The two-phase model of a kernel: it turns while small, then grows in scale alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lazyrich.core import check


def _saturating(x: float) -> float:
    return -math.expm1(-x)


@dataclass(frozen=True)
class TwoPhaseKernel:
    r"""K_t = epsilon K~(t) up to ``turned``, then g(t) K_infinity (atanasov2022, Eq. 3).

    K~ goes from ``first`` to ``final`` in a straight line, and g = epsilon +
    (1 - epsilon) growth(t - turned) rises from epsilon to 1. Both phases meet at
    t = turned, where K = epsilon K_infinity.

    Args:
        first, final: kernels at the start and at the end (up to scale), positive
            semi-definite (p, p), over all points of interest, training points first.
        epsilon: scale of the kernel while it turns, below 1.
        turned: the time tau at which it stops turning.
        growth: an increasing function with growth(0) = 0 and limit 1.

    Raises:
        TypeError, ValueError: kernels of different shape or not symmetric, a scale or
            time out of range.
    """

    first: Tensor
    final: Tensor
    epsilon: float
    turned: float = 3.0
    growth: Callable[[float], float] = _saturating

    def __post_init__(self) -> None:
        check.tensor("first", self.first, ndim=2)
        check.tensor(
            "final", self.final, shape=tuple(self.first.shape), like=self.first
        )
        for name, value in (("first", self.first), ("final", self.final)):
            if value.shape[0] != value.shape[1] or not torch.allclose(value, value.mT):
                raise ValueError(f"{name} must be symmetric, got shape {value.shape}")
        check.real("epsilon", self.epsilon, above=0.0, most=1.0)
        check.real("turned", self.turned, above=0.0)

    def scale(self, t: float) -> float:
        """epsilon before ``turned``, g(t) after."""
        if t <= self.turned:
            return self.epsilon
        return self.epsilon + (1 - self.epsilon) * self.growth(t - self.turned)

    def __call__(self, t: float) -> Tensor:
        """K_t, (p, p), at one time t >= 0."""
        share = min(t / self.turned, 1.0)
        shape = (1 - share) * self.first + share * self.final
        return self.scale(t) * shape
