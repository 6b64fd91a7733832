"""``data.load``: one line from a name to training and test tensors."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.core.threads import one_thread
from lazyrich.data import catalogue
from lazyrich.data.split import split
from lazyrich.data.transform import (
    Labels,
    Normalise,
    normalise,
    pair,
    principal_components,
    targets,
)


@dataclass(frozen=True)
class Dataset:
    """A task: inputs and targets for training and for testing.

    Attributes:
        x_train, x_test: inputs, shape (n, d), or (n, channels, height, width) as
            images.
        y_train, y_test: targets: shape (n,) for +-1, (n, classes) for one-hot.
        name: of the data set.
        source: which files or package they came from; every measurement should record
            it.
        meta: how they were made: ``seed``, ``labels``, ``classes``, ``train_index`` and
            ``test_index`` (places in the source), ``class_train`` and ``class_test``,
            and, with principal components, ``principal``.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    name: str
    source: str
    meta: dict[str, Any] = field(default_factory=dict)

    def to(
        self,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> "Dataset":
        """The same on another device or in another precision (of what is floating).

        Raises:
            TypeError, ValueError: no device of this machine, or a dtype that is not
                floating-point and would round the data.
        """
        if dtype is not None:
            check.float_dtype("dtype", dtype)
        if device is not None:
            device = check.device("device", device)
        moved = {}
        for name in ("x_train", "y_train", "x_test", "y_test"):
            value: Tensor = getattr(self, name)
            kind = dtype if value.dtype.is_floating_point else None
            moved[name] = value.to(device=device, dtype=kind)
        return dataclasses.replace(self, **moved)


@one_thread()  # the same to the last bit on every machine
def load(
    name: str,
    n_train: int,
    n_test: int,
    seed: int = 0,
    *,
    labels: Labels = "parity",
    components: int | Literal["all"] | None = None,
    whitening: float = 1.0,
    fit: Literal["train", "train+test"] = "train",
    normalise: Normalise = "none",
    unit_norm: bool = False,
    shape: Literal["flat", "image"] = "flat",
    balanced: bool = True,
    official_split: bool = False,
    source: str = "auto",
    folder: Path | str | None = None,
    image_size: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> Dataset:
    """Training and test tensors of a named data set.

    Pixels are scaled to [0, 1], normalised, projected on principal components if asked
    for, and brought to unit norm if asked for, in this order. The task of geiger2020
    (Sec. 2) is ``load("mnist", n_train, n_test, labels="parity", components=10)``: the
    images minus their mean, the first ten principal components, each of variance 1.

    Args:
        name: see `sources`.
        n_train, n_test: number of examples; equal seeds give nested, disjoint sets.
        seed: of the choice of examples.
        labels: ``"parity"`` (+1 for odd classes, -1 for even), ``"class"`` (one-hot),
            ``"index"``, or a pair of classes such as ``(3, 8)`` (+1, -1), whose
            examples alone are then used.
        components: number of principal components, or ``"all"`` (whose singular value
            is above 1e-3 of the largest).
        whitening: components have variances proportional to lambda^(1 - whitening).
        fit: where means and components are taken from; including the test inputs is a
            mild leak that some papers accept.
        normalise: ``"none"``, ``"unit"``, ``"sqrt_d"``, ``"centre"``, ``"standard"``;
            see `transform.normalise`.
        unit_norm: scale the final inputs to norm 1.
        shape: ``"image"`` gives (n, channels, height, width).
        balanced: use classes equally often.
        official_split: take training examples from the official training set and test
            examples from the official test set; otherwise from all alike.
        source: ``"auto"`` takes the best that is present; the result says which.
        folder: read the set's files from this folder (or archive) instead.
        image_size: of ``"images"``: side of the square that images are cut to.
        dtype: of inputs and targets; everything is computed in float64 first.

    Raises:
        ValueError: an argument out of its range, too few examples, a malformed file, or
            a file with a wrong checksum.
        MissingData: the set is not on this machine; the message holds the command that
            gets it.

    >>> digits = data.load("digits", 100, 50)
    >>> digits.x_train.shape, digits.y_train.unique()
    (torch.Size([100, 64]), tensor([-1.,  1.], dtype=torch.float64))
    """
    check.positive_int("n_train", n_train)
    check.positive_int("n_test", n_test, least=0)
    check.positive_int("seed", seed, least=0)
    check.one_of("fit", fit, ("train", "train+test"))
    check.one_of("shape", shape, ("flat", "image"))
    if shape == "image" and components is not None:
        raise ValueError("shape must be 'flat' with components, got 'image'")
    check.float_dtype("dtype", dtype)
    check.real("whitening", whitening)
    check.one_of("normalise", normalise, get_args(Normalise))
    for flag, given in (
        ("unit_norm", unit_norm),
        ("balanced", balanced),
        ("official_split", official_split),
    ):
        check.flag(flag, given)
    if image_size is not None:
        check.positive_int("image_size", image_size)
    raw = catalogue.read(name, source, folder, image_size)
    if official_split and raw.n_official == len(raw.labels):
        raise ValueError(f"official_split needs a test set, {raw.source} has none")

    places = np.arange(len(raw.labels))
    if not isinstance(labels, str):
        plus, minus = pair(labels, len(raw.classes))
        places = places[np.isin(raw.labels, (*plus, *minus))]
    if n_train + n_test > len(places):
        more = catalogue.how_to_get_more(name, raw)
        raise ValueError(
            f"n_train + n_test must be at most {len(places)}, the number of examples "
            f"in {raw.source}, got {n_train} + {n_test}{more}"
        )
    chosen = split(
        raw.labels[places],
        n_train,
        n_test,
        seed,
        name=name,
        balanced=balanced,
        n_official=int((places < raw.n_official).sum()) if official_split else None,
    )
    train, test = (places[part] for part in chosen)
    inputs = _inputs(raw.images, train, raw.top), _inputs(raw.images, test, raw.top)
    outputs = (
        targets(raw.labels[part], labels, len(raw.classes), dtype)
        for part in (train, test)
    )
    (x_train, x_test), extra = _transformed(
        inputs, fit, normalise, components, whitening, unit_norm
    )
    if shape == "image":
        size = raw.images.shape[1:3]
        channels = raw.images.shape[3] if raw.images.ndim == 4 else 1
        x_train, x_test = (
            x.reshape(-1, *size, channels).movedim(-1, 1).contiguous()
            for x in (x_train, x_test)
        )
    y_train, y_test = outputs
    return Dataset(
        x_train=x_train.to(dtype),
        y_train=y_train,
        x_test=x_test.to(dtype),
        y_test=y_test,
        name=name,
        source=raw.source,
        meta={
            "seed": seed,
            "labels": labels,
            "classes": raw.classes,
            "image_shape": raw.images.shape[1:],
            "train_index": torch.from_numpy(train),
            "test_index": torch.from_numpy(test),
            "class_train": torch.from_numpy(raw.labels[train]),
            "class_test": torch.from_numpy(raw.labels[test]),
            **extra,
        },
    )


def _inputs(images: np.ndarray, places: np.ndarray, top: float) -> Tensor:
    """Some images as rows of numbers in [0, 1]."""
    chosen = torch.from_numpy(images[places].astype(np.float64))
    return chosen.flatten(1) / top


def _transformed(
    inputs: tuple[Tensor, Tensor],
    fit: str,
    how: Normalise,
    components: int | Literal["all"] | None,
    whitening: float,
    unit_norm: bool,
) -> tuple[list[Tensor], dict[str, Any]]:
    """Inputs after normalisation, projection and scaling, and the projection used."""
    extra: dict[str, Any] = {}

    def fitted(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts) if fit == "train+test" else parts[0]

    parts = list(inputs)
    source = fitted(parts)
    parts = [normalise(x, source, how) for x in parts]
    if components is not None:
        principal = principal_components(fitted(parts), components, whitening)
        parts = [principal(x) for x in parts]
        extra["principal"] = principal
    elif whitening != 1.0:
        raise ValueError("whitening needs components")
    if unit_norm:
        parts = [normalise(x, x, "unit") for x in parts]
    return parts, extra
