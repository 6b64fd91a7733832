"""Tables of measurements: checked, packed as NetCDF bytes, merged over a grid."""

import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray as xr
from xarray.backends import H5NetCDFStore

from lazyrich.sweeps.study import Chunk, Member, Scale

# How NetCDF4 notes its dimensions in HDF5.
_HDF5_ATTRIBUTES = {
    "CLASS",
    "NAME",
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_NCProperties",
}

MISSING = "missing"
DONE = "done"


def check(table: Any, chunk: Chunk) -> xr.Dataset:
    """The table a study's `measure` returned, with the chunk's coordinates attached.

    Raises:
        TypeError: not a Dataset, or a variable of a kind NetCDF cannot hold.
        ValueError: the ``member`` dimension or an axis does not match the chunk.
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
    for name, variable in table.variables.items():
        if variable.dtype == object:
            if not all(isinstance(value, str) for value in variable.values.flat):
                raise TypeError(f"variable {name!r} must hold numbers or strings")
            table[name] = variable.astype(str)
        elif variable.dtype.kind not in "biufUMm":
            raise TypeError(
                f"variable {name!r} must hold numbers or strings, got {variable.dtype} "
                "(store real and imaginary parts of complex values apart)"
            )
    if "status" in table and table["status"].dims != ("member",):
        raise ValueError(f"status must lie along 'member', got {table['status'].dims}")
    status_words(table)
    return table


def status_words(table: xr.Dataset) -> list[str]:
    """How each member ended, in words; ``done`` where the table does not say.

    Raises:
        TypeError: integers without ``flag_values`` and ``flag_meanings``.
    """
    if "status" not in table:
        return [DONE] * table.sizes["member"]
    status = table["status"]
    if status.dtype.kind in "UO":
        return [str(word) for word in status.values]
    attrs = status.attrs
    if status.dtype.kind not in "iu" or not {"flag_values", "flag_meanings"} <= set(
        attrs
    ):
        raise TypeError(
            "status must be strings, or integers with attributes flag_values and "
            f"flag_meanings, got {status.dtype} with attributes {sorted(attrs)}"
        )
    values = np.atleast_1d(attrs["flag_values"]).tolist()
    words = dict(zip(values, str(attrs["flag_meanings"]).split(), strict=True))
    return [words.get(value, f"status {value}") for value in status.values.tolist()]


def encode(table: xr.Dataset) -> bytes:
    """NetCDF4 bytes; every array is compressed and carries Fletcher-32 checksums."""
    encoding: dict[str, dict[str, Any]] = {}
    table = table.copy()
    for name, variable in table.variables.items():
        variable.encoding = {}
        settings: dict[str, Any] = {}
        if variable.dtype.kind == "U":
            settings["dtype"] = "S1"  # fixed-size characters can carry checksums
        if variable.size and (variable.ndim or "dtype" in settings):
            settings.update(fletcher32=True, zlib=True, complevel=4, shuffle=True)
        encoding[str(name)] = settings
    buffer = io.BytesIO()
    # Not `to_netcdf`: inside a Dask worker that would take a lock from the cluster.
    with h5netcdf.File(buffer, "w") as file:
        unlocked = H5NetCDFStore(file, lock=False)  # pyright: ignore[reportArgumentType]
        table.dump_to_store(unlocked, encoding=encoding)
    return buffer.getvalue()


def decode(content: bytes, names: Collection[str] | None = None) -> xr.Dataset:
    """The table of some NetCDF4 bytes, in memory; with `names`, only these variables.

    Reads with h5py what `encode` wrote, which is several times faster than a general
    NetCDF reader, and leaves the conventions (characters, booleans, fill values) to
    xarray.

    Raises:
        ValueError: the bytes are no NetCDF4 file that can be read.
    """
    try:
        with h5py.File(io.BytesIO(content)) as file:
            variables = {
                name: (_dims(name, item, file), item[()], _attrs(item))
                for name, item in file.items()
                if (names is None or name in names) and not _bare_dimension(item)
            }
            return xr.decode_cf(xr.Dataset(variables, attrs=_attrs(file)))
    except Exception as error:  # HDF5 raises many kinds for bytes that are not its own
        raise ValueError(f"not a readable NetCDF4 file ({error})") from error


def _bare_dimension(item: Any) -> bool:
    """Whether an HDF5 dataset only declares the length of a dimension."""
    name = item.attrs.get("NAME", b"")
    return bytes(name).startswith(b"This is a netCDF dimension but not a netCDF")


def _dims(name: str, item: Any, file: Any) -> tuple[str, ...]:
    if "DIMENSION_LIST" not in item.attrs:  # a scalar, or a dimension's own labels
        return (name,) * item.ndim
    scales = item.attrs["DIMENSION_LIST"]
    return tuple(file[scale[0]].name.removeprefix("/") for scale in scales)


def _attrs(item: Any) -> dict[str, Any]:
    kept = {k: v for k, v in item.attrs.items() if k not in _HDF5_ATTRIBUTES}
    return {  # NetCDF has no scalars here: an array of one value is that value
        key: value[0] if isinstance(value, np.ndarray) and value.size == 1 else value
        for key, value in kept.items()
    }


def members_of(table: xr.Dataset, axes: Iterable[str]) -> list[Member]:
    """Coordinates of every member of a stored table.

    Raises:
        ValueError: an axis is missing.
    """
    columns = {}
    for axis in axes:
        if axis not in table.variables or table[axis].dims != ("member",):
            raise ValueError(f"no axis {axis!r} along 'member'")
        columns[axis] = table[axis].values.tolist()
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]


def merge(tables: Sequence[xr.Dataset], at: Scale) -> xr.Dataset:
    """One table over the full grid from tables over a few members each.

    Where two tables hold the same member the first counts. Missing members and the ends
    of arrays that are shorter than others are NaN (integers and booleans then become
    floats), empty strings for strings. Along further dimensions arrays are aligned by
    position; where labels disagree, by label.

    Raises:
        ValueError: a variable without ``member``, or its dimensions, differ.
    """
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
    sizes = _sizes(tables, labels)
    for dim, values in labels.items():
        merged = merged.assign_coords({dim: (dim, values)})
    names = dict.fromkeys(str(name) for table in tables for name in table.variables)
    for name in names:
        if name in at.grid or name in labels or name == "status":
            continue
        having = [k for k, table in enumerate(tables) if name in table.variables]
        dims = _agreed_dims(name, [tables[k] for k in having])
        first = tables[having[0]][name]
        if "member" not in dims:
            if any(not first.identical(tables[k][name]) for k in having[1:]):
                raise ValueError(
                    f"variable {name!r} has no dimension 'member' and differs between "
                    "chunks"
                )
            merged[name] = first.variable
        else:
            inner = [dim for dim in dims if dim != "member"]
            whole = len(taken) == len(at) and all(
                name in table.variables
                and all(table.sizes[dim] == sizes[dim] for dim in inner)
                for table in tables
            )
            dtypes = [tables[k][name].dtype for k in having]
            full = _blank((len(at), *(sizes[dim] for dim in inner)), dtypes, whole)
            for k in having:
                values = tables[k][name].transpose("member", *inner).values[rows[k]]
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
    tables: Sequence[xr.Dataset],
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


def _agreed_dims(name: str, tables: Sequence[xr.Dataset]) -> tuple[str, ...]:
    kinds = {frozenset(map(str, table[name].dims)) for table in tables}
    if len(kinds) > 1:
        raise ValueError(f"variable {name!r} has different dimensions between chunks")
    return tuple(map(str, tables[0][name].dims))


def _align(
    tables: Sequence[xr.Dataset],
) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Labels of each inner dimension, and where each table's entries go along it.

    Labels that continue one another are aligned by position (the longest wins); others
    are joined, sorted.
    """
    labels: dict[str, np.ndarray] = {}
    positions: list[dict[str, np.ndarray]] = [{} for _ in tables]
    dims = dict.fromkeys(str(d) for t in tables for d in t.indexes if d in t.dims)
    for dim in dims:
        if not all(dim in table.indexes for table in tables if dim in table.dims):
            raise ValueError(f"dimension {dim!r} has labels in some chunks only")
        given = {k: t[dim].values for k, t in enumerate(tables) if dim in t.indexes}
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


