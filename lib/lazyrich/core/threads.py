"""One thread where the order of sums must not depend on the machine."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one CPU thread inside, and as many as before after it.

    Threads split sums: their number shows in the last digits of a result. It also pays:
    small decompositions are slower on threads that other processes want too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
