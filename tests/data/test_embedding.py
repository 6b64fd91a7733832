"""The embedding into a sphere: identities, the way back, and what is refused."""

import pytest
import torch

from lazyrich import data

F64 = torch.float64


def test_identities_and_the_way_back():
    x = data.gaussian(20, 3, 0)
    p = data.stereographic(x)
    torch.testing.assert_close(p.norm(dim=1), torch.ones(20, dtype=F64))
    square = 1 + x.square().sum(1)
    expected = 1 - 2 * torch.cdist(x, x).square() / torch.outer(square, square)
    torch.testing.assert_close(p @ p.T, expected)
    torch.testing.assert_close(data.inverse_stereographic(p), x)


def test_inversion_in_the_unit_sphere_gives_opposite_points():
    x = data.gaussian(5, 3, 1)
    other = -x / x.square().sum(1, keepdim=True)
    torch.testing.assert_close(data.stereographic(other), -data.stereographic(x))


def test_bad_input_is_refused():
    with pytest.raises(TypeError):
        data.stereographic([[1.0]])  # type: ignore[arg-type]
    for bad in (torch.ones(2, 3), torch.tensor([[0.0, 1.0]]), torch.ones(2, 1)):
        with pytest.raises(ValueError, match="p must"):
            data.inverse_stereographic(bad)
