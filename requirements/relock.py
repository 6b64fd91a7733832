"""Write ``constraints.txt`` and ``lock.txt`` from the environment that runs this file.

Called by ``make lock``. The versions are those installed and tested in ``.venv``: to
move to newer ones, upgrade there, run the tests, then lock. ``constraints.txt`` pins
everything, torch included. ``lock.txt`` adds the hashes of every file of each release,
so that one lock serves all supported Pythons; torch is left out of it because a machine
may offer its own build (CPU or CUDA) of the pinned version.
"""

import importlib.metadata
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
PACKAGE = "lazyrich"
SEPARATE = "torch"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "darwin": {
        "sys_platform": "darwin",
        "platform_system": "Darwin",
        "os_name": "posix",
    },
}
# Chosen by torch itself, with exact versions, where its CUDA build is taken.
ACCELERATOR = re.compile(r"^(nvidia-|cuda-|triton)")
LOCK_HEADER = """\
# Every dependency but torch, with the hashes of all files of its release.
# Made by `make lock` from the tested environment; do not edit.
"""
CONSTRAINTS_HEADER = """\
# Exact versions of the tested environment. Made by `make lock`; do not edit.
# torch takes the CPU build where the machine offers one, else the ordinary build.
"""


def environments() -> list[dict[str, str]]:
    """The marker environments that one lock has to serve."""
    return [
        {
            **{key: str(value) for key, value in default_environment().items()},
            "python_version": python,
            "python_full_version": f"{python}.0",
            **platform,
        }
        for python in PYTHONS
        for platform in PLATFORMS.values()
    ]


def closure() -> tuple[dict[str, str], dict[str, Requirement]]:
    """Follow the metadata of installed packages from this project outwards.

    Returns the versions by name, and what some environment needs but this one, being
    another platform or Python, has not installed.
    """
    found: dict[str, str] = {}
    absent: dict[str, Requirement] = {}
    queue: list[tuple[str, frozenset[str]]] = [(PACKAGE, frozenset({"test", "book"}))]
    seen: set[tuple[str, frozenset[str]]] = set()
    while queue:
        entry = queue.pop()
        if entry in seen:
            continue
        seen.add(entry)
        name, extras = entry
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name != PACKAGE:
            found[name] = distribution.version.partition("+")[0]
        for line in distribution.requires or []:
            requirement = Requirement(line)
            needed = canonicalize_name(requirement.name)
            if name == SEPARATE and ACCELERATOR.match(needed):
                continue
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({**environment, "extra": extra})
                for environment in environments()
                for extra in extras | {""}
            )
            if wanted:
                queue.append((needed, frozenset(requirement.extras)))
                absent.setdefault(needed, requirement)
    return found, {
        name: requirement
        for name, requirement in absent.items()
        if name not in found and name != PACKAGE
    }


def compile_hashes(
    folder: Path, requirements: list[str], pins: list[str]
) -> dict[str, str]:
    """The locked block of each name that ``requirements`` need, given the ``pins``.

    pip-compile lives in an environment of its own in ``folder``, so that the locker is
    not locked with the rest.
    """
    tools = folder / "venv"
    python = str(tools / "bin" / "python")
    if not tools.is_dir():
        venv.create(tools, with_pip=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "pip-tools"], check=True
        )
    source, target = folder / "requirements.in", folder / "lock.txt"
    pinned = folder / "pins.txt"
    source.write_text("\n".join(sorted(requirements)) + "\n")
    pinned.write_text("\n".join(sorted(pins)) + "\n")
    target.unlink(missing_ok=True)
    command = [python, "-m", "piptools", "compile", "--quiet", "--generate-hashes"]
    command += ["--allow-unsafe", "--strip-extras", "--no-header", "--no-annotate"]
    command += ["--no-emit-index-url", "--no-emit-find-links"]
    command += ["--no-emit-trusted-host", "--no-emit-options", "--no-config"]
    command += [f"--constraint={pinned}", f"--output-file={target}", str(source)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    text = target.read_text()
    blocks: dict[str, str] = {}
    for block in re.findall(
        r"^[^\s#].*(?:\n[ \t]+--hash.*)*", text, flags=re.MULTILINE
    ):
        name = canonicalize_name(re.split(r"[=\s;\[]", block, maxsplit=1)[0])
        blocks[name] = block
    return blocks


def main() -> int:
    """Write both files; returns the exit status."""
    found, absent = closure()
    torch_version = found.pop(SEPARATE)
    pins = [f"{name}=={version}" for name, version in found.items()]
    markers: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        blocks = compile_hashes(Path(folder), pins, pins)
        if set(blocks) != set(found):
            different = sorted(set(blocks) ^ set(found))
            print(f"not installed here, yet required: {different}", file=sys.stderr)
            return 1
        for requirement in absent.values():
            bare = f"{requirement.name}{requirement.specifier}"
            for name, block in compile_hashes(Path(folder), [bare], pins).items():
                if name not in found:
                    blocks[name] = block
                    markers.setdefault(name, set()).add(f"({requirement.marker})")
    lock, constraints = [], [f"{SEPARATE}=={torch_version}"]
    for name in sorted(blocks):
        first, _, hashes = blocks[name].partition(" \\\n")
        pin = first.split(";")[0].strip()
        if name in markers:
            pin += " ; " + " or ".join(sorted(markers[name]))
        constraints.append(pin)
        lock.append(f"{pin} \\\n{hashes}")
    (HERE / "lock.txt").write_text(LOCK_HEADER + "\n".join(lock) + "\n")
    (HERE / "constraints.txt").write_text(
        CONSTRAINTS_HEADER + "\n".join(sorted(constraints)) + "\n"
    )
    print(f"locked {len(lock)} packages and {SEPARATE} {torch_version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
