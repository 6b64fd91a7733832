"""``lazyrich book``: execute the chapters that changed and build the pages."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "book", help="execute the chapters that changed and build the pages"
    )
    parser.add_argument("--chapter", metavar="NAME", help="only this one and its needs")
    parser.add_argument("--scale", default="laptop", help="laptop or paper")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="chapters at a time")
    parser.add_argument(
        "--html",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="build the pages (default) or only execute",
    )
    parser.add_argument(
        "--force", action="store_true", help="execute what is current too"
    )
    parser.add_argument("--fresh", action="store_true", help="build every page anew")
    parser.add_argument("--json", action="store_true", help="machine-readable summary")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Publish; the exit status is 1 if a chapter failed or the pages have warnings."""
    from lazyrich import publish
    from lazyrich.core import project

    settings = publish.Settings(args.scale, args.device, args.seed)
    result = publish.publish(
        publish.Tree(project.root(), settings),
        chapter=args.chapter,
        jobs=args.jobs,
        html=args.html,
        force=args.force,
        fresh=args.fresh,
    )
    if args.json:
        print(json.dumps(result.as_dict(), indent=2))
        return 0 if result.ok else 1
    outcome = result.outcome
    print(
        f"{len(outcome.executed)} executed, {len(outcome.current)} up to date, "
        f"{len(outcome.failed)} failed"
    )
    for failure in outcome.failed:
        print(f"failed: {failure}", file=sys.stderr)
    if outcome.failed:
        place = _short(result.tree.failed)
        print(f"the notebooks up to the failing cells are in {place}", file=sys.stderr)
    if result.problem:
        print(f"the pages were not built:\n{result.problem}", file=sys.stderr)
    elif result.page:
        print(f"open {_short(result.page)}")
    return 0 if result.ok else 1


def _short(path: Path) -> str:
    """The path as one would type it here."""
    return str(Path(os.path.relpath(path)))