def _sizes(
    tables: Sequence[xr.Dataset], labels: Mapping[str, np.ndarray]
) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for table in tables:
        for dim, size in table.sizes.items():
            sizes[str(dim)] = max(size, sizes.get(str(dim), 0))
    return sizes | {dim: len(values) for dim, values in labels.items()}


def _blank(
    shape: tuple[int, ...], dtypes: Sequence[np.dtype], whole: bool
) -> np.ndarray:
    """An array to be filled; all of it "missing" unless every entry will be filled."""
    dtype = np.result_type(*dtypes)
    if dtype.kind == "U":
        return np.full(shape, "", dtype)
    if dtype.kind in "mM":
        return np.full(shape, "NaT", dtype)
    if dtype.kind != "f" and not whole:
        dtype = np.dtype(np.float64)
    return np.full(shape, np.nan if dtype.kind == "f" else 0, dtype)


def provenance(tables: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Attributes of many tables in one.

    ``seconds`` is their sum and ``date`` the latest; of any other attribute on which
    they differ, all distinct values are listed.
    """
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for table in tables for name in table.attrs):
        values = [_plain(table.attrs[name]) for table in tables if name in table.attrs]
        if name in ("seconds", "date"):
            merged[name] = sum(values) if name == "seconds" else max(values)
            continue
        distinct = list({json.dumps(v, sort_keys=True): v for v in values}.values())
        merged[name] = distinct[0] if len(distinct) == 1 else distinct
    return merged


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
