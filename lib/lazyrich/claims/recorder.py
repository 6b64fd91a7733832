"""What a chapter writes down: measurements by claim id, and numbers for its prose."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from lazyrich.claims import markup, record
from lazyrich.claims.check import SCALES, Check, checks
from lazyrich.claims.claim import ledger
from lazyrich.claims.criterion import Value
from lazyrich.claims.markup import Html
from lazyrich.claims.record import Measurement
from lazyrich.claims.table import VerdictTable
from lazyrich.claims.verdict import Verdict, judge
from lazyrich.core import provenance


def glue(name: str, text: str) -> None:
    """Give prose a measured number: ``{glue:text}`name` `` shows ``text``.

    Outside a book build, where MyST-NB may be missing, nothing happens.

    Raises:
        TypeError: ``text`` is not a formatted string; MyST-NB would format a number
            again, its own way.
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be a non-empty string, got {name!r}")
    if not isinstance(text, str):
        raise TypeError(f"text must be a formatted string, got {text!r}")
    try:
        from myst_nb import glue as paste
    except ImportError:
        return
    paste(name, text, display=False)


def _device(device: Any) -> str:
    """The device in words: ``cpu``, or ``cuda`` with the name of the GPU."""
    # Torch is imported where it is used: ledger and verdicts are read without it.
    import torch

    from lazyrich.core import check as check_argument

    found = check_argument.device("device", device)
    if found.type != "cuda":
        return found.type
    return f"cuda ({torch.cuda.get_device_name(found)})"


class Measured(NamedTuple):
    """A number with its error: one standard deviation, or what the chapter says.

    Attributes:
        value: the number, also as an array or tensor of one element.
        error: the error of it, at least zero.
    """

    value: Any
    error: Any


def _value(claim_id: str, name: str, value: Any, wanted_bool: bool) -> Value:
    if hasattr(value, "item") and not isinstance(value, bool | int | float):
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            raise ValueError(
                f"{claim_id}: {name} must be one number, got {value!r}"
            ) from None
    if isinstance(value, bool) != wanted_bool:
        kind = "true or false" if wanted_bool else "a number"
        raise TypeError(f"{claim_id}: {name} must be {kind}, got {value!r}")
    if isinstance(value, bool):
        return value
    if not isinstance(value, int | float):
        raise TypeError(f"{claim_id}: {name} must be a number, got {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{claim_id}: {name} must be finite, got {value!r}")
    return float(value)


