"""Running, inspecting and loading a sweep: what users and chapters call."""

import contextlib
import sys
import time
import warnings
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from tqdm import tqdm

from lazyrich.core import check
from lazyrich.sweeps import cluster as clusters
from lazyrich.sweeps import table as tables
from lazyrich.sweeps.store import Damage, Store, coordinates
from lazyrich.sweeps.study import Chunk, Study, canonical_json, find
from lazyrich.sweeps.work import Failure, Outcome, work


@dataclass(frozen=True)
class Report:
    """What one call of `run` did.

    Attributes:
        study, scale, device, store: what was run, where, and the folder of its results.
        cluster: how it was executed in the end; None is in-process.
        members: size of the grid.
        computed: members measured and stored by this call.
        done: members stored now.
        failures: chunks that could not be measured.
        damaged: files that were found damaged or foreign, and set aside if possible.
        seconds: wall time of the call.
    """

    study: str
    scale: str
    device: str
    store: Path
    cluster: str | None
    members: int
    computed: int
    done: int
    failures: tuple[Failure, ...]
    damaged: tuple[Damage, ...]
    seconds: float

    def summary(self) -> str:
        """The same for people, with one line for each problem."""
        lines = [
            f"{self.study} at scale {self.scale}: {self.done} of {self.members} "
            f"members stored, {self.computed} of them computed now on {self.device} "
            f"in {self.seconds:.0f} s"
        ]
        lines += [f"{_verb(d)} {d.path}: {d.reason}" for d in self.damaged]
        lines += [_told(failure) for failure in self.failures]
        return "\n".join(lines)


class SweepError(RuntimeError):
    """Some chunks failed; all others are stored. `report` says which and why."""

    def __init__(self, report: Report) -> None:
        details = report.failures[0].details
        super().__init__(f"{report.summary()}\n{details}".rstrip())
        self.report = report


@dataclass(frozen=True)
class Status:
    """How far a study has come.

    Attributes:
        study, scale, store: which study, and the folder of its results.
        total: members of the grid.
        done: members stored, however they ended.
        running: members that some process is working on now.
        missing: members not stored.
        truncated: stored members whose run was cut short; they support no claim.
        ended: stored members by how they ended.
        damaged: files that are no results; the next `run` sets them aside.
        estimated_seconds: one-core estimate for what is missing.
    """

    study: str
    scale: str
    store: Path
    total: int
    done: int
    running: int
    missing: int
    truncated: int
    ended: dict[str, int]
    damaged: tuple[Damage, ...]
    estimated_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self) | {
            "store": str(self.store),
            "damaged": [
                {"path": str(d.path), "reason": d.reason} for d in self.damaged
            ],
        }


def run(
    study: Study | str,
    scale: str = "laptop",
    device: str = "cpu",
    store: Path | str | None = None,
    cluster: str | None = None,
    progress: bool = True,
) -> Report:
    """Measure the members of a study that are not stored yet.

    Finished chunks are stored as they come, so that a run may be killed at any moment
    and called again: at most the chunk in hand is lost, and of a chunk that keeps
    checkpoints only what came after the last one. Damaged files are set aside and
    computed anew.

    Args:
        study: a study, or the name of a registered one.
        scale: which of its grids.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; ``"auto"`` is CUDA where present.
        store: folder of the store; by default ``$LAZYRICH_STORE``, else
            ``_build/store``.
        cluster: None measures in this process; ``"local:N"`` in N single-threaded
            worker processes (on a GPU machine: one a GPU); ``"auto"`` decides between
            these two; anything else is the address of a Dask scheduler.
        progress: show a progress bar on standard error.

    Raises:
        ValueError: no such study, scale, device or kind of cluster.
        SweepError: a chunk failed; raised after all the others have been stored.
        StoreError: results cannot be stored (disk full, read-only); what was stored is
            safe, and the same call goes on from there.
    """
    start = time.monotonic()
    study = find(study)
    at = study.scale(scale)
    place = check.device("device", device)
    kept = Store(study, scale, store)
    found = kept.look()
    damaged = [kept.set_aside(damage) for damage in found.damaged]
    kept.tidy()
    kept.list_all(found)
    grid = [coordinates(member) for member in at.members()]
    done = sum(key in found.status for key in grid)
    chunks = study.chunks(
        scale, place.type, lambda member: coordinates(member) not in found.status
    )
    missing = [member for chunk in chunks for member in chunk.members]
    seconds = study.estimate_seconds(scale, missing)
    cluster = clusters.choose(cluster, place.type, seconds, len(chunks))

    computed, shared = 0, 0
    failures: list[Failure] = []
    if chunks:
        kept.prepare()
        bar = tqdm(
            total=len(grid),
            initial=done,
            desc=study.name,
            unit="member",
            disable=not progress,
        )
        coming = _outcomes(study, chunks, kept, cluster, place)
        # Closing the generator ends the workers, also after an error or Ctrl-C here.
        with bar, contextlib.closing(coming):
            for outcome in coming:
                if outcome.store_error is not None:
                    raise outcome.store_error
                if outcome.failure is not None:
                    failures.append(outcome.failure)
                    bar.write(_told(outcome.failure), file=sys.stderr)
                    continue
                if outcome.packed is not None:
                    kept.put(*outcome.packed)
                    kept.checkpoint(outcome.chunk).clear()
                if outcome.elsewhere:
                    shared += len(outcome.chunk)
                else:
                    computed += len(outcome.chunk)
                bar.update(len(outcome.chunk))
    report = Report(
        study=study.name,
        scale=scale,
        device=str(place),
        store=kept.folder,
        cluster=cluster,
        members=len(grid),
        computed=computed,
        done=done + computed + shared,
        failures=tuple(failures),
        damaged=tuple(damaged),
        seconds=time.monotonic() - start,
    )
    if failures:
        raise SweepError(report)
    return report


