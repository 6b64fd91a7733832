"""One thread where the order of sums must not depend on the machine."""

import contextlib
from collections.abc import Iterator
from functools import cache

import torch
from threadpoolctl import ThreadpoolController


@cache
def _libraries() -> ThreadpoolController:
    """The linear algebra behind NumPy and SciPy; finding it takes milliseconds."""
    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch and NumPy use one CPU thread inside, and as many as before after it.

    Threads split sums: their number shows in the last digits of a result. It also pays:
    small decompositions are slower on threads that other processes want too.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _libraries().limit(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)
