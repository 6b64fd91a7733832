"""Killed for real, at random moments, resumed each time: the same bits in the end."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import xarray as xr

from lazyrich import sweeps
from lazyrich.sweeps.store import Store

pytestmark = [pytest.mark.kill, pytest.mark.slow]

SEEDS = tuple(range(6))


@pytest.fixture(scope="module")
def processes(toy_path):
    """Processes that start in milliseconds, because their server has imported all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warm"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", toy_path, prepend=os.pathsep)
        yield context


@pytest.fixture(scope="module")
def expected(toy, tmp_path_factory):
    """What an uninterrupted run gives."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    study = toy.study(seed=SEEDS, size=2)
    sweeps.run(study, store=folder, progress=False)
    return loaded(study, folder)


def loaded(study, folder):
    return sweeps.load(study, store=folder).drop_attrs()


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("settings", "disk", "window"),
    [
        pytest.param({"pause": 0.1, "save": True}, 0.0, 0.5, id="long chunks"),
        pytest.param({"noise": 1000}, 0.05, 0.4, id="slow disk"),
    ],
)
def test_killed_in_process(toy, processes, tmp_path, expected, settings, disk, window):
    moments = random.Random(0)
    settings = settings | {"seed": SEEDS, "size": 2}
    study = toy.study(**settings)
    kills, rounds, halves, resumed, finished = 0, 0, 0, 0, False
    folder = tmp_path / "0"
    while kills < 12 or not finished:
        args = (settings, str(folder), None, disk)
        process = processes.Process(target=toy.run_in_child, args=args)
        process.start()
        # Once there have been kills enough, let it finish.
        process.join(moments.uniform(0.0, window) if kills < 12 else None)
        finished = not process.is_alive()
        if not finished:
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
            kills += 1
        else:
            assert process.exitcode == 0
        status = sweeps.status(study, store=folder)
        assert status.damaged == ()
        assert status.running == 0
        store = Store(study, "laptop", folder).folder
        halves += sum(p.stat().st_size > 1000 for p in store.glob(".*.tmp"))
        resumed += len(list(store.glob("*.checkpoint")))
        if finished:
            assert status.done == status.total == 36
            after = loaded(study, folder)
            xr.testing.assert_identical(after.drop_vars("noise"), reference(expected))
            assert sweeps.run(study, store=folder, progress=False).computed == 0
            assert {path.suffix for path in store.iterdir()} == {".nc", ".jsonl"}
            if kills < 12:
                rounds += 1
                folder = tmp_path / str(rounds)
                finished = False
    if settings.get("save"):
        assert resumed, "some kill came after a checkpoint"
    else:
        assert halves, "some kill came while a file was being written"


def reference(table):
    return table.drop_vars("noise")


def test_killed_with_worker_processes(toy, processes, tmp_path, expected):
    moments = random.Random(1)
    settings = {"pause": 0.15, "save": True, "seed": SEEDS, "size": 2}
    study = toy.study(**settings)
    store = Store(study, "laptop", tmp_path).folder
    for _ in range(2):
        process = processes.Process(
            target=toy.run_in_child, args=(settings, str(tmp_path), "local:2", 0.0)
        )
        process.start()
        wait_until(lambda: sweeps.status(study, store=tmp_path).running)
        time.sleep(moments.uniform(0.0, 0.8))
        family = psutil.Process(process.pid).children(recursive=True)
        assert process.is_alive()
        process.kill()
        process.join()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not alive, "workers end with the process that started them"
        assert sweeps.status(study, store=tmp_path).damaged == ()
    before = sweeps.status(study, store=tmp_path)
    assert before.done or list(store.glob("*.checkpoint"))
    report = sweeps.run(study, store=tmp_path, cluster="local:2", progress=False)
    assert report.computed == before.missing > 0
    xr.testing.assert_identical(
        loaded(study, tmp_path).drop_vars("noise"), reference(expected)
    )
    assert {path.suffix for path in store.iterdir()} == {".nc", ".jsonl"}


def test_the_command_is_killed_and_resumed(toy, toy_path, tmp_path, monkeypatch):
    study = toy.study(pause=0.4, seed=SEEDS, size=2)
    (tmp_path / "slow_toy.py").write_text(
        f"import toy_study\nSTUDY = toy_study.study(pause=0.4, seed={SEEDS}, size=2)\n"
    )
    path = os.pathsep.join([str(tmp_path), toy_path])
    command = [
        str(Path(sys.executable).with_name("lazyrich")),
        *("run", "slow_toy:STUDY", "--store", str(tmp_path)),
        *("--device", "cpu", "--cluster", "none"),
    ]
    for kind in (signal.SIGKILL, signal.SIGINT):
        done = sweeps.status(study, store=tmp_path).done
        with subprocess.Popen(
            command, env=os.environ | {"PYTHONPATH": path}, stderr=subprocess.PIPE,
            # a shell's background jobs, and what they start, ignore Ctrl-C
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as process:  # fmt: skip
            wait_until(lambda d=done: sweeps.status(study, store=tmp_path).done > d)
            process.send_signal(kind)
            _, errors = process.communicate()
        if kind == signal.SIGINT:
            assert process.returncode == 130
            assert b"interrupted; what was finished is stored" in errors
    status = sweeps.status(study, store=tmp_path)
    assert 0 < status.done < status.total
    assert status.damaged == ()
    report = sweeps.run(study, store=tmp_path, progress=False)
    assert report.computed == status.missing
