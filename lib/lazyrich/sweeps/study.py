"""What a sweep computes: a study, its scales, and the chunks its grid is cut into.

A `Study` is a frozen description. It names a grid of *members* (one point of the grid,
usually one network trained once) and a pure function `measure` from a `Chunk` of
members to a labelled table. Nothing in this module computes, stores or schedules.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import xarray as xr

from lazyrich.core import check

if TYPE_CHECKING:
    from lazyrich.sweeps.checkpoint import Checkpoint

AxisValue = bool | int | float | str
Member = dict[str, AxisValue]

RESERVED_AXES = ("member", "status")


def default_chunk_size() -> dict[str, int]:
    """A few members on a CPU, where batches do not pay; many on a GPU, to fill it."""
    return {"cpu": 4, "cuda": 256}


class Settings(Mapping[str, Any]):
    """Base of frozen dataclasses that hold the settings of a study, a field each.

    As a mapping they are what is stored, and what tells results of one study apart:
    all fields but those that are ``left_open`` and still are. So a field that a study does
    without, or that its grid has as an axis, changes nothing for the results of others.

    >>> @dataclass(frozen=True, kw_only=True)
    ... class Sizes(Settings):
    ...     n_train: int
    ...     h: int | None = left_open()
    >>> dict(Sizes(n_train=10)), dict(Sizes(n_train=10, h=3))
    ({'n_train': 10}, {'n_train': 10, 'h': 3})
    """

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The settings with these values, which may be settings already.

        Raises:
            TypeError: a value is missing, or is no field.
        """
        return values if isinstance(values, cls) else cls(**values)

    def need(self, name: str) -> Any:
        """The value of a field that may be left open, and must not be here.

        Raises:
            ValueError: it is left open.
        """
        if getattr(self, name) is None:
            raise ValueError(f"settings must have {name}, which is left open here")
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        """Names of the fields that have a value."""
        for each in fields(self):  # type: ignore[arg-type]
            if not _open(each) or getattr(self, each.name) is not None:
                yield each.name

    def __len__(self) -> int:
        """Number of fields that have a value."""
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> Any:
        """The value of a field."""
        if name not in set(self):
            raise KeyError(name)
        return getattr(self, name)


AnySettings = TypeVar("AnySettings", bound=Settings)


def left_open() -> Any:
    """A field of ``Settings`` that may be left to the grid, or left out: ``None`` then."""
    return field(default=None, metadata={"open": True})


def _open(each: Any) -> bool:
    return bool(each.metadata.get("open"))


@dataclass(frozen=True)
class Scale:
    """How large a study is run: its grid and the settings that all members share.

    Args:
        grid: axis name -> values. Axes become dimensions of the loaded table, in this
            order. Values are numbers, strings or booleans; an axis that holds a float
            holds floats only (``1`` becomes ``1.0``).
        settings: what is equal for all members: sizes, tolerances, data set, dtype
            name, as ``Settings`` or as a mapping. Anything JSON can say. Runs with other
            settings never share results.

    Raises:
        ValueError: an axis is empty, repeats a value or is named like a reserved word.
        TypeError: an axis mixes kinds of values, or a setting is not JSON.
    """

    grid: Mapping[str, tuple[AxisValue, ...]]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("grid", "settings"):
            check.instance(name, getattr(self, name), Mapping)
        if not self.grid:
            raise ValueError("grid must have at least one axis, got none")
        grid = {axis: _axis_values(axis, values) for axis, values in self.grid.items()}
        for name in self.settings:
            if name in grid:
                raise ValueError(f"settings must not repeat a grid axis, got {name!r}")
        try:
            settings = json.loads(canonical_json(dict(self.settings)))
        except (TypeError, ValueError, RecursionError) as error:
            raise TypeError(f"settings must be JSON values, got {error}") from error
        object.__setattr__(self, "grid", grid)
        if not isinstance(self.settings, Settings):
            object.__setattr__(self, "settings", settings)

    @property
    def shape(self) -> dict[str, int]:
        """Length of every axis."""
        return {axis: len(values) for axis, values in self.grid.items()}

    def __len__(self) -> int:
        """Number of members."""
        return math.prod(self.shape.values())

    def members(self) -> list[Member]:
        """All points of the grid; the last axis varies fastest."""
        points = itertools.product(*self.grid.values())
        return [dict(zip(self.grid, point, strict=True)) for point in points]


