"""``lazyrich serve``: look at the built book in a browser."""

import argparse
import functools
import http.server
from typing import Any


def register(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "serve", help="serve the built pages to a browser on this machine"
    )
    parser.add_argument("--port", type=int, default=8000, help="default 8000")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted.

    Raises:
        ValueError: no such port, or there are no pages.
        OSError: the port is in use, or not to be had.
    """
    from lazyrich.core import project

    if not 0 <= args.port <= 65535:
        raise ValueError(f"port must be from 0 to 65535, got {args.port}")
    pages = project.root() / "_build" / "html"
    if not (pages / "index.html").is_file():
        raise ValueError("there are no pages yet: make book")
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(pages)
    )
    place = ("127.0.0.1", args.port)
    try:
        server = http.server.ThreadingHTTPServer(place, handler)
    except OSError as error:
        raise OSError(
            f"port {args.port} cannot be used ({error.strerror}): choose another one "
            "with PORT=... (0 takes any that is free)"
        ) from error
    with server:
        # Only now: the address that is shown is one that answers.
        print(f"http://127.0.0.1:{server.server_port}/  (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