class Recorder:
    """Writes the measurements of one chapter at one scale, judged on the spot.

        rec = claims.chapter("alpha_sweep", scale=scale, seed=seed)
        rec.record("geiger-eq9-kernel-exponent-L5", slope=claims.Measured(-1.7, 0.1))

    Every call replaces ``_build/records/<scale>/<chapter>.json`` as a whole, so a
    killed run leaves what it had recorded. The first call of a new recorder starts a
    new file.

    Args:
        chapter: slug of the chapter.
        scale: ``laptop`` or ``paper``.
        device: where the numbers were computed, as the chapter's parameter says it.
        data: which data they come from, such as ``Dataset.source``; ``based_on`` says
            it later.
        seed: the chapter's seed.
        folder: where to write; ``record.fresh_folder()`` by default.
        overlay: the checks to judge by; those of the package by default.

    Raises:
        ValueError: unknown scale or device, empty chapter, or a malformed overlay.
    """

    def __init__(
        self,
        chapter: str,
        scale: str = "laptop",
        device: Any = "cpu",
        data: str | None = None,
        *,
        seed: int | None = None,
        folder: Path | None = None,
        overlay: Mapping[str, Check] | None = None,
    ) -> None:
        if not isinstance(chapter, str) or not chapter:
            raise ValueError(f"chapter must be the slug of a chapter, got {chapter!r}")
        if scale not in SCALES:
            raise ValueError(f"scale must be one of {', '.join(SCALES)}; got {scale!r}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise TypeError(f"seed must be an integer, got {seed!r}")
        import torch

        self.chapter = chapter
        self.scale = scale
        self._overlay = checks() if overlay is None else overlay
        self._folder = record.fresh_folder() if folder is None else Path(folder)
        self._provenance: dict[str, Any] = {
            "threads": torch.get_num_threads(),
            "data": None,
            "seed": seed,
            "commit": provenance.git_commit(),
            "versions": provenance.versions(),
        }
        self._measurements: dict[str, Measurement] = {}
        self._left_out: dict[str, str] = {}
        self._anchored: set[str] = set()
        self.based_on(data, device=device)

    def based_on(self, data: str | None = None, *, device: Any = None) -> None:
        """Say what the numbers rest on, once it is known: before the first record.

        Args:
            data: which data they come from, such as ``Dataset.source``.
            device: where they were computed, such as the device of a stored table.

        Raises:
            ValueError: something has been recorded already, an unknown device, or a
                source that says nothing.
        """
        if self._measurements:
            raise ValueError("data and device must be said before the first record")
        if data is not None:
            if not isinstance(data, str) or not data:
                raise ValueError(
                    f"data must say where the data come from, got {data!r}"
                )
            self._provenance["data"] = data
        if device is not None:
            self._provenance["device"] = _device(device)

    def _check(self, claim_id: str) -> Check:
        if claim_id not in ledger():
            raise ValueError(f"claim_id: the ledger has no claim {claim_id!r}")
        if claim_id not in self._overlay:
            raise ValueError(
                f"claim_id: {claim_id!r} has no criteria yet; write them into "
                f"claims/checks/{self.chapter}.yaml before measuring"
            )
        check = self._overlay[claim_id]
        if check.chapter != self.chapter:
            raise ValueError(
                f"claim_id: {claim_id!r} belongs to chapter {check.chapter!r}, "
                f"not to {self.chapter!r}"
            )
        return check

    def record(self, claim_id: str, **quantities: Any) -> VerdictTable:
        """Write down what was measured for one claim; returns its verdict, to be shown.

        Args:
            claim_id: id in the ledger; its check must name this chapter.
            **quantities: finite numbers or booleans (also as arrays or tensors of one
                element), under exactly the names of the claim's criteria. A number with
                an error is one thing: a fit with ``value`` and ``error``, or
                ``Measured(value, error)``.

        Raises:
            ValueError: unknown id, another chapter's claim, other names than the
                criteria's, a value or error that is not finite, a negative error.
            TypeError: a value or error that is no number, or a boolean instead.
            OSError: the record cannot be written.
        """
        check = self._check(claim_id)
        criteria = check.at(self.scale)
        if set(quantities) != set(criteria):
            raise ValueError(
                f"{claim_id}: quantities must be {', '.join(sorted(criteria))}; "
                f"got {', '.join(sorted(quantities)) or 'none'}"
            )
        values: dict[str, Value] = {}
        spreads: dict[str, float] = {}
        for name, criterion in criteria.items():
            found, error = quantities[name], None
            if hasattr(found, "value") and hasattr(found, "error"):
                found, error = found.value, found.error
            values[name] = _value(claim_id, name, found, criterion.form == "is")
            if error is not None:
                if isinstance(values[name], bool):
                    raise TypeError(f"{claim_id}: {name} is true or false: no error")
                of = f"the error of {name}"
                spreads[name] = float(_value(claim_id, of, error, False))
                if spreads[name] < 0:
                    raise ValueError(f"{claim_id}: {of} must be >= 0, got {error}")
        measurement = Measurement(
            claim_id, self.chapter, self.scale, values, spreads, self._provenance
        )
        self._measurements[claim_id] = measurement
        self._left_out.pop(claim_id, None)
        self._write()
        return VerdictTable([measurement], self._overlay, self._anchored)

    def leave_out(self, claim_id: str, because: str) -> Html:
        """Write down that a claim is not measured in this run; returns a line that says so.

        Pages then show the kept measurement as what it is, if there is one.

        Args:
            claim_id: id in the ledger; its check must name this chapter.
            because: what is missing on this machine, a sentence without a full stop.

        Raises:
            ValueError: unknown id, another chapter's claim, no reason, or the claim has
                been recorded.
            OSError: the record cannot be written.
        """
        self._check(claim_id)
        if not isinstance(because, str) or not because:
            raise ValueError(f"{claim_id}: because must say why, got {because!r}")
        if claim_id in self._measurements:
            raise ValueError(f"claim_id: {claim_id!r} has been recorded")
        self._left_out[claim_id] = because
        self._write()
        return markup.left_out(claim_id, because)

    def _write(self) -> None:
        self._provenance["date"] = datetime.now(UTC).isoformat(timespec="seconds")
        record.write(
            self._folder,
            self.chapter,
            self.scale,
            self._provenance,
            self._measurements,
            self._left_out,
        )

    def table(self) -> VerdictTable:
        """The verdicts on everything recorded so far, as one table."""
        found = list(self._measurements.values())
        return VerdictTable(found, self._overlay, self._anchored)

    def verdict(self, claim_id: str) -> Verdict:
        """The verdict on a claim recorded before.

        Raises:
            ValueError: nothing has been recorded under ``claim_id``.
        """
        if claim_id not in self._measurements:
            raise ValueError(f"claim_id: nothing recorded for {claim_id!r} yet")
        found = judge(self._check(claim_id), self.scale, self._measurements[claim_id])
        return Verdict.PENDING if found is None else found

    def glue(self, name: str, text: str) -> None:
        """Give prose a measured number, as ``claims.glue`` does."""
        glue(name, text)


def chapter(
    name: str,
    *,
    scale: str = "laptop",
    device: Any = "cpu",
    seed: int | None = None,
    data: str | None = None,
) -> Recorder:
    """How a chapter begins: on one thread, with a recorder of what it measures.

    One thread, because sums then have one order on any machine.

    Args:
        name: slug of the chapter.
        scale, device, seed, data: as for ``Recorder``.

    Raises:
        ValueError, TypeError: as ``Recorder``.
    """
    import torch

    torch.set_num_threads(1)
    return Recorder(name, scale=scale, device=device, data=data, seed=seed)
