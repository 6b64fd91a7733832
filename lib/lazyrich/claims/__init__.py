"""Claims of the papers, what was measured for them, and the verdicts that follow."""

from lazyrich.claims.check import Check, checks
from lazyrich.claims.claim import PAPERS, Claim, Paper, ledger
from lazyrich.claims.criterion import Criterion
from lazyrich.claims.erratum import Erratum, errata
from lazyrich.claims.pages import errata_page, scoreboard_page, summary
from lazyrich.claims.record import Measurement, Records, keep, load
from lazyrich.claims.recorder import Measured, Recorder, chapter, glue
from lazyrich.claims.verdict import Row, Verdict, problems, scoreboard

__all__ = [
    "PAPERS",
    "Check",
    "Claim",
    "Criterion",
    "Erratum",
    "Measured",
    "Measurement",
    "Paper",
    "Recorder",
    "Records",
    "Row",
    "Verdict",
    "chapter",
    "checks",
    "errata",
    "errata_page",
    "glue",
    "keep",
    "ledger",
    "load",
    "problems",
    "scoreboard",
    "scoreboard_page",
    "summary",
]
