"""A chain linearised: outputs, J^T g and J J^T from the factors of its layers.

Where d f / d W^l is an outer product of D^l and z^l, no Jacobian J is needed: the tangent
kernel is a sum over layers of products of two Gram matrices. Networks that know D and z
say so by ``tangent_factors``; what is done with them is here, because kernels and flows
both need it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

_TILE = 256
"""Points a tile: two Gram tiles and their sum stay in a core's cache."""


class Factor(Protocol):
    """One layer's share; see ``networks.TangentFactor``, which is one."""

    @property
    def z(self) -> Tensor: ...
    @property
    def scale(self) -> float: ...
    @property
    def bias(self) -> float: ...
    @property
    def d(self) -> Tensor | None: ...


def layerwise_gram(
    rows: Sequence[Factor], columns: Sequence[Factor] | None = None, c: int = 1
) -> Tensor:
    """sum_l (z^l . z'^l / fan_in + bias) (D^l . D'^l) for all pairs of points.

    Args:
        rows, columns: factors at n and at m points, no member axis; without ``columns``
            those of ``rows``, and then only the upper triangle of tiles is computed.
        c: outputs of the network.

    Returns:
        (n, m), or (n, m, c, c) for several outputs.
    """
    square = columns is None
    columns = rows if columns is None else columns
    x = rows[0].z
    n, m = len(x), len(columns[0].z)
    theta = x.new_zeros((n, m) if c == 1 else (n, m, c, c))
    work = (x.new_empty(_TILE**2), x.new_empty(_TILE**2))
    for i in range(0, n, _TILE):
        for j in range(i if square else 0, m, _TILE):
            tile = theta[i : i + _TILE, j : j + _TILE]
            _add_tile(
                tile, rows, columns, slice(i, i + _TILE), slice(j, j + _TILE), work
            )
            if square:
                mirror = tile.transpose(0, 1)
                mirror = mirror if c == 1 else mirror.transpose(2, 3)
                if j > i:
                    theta[j : j + _TILE, i : i + _TILE] = mirror
                else:  # a product A A^T is symmetric up to rounding only
                    tile.copy_(0.5 * (tile + mirror))
    return theta


def is_chain(w: Mapping[str, Tensor], factors: Sequence[Factor]) -> bool:
    """Whether ``w`` holds one output's layers W0, W1, ... and biases B0, B1, ... alone, as
    ``chain_outputs`` and ``chain_pull`` take it."""
    names = {f"W{layer}" for layer in range(len(factors))}
    names |= {f"B{layer}" for layer, factor in enumerate(factors) if factor.bias}
    top = w.get(f"W{len(factors) - 1}")
    return set(w) == names and top is not None and len(top) == 1


def chain_outputs(w: Mapping[str, Tensor], factors: Sequence[Factor]) -> Tensor:
    """f (n,) of a chain with one output, at the weights of the ``factors``."""
    last, top = factors[-1], len(factors) - 1
    f = (last.z @ w[f"W{top}"].mT).mul_(math.sqrt(last.scale)).squeeze(-1)
    return f.add_(w[f"B{top}"]) if last.bias else f


def chain_pull(factors: Sequence[Factor], g: Tensor, out: Mapping[str, Tensor]) -> None:
    """J^T g, the gradient of sum(g f), into ``out``, which is like the weights.

    One product a layer: with D known, nothing has to be propagated back.
    """
    column = g.unsqueeze(-1)
    for layer, factor in enumerate(factors):
        d = column if factor.d is None else factor.d * column
        weight, scale = out[f"W{layer}"], math.sqrt(factor.scale)
        torch.addmm(weight, d.mT, factor.z, beta=0.0, alpha=scale, out=weight)
        if factor.bias:
            torch.sum(d, dim=0, out=out[f"B{layer}"])


def _add_tile(
    tile: Tensor,
    rows: Sequence[Factor],
    columns: Sequence[Factor],
    i: slice,
    j: slice,
    work: tuple[Tensor, Tensor],
) -> None:
    """Add the sum over layers for one tile of pairs; ``work`` is memory for two tiles,
    used over and over."""
    n, m = tile.shape[:2]
    gram, product = (part[: n * m].view(n, m) for part in work)
    one = tile.new_ones(())
    for row, column in zip(rows, columns, strict=True):
        z, z_other = row.z[i], column.z[j]
        torch.addmm(one, z, z_other.mT, beta=row.bias, alpha=row.scale, out=gram)
        if row.d is None:  # read-out: D is the identity over outputs
            if tile.ndim == 2:
                tile.add_(gram)
            else:
                tile.diagonal(dim1=2, dim2=3).add_(gram.unsqueeze(-1))
        elif tile.ndim == 2:
            assert column.d is not None
            tile.addcmul_(gram, torch.mm(row.d[i], column.d[j].mT, out=product))
        else:
            assert column.d is not None
            pairs = torch.einsum("nah,mbh->nmab", row.d[i], column.d[j])
            tile.addcmul_(gram[:, :, None, None], pairs)
