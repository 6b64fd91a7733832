r"""The shallow net of the mean-field literature: N neurons behind a read-out of 1/N.

mdl2022, Sec. 2, for ``h`` neurons (the report's N):

    f(x) = alpha / h  sum_i a_i sigma(w_i . x),      a_i, w_ij ~ N(0, 1)

with the bare activation function, without the unit second moment and the 1/sqrt(d) of
the NTK scaling. ``FullyConnected`` with ``L=1`` is the same net in other units:
``alpha = sqrt(h) alpha_ntk`` (``theory.mean_field.scale_dictionary``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.activations import Activation, activation
from lazyrich.networks.chain import Chain, Dense, Layer, Pointwise
from lazyrich.networks.network import Params, TangentFactor


class _Mean(Dense):
    """y = scale (z . a), one number ``a`` (fan_in,) a neuron."""

    def __init__(self, fan_in: int, scale: float) -> None:
        super().__init__(fan_in, 1, "a", "")
        self.shapes = {"a": (fan_in,)}
        self.scale = scale

    def forward(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return self.scale * (z @ w["a"].unsqueeze(-1))

    def pushforward(
        self, w: Mapping[str, Tensor], dw: Mapping[str, Tensor], z: Tensor, y: Tensor,
        dz: Tensor | None,
    ) -> Tensor:  # fmt: skip
        dy = self.forward(dw, z)
        return dy if dz is None else dy + self.forward(w, dz)


@dataclass(frozen=True)
class Shallow(Chain):
    """One hidden layer behind a 1/h read-out (mdl2022, Sec. 2).

    A description without state: ``init`` draws weights, calling it evaluates f. Weights
    are a ``dict`` with ``W`` (h, d) and ``a`` (h,), with or without one leading axis of
    members. A neuron (a_i, W_i) is a *particle*; ``particles`` stacks them.

    Args:
        d: input dimension.
        h: number of neurons, the report's N.
        activation: one of ``activations.ACTIVATIONS``; its bare function is used.
        alpha: scale of the output: O(1) is the mean-field scaling, sqrt(h) the NTK one.

    Raises:
        TypeError, ValueError: a size that is not a positive integer, an activation that
            is not known, or an alpha that is not positive.
    """

    d: int
    h: int
    activation: str = "tanh"
    alpha: float = 1.0

    c = 1

    def __post_init__(self) -> None:
        check.positive_int("d", self.d)
        check.positive_int("h", self.h)
        check.real("alpha", self.alpha, above=0.0)
        activation(self.activation)

    @cached_property
    def sigma(self) -> Activation:
        """The activation; of it ``phi`` and ``phi_slope`` are used."""
        return activation(self.activation)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Neurons, their activation, and the mean over them."""
        neurons = Dense(self.d, self.h, "W", "")
        return neurons, Pointwise(self.sigma), _Mean(self.h, self.alpha / self.h)

    @property
    def scales(self) -> dict[str, float]:
        """All weights start from N(0, 1)."""
        return dict.fromkeys(self.shapes, 1.0)

    def particles(self, w: Mapping[str, Tensor]) -> Tensor:
        """Neurons as points (a_i, w_i): shape (..., h, d + 1), a first."""
        self.check_params(w)
        return torch.cat((w["a"].unsqueeze(-1), w["W"]), dim=-1)

    def pullback(
        self, w: Mapping[str, Tensor], x: Tensor, work: Params | None = None
    ) -> tuple[Tensor, Callable[..., Params]]:
        """f(w, x) and ``pull(g, out=None)``, the gradient of ``sum(g * f)``.

        Same contract as ``Chain.pullback``; ``work`` is not needed here. The read-out of a
        neuron is the same at every point: it is taken out of the sum over points.
        """
        self._check(w, x)
        with torch.no_grad():
            _, u, z, y = self._values(w, x)
            f, slope = y.squeeze(-1), self.sigma.phi_slope(u, z)
            scale = self.alpha / self.h

        def pull(g: Tensor, out: Params | None = None) -> Params:
            with torch.no_grad():
                weighted = scale * g.unsqueeze(-1)
                grads = {
                    "W": ((weighted * slope).mT @ x) * w["a"].unsqueeze(-1),
                    "a": (weighted * z).sum(-2),
                }
            if out is None:
                return grads
            for name, grad in grads.items():
                out[name].copy_(grad)
            return out

        return f, pull

    def tangent_factors(
        self, w: Mapping[str, Tensor], x: Tensor
    ) -> list[TangentFactor]:
        """Input layer and read-out as ``kernels.ntk`` wants them.

        The tangent kernel is alpha^2 / h times the kernel of mdl2022, Sec. 3.2, which
        is a mean over neurons and free of alpha.
        """
        self._check(w, x)
        _, u, z, _ = self._values(w, x)
        scale = self.alpha / self.h
        inner = scale * self.sigma.phi_slope(u, z) * w["a"].unsqueeze(-2)
        inputs = x.expand(*u.shape[:-1], self.d)
        return [
            TangentFactor(inputs, 1.0, 0.0, inner),
            TangentFactor(z, scale**2, 0.0, None),
        ]
