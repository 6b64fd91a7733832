"""Records survive being killed, and what is not a record is refused by name."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lazyrich.claims import Measurement, record
from lazyrich.core import sealed
from lazyrich.core.rng import numpy_generator

ID = "geiger-eq9-kernel-exponent-L5"


def measurement(scale: str = "laptop", **values: float | bool) -> Measurement:
    values = values or {"slope": -1.7}
    return Measurement(ID, "alpha_sweep", scale, values, {}, {"device": "cpu"})


def write(folder: Path, scale: str = "laptop", **values: float | bool) -> Path:
    found = {ID: measurement(scale, **values)}
    return record.write(folder, "alpha_sweep", scale, {"device": "cpu"}, found)


def test_what_is_written_is_read_back_to_the_last_bit(folder: Path) -> None:
    path = write(folder, slope=1 / 3, ordered=True)
    assert path == folder / "laptop" / "alpha_sweep.json"
    found = record.read(path)[ID]
    assert found.values == {"slope": 1 / 3, "ordered": True}
    assert isinstance(found.values["ordered"], bool)
    assert found.provenance == {"device": "cpu"}


def test_fresh_measurements_count_before_kept_ones_claim_by_claim(
    tmp_path: Path,
) -> None:
    fresh, kept = tmp_path / "fresh", tmp_path / "kept"
    write(kept, slope=1.0)
    write(kept, "paper", slope=2.0)
    write(fresh, slope=3.0)
    found = record.load(fresh, kept)
    laptop, paper = found.get("laptop", ID), found.get("paper", ID)
    assert laptop is not None
    assert paper is not None
    assert (laptop.values["slope"], laptop.fresh) == (3.0, True)
    assert (paper.values["slope"], paper.fresh) == (2.0, False)
    assert found.runs == {
        ("laptop", "alpha_sweep"): True,
        ("paper", "alpha_sweep"): False,
    }
    assert found.get("laptop", "another") is None


def test_no_folder_means_no_measurements(tmp_path: Path) -> None:
    assert record.load(tmp_path / "a", tmp_path / "b").measurements == {}


def test_keep_copies_whole_files_or_nothing(tmp_path: Path) -> None:
    fresh, kept = tmp_path / "fresh", tmp_path / "kept"
    first = write(fresh, slope=1.0)
    assert record.keep(fresh, kept) == [kept / "laptop" / "alpha_sweep.json"]
    assert (kept / "laptop" / "alpha_sweep.json").read_bytes() == first.read_bytes()
    write(fresh, slope=2.0)
    (fresh / "paper").mkdir()
    (fresh / "paper" / "alpha_sweep.json").write_text("{")
    with pytest.raises(ValueError, match="is no record file"):
        record.keep(fresh, kept)
    assert record.read(kept / "laptop" / "alpha_sweep.json")[ID].values["slope"] == 1.0


def spoil(content: dict, what: str) -> bytes:
    text = sealed.dumps(content).encode()
    if what == "truncated":
        return text[: len(text) // 2]
    if what == "foreign":
        return b"\x89HDF\r\n\x1a\n"
    if what == "list":
        return b"[]"
    if what == "format":
        content["format"] = 99
    if what == "chapter":
        content["chapter"] = "another"
    if what == "unsealed":
        return json.dumps(content).encode()
    if what == "nothing left out":
        content["left_out"] = None
    if what == "text":
        content["claims"][ID]["values"]["slope"] = "-1.7"
    if what == "spread":
        content["claims"][ID]["spread"] = {"other": 1.0}
    if what == "provenance":
        content["provenance"] = None
    return sealed.dumps(content).encode()


@pytest.mark.parametrize(
    "what",
    [
        "truncated",
        "foreign",
        "list",
        "format",
        "chapter",
        "unsealed",
        "nothing left out",
        "text",
        "spread",
        "provenance",
    ],
)
def test_what_is_no_record_is_refused_and_named(folder: Path, what: str) -> None:
    path = write(folder)
    path.write_bytes(spoil(sealed.loads(path.read_bytes()), what))
    with pytest.raises(ValueError, match=r"alpha_sweep\.json is no record file"):
        record.load(folder, folder / "none")


def test_no_flipped_bit_is_silent(folder: Path) -> None:
    path = write(folder, slope=1 / 3, ordered=True)
    good = path.read_bytes()
    for place in range(len(good)):
        for bit in range(8):
            bad = bytearray(good)
            bad[place] ^= 1 << bit
            path.write_bytes(bad)
            with pytest.raises(
                ValueError, match=r"alpha_sweep\.json is no record file"
            ):
                record.read(path)
    path.write_bytes(good)
    assert record.read(path)[ID].values["slope"] == 1 / 3


def test_line_ends_of_windows_are_no_damage(folder: Path) -> None:
    path = write(folder, slope=1 / 3)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert record.read(path)[ID].values["slope"] == 1 / 3


def test_the_kept_records_are_sealed_and_lie_in_the_package() -> None:
    paths = sorted(record.kept_folder().glob("*/*.json"))
    assert len(paths) >= 31
    for path in paths:
        assert sealed.dumps(sealed.loads(path.read_bytes())) == path.read_text()


def test_a_run_that_left_claims_out_replaces_no_kept_record(tmp_path: Path) -> None:
    fresh, kept = tmp_path / "fresh", tmp_path / "kept"
    write(kept, slope=1.0)
    record.write(fresh, "alpha_sweep", "laptop", {}, {}, {ID: "no data"})
    assert record.keep(fresh, kept) == []
    found = record.load(fresh, kept)
    counted = found.get("laptop", ID)
    assert counted is not None
    assert (counted.values["slope"], counted.fresh) == (1.0, False)
    assert found.left_out == {("laptop", ID): "no data"}


def test_infinite_numbers_are_never_written(folder: Path) -> None:
    before = write(folder, slope=1.0).read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(folder, slope=float("inf"))
    assert (folder / "laptop" / "alpha_sweep.json").read_bytes() == before


def test_a_folder_that_refuses_leaves_the_old_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder, slope=1.0)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(folder, slope=2.0)
    assert record.read(path)[ID].values["slope"] == 1.0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


WRITER = """
import sys
from pathlib import Path
from lazyrich.claims import Measurement, record
from lazyrich.core import sealed
values = {f"x{i}": float(i) for i in range(2000)}
round = 0.0
print("ready", flush=True)
while True:
    round += 1
    found = Measurement("id", "c", "laptop", values | {"round": round}, {}, {})
    record.write(Path(sys.argv[1]), "c", "laptop", {}, {"id": found})
