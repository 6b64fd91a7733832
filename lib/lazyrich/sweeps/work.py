"""Measuring one chunk: the part of a sweep that happens on a worker."""

import contextlib
import functools
import importlib
import importlib.metadata
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from lazyrich.core.provenance import git_commit
from lazyrich.core.threads import one_thread
from lazyrich.sweeps import table as tables
from lazyrich.sweeps.checkpoint import Checkpoint
from lazyrich.sweeps.files import StoreError
from lazyrich.sweeps.manifest import Entry
from lazyrich.sweeps.store import Store
from lazyrich.sweeps.study import Chunk, Measure


@dataclass(frozen=True)
class Failure:
    """A chunk that could not be measured.

    Attributes:
        chunk: which members, in one line.
        error: the exception's name and message.
        details: its traceback.
    """

    chunk: str
    error: str
    details: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one chunk.

    Attributes:
        chunk: the members.
        packed: manifest entry and content of the file, where the worker could not store
            it.
        failure: why there is no result.
        store_error: set if the store refused a checkpoint.
        elsewhere: another run is at work on it (``"working"``), or has stored it
            (``"stored"``).
    """

    chunk: Chunk
    packed: tuple[Entry, bytes] | None = None
    failure: Failure | None = None
    store_error: StoreError | None = None
    elsewhere: str = ""


def function_path(measure: Measure) -> str:
    """``module:name``, by which another process finds a module-level function.

    Raises:
        ValueError: it cannot be found that way.
    """
    module = getattr(measure, "__module__", None)
    name = getattr(measure, "__qualname__", "<unnamed>")
    if module in (None, "__main__") or not name.isidentifier():
        raise ValueError(
            "measure must be a function at the top of an importable module to run on a "
            f"cluster, got {module}.{name}"
        )
    return f"{module}:{name}"


def resolve(path: str) -> Any:
    """The object at ``module:name``."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def work(
    measure: Measure | str,
    chunk: Chunk,
    store: Store,
    token: str | None = None,
    gpu: int | None = None,
    wait: bool = False,
) -> Outcome:
    """Measure one chunk and store it; whatever goes wrong is in the outcome.

    On a CPU one thread is used, so that sums, and with them results, do not depend on
    the machine; several cores are used by several workers.

    Args:
        measure: the study's function, or its path.
        chunk: the members.
        store: where results go.
        token: name of a file that the sender left in the store. Where it is not to be
            seen (on another machine), or where storing fails, the packed result is
            handed back.
        gpu: index of the CUDA device that ``"cuda"`` means.
        wait: until another run that is at work on the chunk has ended.
    """
    visible = token is None or (store.folder / token).is_file()
    checkpoint = store.checkpoint(chunk) if visible else Checkpoint(None)
    try:
        function = resolve(measure) if isinstance(measure, str) else measure
        with contextlib.ExitStack() as stack:
            if visible:
                if not stack.enter_context(store.claim(chunk, wait=wait)):
                    return Outcome(chunk, elsewhere="working")
                if store.has(chunk):
                    return Outcome(chunk, elsewhere="stored")
            stack.enter_context(_place(chunk.device, gpu))
            start = time.perf_counter()
            table = tables.check(function(chunk, checkpoint), chunk)
            attrs = _provenance(chunk, time.perf_counter() - start)
            packed = store.pack(chunk, table, attrs)
            if visible:  # stored while it is claimed
                with contextlib.suppress(StoreError):  # then the sender tries
                    store.put(*packed)
                    checkpoint.clear()
                    return Outcome(chunk)
    except StoreError as error:
        return Outcome(chunk, store_error=error)
    except Exception as error:
        return Outcome(chunk, failure=_failure(chunk, error))
    return Outcome(chunk, packed)


def _failure(chunk: Chunk, error: BaseException) -> Failure:
    details = "".join(traceback.format_exception(error))
    return Failure(chunk.label, f"{type(error).__name__}: {error}", details)


@contextlib.contextmanager
def _place(device: str, gpu: int | None) -> Iterator[None]:
    """Run on one thread, or on one GPU."""
    with torch.cuda.device(gpu) if device == "cuda" else one_thread():
        yield


def _provenance(chunk: Chunk, seconds: float) -> dict[str, Any]:
    """Where and with what a chunk was measured; no part of its identity."""
    cuda = chunk.device == "cuda"
    known = {
        "device": chunk.device,
        "device_name": torch.cuda.get_device_name() if cuda else "cpu",
        "dtype": chunk.settings.get("dtype"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "threads": torch.get_num_threads(),
        "torch_version": str(torch.__version__),
        "lazyrich_version": _version(),
        "git_commit": git_commit(),
    }
    return {name: value for name, value in known.items() if value is not None}


@functools.cache
def _version() -> str:
    return importlib.metadata.version("lazyrich")
