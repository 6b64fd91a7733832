"""The benchmark harness measures what it says it measures."""

import importlib
import json
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.harness")


def work(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_both_sides_run_in_turn_and_the_ratio_is_theirs_over_ours(
    harness: ModuleType,
) -> None:
    order: list[str] = []

    def ours() -> None:
        order.append("ours")
        work(0.005)

    def peer() -> None:
        order.append("peer")
        work(0.02)

    found = harness.alternate(ours, peer, rounds=3)
    assert order == ["ours", "peer"] * 4
    assert found.ratio == pytest.approx(4, rel=0.3)
    assert found.ours == pytest.approx(0.005, rel=0.3)
    assert found.peer_wall >= 0.02
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        harness.alternate(ours, peer, rounds=0)


def test_sleeping_costs_no_cpu_time(harness: ModuleType) -> None:
    assert harness.cpu_time(lambda: time.sleep(0.02), rounds=2) < 0.01


@pytest.mark.slow
def test_memory_of_a_known_allocation(harness: ModuleType) -> None:
    here = torch.ones(100 * 2**20 // 8, dtype=torch.float64)
    call = "x = torch.ones(50 * 2**20 // 8, dtype=torch.float64)"
    assert harness.peak_memory("", call) == pytest.approx(50, abs=3)
    freed = "x = torch.ones(80 * 2**20 // 8, dtype=torch.float64)\ndel x"
    assert harness.peak_memory(freed, call) == pytest.approx(50, abs=3)
    assert here.numel()
    with pytest.raises(RuntimeError, match="NameError: name 'nonsense'"):
        harness.peak_memory("", "nonsense")


def test_rows_are_shown_and_saved_as_a_whole(
    harness: ModuleType, tmp_path: Path
) -> None:
    rows = [
        harness.Row("a", ours=1.0, peer=2.0, ratio=2.0, bar=1.5, passed=True),
        harness.Row("b", accuracy=1e-3, bar=1e-4, passed=False),
    ]
    shown = harness.table(rows)
    assert "passed" in shown
    assert "FAILED" in shown
    harness.save(tmp_path / "sub" / "b.json", rows, date="today")
    found = json.loads((tmp_path / "sub" / "b.json").read_text())
    assert found["date"] == "today"
    assert [harness.Row(**row) for row in found["rows"]] == rows
    assert len(list((tmp_path / "sub").iterdir())) == 1


@pytest.mark.slow
def test_the_relu_kernel_is_judged_by_its_bars(
    harness: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("benchmarks.bench_relu_ntk")
    rows = [harness.Row(**row) for row in module.run(quick=True)]
    # Speed is for the benchmark to judge, on a machine that does nothing else; accuracy
    # does not depend on that.
    assert sum(row.bar is not None for row in rows) == 3
    assert all((row.bar is None) == (row.passed is None) for row in rows)
    (accuracy,) = (row for row in rows if row.bar is not None and row.accuracy)
    assert accuracy.passed, harness.table(rows)
    monkeypatch.setattr(module, "BAR_ACCURACY", 0.0)
    assert any(row.passed is False for row in module.rows(quick=True))


def test_every_benchmark_is_found_and_documented(
    harness: ModuleType,
) -> None:
    main = importlib.import_module("benchmarks.__main__")
    readme = (ROOT / "benchmarks" / "README.md").read_text()
    assert "bench_relu_ntk" in main.modules()
    for name in main.modules():
        assert f"`{name}`" in readme
        assert callable(importlib.import_module(f"benchmarks.{name}").run)
