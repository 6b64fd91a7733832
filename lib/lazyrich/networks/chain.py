r"""Chains: networks that apply one layer after the other, with their derivatives.

A layer knows its parameters, its forward pass, how a tangent goes up through it and a
cotangent down, and its share of the tangent kernel. A chain puts layers together:

    y_0 = x,    y_{k+1} = layer_k(w, y_k),    f = y_K

and everything else follows. The backward pass is written out, because a chain is simple
enough to write out and because the pieces are of use one by one: ``D^l``, the derivative
of f by the output of a layer, gives the gradient of any loss (``pullback``) and, with the
inputs of the layers, the tangent kernel without ever forming a Jacobian
(``tangent_factors``).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from lazyrich.networks.activations import Activation
from lazyrich.networks.network import Network, Params, TangentFactor, check_points


class Layer(ABC):
    """One step z -> y of a chain.

    The axis of points lies before the axes of one point, that of members before both.
    Cotangents have the shape of what they belong to, or one axis more behind the points,
    with one entry an output of the chain. What ``backward`` returns may be written to.
    """

    shapes: Mapping[str, tuple[int, ...]] = {}
    """Shape of every parameter of one member."""

    in_place = False
    """Whether ``backward`` with a place to write to takes that of its cotangent."""

    owed = 1.0
    """What is still to be multiplied to the result of ``backward``."""

    owed_to_factors = 1.0
    """The same number as ``tangent_factors`` applies it; it may round differently."""

    @abstractmethod
    def forward(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        """y, in a form that torch can differentiate."""

    def room(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        """Memory for y."""
        return torch.empty_like(self.forward(w, z))

    def forward_into(self, w: Mapping[str, Tensor], z: Tensor, y: Tensor) -> Tensor:
        """``forward`` written into ``y``."""
        return y.copy_(self.forward(w, z))

    @abstractmethod
    def pushforward(
        self, w: Mapping[str, Tensor], dw: Mapping[str, Tensor], z: Tensor, y: Tensor,
        dz: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """dy for changes ``dw`` of the parameters and ``dz`` of the input; ``None`` is an
        input that does not change."""

    @abstractmethod
    def backward(
        self, w: Mapping[str, Tensor], z: Tensor, y: Tensor, delta: Tensor,
        out: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The cotangent of z from ``delta``, that of y.

        With ``out``, memory like z, both it and ``delta`` may be written to.
        """

    def gradients(
        self, z: Tensor, delta: Tensor, scale: float, grads: Mapping[str, Tensor],
        work: Mapping[str, Tensor],
    ) -> None:  # fmt: skip
        """Write the gradients for the cotangent ``scale * delta`` of y into ``grads``;
        ``work["ones"]`` holds a one for every point."""
        return

    def factor(self, z: Tensor, delta: Tensor | None) -> TangentFactor | None:
        """The layer's share of the tangent kernel; ``None`` without parameters.

        ``delta`` is the derivative of the chain's output by y, ``None`` the identity.
        """
        return None


