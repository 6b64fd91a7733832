r"""The shallow net of the mean-field literature: N neurons behind a read-out of 1/N.

mdl2022, Sec. 2, for ``h`` neurons (the report's N):

    f(x) = alpha / h  sum_i a_i sigma(w_i . x),      a_i, w_ij ~ N(0, 1)

with the bare activation function, without the unit second moment and the 1/sqrt(d) of
the NTK scaling. ``FullyConnected`` with ``L=1`` is the same net in other units:
``alpha = sqrt(h) alpha_ntk`` (``theory.mean_field.scale_dictionary``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.activations import Activation, activation
from lazyrich.networks.fully_connected import Params, TangentFactor
from lazyrich.networks.initial import normal_weights


@dataclass(frozen=True)
class Shallow:
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
    def n_params(self) -> int:
        """Number of parameters of one member, h (d + 1)."""
        return self.h * (self.d + 1)

    def init(
        self,
        seed: int | Sequence[int] = 0,
        members: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> Params:
        """Draw all weights from N(0, 1). Arguments and errors: ``FullyConnected.init``."""
        ones = dict.fromkeys(self.shapes, 1.0)
        return normal_weights(self.shapes, ones, seed, members, dtype, device)

    def particles(self, w: Mapping[str, Tensor]) -> Tensor:
        """Neurons as points (a_i, w_i): shape (..., h, d + 1), a first."""
        self.check_params(w)
        return torch.cat((w["a"].unsqueeze(-1), w["W"]), dim=-1)

    def check_params(self, w: Mapping[str, Tensor], name: str = "w") -> int | None:
        """The number of members of ``w``, ``None`` without a member axis.

        Raises:
            TypeError, ValueError: missing, unknown or misshapen parameters.
        """
        if not isinstance(w, Mapping):
            raise TypeError(f"{name} must be a dict of tensors, got {type(w).__name__}")
        if w.keys() != self.shapes.keys():
            raise ValueError(f"{name} must hold W and a, got {', '.join(w)}")
        axes = tuple(w["W"].shape[:-2])
        fits = all(w[k].shape == axes + shape for k, shape in self.shapes.items())
        if not fits or len(axes) > 1:
            shapes = {k: tuple(v.shape) for k, v in w.items()}
            raise ValueError(
                f"{name} must have shapes {self.shapes}, with or without one leading "
                f"member axis; got {shapes}"
            )
        return axes[0] if axes else None

    def _preactivation(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        members = self.check_params(w)
        check.tensor("x", x, ndim=(2, 3), like=w["W"], finite=False)
        if x.shape[-1] != self.d or (x.ndim == 3 and members != len(x)):
            raise ValueError(
                f"x must be (n, {self.d}), or ({members}, n, {self.d}) like w, "
                f"got shape {tuple(x.shape)}"
            )
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
