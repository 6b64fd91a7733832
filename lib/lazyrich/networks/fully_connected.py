r"""Fully connected networks in the NTK scaling, with hand-written derivatives.

geiger2020, App. B (Eqs. 20-22), for ``L`` hidden layers of width ``h``:

    z~^1     = d^(-1/2) W^0 x + B^0
    z~^(l+1) = h^(-1/2) W^l z^l + B^l,      z^l = sigma(z~^l)
    f        = h^(-1/2) W^L z^L + B^L

with weights drawn from N(0, 1) and biases zero at initialisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.activations import Activation, activation
from lazyrich.networks.chain import Chain, Dense, Layer, dense_layers


@dataclass(frozen=True)
class FullyConnected(Chain):
    """A fully connected network with ``L`` hidden layers (geiger2020, App. B).

    A description without state: ``init`` draws weights, calling it evaluates f. Weights
    are a ``dict`` with ``W0`` (h, d), ``W1`` ... (h, h), ``W{L}`` (c, h) and biases
    ``B0`` ... ``B{L}``; all of them may carry one leading axis of **members**, an
    ensemble that is evaluated in one go.

    Args:
        d: input dimension.
        h: width of every hidden layer.
        L: number of hidden layers (L + 1 layers of weights).
        activation: one of ``activations.ACTIVATIONS``.
        bias: whether layers have a trained bias, zero at initialisation.
        c: number of outputs.

    Raises:
        TypeError, ValueError: a size that is not a positive integer, or an activation
            that is not known.
    """

    d: int
    h: int
    L: int
    activation: str = "softplus"
    bias: bool = True
    c: int = 1

    def __post_init__(self) -> None:
        for name in ("d", "h", "L", "c"):
            check.positive_int(name, getattr(self, name))
        if not isinstance(self.bias, bool):
            raise TypeError(f"bias must be True or False, got {self.bias!r}")
        activation(self.activation)

    @cached_property
    def sigma(self) -> Activation:
        """The activation function, with its two scales."""
        return activation(self.activation)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of weights with the activation in between, from the input up."""
        widths = (self.d, *[self.h] * self.L, self.c)
        bias = float(self.bias)
        return dense_layers(widths, self.sigma, divided=True, scaled=True, bias=bias)

    @property
    def scales(self) -> dict[str, float]:
        """Weights start from N(0, 1), biases from zero."""
        return {name: float(name.startswith("W")) for name in self.shapes}

    def preactivations(self, w: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """z~^1, ..., z~^L of geiger2020 Eqs. 20-21, each (..., n, h)."""
        self._check(w, x)
        return [
            u / self.sigma.inner
            for layer, u in zip(self.layers[:-1], self._values(w, x)[1:], strict=False)
            if isinstance(layer, Dense)
        ]
