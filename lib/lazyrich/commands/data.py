"""``lazyrich data``: which data sets there are, where they are, and fetching them."""

import argparse
import json
import sys
from pathlib import Path

from lazyrich import data
from lazyrich.data import catalogue


def register(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "data",
        help="data sets: what is here, and fetching what is not",
        description="List the data sets and where this machine has them, or fetch one "
        "(checked against its known checksum) into $LAZYRICH_DATA, by default a folder "
        "of the user cache.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="one data set only")
    parser.add_argument("--fetch", action="store_true", help="download it")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="download to this folder instead"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """List data sets, or fetch one."""
    if args.fetch:
        if args.name is None:
            raise ValueError("--fetch needs the NAME of a data set")
        paths = data.fetch(args.name, args.folder, progress=sys.stderr.isatty())
        if args.json:
            print(json.dumps([str(path) for path in paths]))
        else:
            print("\n".join(f"fetched and verified {path}" for path in paths))
        return
    names = [args.name] if args.name else list(catalogue.CATALOGUE)
    rows = [
        {
            "name": name,
            "title": catalogue.find(name).title,
            "present": catalogue.present(name),
            "how_to_get": catalogue.how_to_get(name),
        }
        for name in names
    ]
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['name']}: {row['title']}")
        if row["present"]:
            print(f"  present: {', '.join(row['present'])}")
        else:
            print(f"  not on this machine; {row['how_to_get']}")
