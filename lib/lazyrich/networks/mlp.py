r"""Multilayer perceptrons in the standard parametrisation, without biases.

f(x) = W^(D-1) phi( ... phi(W^0 x)), with weights N(0, sigma^2 / fan_in) and no further
factors (atanasov2022, Secs. 3 to 5). The scale ``sigma`` alone says how far from the
origin training starts; with a ReLU the net is homogeneous of degree D in its weights.
``FullyConnected`` is the same architecture in the NTK scaling: there layer l learns
1 / fan_in times as fast, and the activation has unit second moment.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.activations import Activation, activation
from lazyrich.networks.chain import Dense, Layer, dense_layers
from lazyrich.networks.standard import StandardChain, check_widths

BARE = ("relu", "tanh", "linear", "erf", "gelu")
"""Activations that ``MLP`` accepts; they are used without a normalisation."""


class _AtOnce(Dense):
    """Without scales: what members or outputs share is multiplied in one product."""

    point_by_point = False

    def gradients(
        self, z: Tensor, delta: Tensor, scale: float, grads: Mapping[str, Tensor],
        work: Mapping[str, Tensor],
    ) -> None:  # fmt: skip
        torch.matmul(delta.mT, z, out=grads[self.weight])


@dataclass(frozen=True)
class MLP(StandardChain):
    """A multilayer perceptron without biases that starts at scale ``sigma``.

    A description without state: ``init`` draws weights, calling it evaluates f. Weights
    are a ``dict`` with ``W0`` (widths[1], widths[0]) ... ``W{depth-1}`` (c, widths[-2]).

    Args:
        widths: (d, hidden widths ..., c): inputs, hidden layers, outputs.
        activation: one of ``BARE``.
        sigma: scale of the initial weights, which are N(0, sigma^2 / fan_in).

    Raises:
        TypeError, ValueError: fewer than two widths, one that is not a positive integer,
            an unknown activation, or a scale that is not positive.
    """

    widths: tuple[int, ...]
    activation: str = "relu"
    sigma: float = 1.0

    def __post_init__(self) -> None:
        check_widths(self.widths)
        check.one_of("activation", self.activation, BARE)
        check.real("sigma", self.sigma, above=0.0)

    @cached_property
    def phi(self) -> Activation:
        """The activation; only its bare function is used."""
        return activation(self.activation)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of weights with the activation in between, from the input up."""
        return dense_layers(self.widths, self.phi, kind=_AtOnce)
