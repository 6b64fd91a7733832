"""The table of verdicts that a chapter shows, by the criteria of the moment it is shown.

In a live notebook that is at once. In a book it is when the page is built: the executed
notebook carries the measurements under a mime type of our own, and ``from_facts`` makes
the table from them again, so that a new reason or another style needs no new run.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from lazyrich.claims import markup
from lazyrich.claims.check import Check, Criteria, checks
from lazyrich.claims.claim import ledger
from lazyrich.claims.record import Measurement
from lazyrich.claims.verdict import Verdict, fits, judge

MIME = "application/vnd.lazyrich.claims+json"
_HEAD = ("claim", "quantity", "measured", "expected", "verdict")


class VerdictTable:
    """Verdicts of a chapter, with one anchor a claim for the scoreboard to point at.

    Args:
        measurements: what was recorded, in the order of the rows.
        overlay: the checks to judge by.
        anchored: claims that have their anchor on the page already; those that this
            table shows are added when it is shown.
    """

    def __init__(
        self,
        measurements: Sequence[Measurement],
        overlay: Mapping[str, Check],
        anchored: set[str],
    ) -> None:
        self._measurements = tuple(measurements)
        self._overlay = overlay
        self._anchored = anchored

    @classmethod
    def from_facts(
        cls,
        facts: Mapping[str, Any],
        anchored: set[str],
        overlay: Mapping[str, Check] | None = None,
    ) -> "VerdictTable":
        """The table of which an executed notebook carries the facts.

        Raises:
            ValueError: they do not fit the checks, which were rewritten after the run.
        """
        overlay = checks() if overlay is None else overlay
        found = [
            Measurement(
                one["id"],
                facts["chapter"],
                facts["scale"],
                one["values"],
                one["spread"],
                {},
            )
            for one in facts["claims"]
        ]
        for one in found:
            check = overlay.get(one.claim_id)
            if check is None or not fits(check, one):
                raise ValueError(f"{one.claim_id}: the run does not fit its criteria")
        return cls(found, overlay, anchored)

    def facts(self) -> dict[str, Any]:
        """What ``from_facts`` takes: plain data."""
        first = self._measurements[:1]
        return {
            "chapter": first[0].chapter if first else None,
            "scale": first[0].scale if first else None,
            "claims": [
                {"id": one.claim_id, **one.as_dict()} for one in self._measurements
            ],
        }

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        return {
            "text/plain": repr(self),
            "text/html": self._repr_html_(),
            MIME: self.facts(),
        }

    def __repr__(self) -> str:
        lines = []
        for one in self._measurements:
            shown = markup.measured(one, self._criteria(one))
            lines.append(f"{one.claim_id}: {self._verdict(one)}: {shown}")
        return "\n".join(lines) or "nothing recorded yet"

    def _repr_html_(self) -> str:
        rows = []
        for one in self._measurements:
            # An anchor may stand once on a page: where the claim is shown first.
            anchor = {}
            if one.claim_id not in self._anchored:
                anchor["id"] = f"claim-{one.claim_id}"
                self._anchored.add(one.claim_id)
            rows += self._rows(one, anchor)
        return markup.STYLE + markup.table(_HEAD, rows)

    def _rows(
        self, one: Measurement, anchor: dict[str, str]
    ) -> list[tuple[dict[str, str], list[str]]]:
        verdict = self._verdict(one)
        place = html.escape(ledger()[one.claim_id].where)
        where = f"<code>{html.escape(one.claim_id)}</code><br>{place}"
        rows: list[tuple[dict[str, str], list[str]]] = []
        for name, criterion in self._criteria(one).items():
            first = not rows
            asked = f"{criterion.expected} {criterion.tolerance}"
            cells = [
                where if first else "",
                markup.maths(name.replace("_", " ")),
                markup.number(one.values[name], one.spread.get(name)),
                markup.maths(asked),
                markup.badge(verdict) if first else "",
            ]
            rows.append((anchor if first else {}, cells))
        why = self._overlay[one.claim_id].deviates.get(one.scale)
        if verdict is Verdict.DEVIATES and why:
            rows.append(({}, [markup.maths(why)]))
        return rows

    def _criteria(self, one: Measurement) -> Criteria:
        return self._overlay[one.claim_id].at(one.scale)

    def _verdict(self, one: Measurement) -> Verdict:
        found = judge(self._overlay[one.claim_id], one.scale, one)
        return Verdict.PENDING if found is None else found
