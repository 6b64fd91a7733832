"""Running on Dask workers: same numbers, and dead workers do not lose the sweep."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
import xarray as xr

from lazyrich import sweeps

pytestmark = pytest.mark.slow


def run(study, folder, cluster):
    return sweeps.run(study, store=folder, cluster=cluster, progress=False)


def loaded(study, folder):
    return sweeps.load(study, store=folder).drop_attrs()


@pytest.fixture(scope="module")
def expected(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in-process")
    run(toy.study(), folder, None)
    return loaded(toy.study(), folder)


def test_worker_processes_give_the_same_bits_and_name_failures(toy, tmp_path, expected):
    study = toy.study()
    report = run(study, tmp_path, "local:2")
    assert (report.computed, report.cluster) == (18, "local:2")
    xr.testing.assert_identical(loaded(study, tmp_path), expected)
    assert {p.suffix for p in report.store.iterdir()} == {".nc", ".jsonl"}, (
        "nothing is left over"
    )

    with pytest.raises(sweeps.SweepError, match=r"failed toy\[h=5"):
        run(toy.study(fail=5), tmp_path, "local:2")
    assert sweeps.status(toy.study(fail=5), store=tmp_path).done == 9


@pytest.mark.kill
def test_a_worker_that_dies_in_a_chunk_is_replaced(toy, tmp_path, expected):
    study = toy.study(die=str(tmp_path / "died"))
    report = run(study, tmp_path, "local:2")
    assert (tmp_path / "died").exists(), "a worker has killed itself"
    assert report.done == 18
    assert not report.failures
    xr.testing.assert_identical(loaded(study, tmp_path), expected)


@pytest.mark.kill
def test_workers_killed_from_outside_are_replaced(toy, tmp_path, expected):
    study = toy.study(pause=0.3, save=True)
    killed = []
    here = psutil.Process()

    def workers():
        return [
            child
            for child in here.children(recursive=True)
            if any("spawn_main" in word for word in child.cmdline())
        ]

    def kill():
        while len(killed) < 2 and not finished.is_set():
            time.sleep(0.2)
            if sweeps.status(study, store=tmp_path).running:
                victims = [w.pid for w in workers() if w.pid not in killed]
                if victims:
                    os.kill(victims[0], signal.SIGKILL)
                    killed.append(victims[0])

    finished = threading.Event()
    killer = threading.Thread(target=kill)
    killer.start()
    try:
        report = run(study, tmp_path, "local:2")
    finally:
        finished.set()
        killer.join()
    assert len(killed) == 2
    assert report.done == 18
    xr.testing.assert_identical(loaded(study, tmp_path), expected)


def test_a_scheduler_address_is_used_and_left_running(
    toy, toy_path, tmp_path, expected
):
    script = (
        "import sys, time\n"
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=1, threads_per_worker=1,\n"
        "                      dashboard_address=None) as cluster:\n"
        "        print(cluster.scheduler_address, flush=True)\n"
        "        sys.stdin.read()\n"
    )
    path = tmp_path / "scheduler.py"
    path.write_text(script)
    with subprocess.Popen(
        [sys.executable, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": toy_path},
    ) as scheduler:
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().strip()
        study = toy.study()
        assert run(study, tmp_path, address).done == 18
        assert run(study, tmp_path / "again", address).done == 18
        assert scheduler.poll() is None
        scheduler.communicate("")
    xr.testing.assert_identical(loaded(study, tmp_path), expected)


def test_nobody_at_the_address_is_a_clear_error(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("lazyrich.sweeps.cluster.PATIENCE", 1.0)
    with pytest.raises(OSError, match="127.0.0.1:9"):
        run(toy.study(), tmp_path, "tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    "cluster", ["", "foo", "tcp://host", "host:99999", "a b:1", "http://h:1"]
)
def test_what_is_no_cluster_is_refused_at_once(toy, tmp_path, cluster):
    start = time.monotonic()
    with pytest.raises(ValueError, match="cluster must be 'local:N', 'auto' or"):
        run(toy.study(), tmp_path, cluster)
    assert time.monotonic() - start < 2


def test_where_nothing_listens_the_address_is_named_within_seconds(toy, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(OSError, match=f"no scheduler answers at {address}"):
            run(toy.study(), tmp_path, address)
        assert time.monotonic() - start < 5
