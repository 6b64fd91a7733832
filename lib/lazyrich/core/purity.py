"""Is a callable f(w, x) a function of its arguments, one example at a time?

Tangent kernels and flows take it for granted. A module may break it without a word: batch
normalisation couples the examples, dropout draws, a buffer moves with every call. Three
passes with a handful of examples tell.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

Params = Mapping[str, Tensor]

_COUPLED = (
    "batch normalisation without running statistics couples them (track_running_stats="
    "True and evaluation mode, or layer or group normalisation, do not), and so does a "
    "recurrent layer without batch_first=True"
)
_DRAWN = (
    "dropout and other noise belong to training mode: call eval(), and mind that "
    "functional.dropout needs training=self.training"
)
_MOVED = "running statistics and power iterations belong to training mode: call eval()"


def check_pure(
    net: Callable[[Params, Tensor], Any],
    w: Params,
    x: Tensor,
    *,
    what: str = "net",
    state: Params | None = None,
) -> None:
    """Refuse a callable that is no pure function, example by example.

    The first, middle and last example are evaluated together, and the first and the last
    alone. Outputs are compared to half of the digits; where they disagree, or where
    parameters that are all zero may hide it, once more at other weights, so that outputs
    which cancel are not blamed for their rounding.

    Args:
        net: the callable.
        w, x: what it is called with; it gets copies.
        what: how the caller calls it.
        state: tensors that it must leave alone besides its arguments.

    Raises:
        TypeError: its output is no real floating-point tensor.
        ValueError: outputs that are not (n,) or (n, c), that depend on the other examples
            or on chance; arguments, state or random numbers that it changes; or inputs
            that it does not take.
    """
    state = {} if state is None else state
    w = {name: value.detach() for name, value in w.items()}
    places = sorted({0, len(x) // 2, len(x) - 1})
    few = x.detach()[places]
    with torch.no_grad():
        apart, scale = _differences(net, w, few, what, state)
        hidden = any(not bool(value.any()) for value in w.values())
        if hidden or not scale or apart > _tolerance(w, few) * scale:
            moved = {name: _moved(value) for name, value in w.items()}
            apart, scale = _differences(net, moved, few, what, state)
    if apart > _tolerance(w, few) * scale:
        raise ValueError(
            f"{what} must map every example by itself, the same way at every call, but "
            f"outputs of one example differ by {apart / scale:.1e} of their size with the "
            f"company it is in: {_COUPLED}"
        )


def _differences(
    net: Callable[[Params, Tensor], Any],
    w: Params,
    few: Tensor,
    what: str,
    state: Params,
) -> tuple[float, float]:
    """The largest difference between outputs in company and alone, and the largest
    output; refuses what shows at once."""
    given = {name: value.clone() for name, value in w.items()}
    before = {name: value.clone() for name, value in state.items()}
    points = few.clone()
    random = _random_state(few)
    try:
        f = _outputs(net, given, points, what)
        first, last = (
            _outputs(net, given, points[k : k + 1], what, alone=True)
            for k in (0, len(few) - 1)
        )
        if not torch.equal(random[0], _random_state(few)[0]) or not torch.equal(
            random[1], _random_state(few)[1]
        ):
            raise ValueError(f"{what} must not draw random numbers: {_DRAWN}")
    finally:
        _restore(random, few)
    for name, value in before.items():
        if not _same(value, state[name]):
            raise ValueError(f"{what} must not change its buffer {name!r}: {_MOVED}")
    for name, value in given.items():
        if not _same(value, w[name]):
            raise ValueError(f"{what} must not change its parameter {name!r} in place")
    if not _same(points, few):
        raise ValueError(
            f"{what} must not change its inputs x in place; let it begin with a copy"
        )
    alone = torch.cat([first, last])
    company = torch.stack([f[0], f[-1]])
    apart = (alone - company).abs().double()
    apart = apart.masked_fill(alone.isnan() & company.isnan() | (alone == company), 0.0)
    return float(apart.max().nan_to_num(torch.inf)), float(
        f.abs().double().nan_to_num(0.0, 0.0).max()
    )


def _outputs(
    net: Callable[[Params, Tensor], Any],
    w: Params,
    x: Tensor,
    what: str,
    alone: bool = False,
) -> Tensor:
    """net(w, x) as (n, c), if it is a tensor of a form that can be worked with."""
    try:
        f = net(w, x)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, IndexError, AssertionError) as error:
        words = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{what} must take inputs x of shape {tuple(x.shape)} and {x.dtype}, but "
            f"says: {words}"
        ) from error
    except ValueError as error:
        if not alone:
            raise
        words = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{what} must map every example by itself, but for one alone says {words!r}: "
            f"{_COUPLED}"
        ) from error
    if not isinstance(f, Tensor):
        raise TypeError(
            f"{what} must give one tensor of outputs (n,) or (n, c), got "
            f"{type(f).__name__}: wrap it in a module or function that picks one"
        )
    if not f.dtype.is_floating_point:
        raise TypeError(
            f"{what} must give real floating-point outputs, got {f.dtype}; the real part "
            "of complex ones, or both parts as two outputs, will do"
        )
    if f.ndim not in (1, 2) or len(f) != len(x):
        raise ValueError(
            f"{what} must map (n, ...) inputs to (n,) or (n, c) outputs; inputs of shape "
            f"{tuple(x.shape)} gave shape {tuple(f.shape)}"
        )
    return f.detach().reshape(len(x), -1)


def _tolerance(w: Params, x: Tensor) -> float:
    """Half of the digits of the coarsest type that takes part."""
    kinds = {t.dtype for t in (*w.values(), x) if t.dtype.is_floating_point}
    return max((torch.finfo(kind).eps ** 0.5 for kind in kinds), default=1e-3)


def _moved(value: Tensor) -> Tensor:
    """Other weights, the same ones at every call."""
    if not value.dtype.is_floating_point:
        return value
    steps = torch.arange(value.numel(), dtype=torch.float64, device=value.device)
    return value + 0.1 * torch.cos(1.0 + 2.0 * steps).view(value.shape).to(value.dtype)


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether all entries are equal; NaN equals NaN."""
    return bool((a.isclose(b, rtol=0.0, atol=0.0, equal_nan=True)).all())


def _random_state(x: Tensor) -> tuple[Tensor, Tensor]:
    """States of the global generators of the CPU and of the device of x."""
    here = torch.cuda.get_rng_state(x.device) if x.is_cuda else x.new_empty(0).cpu()
    return torch.get_rng_state(), here


def _restore(state: tuple[Tensor, Tensor], x: Tensor) -> None:
    torch.set_rng_state(state[0])
    if x.is_cuda:
        torch.cuda.set_rng_state(state[1], x.device)
