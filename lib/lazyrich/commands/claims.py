"""``lazyrich claims``: the ledger with what was measured and the verdicts."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lazyrich.claims.verdict import Row


def register(subparsers: Any) -> None:
    """Add the parser of this sub-command."""
    parser = subparsers.add_parser(
        "claims",
        help="the claims of the papers, what was measured, and the verdicts",
        description=__doc__,
    )
    parser.add_argument("--json", action="store_true", help="print all fields as JSON")
    parser.add_argument("--paper", help="only the claims of this paper")
    parser.add_argument("--verdict", help="only the claims with this verdict")
    parser.add_argument(
        "--check",
        action="store_true",
        help="report what does not fit together; exit status 1 if anything does not",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="copy the fresh measurements into the package, to be tracked",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the scoreboard, check it, or keep the fresh measurements."""
    from lazyrich import claims

    if arguments.keep:
        for path in claims.keep():
            print(f"kept {path}")
    if arguments.check:
        return _check()
    if arguments.keep:
        return 0
    if arguments.paper is not None and arguments.paper not in claims.PAPERS:
        words = ", ".join(claims.PAPERS)
        raise ValueError(f"--paper must be one of {words}; got {arguments.paper!r}")
    if arguments.verdict is not None and arguments.verdict not in set(claims.Verdict):
        words = ", ".join(claims.Verdict)
        raise ValueError(f"--verdict must be one of {words}; got {arguments.verdict!r}")
    rows = [
        row
        for row in claims.scoreboard()
        if arguments.paper in (None, row.claim.paper)
        and arguments.verdict in (None, row.verdict)
    ]
    if arguments.json:
        print(json.dumps([row.as_dict() for row in rows], indent=1, ensure_ascii=False))
    else:
        _print(rows)
    return 0


def _check() -> int:
    from lazyrich import claims
    from lazyrich.claims import book

    found = claims.problems(chapters=book.chapters(), executed=book.executed())
    for line in found:
        print(line, file=sys.stderr)
    print(
        f"{len(claims.ledger())} claims, {len(claims.checks())} with a chapter, ",
        end="",
    )
    print(f"{len(found)} problems")
    return 1 if found else 0


def _print(rows: "list[Row]") -> None:
    from collections import Counter

    from lazyrich.claims import markup

    width = max((len(row.claim.id) for row in rows), default=0)
    for row in rows:
        shown = ""
        if row.check and row.scale and row.measurement:
            told = markup.measured(row.measurement, row.check.at(row.scale))
            kept = "" if row.measurement.fresh else ", kept"
            shown = f"  {row.check.chapter} ({row.scale}{kept}): {told}"
        print(f"{row.claim.id:<{width}}  {row.verdict:<11}{shown}")
    counts = Counter(row.verdict for row in rows)
    told = ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common())
    print(f"{len(rows)} claims: {told or 'none'}")
