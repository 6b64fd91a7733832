"""Grids of measurements: what to compute, where it is kept, who computes it."""

from lazyrich.sweeps.checkpoint import Checkpoint
from lazyrich.sweeps.files import StoreError
from lazyrich.sweeps.store import default_store
from lazyrich.sweeps.study import (
    Chunk,
    Member,
    Scale,
    Settings,
    Study,
    find,
    left_open,
    register,
    registered,
)
from lazyrich.sweeps.sweep import Report, Status, SweepError, load, run, status

__all__ = [
    "Checkpoint",
    "Chunk",
    "Member",
    "Report",
    "Scale",
    "Settings",
    "Status",
    "StoreError",
    "Study",
    "SweepError",
    "default_store",
    "find",
    "left_open",
    "load",
    "register",
    "registered",
    "run",
    "status",
]
