"""Slopes of losses, and the identities between them."""

import pytest
import torch

from lazyrich.losses import LOSSES, loss


@pytest.mark.parametrize("name", LOSSES)
def test_slope_is_the_derivative(name):
    chosen = loss(name)
    F = torch.linspace(-2.9, 2.95, 40, dtype=torch.float64).requires_grad_()
    for y in (-1.0, 1.0):
        target = torch.full_like(F, y)
        (expected,) = torch.autograd.grad(chosen.value(F, target).sum(), F)
        torch.testing.assert_close(
            chosen.slope(F.detach(), target), expected, rtol=1e-12, atol=1e-14
        )


@pytest.mark.parametrize("name", [n for n in LOSSES if loss(n).margin])
def test_margin_losses_see_the_product_only(name):
    chosen = loss(name)
    F = torch.linspace(-2, 2, 9, dtype=torch.float64)
    one = torch.ones_like(F)
    assert torch.equal(chosen.value(F, one), chosen.value(-F, -one))


def test_hinge_starts_at_one_and_ends_at_zero():
    y = torch.tensor([1.0, -1.0], dtype=torch.float64)
    hinge = loss("hinge")
    assert float(hinge.value(0 * y, y).mean()) == 1.0
    assert float(hinge.value(y, y).sum()) == 0.0
    assert not hinge.slope(y, y).any()


def test_soft_hinge_bounds_the_hinge():
    F = torch.linspace(-3, 3, 50, dtype=torch.float64)
    y = torch.ones_like(F)
    gap = loss("soft_hinge").value(F, y) - loss("hinge").value(F, y)
    assert float(gap.min()) > -1e-15
    assert float(gap.max()) < 0.6931472 / 20 + 1e-12


def test_unknown_loss():
    with pytest.raises(ValueError, match="loss must be one of"):
        loss("cross_entropy")
