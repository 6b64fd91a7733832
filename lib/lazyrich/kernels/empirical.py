r"""The empirical tangent kernel Theta(x, x') = grad_w f(x) . grad_w f(x').

Two routes. A network that offers ``tangent_factors`` (every chain of ours) gets the
layerwise sum of products of Gram matrices, in tiles and without a Jacobian: 30 to 200
times fewer operations. Everything else goes through ``torch.func``, in blocks of examples
that fit a stated amount of memory; where ``vmap`` cannot follow a net, as through a
recurrent layer, one example at a time. The two are tested against each other.

On several threads sums are split: another number of threads moves a kernel by roundings,
some 1e-15 of its largest entry in float64.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from lazyrich.core import check
from lazyrich.core.module import check_inputs
from lazyrich.core.purity import check_pure
from lazyrich.core.tangent import layerwise_gram

Params = Mapping[str, Tensor]


def ntk(
    net: Callable[[Params, Tensor], Tensor],
    w: Params,
    x: Tensor,
    x2: Tensor | None = None,
    *,
    memory: float = 1e9,
) -> Tensor:
    """The tangent kernel Theta(w, x, x2) of ``net`` at ``w`` (geiger2020, Eq. 1).

    Args:
        net: a network of ``lazyrich.networks`` or any callable ``f(w, x)`` that maps
            (n, ...) inputs to (n,) or (n, c) outputs, example by example, which is
            checked on a handful of them for a net that is not ours.
        w: its weights; with a leading member axis if ``net`` is one of ours.
        x: inputs, first axis n; integers where the module behind ``net`` takes them.
        x2: second set of inputs, first axis m; ``None`` means ``x``, and then only the
            upper triangle of tiles is computed.
        memory: bytes that the generic route may spend on Jacobians.

    Returns:
        (n, m), or (n, m, c, c) for c outputs, behind the member axis if there is one.
        O(1) at initialisation in the NTK scaling, whatever the width.

    Raises:
        TypeError, ValueError: inputs that are not floating-point tensors, empty, of
            another dtype or device than ``w``, not finite, or two sets of points of
            different shapes; weights that are no tensors; a callable that is no pure
            function of each example by itself.

    >>> net = networks.FullyConnected(d=3, h=50, L=2)
    >>> w, x = net.init(seed=0), torch.eye(3, dtype=torch.float64)
    >>> kernels.ntk(net, w, x).shape, kernels.ntk(net, w, x, x[:2]).shape
    (torch.Size([3, 3]), torch.Size([3, 2]))
    >>> linear = lambda w, x: x @ w["v"]
    >>> print(kernels.ntk(linear, {"v": torch.ones(3)}, 2 * torch.eye(3)))
    tensor([[4., 0., 0.],
            [0., 4., 0.],
            [0., 0., 4.]])
    """
    if not callable(net):
        raise TypeError(f"net must be callable as net(w, x), got {type(net).__name__}")
    if not isinstance(w, Mapping) or not w:
        raise TypeError(f"w must be a non-empty dict of tensors, got {w!r:.60}")
    for name, value in w.items():
        check.tensor(f"w[{name!r}]", value, finite=False)
    first = next(iter(w.values()))
    check.real("memory", memory, above=0.0)
    for name, points in (("x", x), ("x2", x2)):
        if points is not None or name == "x":
            points = check_inputs(name, points, net, first)
            if points.ndim < 1 or points.shape[0] == 0:
                raise ValueError(
                    f"{name} must hold at least one point, "
                    f"got shape {tuple(points.shape)}"
                )
    if x2 is not None and x2.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"x2 must hold points of shape {tuple(x.shape[1:])} as x does, "
            f"got shape {tuple(x2.shape)}"
        )
    with torch.no_grad():
        if not hasattr(net, "tangent_factors"):
            theta = generic_gram(net, w, x, x2, memory, "nmab")
            theta = theta[:, :, 0, 0] if net(w, x[:1]).ndim == 1 else theta
            return check.result("w and x", theta)
        members = net.check_params(w)
        if members is None:
            return check.result("w and x", _layerwise(net, w, x, x2))
        kernels = [
            _layerwise(net, {k: v[e] for k, v in w.items()}, x, x2)
            for e in range(members)
        ]
        return check.result("w and x", torch.stack(kernels))


def _layerwise(net: Any, w: Params, x: Tensor, x2: Tensor | None) -> Tensor:
    columns = None if x2 is None else net.tangent_factors(w, x2)
    return layerwise_gram(net.tangent_factors(w, x), columns, net.c)


def generic_gram(
    net: Callable[[Params, Tensor], Tensor],
    w: Params,
    x: Tensor,
    x2: Tensor | None,
    memory: float,
    pairs: Literal["nmab", "nm"],
) -> Tensor:
    """J J^T of any pure function, (n, m, c, c) or its trace over outputs (n, m).

    Per-example Jacobians are contracted block by block, and parameter by parameter where
    those of all parameters together would take too much memory.
    """
    w = {name: value.detach() for name, value in w.items()}
    _check_net(net, w, x)
    probe = net(w, x[:1])
    if not isinstance(probe, Tensor):
        raise TypeError(f"net must give a tensor, got {type(probe).__name__}")
    if probe.shape[:1] != (1,) or probe.ndim > 2:
        raise ValueError(
            "net must map (n, ...) inputs to (n,) or (n, c) outputs; one input gave "
            f"shape {tuple(probe.shape)}"
        )
    c = 1 if probe.ndim == 1 else probe.shape[1]
    jacobians = _Jacobians(net, w, c)
    rule = "nap,mbp->nmab" if pairs == "nmab" else "nap,map->nm"
    others = x if x2 is None else x2
    theta = probe.new_zeros(len(x), len(others), *((c, c) if pairs == "nmab" else ()))
    bytes_each = {
        name: max(c * value.numel() * value.element_size(), 1)
        for name, value in w.items()
    }
    # one pass through the net for all parameters, if their Jacobians fit together
    together = (len(x) + len(others)) * 2 * sum(bytes_each.values()) <= memory
    for names in [list(w)] if together else [[name] for name in w]:
        block = max(1, int(memory / (2 * sum(bytes_each[name] for name in names))))
        if x2 is None and block >= len(x):  # one Jacobian serves rows and columns
            jac = jacobians.of(x, names)
            theta += torch.einsum(rule, jac, jac)
            continue
        for i in range(0, len(x), block):
            left = jacobians.of(x[i : i + block], names)
            for j in range(0, len(others), block):
                right = jacobians.of(others[j : j + block], names)
                theta[i : i + block, j : j + block] += torch.einsum(rule, left, right)
    return theta


def _check_net(net: Any, w: Params, x: Tensor) -> None:
    """Refuse what is no function of each example by itself; a module looks itself."""
    if hasattr(net, "verify"):
        net.verify(w, x)
    elif not x.is_meta:
        check_pure(net, w, x)


class _Jacobians:
    """Per-example Jacobians of a net with c outputs at the weights ``w``."""

    def __init__(
        self, net: Callable[[Params, Tensor], Tensor], w: Params, c: int
    ) -> None:
        self.net, self.w, self.c = net, w, c
        self.by_vmap = True

    def of(self, x: Tensor, names: Sequence[str]) -> Tensor:
        """(n, c, size of the parameters of these names together)."""
        jac = self._by_vmap(x, names) if self.by_vmap else None
        if jac is None:
            self.by_vmap = False
            jac = self._one_by_one(x, names)
        return torch.cat([jac[k].reshape(len(x), self.c, -1) for k in names], -1)

    def _by_vmap(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor] | None:
        """By name; ``None`` for a net that ``torch.func`` cannot follow."""
        rest = {k: v for k, v in self.w.items() if k not in names}

        def one(values: Params, point: Tensor) -> Tensor:
            return self.net({**rest, **values}, point.unsqueeze(0)).squeeze(0)

        chosen = {name: self.w[name] for name in names}
        try:
            with warnings.catch_warnings():  # slower than it might be, but right
                warnings.filterwarnings("ignore", "There is a performance drop")
                return vmap(jacrev(one), in_dims=(None, 0))(chosen, x)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return None

    def _one_by_one(self, x: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """By name, with one backward pass an example and output."""
        found: dict[str, list[Tensor]] = {name: [] for name in names}
        with torch.inference_mode(False), torch.enable_grad():
            w = {name: value.clone() for name, value in self.w.items()}
            leaves = [w[name].requires_grad_() for name in names]
            for point in x:
                f = self.net(w, point.clone().unsqueeze(0)).reshape(-1)
                for value in f if f.requires_grad else f + 0.0 * leaves[0].sum():
                    rows = torch.autograd.grad(
                        value, leaves, retain_graph=True, materialize_grads=True
                    )
                    for name, row in zip(names, rows, strict=True):
                        found[name].append(row)
        return {
            name: torch.stack(rows).unflatten(0, (len(x), self.c))
            for name, rows in found.items()
        }
