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
from lazyrich.networks.network import Network, Params, TangentFactor, check_points


@dataclass(frozen=True)
class Shallow(Network):
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
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter of one member."""
        return {"W": (self.h, self.d), "a": (self.h,)}

    @property
    def scales(self) -> dict[str, float]:
        """All weights start from N(0, 1)."""
        return dict.fromkeys(self.shapes, 1.0)

    def particles(self, w: Mapping[str, Tensor]) -> Tensor:
        """Neurons as points (a_i, w_i): shape (..., h, d + 1), a first."""
        self.check_params(w)
        return torch.cat((w["a"].unsqueeze(-1), w["W"]), dim=-1)

    def _preactivation(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        self.check_params(w)
        check_points(x, self.d, w["W"])
        return x @ w["W"].mT

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x): shape (n,), behind the member axis if there is one.

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        z = self.sigma.phi(self._preactivation(w, x))
        return (self.alpha / self.h) * (z @ w["a"].unsqueeze(-1)).squeeze(-1)

    def pullback(
        self, w: Mapping[str, Tensor], x: Tensor, work: Params | None = None
    ) -> tuple[Tensor, Callable[..., Params]]:
        """f(w, x) and ``pull(g, out=None)``, the gradient of ``sum(g * f)``.

        Same contract as ``FullyConnected.pullback``; ``work`` is not needed here.
        """
        with torch.no_grad():
            u = self._preactivation(w, x)
            z = self.sigma.phi(u)
            slope = self.sigma.phi_slope(u, z)
            scale = self.alpha / self.h
            f = scale * (z @ w["a"].unsqueeze(-1)).squeeze(-1)

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
        u = self._preactivation(w, x)
        z = self.sigma.phi(u)
        scale = self.alpha / self.h
        inner = scale * self.sigma.phi_slope(u, z) * w["a"].unsqueeze(-2)
        inputs = x.expand(*u.shape[:-1], self.d)
        return [
            TangentFactor(inputs, 1.0, 0.0, inner),
            TangentFactor(z, scale**2, 0.0, None),
        ]
