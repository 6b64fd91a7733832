"""``lazyrich claims``: data, filters, check, keep."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from jsonschema import validate

from lazyrich import claims, cli
from lazyrich.claims import Check, Recorder, book, claim, record, verdict

ID = "geiger-eq9-kernel-exponent-L5"
TEXT = {"type": "string", "minLength": 1}
MAYBE = {"type": ["string", "null"]}
WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
ROW = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "id": TEXT,
        "paper": {"enum": list(claims.PAPERS)},
        "where": TEXT,
        "chapter": MAYBE,
        "kind": {"enum": list(claim.KINDS)},
        "scale": {"enum": ["laptop", "paper", None]},
        "device": MAYBE,
        "data": MAYBE,
        "number": TEXT,
        "expected": WORDS,
        "tolerance": WORDS,
        "measured": {
            "type": "object",
            "additionalProperties": {"type": ["number", "boolean"]},
        },
        "spread": {"type": "object", "additionalProperties": {"type": "number"}},
        "verdict": {"enum": list(claims.Verdict)},
        "verdicts": {
            "type": "object",
            "required": ["laptop", "paper"],
            "additionalProperties": {"enum": [*claims.Verdict, None]},
        },
        "explanation": MAYBE,
    },
}
ROW["required"] = list(ROW["properties"])


@pytest.fixture(autouse=True)
def world(
    overlay: Mapping[str, Check], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our small overlay, and records in folders of their own."""
    monkeypatch.setenv("LAZYRICH_RECORDS", str(folder))
    monkeypatch.setattr(record, "kept_folder", lambda: folder.with_name("kept"))
    monkeypatch.setattr(verdict, "checks", lambda: overlay)
    monkeypatch.setattr(claims, "checks", lambda: overlay)
    monkeypatch.setattr(book, "chapters", lambda: ["alpha_sweep", "model_and_flow"])
    monkeypatch.setattr(book, "executed", list)


def measure(overlay: Mapping[str, Check], ordered: bool = True) -> None:
    rec = Recorder("alpha_sweep", overlay=overlay)
    rec.record(ID, slope=claims.Measured(-1.75, 0.05), ordered=ordered)
    rec.record("geiger-sec5-kernel-exponent-lazy", slope_h=-0.95)


def test_json_has_all_fields_of_every_claim(
    overlay: Mapping[str, Check], capsys: pytest.CaptureFixture[str]
) -> None:
    measure(overlay)
    assert cli.main(["claims", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    validate(rows, {"type": "array", "items": ROW, "minItems": 411, "maxItems": 411})
    counts = Counter(row["verdict"] for row in rows)
    assert counts == {"reproduced": 1, "erratum": 1, "pending": 409}


def test_filters(
    overlay: Mapping[str, Check], capsys: pytest.CaptureFixture[str]
) -> None:
    measure(overlay)
    assert cli.main(["claims", "--paper", "geiger2020", "--verdict", "reproduced"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{ID}  reproduced")
    assert "alpha_sweep (laptop): slope -1.750 ± 0.050 (expected -1.7 ± 0.3)" in out
    assert out.endswith("1 claims: 1 reproduced\n")


@pytest.mark.parametrize("option", ["--paper", "--verdict"])
def test_unknown_filters_are_refused(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["claims", option, "nonsense"]) == 2
    assert f"{option} must be one of" in capsys.readouterr().err


def test_check_fails_exactly_when_something_does_not_fit(
    overlay: Mapping[str, Check], capsys: pytest.CaptureFixture[str]
) -> None:
    measure(overlay)
    assert cli.main(["claims", "--check"]) == 0
    assert capsys.readouterr().out == "411 claims, 3 with a chapter, 0 problems\n"
    measure(overlay, ordered=False)
    assert cli.main(["claims", "--check"]) == 1
    assert f"{ID}: deviates at laptop scale in ordered" in capsys.readouterr().err


def test_keep_makes_the_verdicts_survive_a_clean_tree(
    overlay: Mapping[str, Check], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(overlay)
    assert cli.main(["claims", "--keep"]) == 0
    assert "kept " in capsys.readouterr().out
    (folder / "laptop" / "alpha_sweep.json").unlink()
    assert cli.main(["claims", "--verdict", "reproduced"]) == 0
    assert capsys.readouterr().out.endswith("1 claims: 1 reproduced\n")