class Dense(Layer):
    """y = gain (scale z W^T + bias B) for points z with one axis.

    ``scale`` holds the outer scale of the activation below and ``gain`` is the inner one
    of the activation above: folded into the product, both cost nothing. Cotangents are
    those of y / gain, the pre-activation as papers write it.

    Args:
        fan_in, fan_out: numbers of inputs and outputs.
        weight, offset: names of W (fan_out, fan_in) and of B (fan_out,).
        divisor: products are divided by its square root.
        bias: factor of the trained bias; 0 leaves it out.
        below, above: activations on both sides whose scales are meant; ``None`` where
            there is none, or its bare function is used.
    """

    point_by_point = True
    """Whether cotangents of several outputs are multiplied one point at a time, which
    rounds alike however many points there are; else in one product, which is faster."""

    def __init__(
        self, fan_in: int, fan_out: int, weight: str, offset: str, *,
        divisor: float = 1.0, bias: float = 0.0,
        below: Activation | None = None, above: Activation | None = None,
    ) -> None:  # fmt: skip
        self.weight, self.offset = weight, offset
        self.fan_out, self.bias, self.root = fan_out, bias, math.sqrt(divisor)
        self.shapes: dict[str, tuple[int, ...]] = {self.weight: (fan_out, fan_in)}
        if bias:
            self.shapes[self.offset] = (fan_out,)
        inner, outer = (below.inner, below.outer) if below else (1.0, 1.0)
        gain = above.inner if above else 1.0
        self.scale = outer / self.root
        self.square = outer**2 / divisor
        self.fold, self.lift = gain * outer / self.root, gain * bias
        self.owed, self.owed_to_factors = inner * self.scale, inner * outer / self.root

    def forward(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        product = torch.matmul(z, w[self.weight].mT)
        if not self.bias:
            return product if self.fold == 1.0 else product.mul_(self.fold)
        # a second pass over the product, but the beta * C of a BLAS costs more than that
        row = (self.lift * w[self.offset]).unsqueeze(-2)
        return torch.add(row, product, alpha=self.fold)

    def room(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        members = w[self.weight].shape[:-2]
        return z.new_empty((*members, z.shape[-2], self.fan_out))

    def forward_into(self, w: Mapping[str, Tensor], z: Tensor, y: Tensor) -> Tensor:
        _product(z, w[self.weight].mT, y)
        if self.bias:
            row = self.lift * w[self.offset]
            row = row if y.ndim == 2 else row.unsqueeze(-2)
            return torch.add(row, y, alpha=self.fold, out=y)
        return y if self.fold == 1.0 else y.mul_(self.fold)

    def pushforward(
        self, w: Mapping[str, Tensor], dw: Mapping[str, Tensor], z: Tensor, y: Tensor,
        dz: Tensor | None,
    ) -> Tensor:  # fmt: skip
        product = torch.matmul(z, dw[self.weight].mT)
        if dz is not None:
            product = product + torch.matmul(dz, w[self.weight].mT)
        dy = self.fold * product
        return dy + self.lift * dw[self.offset].unsqueeze(-2) if self.bias else dy

    def backward(
        self, w: Mapping[str, Tensor], z: Tensor, y: Tensor, delta: Tensor,
        out: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        weight = w[self.weight]
        if out is not None:
            return _product(delta, weight, out)
        if delta.ndim > y.ndim and (weight.ndim > 2 or self.point_by_point):
            weight = weight.unsqueeze(-3)
        return torch.matmul(delta, weight)

    def from_top(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        """``backward`` of the identity over outputs, with nothing owed: a row of weights
        an output, the same for every point."""
        rows = w[self.weight] * self.owed_to_factors
        if self.fan_out == 1:
            return rows.expand(z.shape)
        return rows.unsqueeze(-3).expand(*z.shape[:-1], *rows.shape[-2:])

    def gradients(
        self, z: Tensor, delta: Tensor, scale: float, grads: Mapping[str, Tensor],
        work: Mapping[str, Tensor],
    ) -> None:  # fmt: skip
        grad, fold, lift = grads[self.weight], scale * self.scale, scale * self.bias
        if grad.ndim == 2:
            torch.addmm(grad, delta.mT, z, beta=0.0, alpha=fold, out=grad)
            if self.bias:  # a sum over examples is a product with ones, and faster
                sums, ones = grads[self.offset], work["ones"]
                torch.addmv(sums, delta.mT, ones, beta=0.0, alpha=lift, out=sums)
        else:
            z = z.expand(delta.shape[0], *z.shape[-2:])
            torch.baddbmm(grad, delta.mT, z, beta=0.0, alpha=fold, out=grad)
            if self.bias:
                torch.sum(delta, dim=-2, out=grads[self.offset]).mul_(lift)

    def factor(self, z: Tensor, delta: Tensor | None) -> TangentFactor:
        return TangentFactor(z, self.square, self.bias**2, delta)


class Pointwise(Layer):
    """y = phi(z), element by element, with the bare function of an activation.

    Args:
        activation: whose ``phi`` is applied.
        axes: of one point.
    """

    in_place = True

    def __init__(self, activation: Activation, axes: int = 1) -> None:
        self.activation, self.axes = activation, axes

    def forward(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return self.activation.phi(z)

    def room(self, w: Mapping[str, Tensor], z: Tensor) -> Tensor:
        return torch.empty_like(z)

    def forward_into(self, w: Mapping[str, Tensor], z: Tensor, y: Tensor) -> Tensor:
        return self.activation.phi_into(z, y)

    def pushforward(
        self, w: Mapping[str, Tensor], dw: Mapping[str, Tensor], z: Tensor, y: Tensor,
        dz: Tensor | None,
    ) -> Tensor:  # fmt: skip
        slope = self.activation.phi_slope(z, y)
        return torch.zeros_like(y) if dz is None else slope * dz

    def backward(
        self, w: Mapping[str, Tensor], z: Tensor, y: Tensor, delta: Tensor,
        out: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        slope = self.activation.phi_slope(z, y)
        if delta.ndim > y.ndim:
            slope = slope.unsqueeze(-1 - self.axes)
        return slope * delta if out is None else delta.mul_(slope)


class Chain(Network):
    """A network of ``layers``, the last of which is ``Dense``."""

    @property
    @abstractmethod
    def layers(self) -> tuple[Layer, ...]:
        """From the input up."""

    d: int
    """Input dimension."""

    c: int
    """Number of outputs."""

    @property
    def depth(self) -> int:
        """Layers of weights."""
        return sum(bool(layer.shapes) for layer in self.layers)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter of one member, from the input up."""
        return {k: v for layer in self.layers for k, v in layer.shapes.items()}

    @property
    def _top(self) -> Dense:
        top = self.layers[-1]
        assert isinstance(top, Dense)
        return top

    def _check(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        self.check_params(w)
        check_points(x, self.d, w[next(iter(self.shapes))])

    # ------------------------------------------------------------------ evaluation

    def _values(self, w: Mapping[str, Tensor], x: Tensor) -> list[Tensor]:
        """x and the output of every layer; the last has an axis of outputs."""
        values = [x]
        for layer in self.layers:
            values.append(layer.forward(w, values[-1]))
        return values

    def _outputs(self, y: Tensor) -> Tensor:
        return y.squeeze(-1) if self.c == 1 else y

    def __call__(self, w: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """f(w, x): shape (n,), or (n, c) for c > 1, behind the member axis if there is one.

        Args:
            w: weights as from ``init``.
            x: inputs (n, d), shared by all members, or (members, n, d).

        Raises:
            TypeError, ValueError: parameters or inputs of the wrong form.
        """
        self._check(w, x)
        return self._outputs(self._values(w, x)[-1])

    def pushforward(
        self, w: Mapping[str, Tensor], x: Tensor, dw: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """f(w, x) and its change J dw to first order, of the same shape.

        Args:
            w, x: as in a call.
            dw: changes of the weights, like ``w``.

        Raises:
            TypeError, ValueError: parameters, changes or inputs of the wrong form.
        """
        self._check(w, x)
        self._leading_axes(dw, "dw")
        y, dy = x, None
        for layer in self.layers:
            z, y = y, layer.forward(w, y)
            dy = layer.pushforward(w, dw, z, y, dy)
        assert dy is not None
        return self._outputs(y), self._outputs(dy)

    # ------------------------------------------------------------------ the way down

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
        with torch.no_grad():
            if not self._fits(work, w, x):
                self._check(w, x)
                self._make_room(work, w, x)
            values = [x]
            for layer, place in zip(self.layers[:-1], self._places, strict=True):
                values.append(layer.forward_into(w, values[-1], work[place]))
            f = self._outputs(self._top.forward(w, values[-1]))

        def pull(g: Tensor, out: Params | None = None) -> Params:
            grads = (
                {k: torch.empty_like(v) for k, v in w.items()} if out is None else out
            )
            with torch.no_grad():
                self._pull(g, grads, w, values, work)
            return grads

        return f, pull

    @cached_property
    def _places(self) -> tuple[str, ...]:
        """Names in ``work`` of the layers' outputs, which are inputs of the next."""
        return tuple(f"y{k + 1}" for k in range(len(self.layers) - 1))

    @cached_property
    def _first(self) -> str:
        return next(iter(self.shapes))

    def _fits(self, work: Params, w: Mapping[str, Tensor], x: Tensor) -> bool:
        return (
            bool(work)
            and work["x"].shape == x.shape
            and work["w"].shape == w[self._first].shape
        )

    def _make_room(self, work: Params, w: Mapping[str, Tensor], x: Tensor) -> None:
        """Memory for what one pass leaves behind, under the names that it uses.

        Two cotangents of a shape are alive at a time: that of a layer's output, and the
        one of its input that is being written.
        """
        work.clear()
        values, turn = [x], 0
        for layer, place in zip(self.layers, [*self._places, "f"], strict=True):
            if len(values) > 1 and not layer.in_place:
                shape, turn = tuple(values[-1].shape), 1 - turn
                spare = f"{turn} {shape}"
                if spare not in work:
                    work[spare] = torch.empty_like(values[-1])
                work[f"d{len(values) - 1}"] = work[spare]
            if place != "f":
                work[place] = layer.room(w, values[-1])
                values.append(work[place])
        # their shapes alone
        work["x"] = torch.empty_like(x, device="meta")
        work["w"] = torch.empty_like(w[self._first], device="meta")
        work["ones"] = x.new_ones(values[-1].shape[-2])

    def _pull(
        self,
        g: Tensor,
        grads: Params,
        w: Mapping[str, Tensor],
        values: Sequence[Tensor],
        work: Params,
    ) -> None:
        """The backward pass. The number ``scale`` collects what layers owe to ``delta``
        and enters with the gradients."""
        delta, scale = (g.unsqueeze(-1) if self.c == 1 else g), 1.0
        y = delta
        for k in range(len(self.layers) - 1, -1, -1):
            layer, z = self.layers[k], values[k]
            layer.gradients(z, delta, scale, grads, work)
            if k:
                out = delta if layer.in_place else work[f"d{k}"]
                delta = layer.backward(w, z, y, delta, out)
                scale *= layer.owed
            y = z

    # ------------------------------------------------------------------ tangent kernel

    def tangent_factors(
        self, w: Mapping[str, Tensor], x: Tensor
    ) -> list[TangentFactor]:
        """Inputs of the layers and back-propagated derivatives, layer by layer.

        With D^l = d f / d (output of layer l), the tangent kernel (geiger2020, Eq. 1) is

            Theta(x, x') = sum_l (z^l . z'^l / fan_in + bias) (D^l . D'^l),

        a sum of products of two Gram matrices, so that a kernel of n points costs
        O(n^2 h L + n h^2 L) operations where a Jacobian costs O(n^2 h^2 L).
        """
        self._check(w, x)
        values = self._values(w, x)
        found: list[TangentFactor | None] = [self._top.factor(values[-2], None)]
        delta, owed = None, 1.0
        fresh = False  # whether no factor, and no weight, has the memory of delta
        for k in range(len(self.layers) - 2, -1, -1):
            above, layer = self.layers[k + 1], self.layers[k]
            if delta is None:
                delta = self._top.from_top(w, values[-2])
            else:
                out = delta if above.in_place and fresh else None
                delta = above.backward(w, values[k + 1], values[k + 2], delta, out)
                fresh = fresh or above.in_place or bool(above.shapes)
                owed *= above.owed_to_factors
            if layer.shapes:
                delta = delta if owed == 1.0 else delta.mul_(owed)
                owed = 1.0
                found.append(layer.factor(values[k], delta))
                fresh = False
        return [factor for factor in found[::-1] if factor is not None]


def dense_layers(
    widths: Sequence[int],
    activation: Activation | None,
    *,
    divided: bool = False,
    scaled: bool = False,
    bias: float = 0.0,
    kind: type[Dense] = Dense,
) -> tuple[Layer, ...]:
    """Fully connected layers between ``widths``, inputs and outputs included, with an
    activation, or none, between each two.

    Args:
        widths: of inputs, hidden layers, outputs.
        activation: between layers.
        divided: products are divided by sqrt(fan_in), as in the NTK scaling.
        scaled: the activation is used with both its scales; else it is bare.
        bias: factor of the trained biases; 0 leaves them out.
        kind: of the layers of weights, whose parameters are ``W0``, ``B0``, ``W1``, ...
    """
    top, layers = len(widths) - 2, []
    for k, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layer = kind(
            fan_in,
            fan_out,
            f"W{k}",
            f"B{k}",
            divisor=fan_in if divided else 1.0,
            bias=bias,
            below=activation if scaled and k > 0 else None,
            above=activation if scaled and k < top else None,
        )
        layers.append(layer)
        if k < top and activation is not None:
            layers.append(Pointwise(activation))
    return tuple(layers)


def _product(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """``left @ right`` into ``out``; what has no member axis is shared by all members."""
    if out.ndim == 2:
        return torch.mm(left, right, out=out)
    return torch.matmul(left, right, out=out)
