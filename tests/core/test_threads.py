"""One thread for PyTorch and for NumPy, and the setting that comes back."""

import numpy as np
import torch
from threadpoolctl import threadpool_info

from lazyrich.core.threads import one_thread


def blas_threads() -> list[int]:
    return [
        lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"
    ]


def test_one_thread_inside_and_as_before_after_it() -> None:
    np.ones((2, 2)) @ np.ones(2)
    before, torch_before = blas_threads(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
            assert set(blas_threads()) <= {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(torch_before)
    assert blas_threads() == before
