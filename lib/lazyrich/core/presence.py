"""Which files and packages this machine has, with a note of every question.

A chapter uses the best data set that is here, so its outputs depend on the answers. Where
``LAZYRICH_ASKED`` names a file, every question and every set that was read is added to
it; ``read_log`` tells them, and ``changed`` asks the same questions again. Without torch,
because that is done before every build.
"""

import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOG = "LAZYRICH_ASKED"
HIDDEN = "LAZYRICH_HIDE_DATA"
DATA = "LAZYRICH_DATA"
_HOME = "data:"


@dataclass(frozen=True)
class Asked:
    """What a computation asked, and what it read.

    ``answers`` has the size of a file, or whether a package is here or a set is hidden, by
    question;
    ``used`` the data sets with their sources.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)


def data_home() -> Path:
    """Where fetched data lie: ``$LAZYRICH_DATA``, else a folder of the user cache."""
    named = os.environ.get(DATA)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "lazyrich"


def is_file(path: Path) -> bool:
    """Whether the file is here."""
    home = data_home()
    # Relative to the folder of fetched data, which may be another one tomorrow.
    place = f"{_HOME}{path.relative_to(home)}" if path.is_relative_to(home) else path
    return _ask(f"file {place}") is not None


def is_package(name: str) -> bool:
    """Whether the package is installed."""
    return bool(_ask(f"package {name}"))


def is_hidden(name: str) -> bool:
    """Whether ``LAZYRICH_HIDE_DATA``, a list with commas, names the data set.

    Such a set counts as absent. So one machine can try what happens without it.
    """
    return bool(_ask(f"hidden {name}"))


def used(what: str) -> None:
    """Note that a data set is read, in words."""
    _note({"used": what})


def read_log(path: Path) -> Asked:
    """What was noted in a log, without repetitions; nothing if there is no log."""
    if not path.is_file():
        return Asked()
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    answers = {line["asked"]: line["answer"] for line in lines if "asked" in line}
    names = dict.fromkeys(line["used"] for line in lines if "used" in line)
    return Asked(dict(sorted(answers.items())), list(names))


def changed(answers: dict[str, Any]) -> list[str]:
    """The questions that this machine answers in another way now."""
    return [
        question for question, answer in answers.items() if _answer(question) != answer
    ]


def _ask(question: str) -> Any:
    answer = _answer(question)
    _note({"asked": question, "answer": answer})
    return answer


def _answer(question: str) -> Any:
    kind, _, what = question.partition(" ")
    if kind == "package":
        return importlib.util.find_spec(what) is not None
    if kind == "hidden":
        named = os.environ.get(HIDDEN, "").split(",")
        return what in [name.strip() for name in named]
    inside = what.removeprefix(_HOME)
    path = data_home() / inside if what.startswith(_HOME) else Path(what)
    return path.stat().st_size if path.is_file() else None


def _note(fact: dict[str, Any]) -> None:
    log = os.environ.get(LOG)
    if log:
        # One write a line: processes that append to one file do not mix their lines.
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(fact) + "\n")
