"""Argument checks that name the argument, what was given and what is allowed.

Every public function of the library calls these first, so that bad input is refused in
one line of the user's own vocabulary instead of failing deep inside a matrix product.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Kind = TypeVar("Kind")


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Real floating-point dtypes whose arithmetic torch offers in full."""

SOLVED = (torch.float32, torch.float64)
"""Those in which systems and eigenvalue problems are solved."""

_NO_NUMBER = (AttributeError, TypeError, ValueError, RuntimeError)
"""What foreign objects raise when asked for their value as a number."""


def shown(value: Any) -> str:
    """``value`` in one short line, whatever it is."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # any object may be handed in, and its repr may be at fault
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def positive_int(
    name: str, value: Any, *, least: int = 1, most: int | None = None
) -> int:
    """``value`` as an int of at least ``least``, and at most ``most`` if that is given.

    Raises:
        TypeError: not an integer (booleans, floats and arrays are refused).
        ValueError: smaller than ``least``, or larger than ``most``.
    """
    truth = isinstance(value, bool | np.bool_) or (
        isinstance(value, Tensor) and value.dtype == torch.bool
    )
    try:
        number = value.__index__()  # pyright: ignore[reportAttributeAccessIssue]
    except _NO_NUMBER:
        number = None
    if truth or number is None or getattr(value, "ndim", 0):
        raise TypeError(f"{name} must be an integer, got {shown(value)}")
    if number < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {shown(value)}")
    if most is not None and number > most:
        raise ValueError(
            f"{name} must be an integer of at most {most}, got {shown(value)}"
        )
    return number


def size(name: str, value: Any, *, least: int = 1) -> int:
    """``value`` as the length of an axis: an int between ``least`` and 2^31 - 1.

    Raises:
        TypeError, ValueError: as ``positive_int``.
    """
    return positive_int(name, value, least=least, most=2**31 - 1)


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
        TypeError: not one real number (strings, booleans, arrays with axes and complex
            numbers are refused).
        ValueError: NaN, infinite (unless ``infinite``), or out of the stated range.
    """
    plain = value.detach() if isinstance(value, Tensor) else value
    try:
        scalar = not getattr(plain, "ndim", 0) and not isinstance(
            plain, bool | np.bool_ | str | bytes
        )
        whole = scalar and not _is_complex(plain) and hasattr(plain, "__float__")
        number = float(plain) if whole else None
    except OverflowError:
        raise ValueError(
            f"{name} must be within the range of float64, got {shown(value)}"
        ) from None
    except _NO_NUMBER:
        number = None
    if number is None:
        raise TypeError(f"{name} must be a real number, got {shown(value)}")
    if math.isnan(number) or (math.isinf(number) and not infinite):
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    if not (number > above and least <= number <= most):
        low = f"> {above:g}" if above > -math.inf else f">= {least:g}"
        high = f" and <= {most:g}" if most < math.inf else ""
        raise ValueError(f"{name} must be {low}{high}, got {shown(value)}")
    return number


