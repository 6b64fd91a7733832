"""The task of the digits: its settings, where it lies, and what studies measure on it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lazyrich import sweeps
from lazyrich.dynamics import hinge_path
from lazyrich.kernels import ntk
from lazyrich.studies import catalogue
from lazyrich.studies.lazy_and_rich import fluctuations
from lazyrich.studies.tools import digits, tables

assert catalogue  # its import registers the studies

TINY = replace(digits.SMALL, n_train=20, n_test=30, n_kernel=10)


class NoCheckpoint:
    def load(self) -> None:
        return None

    def save(self, state: object) -> None:
        pass


@pytest.mark.parametrize("scale", ["laptop", "paper"])
@pytest.mark.parametrize("name", sorted(sweeps.registered()))
def test_settings_are_typed(name: str, scale: str) -> None:
    assert isinstance(sweeps.find(name).scale(scale).settings, sweeps.Settings)


def test_what_a_flow_needs_comes_from_the_settings() -> None:
    rule, watch = TINY.rule, TINY.watch
    assert (rule.max_output_change, rule.max_weight_change) == (0.1, 0.01)
    assert (watch.stop_loss, watch.max_steps) == (TINY.stop_loss, TINY.max_steps)
    assert watch.records_per_decade == TINY.records_per_decade
    with pytest.raises(ValueError, match="settings must have L"):
        digits.network(4, replace(TINY, L=None))


def test_test_points_are_shown_by_label() -> None:
    task = digits.load_data(TINY)
    labels = task.y_test[digits.shown_points(task, 12)]
    assert labels.tolist() == sorted(task.y_test[:12].tolist(), reverse=True)
    y = torch.tensor([1.0, -1.0, 1.0])
    error = digits.test_error(torch.tensor([2.0, 1.0, 0.0]), y)
    assert float(error) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("study", "axes"),
    [
        (fluctuations.FROZEN, {"h": 8, "seed": 0}),
        (fluctuations.FROZEN_BY_N, {"n": 10, "h": 8, "seed": 0}),
        (fluctuations.THRESHOLD, {"n": 10, "h": 8, "seed": 0}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_data_lie_where_the_chunk_is_measured(
    study: sweeps.Study, axes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    load = digits.load_data

    def spy(settings: digits.Digits, device: str = "cpu") -> object:
        asked.append(device)
        return load(settings, "cpu")

    monkeypatch.setattr(fluctuations, "load_data", spy)
    settings = replace(TINY, max_steps=5)
    if study is fluctuations.THRESHOLD:
        settings = replace(settings, alpha_mf=1.0)
    chunk = sweeps.Chunk(study.name, study.version, settings, (axes,), "cuda")
    study.measure(chunk, NoCheckpoint())  # type: ignore[arg-type]
    assert asked == ["cuda"]


def test_a_table_keeps_of_the_flow_what_it_is_told() -> None:
    task = digits.load_data(TINY)
    net = digits.network(8, TINY)
    flow = hinge_path(ntk(net, net.init(0, members=2), task.x_train), task.y_train)
    members = ({"alpha": 3.0, "seed": 0}, {"alpha": 4.0, "seed": 1})
    chunk = sweeps.Chunk("some", 1, {}, members)
    table = tables.of_flow(chunk, flow, ("status", "t_level"), "drawn")
    assert set(table.data_vars) == {"status", "t_level"}
    assert table.attrs == {"data": "drawn"}
    # coordinates are those of the grid, not the flow's own
    assert table["alpha"].values.tolist() == [3.0, 4.0]
    np.testing.assert_array_equal(table["t_level"], flow.t_level)
