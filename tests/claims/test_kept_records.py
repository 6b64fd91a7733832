"""The book that was just built tells the same as the measurements tracked with it."""

import pytest

from lazyrich.claims import Check, checks, record, scoreboard
from lazyrich.claims.record import Measurement
from lazyrich.claims.verdict import undecided
from lazyrich.publish import Result

# Seeds and thread counts are fixed, so that a rerun on another processor moves a fitted
# number by rounding that training amplifies: less than the spread over seeds.
MULTIPLE = 3.0

pytestmark = pytest.mark.book


def allowance(check: Check, scale: str) -> dict[str, float]:
    """Half the width that each two-sided criterion allows."""
    found = {}
    for name, criterion in check.at(scale).items():
        if criterion.form in ("near", "between"):
            low, high = criterion.interval()
            found[name] = (high - low) / 2
    return found


def test_fresh_verdicts_and_values_agree_with_the_tracked_ones(built: Result) -> None:
    fresh = record.load(kept=record.fresh_folder())
    kept = record.load(fresh=record.kept_folder())
    assert fresh.measurements, f"the chapters of {built.tree.html} recorded nothing"
    before = {row.claim.id: row for row in scoreboard(records=kept)}
    moved: list[str] = []
    for row in scoreboard(records=fresh):
        was = before[row.claim.id]
        for scale, now in row.measurements.items():
            then: Measurement | None = was.measurements.get(scale)
            if then is None:
                moved.append(f"{row.claim.id}: measured at {scale} scale, not kept")
                continue
            check = checks()[row.claim.id]
            either = undecided(check, now) or undecided(check, then)
            if row.by_scale[scale] != was.by_scale[scale] and not either:
                moved.append(
                    f"{row.claim.id}: {was.by_scale[scale]} -> {row.by_scale[scale]}"
                )
            room = allowance(check, scale)
            moved += record.drift(now, then, room, MULTIPLE)
    assert not moved, "run `lazyrich claims --keep` if the change is meant"
