"""What all tests share: one build of the real book."""

import os

import pytest
import torch

from lazyrich.publish import Result, publish

# Processes side by side share the cores: threads of one would wait for those of another,
# which makes small operations a hundred times slower.
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.fixture(scope="session")
def built() -> Result:
    """The real book, executed and built as by ``make book``, which shares the work."""
    return publish()
