"""Parameter counts as exact polynomials of the width: which net hides behind a number."""

from collections.abc import Mapping
from fractions import Fraction

import sympy as sp


def polynomial_through(
    counts: Mapping[int, int], degree: int
) -> tuple[Fraction, ...] | None:
    """The polynomial of at most that degree through (width, count) pairs, exactly.

    Args:
        counts: parameters by width, more than ``degree`` of them.
        degree: highest power; a net whose width enters every layer has degree 2.

    Returns:
        coefficients from the constant term up, or ``None`` if the pairs are on no such
        polynomial.

    Raises:
        ValueError: too few pairs to determine it.
    """
    if len(counts) <= degree:
        raise ValueError(
            f"counts must hold more than {degree} widths, got {len(counts)}"
        )
    width = sp.Symbol("h")
    found = sp.Poly(sp.interpolate(list(counts.items()), width), width)
    if found.degree() > degree:
        return None
    coefficients = [Fraction(str(c)) for c in reversed(found.all_coeffs())]
    return (*coefficients, *[Fraction(0)] * (degree + 1 - len(coefficients)))


def perceptron(d: int, h: int, L: int, c: int, *, bias: bool = True) -> int:
    """Parameters of d - h - ... - h - c with L hidden layers."""
    one = int(bias)
    return (d + one) * h + (L - 1) * (h + one) * h + (h + one) * c


def convolutional(
    side: int, channels: int, layers: int, c: int, *,
    kernel: int = 3, padding: int = 0, pool: bool = False, doubling: bool = False,
    hidden: int = 0, bias: bool = True,
) -> int | None:  # fmt: skip
    """Parameters of a net of convolutions on side x side images of one channel.

    Args:
        side: of the images.
        channels: of the first layer.
        layers: convolutions, of stride 1.
        c: outputs.
        kernel, padding: of the convolutions.
        pool: whether halves of the map are pooled after the last convolution.
        doubling: whether every convolution has twice the channels of the one before.
        hidden: width of a dense hidden layer, 0 for none.
        bias: whether layers have biases.

    Returns:
        their number, or ``None`` where nothing is left of the image.
    """
    one, total, before = int(bias), 0, 1
    for layer in range(layers):
        after = channels * (2**layer if doubling else 1)
        total += (before * kernel**2 + one) * after
        before = after
        side += 2 * padding - kernel + 1
    if pool:
        side //= 2
    if side < 1:
        return None
    flat = before * side**2
    if hidden:
        return total + (flat + one) * hidden + (hidden + one) * c
    return total + (flat + one) * c
