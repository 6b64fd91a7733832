r"""Multilayer perceptrons in the standard parametrisation, without biases.

f(x) = W^(D-1) phi( ... phi(W^0 x)), with weights N(0, sigma^2 / fan_in) and no further
factors (atanasov2022, Secs. 3 to 5). The scale ``sigma`` alone says how far from the
origin training starts; with a ReLU the net is homogeneous of degree D in its weights.
``FullyConnected`` is the same architecture in the NTK scaling: there layer l learns
1 / fan_in times as fast, and the activation has unit second moment.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.activations import Activation, activation
from lazyrich.networks.initial import fan_in_scales
from lazyrich.networks.network import (
    Network,
    Params,
    TangentFactor,
    chain_shapes,
    check_points,
    check_widths,
)

BARE = ("relu", "tanh", "linear", "erf", "gelu")
"""Activations that ``MLP`` accepts; they are used without a normalisation."""


@dataclass(frozen=True)
class MLP(Network):
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

    @property
    def d(self) -> int:
        """Input dimension."""
        return self.widths[0]

    @property
    def c(self) -> int:
        """Number of outputs."""
        return self.widths[-1]

    @property
    def depth(self) -> int:
        """Layers of weights."""
        return len(self.widths) - 1

    @cached_property
    def phi(self) -> Activation:
        """The activation; only its bare function is used."""
        return activation(self.activation)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every layer of one member, from the input up."""
        return chain_shapes(self.widths)

    @property
    def scales(self) -> dict[str, float]:
        """Weights start from N(0, sigma^2 / fan_in)."""
        return fan_in_scales(self.shapes, self.sigma)

    def _check(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        self.check_params(w)
        check_points(x, self.d, w["W0"], ndim=2)

    def _forward(
        self, w: Mapping[str, Tensor], x: Tensor
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """f, always with an output axis, and (pre-activation, activation) a layer."""
        hidden, z = [], x
        for layer in range(self.depth - 1):
            u = z @ w[f"W{layer}"].mT
            z = self.phi.phi(u)
            hidden.append((u, z))
        return z @ w[f"W{self.depth - 1}"].mT, hidden

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x): shape (n,), or (n, c) for c > 1, behind the member axis if any.

        Args:
            w: weights as from ``init``.
            x: inputs (n, d), shared by all members.

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        self._check(w, x)
        f, _ = self._forward(w, x)
        return f.squeeze(-1) if self.c == 1 else f

    def pullback(
        self, w: Mapping[str, Tensor], x: Tensor, work: Params | None = None
    ) -> tuple[Tensor, Callable[..., Params]]:
        """f(w, x) and ``pull(g, out=None)``, the gradient of ``sum(g * f)`` over ``w``.

        ``work`` is accepted for the protocol of ``core.pullback`` and not used. No
        derivative flows through either.
        """
        self._check(w, x)
        with torch.no_grad():
            f, hidden = self._forward(w, x)

        def pull(g: Tensor, out: Params | None = None) -> Params:
            with torch.no_grad():
                delta = g.unsqueeze(-1) if self.c == 1 else g
                grads = {} if out is None else out
                for layer in range(self.depth - 1, -1, -1):
                    z = hidden[layer - 1][1] if layer else x
                    grad = delta.mT @ z
                    if out is None:
                        grads[f"W{layer}"] = grad
                    else:
                        grads[f"W{layer}"].copy_(grad)
                    if layer:
                        slope = self.phi.phi_slope(*hidden[layer - 1])
                        delta = (delta @ w[f"W{layer}"]) * slope
            return {name: grads[name] for name in self.shapes}

        return (f.squeeze(-1) if self.c == 1 else f), pull

    def tangent_factors(
        self, w: Mapping[str, Tensor], x: Tensor
    ) -> list[TangentFactor]:
        """Activations and derivatives layer by layer, as ``kernels.ntk`` takes them."""
        if self.check_params(w) is not None:
            raise ValueError("w must have no leading axis here")
        check_points(x, self.d, w["W0"], ndim=2)
        _, hidden = self._forward(w, x)
        inputs = [x] + [z for _, z in hidden]
        factors = [TangentFactor(inputs[-1], 1.0, 0.0, None)]
        delta = None
        for layer in range(self.depth - 1, 0, -1):
            slope = self.phi.phi_slope(*hidden[layer - 1])
            weight = w[f"W{layer}"]
            above = weight if delta is None else delta @ weight
            delta = (slope if self.c == 1 else slope.unsqueeze(-2)) * above
            factors.append(TangentFactor(inputs[layer - 1], 1.0, 0.0, delta))
        return factors[::-1]
