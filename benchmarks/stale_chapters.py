"""``python -m benchmarks.stale_chapters``: how many chapters a change makes stale.

Replays the history of the library with the content keys of today: for every commit that
touches ``lib``, the chapters of that commit whose key differs from the one that they
would have had over the library of the commit before. A chapter whose own cells changed
in the commit is not counted for that. Early commits have few chapters, so the share of
the chapters of the day is told too, as a number of today's chapters.

Then single changes are tried on a copy of the sources, and the time of the keys is taken.
Nothing is executed. The exit status is 1 if a bar is missed.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import yaml

from lazyrich.publish import stamp
from lazyrich.publish.chapter import chapters, header
from lazyrich.publish.imports import Library, closure
from lazyrich.publish.tree import Tree

ROOT = Path(__file__).resolve().parents[1]
# Stale chapters a commit on average, and seconds for the keys of the whole book.
COMMIT_BAR = 10.0
SECONDS_BAR = 3.0
# Pages without cells today.
RENDERED = {"errata", "scoreboard"}


@dataclass(frozen=True)
class Commit:
    """What one commit made stale, of how many chapters."""

    name: str
    title: str
    stale: int
    chapters: int


def _git(*command: str) -> bytes:
    return subprocess.run(
        ["git", *command], cwd=ROOT, capture_output=True, check=True
    ).stdout


def _unpack(commit: str, into: Path) -> Path:
    """The sources of a commit in a folder of their own."""
    present = _git("ls-tree", "--name-only", commit).decode().split()
    wanted = [name for name in ("lib", "book") if name in present]
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, *wanted))) as archive:
        archive.extractall(into, filter="data")
    return into


def _cells(path: Path) -> list[str]:
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="md:myst")
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def _asked(package: Path) -> dict[str, dict[str, Any]]:
    """What recorders ask of claims, by chapter, whatever the files were called."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((package / "claims" / "checks").glob("*.yaml")):
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) or {}
        for claim_id, entry in content.items():
            kinds = {
                name: "is" in criterion
                for by_name in entry["criteria"].values()
                for name, criterion in by_name.items()
            }
            chapter = entry.get("chapter", path.stem)
            found.setdefault(chapter, {})[claim_id] = kinds
    return found


def _parts(root: Path, cells: Mapping[str, list[str]], notes: Path) -> dict[str, Any]:
    """Of each chapter, what its key says of the library under ``root``."""
    package = root / "lib" / "lazyrich"
    library = Library(package, notes)
    asked = _asked(package)
    found = {
        name: (closure(code, library, stamp.RENDERED), asked.get(name))
        for name, code in cells.items()
    }
    library.remember()
    return found


def _spread(changed: set[str], needs: Mapping[str, list[str]]) -> set[str]:
    """The changed chapters and all that need them."""
    while True:
        more = {name for name, above in needs.items() if changed & set(above)}
        if more <= changed:
            return changed
        changed = changed | more


def replay(last: int | None = None) -> Iterator[Commit]:
    """The history, oldest first; only its ``last`` commits if asked for."""
    listed = _git("log", "--reverse", "--no-merges", "--format=%h %s", "--", "lib")
    lines = listed.decode().splitlines()[1:]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        notes = place / "modules.json"
        for line in lines[-last:] if last else lines:
            name, _, title = line.partition(" ")
            after = _unpack(name, place / "after")
            before = _unpack(f"{name}^", place / "before")
            pages = {p.stem: p for p in sorted((after / "book").glob("*.md"))}
            heads = {n: header(p) for n, p in pages.items() if n not in RENDERED}
            heads = {n: head for n, head in heads.items() if "kernelspec" in head}
            cells = {n: _cells(pages[n]) for n in heads}
            old = _parts(before, cells, notes)
            new = _parts(after, cells, notes)
            needs = {n: head.get("needs") or [] for n, head in heads.items()}
            changed = {n for n in cells if old[n] != new[n]}
            stale = _spread(changed, needs)
            yield Commit(name, title, len(stale), len(cells))
            shutil.rmtree(after)
            shutil.rmtree(before)


def _edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "lib" / "lazyrich" / name
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise ValueError(f"{name} has no {old!r}")
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return edit


EDITS = {
    "a word in a reason": _edit("claims/checks/flow.yaml", 'because: "', 'because: "so '),
    "a style of the tables": _edit("claims/markup.py", "padding:0 .5em", "padding:0"),
    "a word in an erratum": _edit("claims/errata.yaml", ">-\n", ">-\n  So.\n"),
    "a comment in a module": _edit("kernels/empirical.py", "\ndef ", "\n# Words.\ndef "),
    "a change in kernels/trace.py": _edit("kernels/trace.py", "return ", "return 1 * "),
}  # fmt: skip


def single_changes() -> dict[str, list[str]]:
    """The chapters that each of the edits makes stale."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for title, edit in EDITS.items():
            root = Path(folder) / "sources"
            for name in ("lib", "book", "results", "requirements"):
                shutil.copytree(ROOT / name, root / name)
            shutil.copy(ROOT / "_toc.yml", root)
            tree = Tree(root, package=root / "lib" / "lazyrich")
            known = chapters(root, tree.toc)
            before = stamp.keys(tree, known)
            edit(root)
            after = stamp.keys(tree, known)
            found[title] = [n for n in known if before[n].value != after[n].value]
            shutil.rmtree(root)
    return found


def seconds_of_keys() -> float:
    """How long the keys of the whole book take, with the notes of the time before."""
    tree = Tree(ROOT)
    known = chapters(tree.root, tree.toc)
    stamp.keys(tree, known)
    start = time.perf_counter()
    stamp.keys(tree, known)
    return time.perf_counter() - start


def main() -> int:
    """Print the tables; the exit status is 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--last", type=int, help="only so many commits")
    arguments = parser.parse_args()
    commits = []
    for commit in replay(arguments.last):
        commits.append(commit)
        print(f"{commit.name}  {commit.stale:3} of {commit.chapters:2}  {commit.title}")
    today = len(chapters(ROOT, ROOT / "_toc.yml"))
    mean = sum(c.stale for c in commits) / len(commits)
    shares = [c.stale / c.chapters for c in commits if c.chapters]
    scaled = today * sum(shares) / max(1, len(shares))
    print(f"\n{len(commits)} commits: {mean:.1f} stale chapters a commit (bar 10);")
    print(f"by their share, {scaled:.1f} of today's {today}")
    for title, stale in single_changes().items():
        print(f"{title}: {len(stale)} stale {', '.join(stale)}".rstrip())
    seconds = seconds_of_keys()
    print(f"keys of the whole book: {seconds:.1f} s (bar {SECONDS_BAR:g})")
    return 1 if mean > COMMIT_BAR or seconds > SECONDS_BAR else 0


if __name__ == "__main__":
    sys.exit(main())
