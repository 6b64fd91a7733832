"""Losses l(F, y) of one example, with the derivative that drives gradient flow."""

from lazyrich.losses.pointwise import LOSSES, Loss, loss

__all__ = ["LOSSES", "Loss", "loss"]
