"""One chunk of every study where tensors made without a device hold no numbers.

torch's default device is "meta", the data are on the CPU: what is made without saying
where meets the data and fails, as it would on a GPU.
"""

import pytest
import torch
from studies.test_paper_settings import NoCheckpoint, smallest

from lazyrich import sweeps
from lazyrich.studies import catalogue

assert catalogue  # its import registers the studies


@pytest.mark.parametrize("name", sorted(sweeps.registered()))
def test_a_study_makes_its_tensors_where_its_data_are(name: str) -> None:
    study = sweeps.find(name)
    chunk = smallest(study)
    torch.set_default_device("meta")
    try:
        table = study.measure(chunk, NoCheckpoint())  # type: ignore[arg-type]
    finally:
        torch.set_default_device(None)
    assert table.sizes["member"] == len(chunk)
