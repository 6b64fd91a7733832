r"""The empirical tangent kernel Theta(x, x') = grad_w f(x) . grad_w f(x').

Two routes. A network that offers ``tangent_factors`` (every chain of ours) gets the
layerwise sum of products of Gram matrices, in tiles and without a Jacobian: 30 to 200
times fewer operations. Everything else goes through ``torch.func``, in blocks of examples
that fit a stated amount of memory. The two are tested against each other.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from lazyrich.core import check
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
            (n, ...) inputs to (n,) or (n, c) outputs, example by example.
        w: its weights; with a leading member axis if ``net`` is one of ours.
        x: inputs, first axis n.
        x2: second set of inputs, first axis m; ``None`` means ``x``, and then only the
            upper triangle of tiles is computed.
        memory: bytes that the generic route may spend on Jacobians.

    Returns:
        (n, m), or (n, m, c, c) for c outputs, behind the member axis if there is one.
        O(1) at initialisation in the NTK scaling, whatever the width.

    Raises:
        TypeError, ValueError: inputs that are not floating-point tensors, empty, of
            another dtype or device than ``w``, not finite, or two sets of points of
            different shapes.

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
            check.tensor(name, points, like=first)
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
            return check.result("w and x", _generic(net, w, x, x2, memory))
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


def _generic(
    net: Callable[[Params, Tensor], Tensor],
    w: Params,
    x: Tensor,
    x2: Tensor | None,
    memory: float,
) -> Tensor:
    """Contract per-example Jacobians, block by block, and parameter by parameter where
    those of all parameters together would take too much memory."""
    w = {name: value.detach() for name, value in w.items()}
    probe = net(w, x[:1])
    if not isinstance(probe, Tensor):
        raise TypeError(f"net must give a tensor, got {type(probe).__name__}")
    if probe.shape[:1] != (1,) or probe.ndim > 2:
        raise ValueError(
            "net must map (n, ...) inputs to (n,) or (n, c) outputs; one input gave "
            f"shape {tuple(probe.shape)}"
        )
    c = 1 if probe.ndim == 1 else probe.shape[1]

    def one(params: Params, point: Tensor) -> Tensor:
        return net(params, point.unsqueeze(0)).squeeze(0)

    def jacobian(points: Tensor, names: list[str]) -> Tensor:
        """(n, c, size of the parameters of these names together)."""
        rest = {k: v for k, v in w.items() if k not in names}
        jac = vmap(
            jacrev(lambda values, point: one({**rest, **values}, point)),
            in_dims=(None, 0),
        )({name: w[name] for name in names}, points)
        return torch.cat([jac[k].reshape(len(points), c, -1) for k in names], -1)

    others = x if x2 is None else x2
    theta = x.new_zeros(len(x), len(others), c, c)
    bytes_each = {
        name: max(c * value.numel() * value.element_size(), 1)
        for name, value in w.items()
    }
    # one pass through the net for all parameters, if their Jacobians fit together
    together = (len(x) + len(others)) * 2 * sum(bytes_each.values()) <= memory
    for names in [list(w)] if together else [[name] for name in w]:
        block = max(1, int(memory / (2 * sum(bytes_each[name] for name in names))))
        if x2 is None and block >= len(x):  # one Jacobian serves rows and columns
            jac = jacobian(x, names)
            theta += torch.einsum("nap,mbp->nmab", jac, jac)
            continue
        for i in range(0, len(x), block):
            left = jacobian(x[i : i + block], names)
            for j in range(0, len(others), block):
                right = jacobian(others[j : j + block], names)
                theta[i : i + block, j : j + block] += torch.einsum(
                    "nap,mbp->nmab", left, right
                )
    return theta[:, :, 0, 0] if probe.ndim == 1 else theta
