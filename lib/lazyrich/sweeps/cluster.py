"""Handing chunks to Dask distributed: workers on this machine, or any scheduler."""

import contextlib
import os
import re
import socket
import uuid
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from lazyrich.sweeps.files import temporary_name, write_atomically
from lazyrich.sweeps.store import Store
from lazyrich.sweeps.study import Chunk, Study
from lazyrich.sweeps.work import Failure, Outcome, function_path, work

if TYPE_CHECKING:
    from distributed import Client

# Below this many estimated seconds, starting worker processes costs more than it saves.
WORTH_STARTING = 20.0
# Environment variable with the number of cores that a chapter of the book may use.
SHARE = "LAZYRICH_CORES"
# Seconds to wait for an answer of a scheduler.
PATIENCE = 5.0
_ADDRESS = re.compile(
    r"(?:(?P<kind>tcp|tls|ws|wss|ucx)://)?(?P<host>[\w.-]+|\[[\da-fA-F:.]+\]):(?P<port>\d+)"
)


def choose(cluster: str | None, device: str, seconds: float, chunks: int) -> str | None:
    """What ``cluster="auto"`` means for this much work; other values pass through.

    In-process on a GPU, for little work, and where Dask is not installed; otherwise one
    worker process for every core that is ours: chapters of the book that run side by side
    share them.
    """
    if cluster != "auto":
        if cluster is not None:
            check_address(cluster)
        return cluster
    workers = min(_cores(), chunks)
    if device == "cuda" or workers < 2 or seconds < WORTH_STARTING:
        return None
    try:
        import distributed  # noqa: F401
    except ImportError:
        return None
    return f"local:{workers}"


def check_address(cluster: str) -> None:
    """Refuse at once what is no cluster, however long a scheduler would be waited for.

    Raises:
        ValueError: neither ``local:N`` nor the address of a scheduler.
    """
    local = cluster.partition(":")[0] == "local"
    found = _ADDRESS.fullmatch(cluster)
    if not local and (found is None or int(found["port"]) > 65535):
        raise ValueError(
            "cluster must be 'local:N', 'auto' or the address of a Dask scheduler such "
            f"as 'tcp://host:8786', got {cluster!r}"
        )


def _reach(cluster: str) -> None:
    """Find out quickly whether anything listens at an address.

    Raises:
        OSError: nothing does; the message has the address.
    """
    found = _ADDRESS.fullmatch(cluster)
    assert found is not None
    host = found["host"].strip("[]")
    try:
        socket.create_connection((host, int(found["port"])), PATIENCE).close()
    except OSError as error:
        raise OSError(f"no scheduler answers at {cluster} ({error})") from error


def outcomes(
    study: Study,
    chunks: Sequence[Chunk],
    store: Store,
    cluster: str,
    wait: bool = False,
) -> Generator[Outcome]:
    """Measure chunks on a cluster, in the order given; outcomes come as they finish.

    A chunk whose worker dies is given to another one, several times before it counts as
    failed.

    Args:
        study: whose chunks they are; its `measure` must be importable.
        chunks: the work.
        store: where results go; workers that cannot see it send their results here.
        cluster: ``"local:N"``, or the address of a Dask scheduler.
        wait: for other runs that are at work on a chunk.

    Raises:
        ValueError: `cluster` is malformed, Dask is not installed, `measure` cannot be
            imported by a worker, or there are fewer GPUs than workers.
        OSError: no scheduler answers at the address.
    """
    path = function_path(study.measure)
    with _client(cluster, chunks[0].device) as client:
        from distributed import as_completed

        token = temporary_name()
        write_atomically(store.folder / token, b"")
        run = uuid.uuid4().hex[:8]  # a scheduler forgets no key that is still in use
        try:
            futures = {
                client.submit(
                    _work_on_worker,
                    path,
                    chunk,
                    store,
                    token,
                    wait,
                    key=f"{chunk.study}-{store.key(chunk.members)}-{run}",
                    priority=-order,
                    pure=False,
                ): chunk
                for order, chunk in enumerate(chunks)
            }
            for future in as_completed(futures, loop=client.loop):
                yield _outcome(future, futures.pop(future))
        finally:
            (store.folder / token).unlink(missing_ok=True)


def _work_on_worker(
    path: str, chunk: Chunk, store: Store, token: str, wait: bool
) -> Outcome:
    return work(path, chunk, store, token, _gpu_of_worker(chunk.device), wait)


def _gpu_of_worker(device: str) -> int | None:
    """One GPU a worker: local ones are named 0, 1, ...; others see only their own."""
    if device != "cuda":
        return None
    from distributed import get_worker

    name = str(get_worker().name)
    return int(name) % torch.cuda.device_count() if name.isdecimal() else 0


def _outcome(future, chunk: Chunk) -> Outcome:
    error = future.exception()
    if error is None:
        return future.result()
    text = f"{type(error).__name__}: {error}"
    return Outcome(chunk, failure=Failure(chunk.label, text))


@contextlib.contextmanager
def _client(cluster: str, device: str) -> "Iterator[Client]":
    try:
        from dask import config
        from distributed import Client, LocalCluster
    except ImportError:
        raise ValueError(
            f"cluster {cluster!r} needs Dask: pip install 'lazyrich[cluster]'"
        ) from None
    if not cluster.startswith("local"):
        check_address(cluster)
        _reach(cluster)
        try:
            client = Client(cluster, timeout=PATIENCE, set_as_default=False)
        except (OSError, TypeError, ValueError) as error:
            raise OSError(
                f"no Dask scheduler answers at {cluster} ({error})"
            ) from error
        with client:
            yield client
        return
    count = _local_workers(cluster, device)
    settings = {
        "distributed.scheduler.worker-ttl": None,  # a busy worker is not a dead one
        "distributed.nanny.pre-spawn-environ": {
            name: 1
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        },
    }
    with (
        config.set(settings),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            # No dashboard, and the scheduler's status pages on any free port.
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            memory_limit=0,
            silence_logs=50,
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


def _local_workers(cluster: str, device: str) -> int:
    kind, _, number = cluster.partition(":")
    if kind != "local" or not number.isdecimal() or int(number) < 1:
        raise ValueError(
            f"cluster must be 'local:N' with a positive number N, got {cluster!r}"
        )
    count = int(number)
    if device == "cuda" and count > torch.cuda.device_count():
        raise ValueError(
            f"cluster must have at most one worker a GPU, got {count} workers for "
            f"{torch.cuda.device_count()} GPUs"
        )
    return count


def _cores() -> int:
    """Cores of this process: of its machine, or its share if others run beside it."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    share = os.environ.get(SHARE, "")
    return min(cores, max(1, int(share))) if share.isdecimal() else cores
