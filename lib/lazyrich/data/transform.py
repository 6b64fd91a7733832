"""What is done to inputs and labels before a network sees them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.threads import one_thread

Labels = str | Sequence[int | Sequence[int]]
Normalise = Literal["none", "unit", "sqrt_d", "centre", "standard"]
NORMALISATIONS = ("none", "unit", "sqrt_d", "centre", "standard")

# Directions whose singular value is below this share of the largest are dropped: they
# hold rounding errors, or pixels that hardly ever change.
NEGLIGIBLE = 1e-3


def normalise(x: Tensor, fit: Tensor, how: Normalise) -> Tensor:
    """Inputs on a common scale.

    Args:
        x: inputs, shape (n, d).
        fit: inputs from which means are taken, shape (m, d).
        how: ``none``; ``unit``: every input has norm 1; ``sqrt_d``: norm sqrt(d);
            ``centre``: minus the mean input; ``standard``: that, over the standard
            deviation of all entries.

    Raises:
        TypeError, ValueError: unknown `how`, or inputs that cannot be scaled: one that is
            zero, or inputs without any spread.
    """
    check.one_of("normalise", how, NORMALISATIONS)
    x = check.constant("x", x)
    fit = check.constant("fit", fit, like=x)
    if how == "none":
        return x
    if how in ("unit", "sqrt_d"):
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        if not bool((norm > 0).all()):
            raise ValueError(f"normalise={how!r} needs inputs that are not all zero")
        check.result("x", norm)
        return x / norm * (math.sqrt(x.shape[-1]) if how == "sqrt_d" else 1.0)
    if not len(fit):
        raise ValueError("fit must hold at least one input, got none")
    centred = check.result("x and fit", x - fit.mean(0))
    if how == "centre":
        return centred
    spread = check.result("fit", (fit - fit.mean(0)).std(correction=0))
    if not float(spread) > 0:
        raise ValueError("fit must hold inputs that differ, got equal ones")
    return check.result("x and fit", centred / spread)


@dataclass(frozen=True)
class Principal:
    """A linear map onto principal components.

    Attributes:
        mean: of the inputs it was fitted on, shape (d,).
        basis: orthonormal rows, by falling variance, shape (k, d). The largest entry of
            each row is positive, so that the sign is not left to chance.
        variance: of the fitted inputs along each row, shape (k,).
        scale: what each component is multiplied by, shape (k,).
    """

    mean: Tensor
    basis: Tensor
    variance: Tensor
    scale: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Components of inputs (n, d): shape (n, k).

        Raises:
            TypeError, ValueError: inputs of another form.
        """
        x = check.constant("x", x, shape=(None, len(self.mean)), like=self.mean)
        return check.result("x", (x - self.mean) @ self.basis.mT * self.scale)


def principal_components(
    fit: Tensor, components: int | Literal["all"], whitening: float = 1.0
) -> Principal:
    r"""Principal components of some inputs, whitened wholly or in part.

    With covariance eigenvalues lambda_k the components have variances proportional to
    lambda_k^(1 - whitening): all equal to 1 for ``whitening=1``, the original spectrum
    for 0. Their mean variance is 1 in every case.

    Args:
        fit: inputs, shape (m, d).
        components: how many; ``"all"`` keeps all whose singular value is above 1e-3 of
            the largest.
        whitening: between 0 and 1; 1 - gamma of the "partially whitened" data in
            atanasov2022, Sec. 5.

    Raises:
        TypeError, ValueError: more components than directions in the inputs, inputs that
            are all equal or whose squares leave the range of their dtype, or `whitening`
            out of range.

    >>> x = data.gaussian(100, 5)
    >>> principal = data.principal_components(x, 2, whitening=1.0)
    >>> principal(x).shape, principal.basis.shape
    (torch.Size([100, 2]), torch.Size([2, 5]))
    """
    return fitted("fit", fit, components, whitening)


