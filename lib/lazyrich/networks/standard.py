"""Chains in the standard parametrisation: weights N(0, sigma^2 / fan_in), no factors."""

from collections.abc import Sequence

from lazyrich.core import check
from lazyrich.networks.chain import Chain
from lazyrich.networks.initial import fan_in_scales


class StandardChain(Chain):
    """A chain between ``widths``, without biases, that starts at scale ``sigma``."""

    widths: tuple[int, ...]
    sigma: float

    @property
    def d(self) -> int:
        """Input dimension."""
        return self.widths[0]

    @property
    def c(self) -> int:
        """Number of outputs."""
        return self.widths[-1]

    @property
    def scales(self) -> dict[str, float]:
        """Weights start from N(0, sigma^2 / fan_in)."""
        return fan_in_scales(self.shapes, self.sigma)


def check_widths(widths: Sequence[int]) -> None:
    """Refuse anything but positive integers for inputs, hidden layers and outputs.

    Raises:
        TypeError, ValueError: fewer than two widths, or one that is not such a number.
    """
    if not isinstance(widths, Sequence) or len(widths) < 2:
        raise ValueError(
            f"widths must hold at least inputs and outputs, got {widths!r}"
        )
    for width in widths:
        check.positive_int("widths", width)
