r"""The two-phase model of a kernel: it turns while small, then grows in scale alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lazyrich.core import check
from lazyrich.core.spectrum import modes


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
        TypeError, ValueError: kernels of different shape, not symmetric or not positive
            semi-definite, a scale or time out of range.
    """

    first: Tensor
    final: Tensor
    epsilon: float
    turned: float = 3.0
    growth: Callable[[float], float] = _saturating

    def __post_init__(self) -> None:
        first = check.kernel("first", self.first)
        final = check.kernel("final", self.final, n=len(first), like=first)
        for name, value in (("first", first), ("final", final)):
            check.positive(name, modes(name, value)[0])
            object.__setattr__(self, name, value)
        check.real("epsilon", self.epsilon, above=0.0, most=1.0)
        check.real("turned", self.turned, above=0.0)
        check.function("growth", self.growth)

    def scale(self, t: float) -> float:
        """epsilon before ``turned``, g(t) after.

        Raises:
            TypeError, ValueError: no time t >= 0.
        """
        t = check.real("t", t, least=0.0)
        if t <= self.turned:
            return self.epsilon
        return self.epsilon + (1 - self.epsilon) * self.growth(t - self.turned)

    def __call__(self, t: float) -> Tensor:
        """K_t, (p, p), at one time t >= 0.

        Raises:
            TypeError, ValueError: no time t >= 0.
        """
        t = check.real("t", t, least=0.0)
        share = min(t / self.turned, 1.0)
        shape = (1 - share) * self.first + share * self.final
        return self.scale(t) * shape
