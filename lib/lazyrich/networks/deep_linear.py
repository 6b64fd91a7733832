r"""Deep linear networks f(x) = W^(D-1) ... W^1 W^0 x with small Gaussian weights.

atanasov2022, Secs. 3 and 4. ``depth`` D counts layers of weights (the paper's L, our
L + 1); layer l maps widths[l] to widths[l + 1] numbers. Weights are N(0, sigma^2 /
fan_in) and the forward pass has no further factors: ``sigma`` alone says how far from
the origin training starts, and f is homogeneous of degree D in it.

The tangent kernel of a linear net is x^T M x' with one matrix M of size d by d
(Eqs. 5 and 34): the sum over layers of |product of the layers above|^2 times the Gram
matrix of the product of the layers below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.networks.chain import Layer, dense_layers
from lazyrich.networks.network import TangentFactor, check_points
from lazyrich.networks.standard import StandardChain, check_widths


@dataclass(frozen=True)
class DeepLinear(StandardChain):
    """A linear network of any depth without biases (atanasov2022, Secs. 3 and 4).

    A description without state: ``init`` draws weights, calling it evaluates f. Weights
    are a ``dict`` with ``W0`` (widths[1], widths[0]) ... ``W{depth-1}`` (c, widths[-2]);
    all may carry leading axes, such as members or times.

    Args:
        widths: (d, hidden widths ..., c): inputs, hidden layers, outputs; at least two.
        sigma: scale of the initial weights, which are N(0, sigma^2 / fan_in).

    Raises:
        TypeError, ValueError: widths that are not positive integers, or a scale that is
            not positive.
    """

    widths: tuple[int, ...]
    sigma: float = 1.0

    def __post_init__(self) -> None:
        check_widths(self.widths)
        check.real("sigma", self.sigma, above=0.0)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of weights, from the input up."""
        return dense_layers(self.widths, None)

    # ------------------------------------------------------------------ evaluation

    def below(self, w: Mapping[str, Tensor]) -> list[Tensor]:
        """What reaches each layer from the input: entry l is W^(l-1) ... W^0, shape
        (..., widths[l], d); the first is the identity, the last the end-to-end map."""
        axes = self._leading_axes(w)
        first = w["W0"]
        eye = torch.eye(self.d, dtype=first.dtype, device=first.device)
        products = [eye.expand(*axes, self.d, self.d)]
        for layer in range(self.depth):
            weight = w[f"W{layer}"]
            products.append(weight @ products[-1] if layer else weight)
        return products

    def above(self, w: Mapping[str, Tensor]) -> list[Tensor]:
        """What each layer's output is multiplied by: entry l is W^(D-1) ... W^(l+1),
        shape (..., c, widths[l + 1]); the last is the identity."""
        axes = self._leading_axes(w)
        first = w["W0"]
        eye = torch.eye(self.c, dtype=first.dtype, device=first.device)
        products = [eye.expand(*axes, self.c, self.c)]
        for layer in range(self.depth - 1, 0, -1):
            weight = w[f"W{layer}"]
            products.append(products[-1] @ weight if layer < self.depth - 1 else weight)
        return products[::-1]

    def product(self, w: Mapping[str, Tensor]) -> Tensor:
        """The end-to-end map W^(D-1) ... W^0: shape (..., d), or (..., c, d) for c > 1."""
        full = self.below(w)[-1]
        return full.squeeze(-2) if self.c == 1 else full

    def _check(self, w: Mapping[str, Tensor], x: Tensor) -> None:
        self._leading_axes(w)
        check_points(x, self.d, w["W0"], ndim=2)

    # ------------------------------------------------------------------ tangent kernel

    def tangent_matrix(
        self, w: Mapping[str, Tensor], rates: Sequence[float] | None = None
    ) -> Tensor:
        r"""The matrix M of the tangent kernel Theta(x, x') = x^T M x' (Eqs. 5, 34).

            M = sum_l rate_l |W^(D-1) ... W^(l+1)|^2 (W^(l-1) ... W^0)^T (W^(l-1) ... W^0)

        With ``rates`` it is the kernel that moves the function when layers learn at
        different rates; without, the plain inner product of gradients.

        Args:
            w: weights, with any leading axes.
            rates: one number a layer, from the input up; ones by default.

        Returns:
            (..., d, d), or (..., c, c, d, d) for c > 1.

        Raises:
            ValueError: as many rates as layers are needed, all positive.
        """
        weights = layer_rates(rates, self.depth)
        total = None
        for rate, below, above in zip(
            weights, self.below(w)[:-1], self.above(w), strict=True
        ):
            outer = rate * (above @ above.mT)
            gram = below.mT @ below
            term = outer[..., :, :, None, None] * gram[..., None, None, :, :]
            total = term if total is None else total + term
        assert total is not None
        return total[..., 0, 0, :, :] if self.c == 1 else total

    def tangent_factors(
        self, w: Mapping[str, Tensor], x: Tensor
    ) -> list[TangentFactor]:
        """Activations and derivatives layer by layer, as ``kernels.ntk`` takes them.

        D is the same at every point here: one matrix, which takes no memory a point.
        """
        if self._leading_axes(w):
            raise ValueError("w must have no leading axis here")
        check_points(x, self.d, w["W0"], ndim=2)
        factors = []
        for below, above in zip(self.below(w)[:-1], self.above(w), strict=True):
            d = above[0] if self.c == 1 else above
            factors.append(
                TangentFactor(x @ below.mT, 1.0, 0.0, d.expand(len(x), *d.shape))
            )
        last = factors[-1]
        factors[-1] = TangentFactor(last.z, 1.0, 0.0, None)
        return factors


def layer_rates(rates: Sequence[float] | None, depth: int) -> tuple[float, ...]:
    """Learning rates of ``depth`` layers; ones by default.

    Raises:
        TypeError, ValueError: another number of rates, or one that is not positive.
    """
    if rates is None:
        return (1.0,) * depth
    if len(rates) != depth:
        raise ValueError(
            f"rates must hold one number for each of {depth} layers, got {len(rates)}"
        )
    return tuple(check.real("rates", rate, above=0.0) for rate in rates)
