"""One thread for PyTorch and for NumPy, and the setting that comes back."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from lazyrich.core.threads import one_thread


def blas_threads() -> list[int]:
    return [
        lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"
    ]


def test_one_thread_inside_and_as_before_after_it() -> None:
    np.ones((2, 2)) @ np.ones(2)
    torch_before = torch.get_num_threads()
    # whatever the environment of the tests says
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        assert set(before) == {2}, "else there would be nothing to limit"
        try:
            torch.set_num_threads(2)
            with one_thread():
                assert torch.get_num_threads() == 1
                assert set(blas_threads()) == {1}
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(torch_before)
        assert blas_threads() == before


def test_what_threads_may_change(tmp_path: Path) -> None:
    """One and two threads: the same bits where they are promised, else roundings."""
    script = Path(__file__).with_name("threads_script.py")
    found = []
    for threads in ("1", "2"):
        file = tmp_path / threads
        environment = os.environ | {"OMP_NUM_THREADS": threads}
        subprocess.run(
            [sys.executable, str(script), threads, str(file)],
            check=True,
            env=environment,
        )
        found.append(torch.load(file))
    one, two = found
    for name, value in one.items():
        if name.startswith("same/"):
            assert torch.equal(value, two[name]), name
        else:
            size = float(value.abs().max())
            assert float((value - two[name]).abs().max()) < 1e-13 * size, name
