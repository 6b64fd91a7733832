"""Grids of measurements: what to compute, where it is kept, who computes it."""

from lazyrich.sweeps.study import (
    Chunk,
    Member,
    Scale,
    Study,
    find,
    register,
    registered,
)

__all__ = [
    "Chunk",
    "Member",
    "Scale",
    "Study",
    "find",
    "register",
    "registered",
]
