"""Tables of local polynomials: exact for polynomials, sixth order, NaN, both ends."""

import math

import pytest
import torch

from lazyrich.kernels.piecewise import Piecewise, nodes


def test_polynomials_of_degree_five_are_exact() -> None:
    at = nodes(4)
    assert at.shape == (4, 6)
    assert bool((at.floor() == torch.arange(4.0)[:, None]).all())
    x = torch.tensor([0.0, 1.7, 3.99], dtype=torch.float64)
    first, second = Piecewise(at**5 - 3 * at**2, 2 - at)(x.clone())
    torch.testing.assert_close(first, x**5 - 3 * x**2, rtol=0, atol=1e-12)
    torch.testing.assert_close(second, 2 - x, rtol=0, atol=1e-15)


def test_the_error_falls_with_the_sixth_power_of_the_width() -> None:
    x = torch.rand(
        4000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    x[0], x[1] = 0.0, 1 - 1e-15

    def error(cells: int) -> float:
        (found,) = Piecewise(torch.sin(9 * nodes(cells) / cells))(x * cells)
        return float((found - torch.sin(9 * x)).abs().max())

    slope = math.log2(error(8) / error(16))
    assert slope == pytest.approx(6, abs=0.3)
    assert error(400) < 2e-15


def test_nan_stays_nan_and_other_points_are_not_touched() -> None:
    table = Piecewise(torch.exp(nodes(3)))
    x = torch.tensor([math.nan, 0.5, 2.5], dtype=torch.float64)
    (found,) = table(x.clone())
    assert bool(found[0].isnan())
    torch.testing.assert_close(found[1:], x[1:].exp(), rtol=1e-4, atol=0)
