"""Tables of measurements: checked, merged over a grid."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from lazyrich.sweeps import netcdf
from lazyrich.sweeps.netcdf import Table
from lazyrich.sweeps.study import Chunk, Member, Scale

MISSING = "missing"
DONE = "done"


def check(table: Any, chunk: Chunk) -> xr.Dataset:
    """The table a study's `measure` returned, with the chunk's coordinates attached.

    Raises:
        TypeError: not a Dataset, or a variable or attribute that NetCDF cannot hold.
        ValueError: the ``member`` dimension or an axis does not match the chunk, or a
            name or attribute means something else to NetCDF.
    """
    if not isinstance(table, xr.Dataset):
        raise TypeError(
            f"measure must return an xarray.Dataset, got {type(table).__name__}"
        )
    if table.sizes.get("member") != len(chunk):
        raise ValueError(
            f"measure must return a dimension 'member' of length {len(chunk)}, "
            f"got dimensions {dict(table.sizes)}"
        )
    for axis, (_, values) in chunk.coords.items():
        if axis in table.dims:
            raise ValueError(f"dimension {axis!r} of the table is an axis of the grid")
        if axis in table.variables and not (
            table[axis].dims == ("member",) and np.array_equal(table[axis], values)
        ):
            raise ValueError(f"variable {axis!r} differs from the chunk's coordinates")
    table = table.reset_coords(drop=False) if "status" in table.coords else table
    table = table.drop_vars("member", errors="ignore").assign_coords(chunk.coords)
    table = netcdf.storable(table)
    if "status" in table and table["status"].dims != ("member",):
        raise ValueError(f"status must lie along 'member', got {table['status'].dims}")
    status_words(table)
    return table


def status_words(table: Table | xr.Dataset) -> list[str]:
    """How each member ended, in words; ``done`` where the table does not say.

    Raises:
        TypeError: integers without ``flag_values`` and ``flag_meanings``.
    """
    table = Table.of(table)
    if "status" not in table:
        return [DONE] * table.sizes["member"]
    _, values, attrs = table["status"]
    if values.dtype.kind in "UO":
        return [str(word) for word in values]
    if values.dtype.kind not in "iu" or not {"flag_values", "flag_meanings"} <= set(
        attrs
    ):
        raise TypeError(
            "status must be strings, or integers with attributes flag_values and "
            f"flag_meanings, got {values.dtype} with attributes {sorted(attrs)}"
        )
    flags = np.atleast_1d(attrs["flag_values"]).tolist()
    words = dict(zip(flags, str(attrs["flag_meanings"]).split(), strict=True))
    return [words.get(value, f"status {value}") for value in values.tolist()]


def members_of(table: Table | xr.Dataset, axes: Iterable[str]) -> list[Member]:
    """Coordinates of every member of a stored table.

    Raises:
        ValueError: an axis is missing.
    """
    table = Table.of(table)
    columns = {}
    for axis in axes:
        if axis not in table or table[axis].dims != ("member",):
            raise ValueError(f"no axis {axis!r} along 'member'")
        columns[axis] = table[axis].values.tolist()
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]


def merge(found: Sequence[Table | xr.Dataset], at: Scale) -> xr.Dataset:
    """One table over the full grid from tables over a few members each.

    Where two tables hold the same member the first counts. Missing members and the ends
    of arrays that are shorter than others are NaN (integers and booleans then become
    floats), empty strings for strings. Along further dimensions arrays are aligned by
    position; where labels disagree, by label.

    Raises:
        ValueError: a variable without ``member``, or its dimensions, differ.
    """
    tables = [Table.of(table) for table in found]
    grid_index = {tuple(m.values()): i for i, m in enumerate(at.members())}
    rows: list[np.ndarray] = []  # of each table, which members are used
    places: list[np.ndarray] = []  # and where in the grid they go
    taken: set[int] = set()
    for table in tables:
        row, place = [], []
        for i, member in enumerate(members_of(table, at.grid)):
            index = grid_index.get(tuple(member.values()))
            if index is not None and index not in taken:
                taken.add(index)
                row.append(i)
                place.append(index)
        rows.append(np.array(row, dtype=int))
        places.append(np.array(place, dtype=int))
    used = [k for k in range(len(tables)) if len(rows[k])]
    tables = [tables[k] for k in used]
    rows, places = [rows[k] for k in used], [places[k] for k in used]

    merged = xr.Dataset(coords={axis: list(v) for axis, v in at.grid.items()})
    labels, positions = _align(tables)
    each = [table.sizes for table in tables]
    sizes = _longest(each) | {dim: len(values) for dim, values in labels.items()}
    for dim, values in labels.items():
        merged = merged.assign_coords({dim: (dim, values)})
    for name in dict.fromkeys(name for table in tables for name in table.variables):
        if name in at.grid or name in labels or name == "status":
            continue
        having = [k for k, table in enumerate(tables) if name in table]
        dims = _agreed_dims(name, [tables[k] for k in having])
        first = tables[having[0]][name]
        if "member" not in dims:
            if any(not netcdf.same(first, tables[k][name]) for k in having[1:]):
                raise ValueError(
                    f"variable {name!r} has no dimension 'member' and differs between "
                    "chunks"
                )
            merged[name] = first
        else:
            inner = [dim for dim in dims if dim != "member"]
            whole = len(taken) == len(at) and all(
                name in table and all(own[dim] == sizes[dim] for dim in inner)
                for table, own in zip(tables, each, strict=True)
            )
            dtypes = list({tables[k][name].values.dtype for k in having})
            full = _blank((len(at), *(sizes[dim] for dim in inner)), dtypes, whole)
            for k in having:
                own_dims, values, _ = tables[k][name]
                order = [own_dims.index(dim) for dim in ("member", *inner)]
                values = values.transpose(order)[rows[k]]
                where = [
                    positions[k][d] if d in labels else np.arange(values.shape[i])
                    for i, d in enumerate(inner, start=1)
                ]
                full[np.ix_(places[k], *where)] = values
            full = full.reshape(*at.shape.values(), *full.shape[1:])
            merged[name] = ((*at.grid, *inner), full, first.attrs)
        if all(name in tables[k].coords for k in having):
            merged = merged.set_coords(name)
    return merged.assign_coords(
        status=(tuple(at.grid), _status(tables, rows, places, at))
    )


def _status(
    tables: Sequence[Table],
    rows: Sequence[np.ndarray],
    places: Sequence[np.ndarray],
    at: Scale,
) -> np.ndarray:
    words = [MISSING] * len(at)
    for table, row, place in zip(tables, rows, places, strict=True):
        ended = status_words(table)
        for i, index in zip(row, place, strict=True):
            words[index] = ended[i]
    return np.array(words).reshape(tuple(at.shape.values()))


def _agreed_dims(name: str, tables: Sequence[Table]) -> tuple[str, ...]:
    first = tables[0][name].dims
    if any(set(table[name].dims) != set(first) for table in tables):
        raise ValueError(f"variable {name!r} has different dimensions between chunks")
    return first


def _align(
    tables: Sequence[Table],
) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Labels of each inner dimension, and where each table's entries go along it.

    Labels that continue one another are aligned by position (the longest wins); others
    are joined, sorted.
    """
    labels: dict[str, np.ndarray] = {}
    positions: list[dict[str, np.ndarray]] = [{} for _ in tables]
    dims = dict.fromkeys(
        name
        for t in tables
        for name, item in t.variables.items()
        if item.dims == (name,)
    )
    for dim in dims:
        if not all(dim in table for table in tables if dim in table.sizes):
            raise ValueError(f"dimension {dim!r} has labels in some chunks only")
        given = {k: t[dim].values for k, t in enumerate(tables) if dim in t}
        longest = max(given.values(), key=len)
        if all(np.array_equal(v, longest[: len(v)]) for v in given.values()):
            labels[dim] = longest
            for k, values in given.items():
                positions[k][dim] = np.arange(len(values))
        else:
            labels[dim] = np.unique(np.concatenate(list(given.values())))
            for k, values in given.items():
                positions[k][dim] = np.searchsorted(labels[dim], values)
    return labels, positions


def _longest(each: Sequence[Mapping[str, int]]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for own in each:
        for dim, size in own.items():
            sizes[dim] = max(size, sizes.get(dim, 0))
    return sizes


def _blank(
    shape: tuple[int, ...], dtypes: Sequence[np.dtype], whole: bool
) -> np.ndarray:
    """An array to be filled; all of it "missing" unless every entry will be filled."""
    dtype = np.result_type(*dtypes)
    if dtype.kind == "U":
        return np.full(shape, "", dtype)
    if dtype.kind != "f" and not whole:
        dtype = np.dtype(np.float64)
    return np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)


def provenance(tables: Sequence[Table | xr.Dataset]) -> dict[str, Any]:
    """Attributes of many tables in one.

    ``seconds`` is their sum and ``date`` the latest; of any other attribute on which
    they differ, all distinct values are listed.
    """
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(str(name) for table in tables for name in table.attrs):
        values = [_plain(table.attrs[name]) for table in tables if name in table.attrs]
        if name in ("seconds", "date"):
            merged[name] = sum(values) if name == "seconds" else max(values)
            continue
        distinct = list({json.dumps(v, sort_keys=True): v for v in values}.values())
        merged[name] = distinct[0] if len(distinct) == 1 else distinct
    return merged


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