@dataclass(frozen=True)
class Chunk:
    """Members that are measured together, in one call, on one device.

    They agree on every axis outside the study's `chunk_axes`, so their tensors share
    shapes and can be stacked along one leading member axis.

    Attributes:
        study: name of the study.
        version: version of its numerics.
        settings: the scale's settings.
        members: coordinates of every member, in grid order.
        device: ``"cpu"`` or ``"cuda"``.
    """

    study: str
    version: int
    settings: Mapping[str, Any]
    members: tuple[Member, ...]
    device: str = "cpu"

    def __len__(self) -> int:
        """Number of members."""
        return len(self.members)

    def axis(self, name: str) -> np.ndarray:
        """The members' values of one axis, shape (members,)."""
        self._check(name)
        return np.array([member[name] for member in self.members])

    def shared(self, name: str) -> Any:
        """The value of an axis on which all members of the chunk agree.

        Raises:
            ValueError: there is no such axis, or the members differ on it.
        """
        self._check(name)
        values = {member[name] for member in self.members}
        if len(values) > 1:
            raise ValueError(f"members of the chunk differ on axis {name!r}: {values}")
        return next(iter(values))

    def typed(self, kind: type[AnySettings]) -> AnySettings:
        """The settings as ``kind``, with the values of those axes on which all members
        agree in fields that are left open.

        Raises:
            TypeError: a setting is missing, or is no field.
        """
        values = dict(self.settings)
        for each in fields(kind):  # type: ignore[arg-type]
            if _open(each) and each.name in self.members[0]:
                found = {member[each.name] for member in self.members}
                if len(found) == 1:
                    values.setdefault(each.name, next(iter(found)))
        return kind(**values)

    @property
    def coords(self) -> dict[str, tuple[str, np.ndarray]]:
        """Every axis as a coordinate along ``member``, ready for `xarray.Dataset`."""
        return {axis: ("member", self.axis(axis)) for axis in self.members[0]}

    @property
    def label(self) -> str:
        """One line that tells a reader which members these are."""
        parts = []
        for axis in self.members[0]:
            values = list(dict.fromkeys(member[axis] for member in self.members))
            shown = ", ".join(_short(value) for value in values[:3])
            parts.append(f"{axis}={shown}{', ...' if len(values) > 3 else ''}")
        return f"{self.study}[{'; '.join(parts)}; {len(self)} members]"

    def _check(self, name: str) -> None:
        if not isinstance(name, str) or name not in self.members[0]:
            raise ValueError(
                f"axis must be one of {list(self.members[0])}, got {name!r}"
            )


Measure = Callable[[Chunk, "Checkpoint"], xr.Dataset]
Cost = Callable[[Member, Scale], float]
ChunkSize = Callable[[Member, Scale, str], int]


@dataclass(frozen=True)
class Study:
    """A grid of members and the pure function that measures them.

    Args:
        name: identifier, also the folder of its results: letters, digits, ``_``.
        title: one line for people.
        version: raise it whenever `measure` would give other numbers; older results are
            then left alone and everything is computed anew.
        scales: name -> `Scale`, usually ``laptop`` and ``paper``.
        measure: function ``(chunk, checkpoint) -> xarray.Dataset`` at module level. Its
            table has a dimension ``member`` of the chunk's length, in the chunk's
            order, and any further dimensions; a variable without ``member`` must come
            out equal in every chunk. A variable ``status`` along ``member`` (strings,
            or integers with ``flag_values`` and ``flag_meanings``) says how each member
            ended; members whose status begins with ``truncated`` are counted as such.
        chunk_axes: axes that may vary within a chunk; the others fix tensor shapes.
        cost: ``(member, scale) -> seconds`` on one CPU core, for order and estimates.
        chunk_size: members a chunk at most, by kind of device, or a function
            ``(member, scale, device) -> int`` where it depends on the member's size.

    Raises:
        ValueError, TypeError: a field is malformed; the message names it.
    """

    name: str
    title: str
    version: int
    scales: Mapping[str, Scale]
    measure: Measure
    chunk_axes: tuple[str, ...]
    cost: Cost
    chunk_size: Mapping[str, int] | ChunkSize = field(
        default_factory=default_chunk_size
    )

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(
            r"[A-Za-z][A-Za-z0-9_]*", self.name
        ):
            raise ValueError(
                f"name must be letters, digits and underscores, got {self.name!r}"
            )
        if type(self.version) is not int or self.version < 1:
            raise ValueError(
                f"version must be a positive integer, got {self.version!r}"
            )
        check.instance("title", self.title, str)
        check.instance("scales", self.scales, Mapping)
        for scale in self.scales.values():
            check.instance("scales", scale, Scale)
        if not self.scales:
            raise ValueError(f"scales of study {self.name!r} must not be empty")
        axes = self.chunk_axes
        names = isinstance(axes, Iterable) and not isinstance(axes, str)
        if not names or not all(isinstance(axis, str) for axis in axes):
            raise TypeError(
                f"chunk_axes must be a tuple of names, got {check.shown(axes)}"
            )
        for name, scale in self.scales.items():
            if unknown := set(self.chunk_axes) - set(scale.grid):
                raise ValueError(
                    f"chunk_axes must be axes of scale {name!r} {list(scale.grid)}, "
                    f"got {sorted(unknown)}"
                )
        for what in ("measure", "cost"):
            if not callable(getattr(self, what)):
                raise TypeError(
                    f"{what} must be callable, got {type(getattr(self, what)).__name__}"
                )
        if not callable(self.chunk_size) and not isinstance(self.chunk_size, Mapping):
            raise TypeError(
                "chunk_size must be a mapping of devices or a function, "
                f"got {check.shown(self.chunk_size)}"
            )
        object.__setattr__(self, "chunk_axes", tuple(self.chunk_axes))

    def scale(self, name: str) -> Scale:
        """The scale of that name.

        Raises:
            ValueError: the study has no such scale.
        """
        if not isinstance(name, str) or name not in self.scales:
            raise ValueError(
                f"scale of study {self.name!r} must be one of {list(self.scales)}, "
                f"got {name!r}"
            )
        return self.scales[name]

    def estimate_seconds(
        self, scale: str, members: Iterable[Member] | None = None
    ) -> float:
        """Estimated one-core seconds of some members, by default of the whole scale."""
        at = self.scale(scale)
        chosen = at.members() if members is None else members
        return float(sum(self.cost(member, at) for member in chosen))

    def chunks(
        self,
        scale: str,
        device: str = "cpu",
        wanted: Callable[[Member], bool] = lambda member: True,
    ) -> list[Chunk]:
        """Cut the grid into chunks, the longest estimated first.

        The cuts depend on the whole grid alone; members that are not `wanted` are left
        out afterwards. So a resumed run meets the same chunks (and their checkpoints)
        again.

        Args:
            scale: name of the scale.
            device: ``"cpu"`` or ``"cuda"``, which decides how many members share a
                chunk.
            wanted: which members to keep.
        """
        check.function("wanted", wanted)
        at = self.scale(scale)
        groups: dict[tuple[AxisValue, ...], list[Member]] = {}
        for member in at.members():
            key = tuple(member[axis] for axis in at.grid if axis not in self.chunk_axes)
            groups.setdefault(key, []).append(member)
        found: list[tuple[float, Chunk]] = []
        for group in groups.values():
            size = self._size(group[0], at, device)
            for start in range(0, len(group), size):
                kept = tuple(m for m in group[start : start + size] if wanted(m))
                if kept:
                    seconds = sum(self.cost(member, at) for member in kept)
                    chunk = Chunk(self.name, self.version, at.settings, kept, device)
                    found.append((seconds, chunk))
        # A stable sort: equal costs keep grid order, so the order is the same every
        # time.
        return [chunk for _, chunk in sorted(found, key=lambda pair: -pair[0])]

    def _size(self, member: Member, at: Scale, device: str) -> int:
        if callable(self.chunk_size):
            size = self.chunk_size(member, at, device)
        elif isinstance(device, str) and device in self.chunk_size:
            size = self.chunk_size[device]
        else:
            raise ValueError(
                f"chunk_size of study {self.name!r} must cover device {device!r}, "
                f"got {list(self.chunk_size)}"
            )
        if type(size) is not int or size < 1:
            raise ValueError(f"chunk_size must be a positive integer, got {size!r}")
        return size


