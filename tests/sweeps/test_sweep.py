"""Running in this process: resuming, failing, reporting, loading."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr

from lazyrich import sweeps
from lazyrich.cli import main
from lazyrich.sweeps import cluster as clusters
from lazyrich.sweeps import work
from lazyrich.sweeps.store import Store


def run(study, folder, **options):
    return sweeps.run(study, store=folder, progress=False, **options)


def test_a_run_measures_what_is_missing_longest_first(toy, tmp_path):
    log = tmp_path / "log"
    study = toy.study(log=str(log))
    report = run(study, tmp_path)
    assert (report.computed, report.done, report.members) == (18, 18, 18)
    assert log.read_text().split() == ["4", "4", "4", "4", "1", "1"]
    assert run(study, tmp_path).computed == 0
    Store(study, "laptop", tmp_path).folder.joinpath(
        min(p.name for p in report.store.glob("*.nc"))
    ).unlink()
    again = run(study, tmp_path)
    assert again.done == 18
    assert 0 < again.computed <= 4
    assert "18 of 18 members stored" in again.summary()


def test_loading_gives_the_labelled_grid(toy, tmp_path):
    run(toy.STUDY, tmp_path)
    loaded = sweeps.load(toy.STUDY, store=tmp_path)
    assert loaded["end"].dims == ("h", "alpha", "seed")
    assert loaded["curve"].dims == ("h", "alpha", "seed", "step")
    chunk = toy.STUDY.chunks("laptop")[0]
    table = toy.measure(chunk, sweeps.Checkpoint())
    for i, member in enumerate(chunk.members):
        np.testing.assert_array_equal(
            loaded["curve"].sel(member), table["curve"].isel(member=i)
        )
    # h=3 has 8 times, h=5 has 10: the shorter ones end in NaN.
    assert loaded.sizes["time"] == 10
    assert np.isnan(loaded["short"].sel(h=3).isel(time=slice(8, None))).all()
    assert loaded["short"].sel(h=5).notnull().all()
    assert loaded["count"].dtype == np.int64
    assert loaded.attrs["members_done"] == loaded.attrs["members_total"] == 18
    assert json.loads(loaded.attrs["settings"]) == {}
    assert loaded.attrs["note"] == "toy"


def test_status_counts_how_members_ended(toy, tmp_path):
    study = toy.study(seconds=2.0)
    empty = sweeps.status(study, store=tmp_path)
    assert (empty.done, empty.missing, empty.total) == (0, 18, 18)
    assert empty.estimated_seconds == 2.0 * 9 * (3 + 5)
    assert not list(tmp_path.iterdir()), "asking makes no folder"
    run(study, tmp_path)
    status = sweeps.status(study, store=tmp_path)
    assert status.done == 18
    assert 0 < status.truncated < 18
    assert status.ended["truncated: at the top"] == status.truncated
    assert sum(status.ended.values()) == 18
    assert status.estimated_seconds == 0
    assert json.loads(json.dumps(status.as_dict()))["done"] == 18


def test_running_members_are_seen_while_their_process_lives(toy, tmp_path):
    store = Store(toy.STUDY, "laptop", tmp_path)
    store.prepare()
    chunk, other = toy.STUDY.chunks("laptop")[:2]
    left = store.folder / f"{store.key(other.members)}.running"
    left.write_text("4")  # by a killed process
    with store.claim(chunk) as mine:
        assert mine
        assert sweeps.status(toy.STUDY, store=tmp_path).running == 4
        with store.claim(chunk) as again:
            assert not again, "nobody else's"
    assert sweeps.status(toy.STUDY, store=tmp_path).running == 0
    store.tidy()
    assert not list(store.folder.glob("*.running"))


def test_a_failing_chunk_is_named_and_the_others_finish(toy, tmp_path):
    study = toy.study(fail=5)
    with pytest.raises(sweeps.SweepError, match="this width is made to fail") as caught:
        run(study, tmp_path)
    report = caught.value.report
    assert (report.done, report.computed) == (9, 9)
    assert len(report.failures) == 3
    assert all("toy[h=5; alpha=" in failure.chunk for failure in report.failures)
    assert "toy[h=5; alpha=0.1, 1; seed=0, 1, 2; 4 members]" in str(caught.value)
    assert "Traceback" in report.failures[0].details
    assert sweeps.status(study, store=tmp_path).missing == 9


def test_a_table_that_is_none_fails_its_chunk(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "measure", lambda chunk, checkpoint: None)
    with pytest.raises(sweeps.SweepError, match="must return an xarray.Dataset"):
        run(toy.study(), tmp_path)


def test_ctrl_c_leaves_a_store_that_goes_on(toy, tmp_path, monkeypatch):
    real = toy.measure
    calls = []

    def interrupted(chunk, checkpoint):
        calls.append(chunk)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(chunk, checkpoint)

    monkeypatch.setattr(toy, "measure", interrupted)
    study = toy.study()
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path)
    status = sweeps.status(study, store=tmp_path)
    assert (status.done, status.running, status.damaged) == (8, 0, ())
    assert run(study, tmp_path).computed == 10


def test_a_long_chunk_goes_on_from_its_checkpoint(toy, tmp_path, monkeypatch):
    study = toy.study(size=18, save=True)
    sound = run(study, tmp_path / "sound")
    steps = []

    class Interrupting(sweeps.Checkpoint):
        def save(self, state):
            super().save(state)
            steps.append(state["step"])
            if len(steps) % 3 == 0:
                raise KeyboardInterrupt

    monkeypatch.setattr("lazyrich.sweeps.store.Checkpoint", Interrupting)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(study, tmp_path / "cut")
    run(study, tmp_path / "cut")
    assert steps == [10, 20, 30, 40, 50, 60] * 2
    left = [p.suffix for p in Store(study, "laptop", tmp_path / "cut").folder.iterdir()]
    assert sorted(left) == [".jsonl", ".nc", ".nc"], (
        "the checkpoint goes when the result is stored"
    )
    one, two = (sweeps.load(study, store=tmp_path / name) for name in ("sound", "cut"))
    xr.testing.assert_identical(one.drop_attrs(), two.drop_attrs())
    assert sound.computed == 18


def test_a_checkpoint_goes_only_when_its_chunk_is_stored(toy, tmp_path):
    study = toy.study()
    run(study, tmp_path)
    store = Store(study, "laptop", tmp_path)
    first, second = study.chunks("laptop")[:2]
    for chunk in (first, second):
        store.checkpoint(chunk).save({"step": 1})
    (path,) = store.folder.glob(f"{store.key(second.members)}.*.nc")
    path.write_bytes(b"damaged")
    store.set_aside(store.look().damaged[0])
    store.tidy()
    assert store.checkpoint(first).load() is None
    assert store.checkpoint(second).load() == {"step": 1}


def test_one_thread_is_used_and_the_setting_comes_back(toy, tmp_path, monkeypatch):
    seen = []
    real = toy.measure

    def measure(chunk, checkpoint):
        seen.append(torch.get_num_threads())
        return real(chunk, checkpoint)

    monkeypatch.setattr(toy, "measure", measure)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        run(toy.study(), tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


def test_what_a_worker_cannot_store_is_stored_by_the_sender(toy, tmp_path, monkeypatch):
    study = toy.study()
    store = Store(study, "laptop", tmp_path)
    chunk = study.chunks("laptop")[0]
    outcome = work.work("toy_study:measure", chunk, store, token="not-to-be-seen")
    assert outcome.packed is not None
    assert not store.folder.exists()

    def elsewhere(study, chunks, store, cluster, wait):
        for chunk in chunks:
            yield work.work(study.measure, chunk, store, token="not-to-be-seen")

    monkeypatch.setattr(clusters, "outcomes", elsewhere)
    assert run(study, tmp_path, cluster="tcp://elsewhere:1").done == 18
    assert sweeps.status(study, store=tmp_path).done == 18


def test_chapters_side_by_side_share_the_cores(monkeypatch):
    monkeypatch.setattr(clusters.os, "sched_getaffinity", lambda _: set(range(8)))
    for share, workers in (("", 8), ("4", 4), ("99", 8), ("nonsense", 8)):
        monkeypatch.setenv(clusters.SHARE, share)
        assert clusters.choose("auto", "cpu", 1000.0, 100) == f"local:{workers}"
    monkeypatch.setenv(clusters.SHARE, "1")
    assert clusters.choose("auto", "cpu", 1000.0, 100) is None


def test_auto_stays_in_process_unless_workers_pay(monkeypatch):
    monkeypatch.setattr(clusters, "_cores", lambda: 8)
    assert clusters.choose("auto", "cpu", 1000.0, 100) == "local:8"
    assert clusters.choose("auto", "cpu", 1000.0, 3) == "local:3"
    assert clusters.choose("auto", "cpu", 1000.0, 1) is None
    assert clusters.choose("auto", "cpu", 5.0, 100) is None
    assert clusters.choose("auto", "cuda", 1000.0, 100) is None
    assert clusters.choose(None, "cpu", 1000.0, 100) is None
    assert clusters.choose("tcp://a:1", "cuda", 0.0, 1) == "tcp://a:1"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": "huge"}, "scale of study 'toy' must be one of"),
        ({"device": "tpu"}, "device must be"),
        ({"cluster": "local:0"}, "positive number N, got 'local:0'"),
        ({"cluster": "locally"}, "cluster must be 'local:N'"),
    ],
)
def test_malformed_requests_are_refused(toy, tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        run(toy.STUDY, tmp_path, **options)


def test_a_study_that_workers_cannot_import_is_refused(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(toy, "measure", lambda chunk, checkpoint: None)
    with pytest.raises(ValueError, match="top of an importable module"):
        run(toy.study(), tmp_path, cluster="local:2")


def test_the_core_needs_no_extra_package(toy_path):
    """On a bare GPU machine sweeps run, and data sets load, without the extras."""
    code = (
        "import sys\n"
        "for name in ('dask', 'distributed', 'pooch', 'PIL', 'sklearn', 'mlxtend',\n"
        "             'matplotlib', 'papermill'):\n"
        "    sys.modules[name] = None\n"
        "import lazyrich.data, toy_study, tempfile\n"
        "from lazyrich import sweeps\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    for cluster in ('auto', 'local:2'):\n"
        "        study = toy_study.study(seconds=1000)\n"
        "        sweeps.run(study, store=folder, cluster=cluster, progress=False)\n"
        "        sweeps.load(study, store=folder)\n"
        "        for path in __import__('pathlib').Path(folder).rglob('*.nc'):\n"
        "            path.unlink()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": toy_path},
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("'local:2' needs Dask: pip install 'lazyrich[cluster]'"), last


def test_the_commands_run_and_report(toy, tmp_path, capsys):
    options = ["toy_study:STUDY", "--store", str(tmp_path)]
    quiet = ["--device", "cpu", "--cluster", "none", "--no-progress"]
    assert main(["run", *options, *quiet]) == 0
    assert "18 of 18 members stored" in capsys.readouterr().out
    assert main(["status", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 18
    assert main(["status", *options, "--scale", "paper"]) == 0
    out = capsys.readouterr().out
    assert "done          18 of 24" in out
    assert "left to compute" in out
    assert main(["studies", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        assert {"name", "title", "members", "estimate_seconds"} == row.keys()
    assert main(["status", "no_such_study"]) == 2
    assert "study must be" in capsys.readouterr().err
    assert main(["run", "toy_study:measure"]) == 2
    assert "must be a Study, got function" in capsys.readouterr().err


def test_the_command_fails_when_a_chunk_does(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(toy, "STUDY", toy.study(fail=3))
    args = ["toy_study:STUDY", "--store", str(tmp_path), "--cluster", "none"]
    assert main(["run", *args, "--no-progress"]) == 1
    assert "failed toy[h=3" in capsys.readouterr().err