"""


@pytest.mark.kill
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(folder: Path) -> None:
    draw = numpy_generator("test/kill-record")
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(float(draw.uniform(0.02, 0.3)))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        path = folder / "laptop" / "c.json"
        if path.exists():
            found = record.read(path)["id"]
            assert len(found.values) == 2001
    assert path.exists()


def test_drift_is_judged_by_the_larger_spread() -> None:
    def with_spread(value: float, spread: float | None) -> Measurement:
        told = {} if spread is None else {"slope": spread}
        return Measurement(ID, "alpha_sweep", "laptop", {"slope": value}, told, {})

    before = with_spread(1.0, 0.1)
    assert record.drift(with_spread(1.29, 0.01), before, {}, 3.0) == []
    assert record.drift(with_spread(1.31, 0.01), before, {}, 3.0) == [
        f"{ID}: slope was 1.0, is 1.31, may differ by 0.3"
    ]
    alone, now = with_spread(1.0, None), with_spread(1.31, None)
    assert record.drift(now, alone, {}, 3.0) == []
    assert len(record.drift(now, alone, {"slope": 0.3}, 3.0)) == 1


def test_drift_of_a_boolean_or_a_new_quantity_is_always_reported() -> None:
    assert record.drift(measurement(a=True), measurement(a=True), {}, 3.0) == []
    assert len(record.drift(measurement(a=True), measurement(a=False), {}, 3.0)) == 1
    assert len(record.drift(measurement(b=1.0), measurement(a=1.0), {}, 3.0)) == 1
