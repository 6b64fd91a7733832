"""The ``lazyrich`` command: one sub-command a module in ``lazyrich.commands``."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence

from lazyrich import commands
from lazyrich.core.extras import MissingExtra


def parser() -> argparse.ArgumentParser:
    """The complete argument parser, with every sub-command registered."""
    main_parser = argparse.ArgumentParser(prog="lazyrich", description=__doc__)
    subparsers = main_parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND"
    )
    for found in sorted(pkgutil.iter_modules(commands.__path__), key=lambda m: m.name):
        if not found.name.startswith("_"):
            importlib.import_module(f"lazyrich.commands.{found.name}").register(
                subparsers
            )
    return main_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one sub-command; returns its exit status (0 on success).

    A ``ValueError``, ``TypeError``, ``OSError`` or missing extra is shown as one line on
    standard error with status 2, because it describes the user's input or machine, not a
    bug of ours.
    """
    arguments = parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        return 0
    except (ValueError, TypeError, OSError, MissingExtra) as error:
        print(f"lazyrich: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("lazyrich: interrupted; what was finished is stored", file=sys.stderr)
        return 130
