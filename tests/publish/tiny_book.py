"""Tiny books in temporary folders, with a tiny library of their own."""

from pathlib import Path
from typing import Any

import yaml

from lazyrich.publish.tree import Settings, Tree

CONFIG = Path(__file__).resolve().parents[2] / "_config.yml"
HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
{extra}---
"""
PARAMETERS = """\
```{code-cell} ipython3
:tags: [parameters]

scale = "laptop"
device = "auto"
seed = 0
```
"""


class Book:
    """A book under ``root`` whose pages tests write and change."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pages: list[str] = []
        self.library("__init__.py", "")
        self.prose("intro", "# A tiny book\n\nSome prose.\n")
        (root / "_config.yml").write_text(CONFIG.read_text())
        (root / "book/references.bib").write_text("")
        (root / "book/_assets").mkdir()
        (root / "book/_assets/book.css").write_text("")
        (root / "book/_assets/favicon.svg").write_text("<svg/>")
        (root / "requirements").mkdir()
        (root / "requirements/constraints.txt").write_text("numpy==1\n")

    def tree(self, scale: str = "laptop", device: str = "cpu", seed: int = 0) -> Tree:
        settings = Settings(scale, device, seed)
        return Tree(self.root, settings, self.root / "lib" / "lazyrich")

    def library(self, name: str, text: str) -> None:
        path = self.root / "lib" / "lazyrich" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def prose(self, name: str, text: str) -> None:
        path = self.root / "book" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if name not in self.pages:
            self.pages.append(name)
        first, *others = self.pages
        toc: dict[str, Any] = {"format": "jb-book", "root": f"book/{first}"}
        if others:
            toc["chapters"] = [{"file": f"book/{page}"} for page in others]
        (self.root / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False))

    def chapter(
        self,
        name: str,
        *cells: str,
        prose: str = "Words.",
        extra: str = "",
        parameters: str = PARAMETERS,
    ) -> None:
        body = "\n".join(f"```{{code-cell}} ipython3\n{cell}\n```\n" for cell in cells)
        head = HEADER.format(extra=extra)
        self.prose(name, f"{head}\n# {name}\n\n{prose}\n\n{parameters}\n{body}")