def status(
    study: Study | str, scale: str = "laptop", store: Path | str | None = None
) -> Status:
    """How far a study has come. Reads and verifies every file, changes nothing.

    Raises:
        ValueError: no such study or scale.
    """
    study = find(study)
    members = study.scale(scale).members()
    kept = Store(study, scale, store)
    found = kept.look()
    ended = Counter(
        found.status[key] for key in map(coordinates, members) if key in found.status
    )
    missing = [m for m in members if coordinates(m) not in found.status]
    return Status(
        study=study.name,
        scale=scale,
        store=kept.folder,
        total=len(members),
        done=len(members) - len(missing),
        running=kept.running(),
        missing=len(missing),
        truncated=sum(n for word, n in ended.items() if word.startswith("truncated")),
        ended=dict(sorted(ended.items())),
        damaged=tuple(found.damaged),
        estimated_seconds=study.estimate_seconds(scale, missing),
    )


def load(
    study: Study | str, scale: str = "laptop", store: Path | str | None = None
) -> xr.Dataset:
    """The results of a study over its full grid.

    Returns:
        A dataset whose dimensions are the grid's axes, in their order, then those of
        the measurements. Missing members, and the ends of curves that are shorter than
        others, are NaN. The coordinate ``status`` says how every member ended
        (``missing`` where it has not been computed). Attributes: ``title``, ``scale``,
        ``settings``, ``members_done``, ``members_total``, and the provenance of the
        files; where files differ, the list of distinct values.

    Raises:
        ValueError: no such study or scale, or chunks that contradict one another.
    """
    study = find(study)
    at = study.scale(scale)
    kept = Store(study, scale, store)
    found = kept.look(keep_tables=True)
    for damage in found.damaged:
        warnings.warn(f"not loaded: {damage.path} is {damage.reason}", stacklevel=2)
    merged = tables.merge(found.tables, at)
    known = {
        "study": study.name,
        "title": study.title,
        "version": study.version,
        "scale": scale,
        "settings": canonical_json(at.settings),
        "members_done": int((merged["status"] != tables.MISSING).sum()),
        "members_total": len(at),
    }
    merged.attrs = tables.provenance(found.tables) | known
    return merged


def _outcomes(
    study: Study,
    chunks: Sequence[Chunk],
    store: Store,
    cluster: str | None,
    place: torch.device,
) -> Generator[Outcome]:
    """One outcome a chunk. What another run is at work on comes last: by then it is
    stored, or that run has ended and the chunk is ours."""
    wait = False
    while chunks:
        if cluster is not None:
            coming = clusters.outcomes(study, chunks, store, cluster, wait)
        else:
            coming = (
                work(study.measure, chunk, store, gpu=place.index, wait=wait)
                for chunk in chunks
            )
        later: list[Chunk] = []
        with contextlib.closing(coming):
            for outcome in coming:
                if outcome.elsewhere == "working":
                    later.append(outcome.chunk)
                else:
                    yield outcome
        chunks, wait = later, True


def _told(failure: Failure) -> str:
    return f"failed {failure.chunk}: {failure.error}"


def _verb(damage: Damage) -> str:
    return "set aside" if damage.set_aside else "damaged file left in place"