def _is_complex(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_complex() or value.dtype == torch.bool
    return isinstance(value, complex | np.complexfloating) or np.iscomplexobj(value)


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """``value`` if it is one of the ``allowed`` words, else a ValueError listing them."""
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(repr(word) for word in sorted(allowed))
        raise ValueError(f"{name} must be one of {words}; got {shown(value)}")
    return value


def function(name: str, value: Any) -> Callable[..., Any]:
    """``value`` if it can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(value):
        raise TypeError(f"{name} must be callable, got {shown(value)}")
    return value


def instance(name: str, value: Any, kind: type[Kind]) -> Kind:
    """``value`` if it is of that ``kind``.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {shown(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    """``value`` if it is True or False.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return value


def float_dtype(name: str, value: Any) -> torch.dtype:
    """``value`` if it is a real floating-point dtype of torch.

    Raises:
        TypeError: another dtype, or none.
    """
    if not isinstance(value, torch.dtype) or value not in FLOATS:
        raise TypeError(
            f"{name} must be a floating-point dtype such as torch.float64, "
            f"got {shown(value)}"
        )
    return value


def tensor(
    name: str,
    value: Any,
    *,
    ndim: int | Sequence[int] | None = None,
    shape: Sequence[int | None] | None = None,
    like: Tensor | None = None,
    finite: bool = True,
    dtypes: Collection[torch.dtype] = FLOATS,
) -> Tensor:
    """``value`` if it is a real floating-point tensor of the stated form.

    It is given back as it came, with the graph of gradients that it may belong to: see
    ``constant``.

    Args:
        name: what the caller calls it.
        ndim: allowed number(s) of axes.
        shape: allowed size of each axis, ``None`` for any.
        like: a tensor whose dtype and device must be shared.
        finite: refuse NaN and infinities.
        dtypes: those allowed.

    Raises:
        TypeError: not a tensor, not dense, or not of a real floating-point dtype.
        ValueError: wrong axes, sizes, dtype, device, no data (a tensor on the device
            "meta"), or values that are not finite.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.dtype not in FLOATS:
        raise TypeError(
            f"{name} must have a floating-point dtype such as torch.float64, "
            f"got {value.dtype}"
        )
    if value.layout != torch.strided or value.is_nested:
        raise TypeError(f"{name} must be a dense tensor, got the layout {value.layout}")
    if value.dtype not in dtypes:
        words = " or ".join(str(dtype) for dtype in dtypes)
        raise ValueError(f"{name} must have dtype {words}, got {value.dtype}")
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
    if finite and value.is_meta:
        raise ValueError(f"{name} must hold values, got a tensor on the device 'meta'")
    if finite and not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise ValueError(
            f"{name} must be finite, got {bad} NaN or infinite entries "
            f"in shape {tuple(value.shape)}"
        )
    return value


def constant(name: str, value: Any, **form: Any) -> Tensor:
    """``value`` as a ``tensor`` of that form, cut from any graph of gradients.

    Flows and kernels work with numbers: what they are given may require gradients, and
    what they give never does.

    Raises:
        TypeError, ValueError: as ``tensor``.
    """
    return tensor(name, value, **form).detach()


def kernel(
    name: str,
    value: Any,
    *,
    n: int | None = None,
    members: bool = False,
    like: Tensor | None = None,
) -> Tensor:
    """``value`` as a kernel (n, n): square, symmetric to rounding, finite; ``constant``.

    What needs its eigenvalues or factors, and finds one that is clearly negative,
    refuses it as well (``positive``).

    Args:
        name: what the caller calls it.
        n: points; any number if it is not given, but one at least.
        members: whether a leading axis of members is allowed.
        like: a tensor whose dtype and device must be shared.

    Raises:
        TypeError, ValueError: another form, half precision, or entries that differ from
            their mirror image.
    """
    ndim = (2, 3) if members else 2
    found = constant(name, value, ndim=ndim, like=like, dtypes=SOLVED)
    points = found.shape[-1] if n is None else n
    if found.shape[-2:] != (points, points) or not found.numel():
        lead = "..., " if members else ""
        wanted = "n, n" if n is None else f"{n}, {n}"
        raise ValueError(
            f"{name} must have shape ({lead}{wanted}), square and not empty, "
            f"got {tuple(found.shape)}"
        )
    scale = float(found.abs().max())
    skew = float((found - found.mT).abs().max())
    if not skew <= max(1e-6, 64 * torch.finfo(found.dtype).eps) * scale:
        raise ValueError(
            f"{name} must be symmetric, got entries that differ from their mirror image "
            f"by up to {skew:.3g} (largest entry {scale:.3g})"
        )
    return found


def positive(name: str, eigenvalues: Tensor) -> Tensor:
    """``eigenvalues`` of the kernel called ``name``, if none is negative beyond rounding.

    Rounding of a kernel moves its eigenvalues by parts of the largest one: half the
    digits are granted, since a kernel may come from less exact arithmetic than its dtype.

    Raises:
        ValueError: one is clearly negative, so that no features have this kernel.
    """
    if not eigenvalues.numel():
        return eigenvalues
    least, most = float(eigenvalues.min()), float(eigenvalues.max())
    if least < -math.sqrt(torch.finfo(eigenvalues.dtype).eps) * max(most, 0.0):
        raise ValueError(
            f"{name} must be positive semi-definite, got eigenvalues from {least:.3g} "
            f"to {most:.3g}; a ridge or a nugget above {-least:.3g} makes it so"
        )
    return eigenvalues


def probabilities(name: str, value: Any, n: int, *, like: Tensor) -> Tensor:
    """``value`` as weights (n,) that are not negative and sum to one; ``constant``.

    Raises:
        TypeError, ValueError: another form, a negative weight, or another sum, up to
            rounding in the dtype of the weights.
    """
    found = constant(name, value, shape=(n,), like=like)
    total = float(found.double().sum())
    rounding = max(1e-9, 8 * torch.finfo(found.dtype).eps)
    if bool((found < 0).any()) or abs(total - 1.0) > rounding:
        raise ValueError(
            f"{name} must be >= 0 with sum 1, got sum {total:.9g} and the least entry "
            f"{float(found.min()):.3g}; divide by the sum"
        )
    return found


def result(names: str, value: Tensor) -> Tensor:
    """``value``, computed from the arguments ``names``, if all of it is finite.

    Raises:
        ValueError: it has left the range of its dtype.
    """
    if not bool(torch.isfinite(value).all()):
        raise ValueError(
            f"{names} must be of moderate size: the result leaves the range of "
            f"{value.dtype}"
        )
    return value


def device(name: str, value: Any) -> torch.device:
    """``value`` as a device that this machine has; ``"auto"`` is CUDA where present.

    Raises:
        ValueError: not a device, or a CUDA device on a machine without one.
    """
    if not isinstance(value, str | torch.device):
        raise ValueError(
            f"{name} must be 'auto', 'cpu' or 'cuda[:index]', got {shown(value)}"
        )
    if value == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(value)
    except (RuntimeError, TypeError):
        found = None
    if found is None or found.type not in ("cpu", "cuda"):
        raise ValueError(
            f"{name} must be 'auto', 'cpu' or 'cuda[:index]', got {shown(value)}"
        )
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{name} is {value!r}, but torch sees no CUDA device here")
    return found
