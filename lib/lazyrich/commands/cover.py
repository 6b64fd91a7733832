"""``lazyrich cover``: draw the picture of the README from stored runs."""

import argparse
from typing import Any


def register(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "cover", help="draw the picture of the README from the stored laptop runs"
    )
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> None:
    """Write ``book/_assets/cover.png``, computing missing runs."""
    from lazyrich import sweeps
    from lazyrich.core.project import root
    from lazyrich.figures.lazy_and_rich import alpha_sweep as pictures
    from lazyrich.studies.lazy_and_rich.alpha_sweep import STUDY

    sweeps.run(STUDY, cluster="auto")
    table = sweeps.load(STUDY)
    figure = pictures.cover(table, h=int(table["h"][-1]), seed=0)
    path = root() / "book" / "_assets" / "cover.png"
    figure.savefig(path, dpi=130)
    print(f"written to {path.relative_to(root())}")
