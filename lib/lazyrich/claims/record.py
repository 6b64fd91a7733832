"""Measurements on disk: one JSON file a chapter and scale, replaced as a whole.

Fresh files lie in ``_build/records/<scale>/<chapter>.json`` (environment variable
``LAZYRICH_RECORDS`` names another folder), kept ones, tracked by version control, in the
folder ``kept`` of this package, so that they come with it. A claim's fresh measurement
counts before its kept one, so a clean clone and an installed package show the verdicts of
the last kept run. Every file carries a checksum.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lazyrich.claims.check import SCALES
from lazyrich.claims.criterion import Value
from lazyrich.core import files, project, sealed

FORMAT = 2


@dataclass(frozen=True)
class Measurement:
    """What one chapter measured for one claim at one scale.

    ``spread`` is one standard deviation, or the half-width the chapter states, of the
    quantities it names. ``provenance`` says when, on what and from which data.
    """

    claim_id: str
    chapter: str
    scale: str
    values: Mapping[str, Value]
    spread: Mapping[str, float]
    provenance: Mapping[str, Any]
    fresh: bool = True

    def as_dict(self) -> dict[str, Any]:
        """What was measured, as plain data: values and spreads."""
        return {"values": dict(self.values), "spread": dict(self.spread)}


def fresh_folder() -> Path:
    """Where chapters write: ``_build/records``, or what ``LAZYRICH_RECORDS`` says."""
    chosen = os.environ.get("LAZYRICH_RECORDS")
    return Path(chosen) if chosen else project.root() / "_build" / "records"


def kept_folder() -> Path:
    """Where the last kept measurements are tracked: in this package."""
    return Path(__file__).parent / "kept"


def write(
    folder: Path,
    chapter: str,
    scale: str,
    provenance: Mapping[str, Any],
    measurements: Mapping[str, Measurement],
    left_out: Mapping[str, str] | None = None,
) -> Path:
    """Write all measurements of a chapter at one scale; returns the file's path.

    ``left_out`` has the claims that this run could not measure, with the reasons.
    """
    content: dict[str, Any] = {
        "format": FORMAT,
        "chapter": chapter,
        "scale": scale,
        "provenance": dict(provenance),
        "claims": {
            claim_id: found.as_dict() for claim_id, found in measurements.items()
        },
    }
    if left_out:
        content["left_out"] = dict(left_out)
    path = folder / scale / f"{chapter}.json"
    text = sealed.dumps(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(path, text)
    return path


def _good(values: Any) -> bool:
    return isinstance(values, dict) and all(
        isinstance(value, int | float) and math.isfinite(value)
        for value in values.values()
    )


def _content(path: Path) -> dict[str, Any]:
    """What a record file holds.

    Raises:
        ValueError: not a record file, one that is not as it was written, or one that
            does not belong where it lies.
    """
    try:
        content = sealed.loads(path.read_bytes())
        place = (content["chapter"], content["scale"])
        if content["format"] != FORMAT or place != (path.stem, path.parent.name):
            raise ValueError("format, chapter or scale is another")
        if not isinstance(content["provenance"], dict):
            raise ValueError("provenance is no mapping")
        for claim_id, found in content["claims"].items():
            good = _good(found["values"]) and _good(found["spread"])
            if not good or set(found["spread"]) - set(found["values"]):
                raise ValueError(f"{claim_id} holds something else than numbers")
        for claim_id, because in content.setdefault("left_out", {}).items():
            if not isinstance(because, str) or claim_id in content["claims"]:
                raise ValueError(f"{claim_id} is left out without a reason")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no record file ({error}); remove it and run the chapter again"
        ) from error
    return content


def read(path: Path, *, fresh: bool = True) -> dict[str, Measurement]:
    """The measurements of one file, by claim id.

    Raises:
        ValueError: not a record file, one that is not as it was written, or one that
            does not belong where it lies.
    """
    return _measurements(_content(path), fresh)


def _measurements(content: Mapping[str, Any], fresh: bool) -> dict[str, Measurement]:
    place = (content["chapter"], content["scale"])
    return {
        claim_id: Measurement(
            claim_id,
            *place,
            found["values"],
            found["spread"],
            content["provenance"],
            fresh,
        )
        for claim_id, found in content["claims"].items()
    }


@dataclass(frozen=True)
class Records:
    """All measurements that count, by scale and claim id, and the runs behind them.

    ``runs`` has the scales and chapters with a record file, true where it is fresh.
    ``left_out`` has the claims that a fresh run could not measure, with the reasons.
    """

    measurements: Mapping[tuple[str, str], Measurement]
    runs: Mapping[tuple[str, str], bool]
    left_out: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def get(self, scale: str, claim_id: str) -> Measurement | None:
        """The measurement that counts at ``scale``, fresh before kept."""
        return self.measurements.get((scale, claim_id))


def load(fresh: Path | None = None, kept: Path | None = None) -> Records:
    """Read all record files of both folders.

    Raises:
        ValueError: a file in them is no record file.
    """
    found: dict[tuple[str, str], Measurement] = {}
    runs: dict[tuple[str, str], bool] = {}
    left_out: dict[tuple[str, str], str] = {}
    folders = [(kept or kept_folder(), False), (fresh or fresh_folder(), True)]
    for folder, is_fresh in folders:
        for scale in SCALES:
            for path in sorted((folder / scale).glob("*.json")):
                runs[scale, path.stem] = is_fresh
                content = _content(path)
                for claim_id, measurement in _measurements(content, is_fresh).items():
                    found[scale, claim_id] = measurement
                if is_fresh:
                    reasons = content["left_out"].items()
                    left_out |= {(scale, claim_id): why for claim_id, why in reasons}
    return Records(found, runs, left_out)


def keep(fresh: Path | None = None, kept: Path | None = None) -> list[Path]:
    """Copy all fresh record files over the kept ones; returns the files written.

    A run that had to leave claims out does not replace a kept file: its measurements
    would be lost.

    Raises:
        ValueError: a fresh file is no record file; nothing has been copied then.
        OSError: an installed package keeps nothing; that is done in a checkout.
    """
    if kept is None and not project.is_checkout():
        raise OSError(
            "measurements are kept in a checkout, this is an installed package"
        )
    source, target = fresh or fresh_folder(), kept or kept_folder()
    paths = [p for scale in SCALES for p in sorted((source / scale).glob("*.json"))]
    contents = []
    for path in paths:
        place = target / path.relative_to(source)
        if not _content(path)["left_out"] or not place.is_file():
            contents.append((place, path.read_bytes()))
    for path, content in contents:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically(path, content)
    return [path for path, _ in contents]


def drift(
    fresh: Measurement,
    kept: Measurement,
    allowance: Mapping[str, float],
    multiple: float,
) -> list[str]:
    """Quantities in which two measurements of one claim differ by more than they may.

    A number may move by ``multiple`` times the larger spread, or, where neither run
    states one, by its ``allowance`` (infinite where none is given); a boolean may not.
    """
    moved = []
    for name, value in fresh.values.items():
        before = kept.values.get(name)
        if before is None or isinstance(value, bool) or isinstance(before, bool):
            same = value is before
            room = 0.0
        else:
            spreads = [m.spread[name] for m in (fresh, kept) if name in m.spread]
            room = multiple * max(spreads) if spreads else allowance.get(name, math.inf)
            same = abs(value - before) <= room
        if not same:
            moved.append(
                f"{fresh.claim_id}: {name} was {before!r}, is {value!r}, "
                f"may differ by {room:g}"
            )
    return moved
