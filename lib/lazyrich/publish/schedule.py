"""Which chapters to run, in which order, how many at a time: tasks for doit."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain
from doit.exceptions import TaskFailed
from doit.reporter import ZeroReporter
from tqdm import tqdm

from lazyrich.publish import stamp
from lazyrich.publish.chapter import Chapter
from lazyrich.publish.stamp import Key
from lazyrich.publish.tree import Tree


@dataclass(frozen=True)
class Failure:
    """Why a chapter has no new outputs."""

    chapter: str
    cell: int
    line: int
    starts: str
    ename: str
    evalue: str

    def __str__(self) -> str:
        message = self.evalue.splitlines()[0] if self.evalue else ""
        if not self.line:
            return f"{self.chapter}: {self.ename}: {message}"
        return (
            f"{self.chapter}: cell {self.cell} (line {self.line}, `{self.starts}`): "
            f"{self.ename}: {message}"
        )


@dataclass
class Outcome:
    """What became of every chapter: seconds, failures, or nothing to do."""

    executed: dict[str, float] = field(default_factory=dict)
    current: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def device_in_words(device: str) -> str:
    """What computes when a chapter is given this device, such as ``cpu``.

    Raises:
        ValueError: ``cuda`` is asked for and there is none.
    """
    if device == "cpu":
        return "cpu"
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is 'cuda', but torch finds no CUDA device")
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda ({torch.cuda.get_device_name()})"


def execute(
    tree: Tree,
    chapters: Mapping[str, Chapter],
    wanted: list[str],
    *,
    jobs: int = 2,
    force: bool = False,
    progress: bool = True,
) -> Outcome:
    """Run those of the ``wanted`` chapters that are not current, and what they need.

    A chapter that fails does not stop the others, only those that need it. Progress
    goes to standard error.

    Args:
        tree: the book and the settings.
        chapters: all chapters by name.
        wanted: names of chapters.
        jobs: how many run at a time; on a GPU always one, because two notebooks racing
            for its memory kill each other.
        force: run the wanted ones even if they are current.
        progress: draw a bar.

    Raises:
        ValueError: an unknown chapter, ``jobs`` below one, or ``cuda`` without a GPU.
    """
    for name in wanted:
        if name not in chapters:
            allowed = ", ".join(chapters) or "none yet"
            raise ValueError(
                f"no chapter is named {name!r}; the chapters are {allowed}"
            )
    if jobs < 1:
        raise ValueError(f"jobs must be an integer >= 1, got {jobs!r}")
    names = _with_needs(chapters, wanted)
    keys = stamp.keys(tree, chapters)
    outcome = Outcome()
    for name in names:
        if force and name in wanted:
            outcome.reasons[name] = "forced"
        else:
            why = stamp.reason(tree, chapters[name], keys[name])
            if why:
                outcome.reasons[name] = why
            else:
                outcome.current.append(name)
    if not outcome.reasons:
        return outcome
    devices = {
        name: str(chapters[name].parameters(tree.settings)["device"])
        for name in outcome.reasons
    }
    ran_on = {name: device_in_words(device) for name, device in devices.items()}
    on_gpu = any(place.startswith("cuda") for place in ran_on.values())
    at_once = 1 if on_gpu else min(jobs, len(outcome.reasons))
    bar = _Bar(len(outcome.reasons), progress)
    run = _Run(tree, ran_on, jobs, at_once, outcome, bar)
    tasks = [
        {
            "name": name,
            "actions": [(run.chapter, [chapters[name], keys[name]])],
            "task_dep": [f"chapter:{other}" for other in chapters[name].needs],
            "uptodate": [name in outcome.current],
            "targets": [str(stamp.notebook_path(tree, chapters[name]))],
            "io": {"capture": False},
        }
        for name in names
    ]
    namespace = {
        "task_chapter": lambda: (task for task in tasks),
        "DOIT_CONFIG": {
            "dep_file": str(tree.build / "doit.json"),
            "backend": "json",
            "reporter": ZeroReporter,
            "verbosity": 0,
            "continue": True,
            "num_process": at_once,
            "par_type": "thread",
        },
    }
    tree.build.mkdir(parents=True, exist_ok=True)
    try:
        status = DoitMain(ModuleTaskLoader(namespace), config_filenames=()).run(["run"])
    finally:
        run.close()
    if run.crashes:
        raise run.crashes[0]
    if status > 2:  # 1 and 2: a task failed, or could not run because of that
        raise RuntimeError(f"doit ended with status {status}")
    settled = {*outcome.executed, *(failure.chapter for failure in outcome.failed)}
    for name in outcome.reasons:
        if name not in settled:
            waiting = "a chapter that it needs failed"
            outcome.failed.append(Failure(name, 0, 0, "", "not executed", waiting))
    return outcome


def _with_needs(chapters: Mapping[str, Chapter], wanted: list[str]) -> list[str]:
    """The wanted chapters and all they need, in the order of the book."""
    found: set[str] = set()
    queue = list(wanted)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += chapters[name].needs
    return [name for name in chapters if name in found]


class _Bar:
    """One bar for the chapters; what runs stands behind it, with cells and seconds."""

    def __init__(self, total: int, shown: bool) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, str] = {}
        self._shown = shown
        # A line a chapter is enough where nobody watches.
        hidden = not shown or not sys.stderr.isatty()
        self._bar = tqdm(total=total, unit="chapter", disable=hidden, file=sys.stderr)

    def cells(self, name: str, done: int, total: int) -> None:
        with self._lock:
            self._running[name] = f"{name} {done}/{total}"
            self._bar.set_postfix_str(", ".join(self._running.values()))

    def say(self, text: str) -> None:
        if self._shown:
            with self._lock:
                tqdm.write(text, file=sys.stderr)

    def end(self, name: str, text: str) -> None:
        with self._lock:
            self._running.pop(name, None)
            self._bar.set_postfix_str(", ".join(self._running.values()))
            self._bar.update()
        self.say(text)

    def close(self) -> None:
        self._bar.close()


class _Run:
    """The action of every task: one worker process a chapter."""

    def __init__(
        self,
        tree: Tree,
        ran_on: Mapping[str, str],
        jobs: int,
        at_once: int,
        outcome: Outcome,
        bar: _Bar,
    ) -> None:
        self._tree = tree
        self._ran_on = ran_on
        self._outcome = outcome
        self._bar = bar
        self._workers: list[subprocess.Popen[str]] = []
        self.crashes: list[Exception] = []
        # Chapters that run side by side share the cores; the number does not depend on
        # how many happen to run, because it decides the order of floating-point sums.
        cores = os.cpu_count() or 1
        threads = str(max(1, cores // jobs))
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self._environment = {
            **os.environ,
            **{name: os.environ.get(name, threads) for name in names},
            # Worker processes of sweeps, on which no result depends.
            "LAZYRICH_CORES": str(max(1, cores // at_once)),
            "PYTHONHASHSEED": "0",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }

    def chapter(self, chapter: Chapter, key: Key) -> TaskFailed | None:
        """Execute one chapter; a failure is noted and handed to doit."""
        try:
            return self._chapter(chapter, key)
        except Exception as error:
            # doit would only print it.
            self.crashes.append(error)
            raise

    def _chapter(self, chapter: Chapter, key: Key) -> TaskFailed | None:
        self._bar.say(f"{chapter.name}: {self._outcome.reasons[chapter.name]}")
        job = {
            "root": str(self._tree.root),
            "settings": self._tree.settings.parameters(),
            "name": chapter.name,
            "key": key.value,
            "parts": key.parts,
            "ran_on": self._ran_on[chapter.name],
        }
        start = time.monotonic()
        noise: list[str] = []
        result: dict[str, Any] = {}
        with subprocess.Popen(
            [sys.executable, "-m", "lazyrich.publish.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        ) as worker:
            self._workers.append(worker)
            assert worker.stdin is not None
            assert worker.stdout is not None
            # Read beside, so that a worker with much to say does not wait for us.
            drain = threading.Thread(
                target=lambda: noise.extend(worker.stderr or ()), daemon=True
            )
            drain.start()
            with worker.stdin:
                json.dump(job, worker.stdin)
            for line in worker.stdout:
                fact = json.loads(line)
                if "cells" in fact:
                    self._bar.cells(chapter.name, fact["cell"], fact["cells"])
                else:
                    result = fact
            drain.join()
        if "seconds" in result:
            self._outcome.executed[chapter.name] = result["seconds"]
            self._bar.end(chapter.name, f"{chapter.name}: {result['seconds']:.0f} s")
            return None
        error = result.get("error") or {
            "cell": 0,
            "line": 0,
            "starts": "",
            "ename": f"worker ended with status {worker.returncode}",
            "evalue": noise[-1].strip() if noise else "",
        }
        failure = Failure(chapter.name, **error)
        self._outcome.failed.append(failure)
        seconds = time.monotonic() - start
        self._bar.end(chapter.name, f"{failure} (after {seconds:.0f} s)")
        return TaskFailed(str(failure))

    def close(self) -> None:
        """End what still runs; there is something only after an interruption."""
        for worker in self._workers:
            if worker.poll() is None:
                worker.terminate()
        self._bar.close()
