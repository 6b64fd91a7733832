"""Argument checks that name the argument, what was given and what is allowed.

Every public function of the library calls these first, so that bad input is refused in
one line of the user's own vocabulary instead of failing deep inside a matrix product.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor


def positive_int(name: str, value: Any, *, least: int = 1) -> int:
    """``value`` as an int of at least ``least``.

    Raises:
        TypeError: not an integer (booleans and floats are refused).
        ValueError: smaller than ``least``.
    """
    try:
        number = value.__index__()
    except AttributeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if number < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")
    return number


def real(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    most: float = math.inf,
    infinite: bool = False,
) -> float:
    """``value`` as a float with ``above < value``, ``least <= value <= most``.

    Raises:
        TypeError: not a real number.
        ValueError: NaN, infinite (unless ``infinite``), or out of the stated range.
    """
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    number = float(value)
    if math.isnan(number) or (math.isinf(number) and not infinite):
        raise ValueError(f"{name} must be finite, got {value!r}")
    if not (number > above and least <= number <= most):
        low = f"> {above:g}" if above > -math.inf else f">= {least:g}"
        high = f" and <= {most:g}" if most < math.inf else ""
        raise ValueError(f"{name} must be {low}{high}, got {value!r}")
    return number


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """``value`` if it is one of the ``allowed`` words, else a ValueError listing them."""
    if value not in allowed:
        words = ", ".join(repr(word) for word in sorted(allowed))
        raise ValueError(f"{name} must be one of {words}; got {value!r}")
    return value


def tensor(
    name: str,
    value: Any,
    *,
    ndim: int | Sequence[int] | None = None,
    shape: Sequence[int | None] | None = None,
    like: Tensor | None = None,
    finite: bool = True,
) -> Tensor:
    """``value`` if it is a real floating-point tensor of the stated form.

    Args:
        name: what the caller calls it.
        ndim: allowed number(s) of axes.
        shape: allowed size of each axis, ``None`` for any.
        like: a tensor whose dtype and device must be shared.
        finite: refuse NaN and infinities.

    Raises:
        TypeError: not a tensor, or not of a real floating-point dtype.
        ValueError: wrong axes, sizes, dtype, device, or values that are not finite.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if not value.dtype.is_floating_point:
        raise TypeError(
            f"{name} must have a floating-point dtype such as torch.float64, "
            f"got {value.dtype}"
        )
    if ndim is not None:
        allowed = (ndim,) if isinstance(ndim, int) else tuple(ndim)
        if value.ndim not in allowed:
            words = " or ".join(str(n) for n in allowed)
            raise ValueError(
                f"{name} must have {words} axes, got shape {tuple(value.shape)}"
            )
    if shape is not None:
        fits = value.ndim == len(shape) and all(
            want is None or want == size
            for want, size in zip(shape, value.shape, strict=True)
        )
        if not fits:
            words = ", ".join("any" if want is None else str(want) for want in shape)
            raise ValueError(
                f"{name} must have shape ({words}), got {tuple(value.shape)}"
            )
    if like is not None and value.dtype != like.dtype:
        raise ValueError(f"{name} must have dtype {like.dtype}, got {value.dtype}")
    if like is not None and value.device != like.device:
        raise ValueError(
            f"{name} must be on device {like.device}, got a tensor on {value.device}"
        )
    if finite and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise ValueError(
            f"{name} must be finite, got {bad} NaN or infinite entries "
            f"in shape {tuple(value.shape)}"
        )
    return value


def device(name: str, value: Any) -> torch.device:
    """``value`` as a device that this machine has; ``"auto"`` is CUDA where present.

    Raises:
        ValueError: not a device, or a CUDA device on a machine without one.
    """
    if value == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(value)
    except (RuntimeError, TypeError):
        raise ValueError(
            f"{name} must be 'auto', 'cpu' or 'cuda[:index]', got {value!r}"
        ) from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{name} is {value!r}, but torch sees no CUDA device here")
    return found
