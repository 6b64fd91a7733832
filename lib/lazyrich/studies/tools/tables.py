"""Tables of studies, from the flows that their members followed."""

from collections.abc import Sequence

import xarray as xr

from lazyrich import sweeps
from lazyrich.dynamics import Trajectory


def of_flow(
    chunk: sweeps.Chunk, flow: Trajectory, keep: Sequence[str], source: str
) -> xr.Dataset:
    """The table of a chunk with what is kept of its flow, ready for more variables.

    Args:
        chunk: whose members the flow trained, in their order.
        flow: of one member of the ensemble a member of the chunk.
        keep: variables of ``flow.to_dataset()``.
        source: where the data came from.
    """
    table = flow.to_dataset()[list(keep)].drop_vars("alpha", errors="ignore")
    table.attrs = {"data": source}
    return table.assign_coords(chunk.coords)