def fitted(
    name: str, fit: Tensor, components: int | Literal["all"], whitening: float
) -> Principal:
    """``principal_components`` of inputs that the caller calls ``name``.

    Raises:
        TypeError, ValueError: as there, naming them so.
    """
    fit = check.constant(name, fit, ndim=2, dtypes=check.SOLVED)
    whitening = check.real("whitening", whitening, least=0.0, most=1.0)
    if not fit.numel():
        raise ValueError(f"{name} must not be empty, got shape {tuple(fit.shape)}")
    mean = check.result(name, fit.mean(0))
    _check_spread(name, fit, mean)
    with one_thread():  # the same components on every machine
        small = _compressed(fit - mean)
        _, singular, basis = torch.linalg.svd(small, full_matrices=False)
    variance = singular.square() / len(fit)
    if isinstance(components, str):
        check.one_of("components", components, ("all",))
        count = int((singular > NEGLIGIBLE * singular[0]).sum())
    else:
        count = check.positive_int("components", components)
        rank = int((singular > 1e-7 * singular[0]).sum())
        if count > rank:
            raise ValueError(
                f"components must be at most {rank}, the number of directions in "
                f"{len(fit)} inputs of dimension {fit.shape[1]}, got {count}"
            )
    variance, basis = variance[:count], basis[:count]
    largest = basis.abs().argmax(1, keepdim=True)
    basis = basis * basis.gather(1, largest).sign()
    scale = variance.pow(-whitening / 2)
    scale = scale / (variance * scale.square()).mean().sqrt()
    return Principal(mean, basis, variance, scale)


def _check_spread(name: str, fit: Tensor, mean: Tensor) -> None:
    """Refuse inputs without directions, or whose squares are out of range.

    Raises:
        ValueError: naming them.
    """
    info = torch.finfo(fit.dtype)
    largest = float((fit - mean).abs().max())
    if largest <= 4 * info.eps * float(fit.abs().max()):
        raise ValueError(f"{name} must hold inputs that differ, got equal ones")
    low, high = math.sqrt(info.tiny / info.eps), 1e-3 * math.sqrt(info.max)
    if not low <= largest <= high:
        raise ValueError(
            f"{name} must hold inputs whose squares are in the range of {fit.dtype}, got "
            f"differences of {largest:.3g}; scale them"
        )


def _compressed(x: Tensor) -> Tensor:
    """A small matrix with the Gram matrix ``x.T @ x``, cheaper to decompose."""
    return torch.linalg.qr(x, mode="r").R if len(x) > 2 * x.shape[1] else x


def targets(
    labels: np.ndarray, kind: Labels, n_classes: int, dtype: torch.dtype
) -> Tensor:
    """What the network shall say.

    Args:
        labels: classes, shape (n,).
        kind: ``parity``: +1 for odd classes, -1 for even ones; ``class``: one-hot,
            shape (n, n_classes); ``index``: the class itself, int64; a pair ``(plus,
            minus)`` of classes, or of tuples of classes: +1 for the one, -1 for the
            other.
        n_classes: number of classes.
        dtype: of the result.

    Raises:
        ValueError: unknown `kind`, or a class that is in neither of the pair.
    """
    check.float_dtype("dtype", dtype)
    given = torch.from_numpy(labels.astype(np.int64))
    if not isinstance(kind, str):
        plus, minus = pair(kind, n_classes)
        if strangers := set(labels.tolist()) - set(plus) - set(minus):
            raise ValueError(
                f"labels hold classes of neither side: {sorted(strangers)}"
            )
        return torch.isin(given, torch.tensor(plus, device="cpu")).to(dtype) * 2 - 1
    check.one_of("labels", kind, ("parity", "class", "index"))
    if kind == "parity":
        return (given % 2).to(dtype) * 2 - 1
    if kind == "class":
        return torch.nn.functional.one_hot(given, n_classes).to(dtype)
    return given


def pair(
    kind: Sequence[int | Sequence[int]], n_classes: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The two sides of a pair of classes, as tuples.

    Raises:
        ValueError: not two sides, a class that does not exist, or one on both sides.
    """
    sides = [
        tuple(side) if isinstance(side, Sequence) else (side,)
        for side in (kind if isinstance(kind, Sequence) else ())
    ]
    if len(sides) != 2 or not all(sides):
        raise ValueError(
            "labels must be 'parity', 'class', 'index' or a pair of classes (or of "
            f"tuples of classes), got {kind!r}"
        )
    plus, minus = sides
    for label in (*plus, *minus):
        if type(label) is not int or not 0 <= label < n_classes:
            raise ValueError(f"labels must be classes below {n_classes}, got {label!r}")
    if common := set(plus) & set(minus):
        raise ValueError(f"labels must differ, got {sorted(common)} on both sides")
    return plus, minus
