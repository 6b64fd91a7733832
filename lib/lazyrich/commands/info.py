"""``lazyrich info``: versions, device, threads and data sources of this machine."""

import argparse
import json
import os
import platform
from typing import Any

from lazyrich.core.provenance import PACKAGES, versions


def register(subparsers: Any) -> None:
    """Add the sub-command."""
    parser = subparsers.add_parser(
        "info", help="versions, device, threads, data sources"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(run=run)


def report() -> dict[str, Any]:
    """Everything the command prints, as plain data."""
    import torch

    from lazyrich import data
    from lazyrich.core import project

    cuda = torch.cuda.is_available()
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "versions": versions((*PACKAGES, "dask", "jupyter-book")),
        "machine": {"system": platform.platform(), "processors": os.cpu_count()},
        "device": {"default": "cuda" if cuda else "cpu", "gpus": devices},
        "threads": {"torch": torch.get_num_threads()},
        "project": str(project.root()),
        "data": data.sources(),
    }


def run(args: argparse.Namespace) -> None:
    """Print the report, one line a fact."""
    facts = report()
    if args.json:
        print(json.dumps(facts, indent=2))
        return
    for name, version in facts["versions"].items():
        print(f"{name:<14}{version or 'not installed'}")
    print(f"{'machine':<14}{facts['machine']['system']}")
    print(f"{'processors':<14}{facts['machine']['processors']}")
    device = facts["device"]
    print(f"{'device':<14}{device['default']} {' '.join(device['gpus'])}".rstrip())
    print(f"{'threads':<14}{facts['threads']['torch']}")
    print(f"{'project':<14}{facts['project']}")
    for name, source in facts["data"].items():
        print(f"data: {name:<20}{source}")
