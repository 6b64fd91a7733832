"""A table as the bytes of a self-describing NetCDF4 file, and back.

Files hold few numbers and there are many of them, so the cost of a file is what counts.
They are laid out with HDF5's own calls as NetCDF4 asks for (dimension scales, lists of
dimensions, character arrays with a last dimension for their length, booleans as bytes
with ``dtype = "bool"``), and any NetCDF program reads them. What a NetCDF program would
read differently from how it was written is refused by name, and ``pack`` reads its own
bytes back before it hands them out.
"""

import contextlib
import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h5py
import numpy as np
import xarray as xr
from h5py import h5i, h5o  # pyright: ignore[reportAttributeAccessIssue]

LARGE = 4096
"""Arrays of at least so many bytes are compressed and carry Fletcher-32 checksums."""

_BARE = "This is a netCDF dimension but not a netCDF variable."
_JSON = "json_attributes"
_LAYOUT = "layout"
_LONGEST = 60_000  # bytes of an attribute; longer ones do not fit where HDF5 keeps them
# How NetCDF4 notes its dimensions in HDF5.
_HDF5 = {
    "CLASS",
    "NAME",
    "DIMENSION_LIST",
    "REFERENCE_LIST",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_NCProperties",
}
# Attributes that the conventions of NetCDF turn into other values, types or names.
_INTERPRETED = {
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "valid_range",
    "valid_min",
    "valid_max",
    "_Unsigned",
    "_Encoding",
    "dtype",
    "coordinates",
    "grid_mapping",
    "bounds",
    "cell_measures",
    "formula_terms",
    _JSON,
    _LAYOUT,
    *_HDF5,
}


class Variable(NamedTuple):
    """An array with names for its axes, and what is noted about it."""

    dims: tuple[str, ...]
    values: np.ndarray
    attrs: dict[str, Any]


