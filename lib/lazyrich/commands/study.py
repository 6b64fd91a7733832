"""``lazyrich run``, ``status`` and ``studies``: sweeps from the command line."""

import argparse
import importlib
import json
import sys
from pathlib import Path

from lazyrich import sweeps


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add the three sub-commands."""
    run = subparsers.add_parser(
        "run",
        help="run the missing members of a study",
        description="Run the members of a study that are not stored yet. It may be "
        "interrupted at any moment; the same command goes on from there.",
    )
    _add_study(run)
    run.add_argument("--device", default="auto", help="auto, cpu or cuda[:index]")
    run.add_argument(
        "--cluster",
        metavar="ADDRESS",
        default="auto",
        help="local:N for N worker processes here, none for this process alone, the "
        "address of a Dask scheduler, or auto (default)",
    )
    run.add_argument("--no-progress", action="store_true", help="no progress bar")
    run.set_defaults(run=run_study)

    status = subparsers.add_parser("status", help="how far a study has come")
    _add_study(status)
    status.add_argument("--json", action="store_true", help="machine-readable")
    status.set_defaults(run=show_status)

    studies = subparsers.add_parser("studies", help="list all studies")
    studies.add_argument("--json", action="store_true", help="machine-readable")
    studies.set_defaults(run=list_studies)


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "study",
        metavar="STUDY",
        help="name of a study (see `lazyrich studies`), or module:NAME of one of yours",
    )
    parser.add_argument("--scale", default="laptop", help="laptop (default) or paper")
    parser.add_argument(
        "--store",
        metavar="DIR",
        type=Path,
        help="folder of results (default: $LAZYRICH_STORE, else _build/store)",
    )


def run_study(args: argparse.Namespace) -> int:
    """Run a study; 1 if a chunk failed."""
    try:
        report = sweeps.run(
            find_study(args.study),
            scale=args.scale,
            device=args.device,
            store=args.store,
            cluster=None if args.cluster == "none" else args.cluster,
            progress=not args.no_progress,
        )
    except sweeps.SweepError as error:
        print(f"lazyrich: {error}", file=sys.stderr)
        return 1
    print(report.summary())
    return 0


def show_status(args: argparse.Namespace) -> None:
    """Print how far a study has come."""
    status = sweeps.status(find_study(args.study), args.scale, args.store)
    if args.json:
        print(json.dumps(status.as_dict(), indent=2))
        return
    print(f"{status.study} at scale {status.scale}, stored in {status.store}")
    for word in ("done", "running", "missing", "truncated"):
        print(f"  {word:9} {getattr(status, word):6} of {status.total}")
    if status.ended:
        ended = ", ".join(f"{word} {n}" for word, n in status.ended.items())
        print(f"  ended: {ended}")
    if status.missing:
        print(f"  left to compute: about {_time(status.estimated_seconds)} on one core")
    for damage in status.damaged:
        print(f"  damaged {damage.path.name}: {damage.reason}")


def list_studies(args: argparse.Namespace) -> None:
    """Print name, title, members and estimated one-core seconds of all studies."""
    importlib.import_module("lazyrich.studies.catalogue")
    rows = [
        {
            "name": study.name,
            "title": study.title,
            "members": {name: len(scale) for name, scale in study.scales.items()},
            "estimate_seconds": {
                name: round(study.estimate_seconds(name), 1) for name in study.scales
            },
        }
        for study in sweeps.registered().values()
    ]
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("no studies")
    for row in rows:
        print(f"{row['name']}: {row['title']}")
        for scale, members in row["members"].items():
            seconds = _time(row["estimate_seconds"][scale])
            print(f"  {scale:8} {members:6} members, about {seconds} on one core")


def find_study(name: str) -> sweeps.Study:
    """A registered study, or the one at ``module:NAME``.

    Raises:
        ValueError: there is none.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        importlib.import_module("lazyrich.studies.catalogue")
        return sweeps.find(name)
    if not module or not attribute:
        raise ValueError(f"study must be module:NAME, got {name!r}")
    try:
        study = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the user's module does when it is imported
        raise ValueError(
            f"study must be module:NAME of a module that can be imported, got {name!r} "
            f"({type(error).__name__}: {error})"
        ) from error
    if not isinstance(study, sweeps.Study):
        raise ValueError(f"{name} must be a Study, got {type(study).__name__}")
    return study


def _time(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
