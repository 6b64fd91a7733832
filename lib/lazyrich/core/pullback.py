"""One way to differentiate any network: its own backward pass, else ``torch.func``."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Params = dict[str, Tensor]


def pullback(
    net: Callable[..., Tensor],
    w: Mapping[str, Tensor],
    x: Tensor,
    work: Params | None = None,
) -> tuple[Tensor, Callable[..., Params]]:
    """f(w, x) and ``pull(g, out=None)``, the gradient of ``sum(g * f)`` over ``w``.

    Networks with a hand-written ``pullback`` use it; any other callable ``f(w, x)`` goes
    through ``torch.func.vjp``. ``work`` keeps intermediate tensors from call to call, for
    networks that know how to; ``pull`` is then valid until the next call.
    """
    own = getattr(net, "pullback", None)
    return by_vjp(net, w, x) if own is None else own(w, x, work)


def by_vjp(
    net: Callable[..., Tensor], w: Mapping[str, Tensor], x: Tensor
) -> tuple[Tensor, Callable[..., Params]]:
    """``pullback`` of any callable ``f(w, x)``, through ``torch.func.vjp``."""
    f, vjp, *_ = torch.func.vjp(lambda params: net(params, x), dict(w))

    def pull(g: Tensor, out: Params | None = None) -> Params:
        (grads,) = vjp(g)
        if out is None:
            return grads
        for name, grad in grads.items():
            out[name].copy_(grad)
        return out

    return f.detach(), pull


def has_member_axis(net: Any) -> bool:
    """Whether ``net`` evaluates a leading axis of members (``Network.ensembles``); a
    module or a plain function does not say so, and is taken one member at a time."""
    return bool(getattr(net, "ensembles", False))


def member(w: Mapping[str, Tensor], index: int) -> Params:
    """The parameters of one member of an ensemble."""
    return {name: value[index] for name, value in w.items()}