_studies: dict[str, Study] = {}


def register(study: Study) -> Study:
    """Make a study known by its name; returns it.

    Raises:
        ValueError: another study has this name (the same one may be registered again,
            as happens when its module is reloaded).
    """
    check.instance("study", study, Study)
    known = _studies.get(study.name)
    if known is not None and _home(known) != _home(study):
        raise ValueError(
            f"study name {study.name!r} must be unique, but {_home(known)} and "
            f"{_home(study)} both claim it"
        )
    _studies[study.name] = study
    return study


def registered() -> dict[str, Study]:
    """All known studies by name; `lazyrich.studies.catalogue` registers the book's."""
    return dict(sorted(_studies.items()))


def find(study: Study | str) -> Study:
    """The study itself, or the registered one of that name.

    Raises:
        ValueError: no study of that name is registered.
    """
    if isinstance(study, Study):
        return study
    if not isinstance(study, str) or study not in _studies:
        raise ValueError(
            f"study must be a Study or one of {sorted(_studies)}, got {study!r}"
        )
    return _studies[study]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and exact floats: equal values give equal text.

    NumPy scalars count as Python's, tuples as lists.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _home(study: Study) -> str:
    """Where the study's function lives, which tells one study from another."""
    function = study.measure
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} of type {type(value).__name__}")


def _axis_values(axis: str, values: Iterable[Any]) -> tuple[AxisValue, ...]:
    """One axis with Python values of one kind, checked."""
    if not isinstance(axis, str) or not axis.isidentifier() or axis in RESERVED_AXES:
        raise ValueError(
            f"grid axes must be identifiers other than {RESERVED_AXES}, got {axis!r}"
        )
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(
            f"grid axis {axis!r} must be a tuple of values, got {check.shown(values)}"
        )
    plain = [v.item() if isinstance(v, np.generic) else v for v in values]
    kinds = {type(value) for value in plain}
    if kinds == {int, float}:
        plain, kinds = [float(value) for value in plain], {float}
    if not kinds:
        raise ValueError(f"grid axis {axis!r} must have at least one value, got none")
    if len(kinds) > 1 or not kinds <= {bool, int, float, str}:
        names = sorted(kind.__name__ for kind in kinds)
        raise TypeError(
            f"grid axis {axis!r} must hold numbers, strings or booleans alone, got {names}"
        )
    if any(value != value for value in plain) or len(set(plain)) < len(plain):
        raise ValueError(f"grid axis {axis!r} must hold distinct values, got {plain}")
    return tuple(plain)


def _short(value: AxisValue) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
