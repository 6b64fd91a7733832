"""The comparison with a GPU, on the CPU and tiny."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks import gpu

from lazyrich.figures.benchmarks import GpuTable


def test_the_cpu_agrees_with_itself() -> None:
    rows = list(gpu.agreement("cpu", n=12, h=10))
    assert rows
    for row in rows:
        assert row.passed, row
        if row.dtype == "float64":
            assert row.error == 0.0, row
        else:
            assert row.error, row


def test_time_is_limited() -> None:
    begun = gpu.speed("cpu", widths=(5, 6), members=2, steps=3)
    rows = gpu.collect([begun], limit=0.0)
    assert [row.what for row in rows] == ["flow, h = 5", "time limit"]
    assert rows[0].seconds is not None
    assert rows[0].seconds > 0
    assert rows[-1].passed is False


def test_studies_say_whether_they_run(monkeypatch: pytest.MonkeyPatch) -> None:
    name = sorted(gpu.sweeps.registered())[0]
    (row,) = gpu.studies("cpu", [name])
    assert row.passed
    assert row.seconds is not None
    monkeypatch.setitem(gpu.SMALL, "n_train", -1)
    (row,) = gpu.studies("cpu", [name])
    assert row.passed is False
    assert "Error" in row.note


def test_the_table_is_shown_where_there_is_one(tmp_path: Path) -> None:
    file = tmp_path / "gpu.json"
    assert "make gpu" in GpuTable(file)._repr_html_()
    gpu.save(file, [gpu.Row("a < b", "float64", 1e-12, 1e-9, passed=True)], "cpu")
    assert json.loads(file.read_text())["rows"][0]["passed"] is True
    shown = GpuTable(file)._repr_html_()
    assert "a &lt; b" in shown
    assert "1e-12" in shown
    assert "passed" in shown


def test_without_cuda_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert gpu.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