@dataclass
class Table:
    """What an `xarray.Dataset` holds, without what makes thousands of them slow.

    Attributes:
        variables: all arrays by name, labels of dimensions included.
        coords: names of those that are coordinates.
        attrs: what is noted about the whole.
    """

    variables: dict[str, Variable]
    coords: set[str] = field(default_factory=set)
    attrs: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: "xr.Dataset | Table") -> "Table":
        """The same table; arrays are shared."""
        if isinstance(dataset, Table):
            return dataset
        variables = {
            str(name): Variable(
                tuple(map(str, item.dims)), item.values, dict(item.attrs)
            )
            for name, item in dataset.variables.items()
        }
        return cls(variables, set(map(str, dataset.coords)), dict(dataset.attrs))

    def to_xarray(self) -> xr.Dataset:
        """The same table for xarray."""
        found = xr.Dataset(dict(self.variables), attrs=self.attrs)
        return found.set_coords(sorted(self.coords))

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every dimension."""
        return {
            dim: size
            for item in self.variables.values()
            for dim, size in zip(item.dims, item.values.shape, strict=True)
        }

    def __contains__(self, name: str) -> bool:
        return name in self.variables

    def __getitem__(self, name: str) -> Variable:
        return self.variables[name]


def storable(table: xr.Dataset) -> xr.Dataset:
    """The table in types that NetCDF has: strings, whole numbers, floats, booleans.

    Half-precision numbers become single ones, which hold each of them exactly.

    Raises:
        TypeError, ValueError: something that would not come back as it was written; the
            message names the variable or attribute.
    """
    for name in [*table.variables, *table.dims]:
        if not isinstance(name, str) or not name.strip() or "/" in name:
            raise ValueError(
                f"variable {name!r} must have a name without '/', as NetCDF asks for"
            )
        if name in table.coords and any(letter.isspace() for letter in name):
            raise ValueError(f"coordinate {name!r} must have a name without blanks")
    _check_attributes("the table", table.attrs)
    changed = {}
    for name, variable in table.variables.items():
        what = f"variable {name!r}"
        _check_attributes(what, variable.attrs)
        dtype = variable.dtype
        if dtype.kind == "O":
            if not all(isinstance(value, str) for value in variable.values.flat):
                raise TypeError(f"{what} must hold numbers or strings")
            if any(value.endswith("\0") for value in variable.values.flat):
                raise ValueError(f"{what} must not hold text that ends in NUL")
            changed[name] = variable.astype(str)
        elif dtype.kind in "Mm":
            raise TypeError(
                f"{what} must hold numbers or strings, got {dtype} (store seconds, or "
                "dates as text)"
            )
        elif dtype.kind not in "biufU":
            raise TypeError(
                f"{what} must hold numbers or strings, got {dtype} (store real and "
                "imaginary parts of complex values apart)"
            )
        elif dtype.kind == "f" and dtype.itemsize > 8:
            raise TypeError(f"{what} must be float64 or narrower, got {dtype}")
        elif dtype == np.float16:
            changed[name] = variable.astype(np.float32)
        elif not dtype.isnative:
            changed[name] = variable.astype(dtype.newbyteorder("="))
    if not changed:
        return table
    coords = {name for name in changed if name in table.coords}
    table = table.assign_coords({name: changed.pop(name) for name in coords})
    return table.assign(changed)


def _check_attributes(what: str, attrs: Mapping[Any, Any]) -> None:
    for name, value in attrs.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"attribute {name!r} of {what} must have a plain name")
        if name in _INTERPRETED or (name == "units" and " since " in str(value)):
            raise ValueError(
                f"attribute {name!r} of {what} would change what is read back: NetCDF "
                "gives it a meaning; choose another name"
            )
        _attribute(what, name, value)


def _attribute(what: str, name: str, value: Any) -> tuple[Any, bool]:
    """The value as HDF5 takes it, and whether that is JSON."""
    plain = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "iuf"
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError(f"attribute {name!r} of {what} must not contain NUL")
        value.encode()
        return value, False
    if plain and value.size:
        return value, False
    if isinstance(value, float):
        return value, False
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value, False
    if isinstance(value, np.bool_):
        value = bool(value)
    if isinstance(value, list | tuple) and {type(v) for v in value} in ({int}, {float}):
        with contextlib.suppress(OverflowError):
            return np.array(value, dtype=type(value[0])), False
    try:
        return json.dumps(value), True
    except (TypeError, ValueError):
        raise TypeError(
            f"attribute {name!r} of {what} must be a string, a number, an array of "
            f"numbers or JSON, got {type(value).__name__}"
        ) from None


def pack(table: Table | xr.Dataset) -> bytes:
    """NetCDF4 bytes of a table of storable types, read back and compared.

    Raises:
        ValueError: something would not come back as it was; the message names it.
    """
    table = Table.of(table)
    content = _write(table)
    _compare(table, unpack(content))
    return content


def _compare(wrote: Table, read: Table) -> None:
    for name in wrote.variables.keys() | read.variables.keys():
        if name not in read or name not in wrote or not same(wrote[name], read[name]):
            raise ValueError(f"variable {name!r} would not be read back as it is")
    if wrote.coords != read.coords:
        odd = ", ".join(sorted(wrote.coords ^ read.coords))
        raise ValueError(f"coordinates would not be read back as they are: {odd}")
    if _told(wrote.attrs) != _told(read.attrs):
        raise ValueError("attributes of the table would not be read back as they are")


def same(one: Variable, two: Variable) -> bool:
    """Whether two variables are equal to the last bit of value and note."""
    return (
        one.dims == two.dims
        and one.values.shape == two.values.shape
        and one.values.dtype.kind == two.values.dtype.kind
        and (
            np.array_equal(one.values, two.values)
            or (
                one.values.dtype.kind == "f"
                and np.array_equal(one.values, two.values, equal_nan=True)
            )
        )
        and ((not one.attrs and not two.attrs) or _told(one.attrs) == _told(two.attrs))
    )


def _told(attrs: Mapping[str, Any]) -> str:
    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

    def short(value: Any) -> Any:
        found = plain(value)
        # NetCDF knows no difference between a number and an array of one
        return found[0] if isinstance(found, list) and len(found) == 1 else found

    return json.dumps({k: short(v) for k, v in attrs.items()}, sort_keys=True)


# ------------------------------------------------------------------------- writing


def _write(table: Table) -> bytes:
    sizes: dict[str, int] = {}
    plain: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]] = {}
    for name, (dims, values, attrs) in table.variables.items():
        if values.dtype.kind == "U":
            dims, values, attrs = _characters(dims, values, attrs)
        elif values.dtype.kind == "b":
            values, attrs = values.astype(np.int8), {**attrs, "dtype": "bool"}
        plain[name] = (dims, np.ascontiguousarray(values).reshape(values.shape), attrs)
        for dim, size in zip(dims, values.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"dimension {dim!r} of variable {name!r} has two sizes"
                )
    labels = {n for n, (dims, _, _) in plain.items() if dims == (n,)}
    for name in plain.keys() & sizes.keys() - labels:
        raise ValueError(
            f"variable {name!r} is named like a dimension that it is not of"
        )
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(64 * 1024, False)
    file = h5py.h5f.create(b"table", h5py.h5f.ACC_TRUNC, fapl=access)
    try:
        top = h5py.h5g.open(file, b"/")
        scales: dict[str, h5py.h5d.DatasetID] = {}
        for number, (dim, size) in enumerate(sizes.items()):
            if dim in plain and dim in labels:
                scale = _dataset(top, dim, plain[dim][1])
                h5py.h5ds.set_scale(scale, dim.encode())
            else:
                space = h5py.h5s.create_simple((size,), (size,))
                scale = h5py.h5d.create(top, dim.encode(), h5py.h5t.IEEE_F32BE, space)
                h5py.h5ds.set_scale(scale, f"{_BARE}{size:10d}".encode())
            _note(scale, "_Netcdf4Dimid", np.int32(number))
            scales[dim] = scale
        for name, (dims, values, attrs) in plain.items():
            item = scales[name] if name in labels else _dataset(top, name, values)
            if name not in labels:
                for axis, dim in enumerate(dims):
                    h5py.h5ds.attach_scale(item, scales[dim], axis)
            _note_all(item, f"variable {name!r}", attrs)
        coords = " ".join(sorted(table.coords - labels))
        _note_all(top, "the table", table.attrs)
        if coords:
            _note(top, "coordinates", coords)
        layout = _layout(table)
        if len(layout) < _LONGEST:
            _note(top, _LAYOUT, layout)
        h5py.h5f.flush(file)
        return file.get_file_image()
    finally:
        file.close()


def _layout(table: Table) -> str:
    """What readers of HDF5 find out piece by piece, in one piece for our own reader."""
    arrays = [
        k for k, v in table.attrs.items() if isinstance(v, np.ndarray | np.number)
    ]
    return json.dumps(
        {
            "variables": {
                name: {"dims": dims, "kind": values.dtype.kind, "noted": bool(attrs)}
                for name, (dims, values, attrs) in table.variables.items()
            },
            "coords": sorted(table.coords),
            "attrs": {k: v for k, v in table.attrs.items() if k not in arrays},
            "arrays": arrays,
        },
        default=bool,  # NumPy's booleans; all else has been checked
    )


def _characters(
    dims: tuple[str, ...], values: np.ndarray, attrs: dict[str, Any]
) -> tuple[tuple[str, ...], np.ndarray, dict[str, Any]]:
    """Text as bytes of UTF-8, with a last axis for them."""
    coded = [str(word).encode() for word in values.ravel()]
    length = max((len(word) for word in coded), default=0) or 1
    letters = np.array(coded, dtype=f"S{length}").view("S1")
    shape = (*values.shape, length)
    return (*dims, f"string{length}"), letters.reshape(shape), {
        **attrs, "_Encoding": "utf-8",
    }  # fmt: skip


# Made once: making them costs as much as writing what they describe.
_ONE = h5py.h5s.create(h5py.h5s.SCALAR)


@functools.cache
def _kind(dtype: np.dtype) -> h5py.h5t.TypeID:
    return h5py.h5t.py_create(dtype, logical=False)


@functools.cache
def _text_of(length: int) -> h5py.h5t.TypeStringID:
    """UTF-8 of so many bytes."""
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(max(length, 1))
    kind.set_strpad(h5py.h5t.STR_NULLPAD if length else h5py.h5t.STR_NULLTERM)
    kind.set_cset(h5py.h5t.CSET_UTF8)
    return kind


def _dataset(top: Any, name: str, values: np.ndarray) -> h5py.h5d.DatasetID:
    kind = _kind(values.dtype)
    settings = None
    if values.nbytes >= LARGE:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk(values.shape)
        settings.set_shuffle()
        settings.set_deflate(4)
        settings.set_fletcher32()
    space = h5py.h5s.create_simple(values.shape) if values.ndim else _ONE
    item = h5py.h5d.create(top, name.encode(), kind, space, settings)
    if values.size:
        item.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return item


def _note_all(item: Any, what: str, attrs: Mapping[str, Any]) -> None:
    texts = []
    for name, value in attrs.items():
        told, is_json = _attribute(what, name, value)
        _note(item, name, told)
        if is_json:
            texts.append(name)
    if texts:
        _note(item, _JSON, json.dumps(texts))


def _note(item: Any, name: str, value: Any) -> None:
    if isinstance(value, str):
        data = value.encode()
        kind = _text_of(len(data))
        array = np.array(data, dtype=f"S{max(len(data), 1)}")
        if len(data) > _LONGEST:
            raise ValueError(
                f"attribute {name!r} must be at most {_LONGEST} bytes long"
            )
        h5py.h5a.create(item, name.encode(), kind, _ONE).write(array, mtype=kind)
        return
    array = np.asarray(value)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    array = np.ascontiguousarray(array).reshape(array.shape)
    space = h5py.h5s.create_simple(array.shape) if array.ndim else _ONE
    h5py.h5a.create(item, name.encode(), _kind(array.dtype), space).write(array)


# ------------------------------------------------------------------------- reading


def unpack(content: bytes, names: Collection[str] | None = None) -> Table:
    """The table of some NetCDF4 bytes; with ``names``, only these variables.

    Raises:
        ValueError: the bytes are no NetCDF4 file that can be read.
        MemoryError, ImportError: the machine could not; the file may be sound.
    """
    try:
        return _read(content, names)
    except (MemoryError, ImportError):
        raise
    except Exception as error:  # HDF5 raises many kinds for bytes that are not its own
        raise ValueError(f"not a readable NetCDF4 file ({error})") from error


def _read(content: bytes, names: Collection[str] | None) -> Table:
    file = h5py.h5f.open_file_image(content)
    try:
        top = h5py.h5g.open(file, b"/")
        if h5py.h5a.exists(top, _LAYOUT.encode()):
            return _by_layout(top, names)
        raw: dict[str, Variable] = {}
        for coded in top:
            name = coded.decode()
            item = h5o.open(top, coded)
            if not isinstance(item, h5py.h5d.DatasetID):
                continue
            attrs = _attributes(item)
            if str(attrs.get("NAME", "")).startswith(_BARE):
                continue
            if names is not None and name not in names:
                continue
            raw[name] = Variable(_dims(name, item), _values(item), attrs)
        attrs = _attributes(top)
    finally:
        file.close()
    if any(_foreign(item) for item in raw.values()):
        return _by_conventions(raw, attrs)
    coords = {word for word in str(attrs.pop("coordinates", "")).split() if word in raw}
    variables: dict[str, Variable] = {}
    for name, item in raw.items():
        variables[name] = _decoded(item, coords, raw)
        if variables[name].dims == (name,):
            coords.add(name)
    return Table(variables, coords, _clean(attrs))


def _by_layout(top: h5py.h5g.GroupID, names: Collection[str] | None) -> Table:
    """What ``_write`` wrote, as its layout says."""
    layout = json.loads(_attribute_value(h5py.h5a.open(top, _LAYOUT.encode())))
    variables = {}
    for name, told in layout["variables"].items():
        if names is not None and name not in names:
            continue
        item = h5py.h5d.open(top, name.encode())
        values = _values(item)
        if told["kind"] == "U":
            values = _text(values)
        elif told["kind"] == "b":
            values = values.astype(bool)
        attrs = _clean(_attributes(item)) if told["noted"] else {}
        for own in ("_Encoding", "dtype"):
            attrs.pop(own, None)
        variables[name] = Variable(tuple(told["dims"]), values, attrs)
    attrs = layout["attrs"]
    for name in layout["arrays"]:
        attrs[name] = _attribute_value(h5py.h5a.open(top, name.encode()))
    return Table(variables, set(layout["coords"]) & variables.keys(), attrs)


def _values(item: h5py.h5d.DatasetID) -> np.ndarray:
    values = np.empty(item.shape, item.dtype)
    if values.size:
        item.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def _dims(name: str, item: h5py.h5d.DatasetID) -> tuple[str, ...]:
    if not h5py.h5a.exists(item, b"DIMENSION_LIST"):
        return (name,) * len(item.shape)  # a scalar, or a dimension's own labels
    found: list[str] = []
    for axis in range(len(item.shape)):
        h5py.h5ds.iterate(item, axis, lambda scale: found.append(_place(scale)) or 1, 0)
    return tuple(found)


def _place(scale: h5py.h5d.DatasetID) -> str:
    return h5i.get_name(scale).decode().removeprefix("/")


_SKIPPED = {b"DIMENSION_LIST", b"REFERENCE_LIST", b"_Netcdf4Dimid"}


def _attributes(item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number in range(h5py.h5a.get_num_attrs(item)):
        attribute = h5py.h5a.open(item, index=number)
        if attribute.name in _SKIPPED:
            continue
        found[attribute.name.decode()] = _attribute_value(attribute)
    return found


def _attribute_value(attribute: h5py.h5a.AttrID) -> Any:
    kind = attribute.get_type()
    if isinstance(kind, h5py.h5t.TypeStringID):
        if kind.is_variable_str():
            array = np.empty(attribute.shape, dtype=object)
            attribute.read(array, mtype=h5py.h5t.py_create(h5py.string_dtype()))
            words = [w.decode() if isinstance(w, bytes) else w for w in array.ravel()]
            return words[0] if len(words) == 1 else words
        array = np.empty(attribute.shape, dtype=f"S{kind.get_size()}")
        attribute.read(array, mtype=kind)
        words = [word.rstrip(b"\0").decode() for word in array.ravel()]
        return words[0] if len(words) == 1 else words
    array = np.empty(attribute.shape, dtype=attribute.dtype)
    if array.size:
        attribute.read(array)
    # NetCDF has no scalars here: an array of one value is that value
    return array.reshape(-1)[0] if array.size == 1 else array


def _foreign(item: Variable) -> bool:
    """Whether the conventions of NetCDF say more than we write or understand."""
    attrs = item.attrs
    kept = {"_FillValue", "_Encoding", "dtype", "coordinates", _JSON, *_HDF5}
    if _INTERPRETED & attrs.keys() - kept or " since " in str(attrs.get("units", "")):
        return True
    fill = attrs.get("_FillValue")
    if fill is None:
        return False
    # xarray writes NaN as the value of what is missing, and an empty letter for text.
    return not (fill != fill or fill in ("", b""))


def _by_conventions(raw: Mapping[str, Variable], attrs: dict[str, Any]) -> Table:
    variables = {
        name: (item.dims, item.values, _without(item.attrs))
        for name, item in raw.items()
    }
    return Table.of(xr.decode_cf(xr.Dataset(variables, attrs=_without(attrs))))


def _without(attrs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attrs.items() if name not in _HDF5}


def _decoded(item: Variable, coords: set[str], raw: Collection[str]) -> Variable:
    dims, values, attrs = item
    attrs = dict(attrs)
    coords.update(w for w in str(attrs.pop("coordinates", "")).split() if w in raw)
    attrs.pop("_FillValue", None)
    if values.dtype == "S1" and dims:
        values, dims = _text(values), dims[:-1]
        attrs.pop("_Encoding", None)
    elif attrs.get("dtype") == "bool":
        values = values.astype(bool)
        attrs.pop("dtype")
    return Variable(dims, values, _clean(attrs))


def _text(letters: np.ndarray) -> np.ndarray:
    """The inverse of ``_characters``."""
    width = letters.shape[-1]
    coded = np.ascontiguousarray(letters).reshape(-1, width).view(f"S{width}")
    words = [word.decode() for word in coded.ravel().tolist()]
    return np.array(words, dtype=str if words else "U1").reshape(letters.shape[:-1])


def _clean(attrs: Mapping[str, Any]) -> dict[str, Any]:
    coded = set(json.loads(attrs[_JSON])) if _JSON in attrs else ()
    return {
        name: json.loads(value) if name in coded else value
        for name, value in attrs.items()
        if name != _JSON and name not in _HDF5
    }
