"""What a chapter's kernel sees of the machine: this Python, and nothing of the user's.

Notebooks read start-up files, kernels, styles and settings from many places. A chapter
must come out the same whoever executes it, so each kernel gets folders of its own for all
of them, and the environment variables that point elsewhere are left out.
"""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KERNEL = "python3"
INLINE = "module://matplotlib_inline.backend_inline"
# Variables through which a user changes what Python, IPython or a page shows.
_LEFT_OUT = (
    *("PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONINSPECT"),
    *(
        "PYTHONDEVMODE",
        "PYTHONBREAKPOINT",
        "JUPYTER_CONFIG_PATH",
        "JUPYTER_PREFER_ENV_PATH",
    ),
    *("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
)
# The path of a socket file may have 103 bytes on macOS and 107 on Linux.
_LONGEST_SOCKET = 103
_OWN = "lazyrich-"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for one kernel, gone afterwards; short enough for socket files if one is.

    The folder for temporary files comes first (``TMPDIR``), then those that every
    machine has.
    """
    with tempfile.TemporaryDirectory(prefix=_OWN, dir=_short_place()) as folder:
        yield Path(folder)


def _short_place() -> Path:
    usual = Path(tempfile.gettempdir())
    for place in (usual, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm")):
        usable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
        # As long as the name that a temporary folder gets.
        if usable and _fits(place / f"{_OWN}12345678"):
            return place
    return usual


def _fits(folder: Path) -> bool:
    return len(os.fsencode(f"{_sockets(folder)}-5")) <= _LONGEST_SOCKET


def _sockets(folder: Path) -> Path:
    return folder / "kernel"


def transport(folder: Path) -> dict[str, str]:
    """How to talk to a kernel whose private folder is given: traits of its manager.

    By socket files, so that no port is opened; each kernel has a folder of its own
    because their names start from 1 in each. By the loopback device where the path of
    the folder is too long for a socket.
    """
    if not _fits(folder):
        return {"transport": "tcp"}
    return {"transport": "ipc", "ip": str(_sockets(folder))}


def environment(folder: Path, inherited: dict[str, str]) -> dict[str, str]:
    """The variables for a kernel of this Python, which are written below ``folder``.

    Args:
        folder: the private folder of the kernel.
        inherited: the variables of this process.
    """
    kernel = folder / "kernels" / KERNEL / "kernel.json"
    kernel.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "Python 3", "language": "python"}
    kernel.write_text(json.dumps(spec), encoding="utf-8")
    own = {
        # The first place that is searched for kernels.
        "JUPYTER_PATH": str(folder),
        "JUPYTER_DATA_DIR": str(folder),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        # Another backend makes figures vanish from the page without a word.
        "MPLBACKEND": INLINE,
        **_style(),
    }
    kept = {name: value for name, value in inherited.items() if name not in _LEFT_OUT}
    return kept | own


def _style() -> dict[str, str]:
    """Point matplotlib at the settings that it ships, away from the user's file."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        return {}
    shipped = Path(found.submodule_search_locations[0]) / "mpl-data" / "matplotlibrc"
    return {"MATPLOTLIBRC": str(shipped)} if shipped.is_file() else {}
