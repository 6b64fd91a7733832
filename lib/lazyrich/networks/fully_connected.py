r"""Fully connected networks in the NTK scaling, with hand-written derivatives.

geiger2020, App. B (Eqs. 20-22), for ``L`` hidden layers of width ``h``:

    z~^1     = d^(-1/2) W^0 x + B^0
    z~^(l+1) = h^(-1/2) W^l z^l + B^l,      z^l = sigma(z~^l)
    f        = h^(-1/2) W^L z^L + B^L

with weights drawn from N(0, 1) and biases zero at initialisation.

The backward pass is written out, because a chain is simple enough to write out and
because the pieces are of use one by one: ``D^l = d f / d z~^(l+1)`` gives the gradient of
any loss (``pullback``) and, with the activations, the tangent kernel without ever
forming a Jacobian (``tangent_factors``).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.activations import Activation, activation
from lazyrich.networks.network import (
    Network,
    Params,
    TangentFactor,
    chain_shapes,
    check_points,
)


def _affine(
    z: Tensor, weight: Tensor, bias: Tensor | None, a: float, b: float
) -> Tensor:
    """``a * z @ weight.mT + b * bias``, members on an optional first axis."""
    product = torch.matmul(z, weight.mT)
    if bias is None:
        return product.mul_(a)
    # a second pass over the product, but the beta * C of a BLAS costs more than that
    return torch.add((b * bias).unsqueeze(-2), product, alpha=a)


def _product(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """``left @ right`` into ``out``; what has no member axis is shared by all members."""
    if out.ndim == 2:
        return torch.mm(left, right, out=out)
    return torch.matmul(left, right, out=out)


@dataclass(frozen=True)
class FullyConnected(Network):
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

    # ------------------------------------------------------------------ parameters

    @cached_property
    def sigma(self) -> Activation:
        """The activation function, with its two scales."""
        return activation(self.activation)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """``W0`` (h, d), ``B0`` (h,), ``W1`` (h, h), ... ``W{L}`` (c, h), ``B{L}`` (c,)."""
        widths = (self.d, *[self.h] * self.L, self.c)
        return chain_shapes(widths, self.bias)

    @property
    def scales(self) -> dict[str, float]:
        """Weights start from N(0, 1), biases from zero."""
        return {name: float(name.startswith("W")) for name in self.shapes}

    def _check(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        self.check_params(w)
        check_points(x, self.d, w["W0"])

    # ------------------------------------------------------------------ evaluation

    def _forward(
        self, w: Mapping[str, Tensor], x: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Scaled pre-activations u^l = inner * z~^l and phi(u^l) of every hidden layer.

        Working with u and phi instead of z~ and z folds both scales of the activation
        into the matrix products.
        """
        sigma, hidden, z = self.sigma, [], x
        fold = sigma.inner / math.sqrt(self.d)
        for layer in range(self.L):
            u = _affine(z, w[f"W{layer}"], w.get(f"B{layer}"), fold, sigma.inner)
            z = sigma.phi(u)
            hidden.append((u, z))
            fold = sigma.inner * sigma.outer / math.sqrt(self.h)
        return hidden

    def _readout(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        fold = self.sigma.outer / math.sqrt(self.h)
        f = _affine(z, w[f"W{self.L}"], w.get(f"B{self.L}"), fold, 1.0)
        return f.squeeze(-1) if self.c == 1 else f

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x): shape (n,), or (n, c) for c > 1, behind the member axis if there is one.

        Args:
            w: weights as from ``init``.
            x: inputs (n, d), shared by all members, or (members, n, d).

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        self._check(w, x)
        return self._readout(w, self._forward(w, x)[-1][1])

    def preactivations(self, w: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """z~^1, ..., z~^L of geiger2020 Eqs. 20-21, each (..., n, h)."""
        self._check(w, x)
        return [u / self.sigma.inner for u, _ in self._forward(w, x)]

    def pullback(
        self, w: Mapping[str, Tensor], x: Tensor, work: Params | None = None
    ) -> tuple[Tensor, Callable[..., Params]]:
        """f(w, x) and the function that carries d loss / d f back to the weights.

        Args:
            w, x: as in a call.
            work: a dict in which intermediate tensors are kept and found again by the
                next call with the same shapes. Fresh memory for every layer costs up to
                half as much as the arithmetic; with ``work``, ``pull`` is valid until
                the next call only.

        Returns:
            ``f`` and ``pull(g, out=None)``: for ``g`` of the shape of ``f``, the gradient
            of ``sum(g * f)``, as a dict like ``w`` (written into ``out`` if given).
            Evaluated once, the forward pass serves both. No derivative flows through
            either.
        """
        work = {} if work is None else work
        if not work or work["u0"].shape[:-1] != (*w["W0"].shape[:-2], x.shape[-2]):
            self._check(w, x)
            work.clear()
            shape = (*w["W0"].shape[:-2], x.shape[-2], self.h)
            for k in range(self.L):
                work[f"u{k}"], work[f"z{k}"] = x.new_empty(shape), x.new_empty(shape)
            work["ones"] = x.new_ones(x.shape[-2])
            work["delta0"], work["delta1"] = x.new_empty(shape), x.new_empty(shape)
        sigma = self.sigma
        with torch.no_grad():
            z, fold = x, sigma.inner / math.sqrt(self.d)
            for k in range(self.L):
                u = work[f"u{k}"]
                _product(z, w[f"W{k}"].mT, u)
                if self.bias:
                    row = sigma.inner * w[f"B{k}"]
                    row = row if u.ndim == 2 else row.unsqueeze(-2)
                    torch.add(row, u, alpha=fold, out=u)
                else:
                    u.mul_(fold)
                z = sigma.phi_into(u, work[f"z{k}"])
                fold = sigma.inner * sigma.outer / math.sqrt(self.h)
            f = self._readout(w, z)

        def pull(g: Tensor, out: Params | None = None) -> Params:
            grads = (
                {k: torch.empty_like(v) for k, v in w.items()} if out is None else out
            )
            with torch.no_grad():
                self._pull(g, grads, w, x, work)
            return grads

        return f, pull

    def _pull(
        self, g: Tensor, grads: Params, w: Mapping[str, Tensor], x: Tensor, work: Params
    ) -> None:
        """The backward pass. ``delta`` is d loss / d z~ up to the scalar ``scale``, which
        collects the scales of layers and activations and enters with the gradients."""
        sigma = self.sigma
        to_read = sigma.outer / math.sqrt(self.h)
        delta, scale = (g.unsqueeze(-1) if self.c == 1 else g), 1.0
        for layer in range(self.L, -1, -1):
            z = x if layer == 0 else work[f"z{layer - 1}"]
            fold = scale * (1.0 / math.sqrt(self.d) if layer == 0 else to_read)
            grad = grads[f"W{layer}"]
            if grad.ndim == 2:
                torch.addmm(grad, delta.mT, z, beta=0.0, alpha=fold, out=grad)
                if self.bias:  # a sum over examples is a product with ones, and faster
                    sums = grads[f"B{layer}"]
                    torch.addmv(
                        sums, delta.mT, work["ones"], beta=0.0, alpha=scale, out=sums
                    )
            else:
                z = z.expand(delta.shape[0], *z.shape[-2:])
                torch.baddbmm(grad, delta.mT, z, beta=0.0, alpha=fold, out=grad)
                if self.bias:
                    torch.sum(delta, dim=-2, out=grads[f"B{layer}"]).mul_(scale)
            if layer > 0:
                u = work[f"u{layer - 1}"]
                below = work[f"delta{layer % 2}"]
                _product(delta, w[f"W{layer}"], below)
                delta = below.mul_(sigma.phi_slope(u, z))
                scale *= sigma.inner * to_read

    def _backward(
        self, delta: Tensor, weight: Tensor, u: Tensor, phi: Tensor
    ) -> Tensor:
        """d f / d z~^l from d f / d z~^(l+1): times h^(-1/2) W^l, times sigma'(z~^l)."""
        sigma = self.sigma
        fold = sigma.inner * sigma.outer / math.sqrt(self.h)
        if self.c > 1 and delta.ndim == u.ndim + 1:  # one backward pass per output
            slope = sigma.phi_slope(u, phi).unsqueeze(-2)
            return torch.matmul(delta, weight.unsqueeze(-3)).mul_(slope).mul_(fold)
        slope = sigma.phi_slope(u, phi)
        return torch.matmul(delta, weight).mul_(slope).mul_(fold)

    def tangent_factors(
        self, w: Mapping[str, Tensor], x: Tensor
    ) -> list[TangentFactor]:
        """Activations and back-propagated derivatives, layer by layer.

        With D^l = d f / d z~^(l+1), the tangent kernel (geiger2020, Eq. 1) is

            Theta(x, x') = sum_l (z^l . z'^l / fan_in + bias) (D^l . D'^l),

        a sum of products of two Gram matrices, so that a kernel of n points costs
        O(n^2 h L + n h^2 L) operations where a Jacobian costs O(n^2 h^2 L).
        """
        self._check(w, x)
        hidden = self._forward(w, x)
        outer = self.sigma.outer
        fans = [1.0 / self.d] + [outer**2 / self.h] * self.L
        inputs = [x] + [phi for _, phi in hidden]
        bias = 1.0 if self.bias else 0.0
        factors = [TangentFactor(inputs[-1], fans[-1], bias, None)]
        fold = outer * self.sigma.inner / math.sqrt(self.h)
        delta = None
        for layer in range(self.L, 0, -1):
            u, phi = hidden[layer - 1]
            if delta is not None:
                delta = self._backward(delta, w[f"W{layer}"], u, phi)
            elif self.c == 1:
                # the read-out's D is 1, so the first product is a row times the slopes
                delta = self.sigma.phi_slope(u, phi) * (w[f"W{layer}"] * fold)
            else:
                slope = self.sigma.phi_slope(u, phi).unsqueeze(-2)
                delta = slope * (w[f"W{layer}"] * fold).unsqueeze(-3)
            factors.append(
                TangentFactor(inputs[layer - 1], fans[layer - 1], bias, delta)
            )
        return factors[::-1]
