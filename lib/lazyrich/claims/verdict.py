"""Verdicts: computed from claim, check and measurement, never typed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lazyrich.claims import erratum, record
from lazyrich.claims.check import SCALES, Check, checks
from lazyrich.claims.claim import Claim, ledger
from lazyrich.claims.erratum import Erratum
from lazyrich.claims.record import Measurement, Records


class Verdict(StrEnum):
    """What the book can say about a claim."""

    REPRODUCED = "reproduced"
    DEVIATES = "deviates"
    ERRATUM = "erratum"
    NEEDS_GPU = "needs-gpu"
    NEEDS_DATA = "needs-data"
    PENDING = "pending"


MEANING: Mapping[Verdict, str] = {
    Verdict.REPRODUCED: "the measurement satisfies criteria written before it",
    Verdict.DEVIATES: "the measurement fails its criteria, for a stated reason",
    Verdict.ERRATUM: "the printed statement is wrong; the corrected one is proved here",
    Verdict.NEEDS_GPU: "the code is ready, a GPU run has not been recorded yet",
    Verdict.NEEDS_DATA: "the code is ready, the data have not been at hand yet",
    Verdict.PENDING: "not measured yet",
}


def fits(check: Check, measurement: Measurement) -> bool:
    """Whether ``measurement`` holds what ``check`` asks for: same names, same kinds.

    It does not when the criteria were rewritten after the run.
    """
    criteria = check.at(measurement.scale)
    return measurement.chapter == check.chapter and {
        name: isinstance(value, bool) for name, value in measurement.values.items()
    } == {name: criterion.form == "is" for name, criterion in criteria.items()}


def failures(check: Check, measurement: Measurement) -> list[str]:
    """Names of the measured quantities that fail their criteria."""
    criteria = check.at(measurement.scale)
    return [
        n for n, value in measurement.values.items() if not criteria[n].holds(value)
    ]


def undecided(check: Check, measurement: Measurement) -> bool:
    """Whether the verdict hangs on less than the spread of what was measured.

    Then a rerun, on another processor say, may give the other verdict: a measurement
    that fails does so by no more than its spread in every quantity that fails, or one
    that passes does so by less than its spread in some quantity.
    """
    criteria = check.at(measurement.scale)

    def margin(name: str) -> float:
        """Distance to the nearest bound in units of the spread; negative if it fails."""
        value, asked = measurement.values[name], criteria[name]
        if isinstance(value, bool):
            return math.inf if asked.holds(value) else -math.inf
        low, high = asked.interval()
        room = min(value - low, high - value)
        width = measurement.spread.get(name, 0.0)
        return room / width if width else math.copysign(math.inf, room)

    failed = failures(check, measurement)
    if failed:
        return all(margin(name) >= -1.0 for name in failed)
    return any(margin(name) < 1.0 for name in measurement.values)


def judge(check: Check, scale: str, measurement: Measurement | None) -> Verdict | None:
    """The verdict on one claim at one scale; ``None`` where the scale does not apply.

    Criteria under ``any`` ask nothing of the paper scale as long as nobody ran it.
    """
    if measurement is not None and fits(check, measurement):
        if failures(check, measurement):
            return Verdict.DEVIATES
        return Verdict.ERRATUM if check.proof else Verdict.REPRODUCED
    if scale in check.needs:
        return Verdict(f"needs-{check.needs[scale].what}")
    if scale == "paper" and "any" in check.criteria:
        return None
    return Verdict.PENDING


@dataclass(frozen=True)
class Row:
    """One line of the scoreboard: a claim, what was measured and what follows.

    ``verdict`` is the one at ``scale``: that of the paper scale where it was measured,
    else that of the laptop scale. ``by_scale`` has both. ``left_out`` says, by scale, why
    the last run could not measure it.
    """

    claim: Claim
    check: Check | None
    verdict: Verdict
    scale: str | None
    by_scale: Mapping[str, Verdict | None]
    measurements: Mapping[str, Measurement]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def measurement(self) -> Measurement | None:
        """The measurement that the verdict rests on."""
        return self.measurements.get(self.scale or "")

    @property
    def explanation(self) -> str | None:
        """Why it deviates, what it needs, or how the erratum is proved."""
        if self.check is None or self.scale is None:
            return None
        if self.verdict is Verdict.DEVIATES:
            return self.check.deviates.get(self.scale)
        if self.verdict is Verdict.ERRATUM and self.check.proof:
            return f"{self.check.proof.derivation} {self.check.proof.evidence}"
        if self.verdict in (Verdict.NEEDS_GPU, Verdict.NEEDS_DATA):
            return self.check.needs[self.scale].because
        return None

    def as_dict(self) -> dict[str, Any]:
        """The row as plain data, as ``lazyrich claims --json`` prints it."""
        found, check = self.measurement, self.check
        criteria = check.at(self.scale) if check and self.scale else {}
        provenance = found.provenance if found else {}
        return {
            "id": self.claim.id,
            "paper": self.claim.paper,
            "where": self.claim.where,
            "chapter": check.chapter if check else None,
            "kind": self.claim.kind,
            "scale": self.scale,
            "device": provenance.get("device"),
            "data": provenance.get("data"),
            "number": self.claim.value,
            "expected": {name: c.expected for name, c in criteria.items()},
            "tolerance": {
                name: f"{c.tolerance}; {c.because}".lstrip("; ")
                for name, c in criteria.items()
            },
            "measured": dict(found.values) if found else {},
            "spread": dict(found.spread) if found else {},
            "verdict": str(self.verdict),
            "verdicts": {scale: v and str(v) for scale, v in self.by_scale.items()},
            "explanation": self.explanation,
        }


def _row(claim: Claim, check: Check | None, records: Records) -> Row:
    if check is None:
        by_scale: dict[str, Verdict | None] = dict.fromkeys(SCALES)
        return Row(claim, None, Verdict.PENDING, None, by_scale, {})
    found = {scale: records.get(scale, claim.id) for scale in SCALES}
    measured = {s: m for s, m in found.items() if m is not None and fits(check, m)}
    verdicts = {scale: judge(check, scale, measured.get(scale)) for scale in SCALES}
    # The paper scale counts where it was measured, the laptop scale where not; with
    # neither, what stands in the way of the paper scale says most.
    order = [s for s in reversed(SCALES) if s in measured]
    order += [s for s in reversed(SCALES) if s in check.needs]
    scale = (order or ["laptop"])[0]
    verdict = verdicts[scale] or Verdict.PENDING
    left_out = {
        s: records.left_out[s, claim.id]
        for s in SCALES
        if (s, claim.id) in records.left_out
    }
    return Row(claim, check, verdict, scale, verdicts, measured, left_out)


def scoreboard(
    *,
    records: Records | None = None,
    overlay: Mapping[str, Check] | None = None,
) -> list[Row]:
    """One row for every claim of the ledger, in its order.

    Args:
        records: measurements to judge; those on disk by default.
        overlay: checks to judge by; those of the package by default.

    Raises:
        ValueError: ledger, checks or a record file are malformed.
    """
    records = record.load() if records is None else records
    overlay = checks() if overlay is None else overlay
    return [_row(claim, overlay.get(i), records) for i, claim in ledger().items()]


def problems(
    *,
    records: Records | None = None,
    overlay: Mapping[str, Check] | None = None,
    errata: Sequence[Erratum] | None = None,
    chapters: Sequence[str] | None = None,
    executed: Sequence[str] = (),
) -> list[str]:
    """What does not fit together, one line each; empty when all is consistent.

    Args:
        records: measurements; those on disk by default.
        overlay: checks; those of the package by default.
        errata: the reviewed errata; those of the package by default.
        chapters: slugs of the book's pages; not compared when ``None``.
        executed: slugs of the chapters that have been run: each has to have recorded
            its claims at some scale.

    Raises:
        ValueError: ledger, checks, errata or a record file are malformed.
    """
    records = record.load() if records is None else records
    overlay = checks() if overlay is None else overlay
    errata = erratum.errata() if errata is None else errata
    corrected = {claim_id for entry in errata for claim_id in entry.claims}
    found: list[str] = []
    for (scale, claim_id), measurement in records.measurements.items():
        check = overlay.get(claim_id)
        if claim_id not in ledger():
            found.append(
                f"{claim_id}: measured at {scale} scale, but not in the ledger"
            )
        elif check is None:
            found.append(f"{claim_id}: measured at {scale} scale, but has no check")
        elif not fits(check, measurement):
            found.append(
                f"{claim_id}: the {scale} record of {measurement.chapter} does not fit "
                "its criteria; run the chapter again"
            )
    for claim_id, check in overlay.items():
        if chapters is not None and check.chapter not in chapters:
            found.append(f"{claim_id}: the book has no chapter {check.chapter!r}")
        if check.proof and claim_id not in corrected:
            found.append(
                f"{claim_id}: proves an erratum that errata.yaml does not have"
            )
        row = _row(ledger()[claim_id], check, records)
        for scale, verdict in row.by_scale.items():
            explained = scale in check.deviates
            known = row.measurements.get(scale)
            # where a rerun may turn the verdict, either stands, explained or not
            open_ = known is not None and fits(check, known) and undecided(check, known)
            if verdict is Verdict.DEVIATES and not explained and not open_:
                names = ", ".join(failures(check, row.measurements[scale]))
                found.append(
                    f"{claim_id}: deviates at {scale} scale in {names}, unexplained"
                )
            if verdict is not Verdict.DEVIATES and explained and not open_:
                found.append(
                    f"{claim_id}: explains a deviation at {scale} scale that the "
                    f"measurement does not show ({verdict or 'not measured'})"
                )
            run = records.runs.get((scale, check.chapter))
            measured = row.measurements.get(scale)
            skipped = measured is not None and run is True and not measured.fresh
            silent = skipped or (verdict is Verdict.PENDING and run is not None)
            if silent and scale not in row.left_out:
                found.append(
                    f"{claim_id}: chapter {check.chapter} ran at {scale} scale without "
                    "recording it"
                )
    recorded = {chapter for _, chapter in records.runs}
    for chapter in sorted({check.chapter for check in overlay.values()} - recorded):
        if chapter in executed:
            found.append(f"chapter {chapter} ran and recorded none of its claims")
    return found
