"""Where the sources of a book lie, and where the products of one run of it go."""

from dataclasses import dataclass, field
from pathlib import Path

import lazyrich

SCALES = ("laptop", "paper")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Settings:
    """The three parameters that every chapter takes.

    Raises:
        ValueError: an unknown scale or device, or a negative seed.
        TypeError: a seed that is no integer.
    """

    scale: str = "laptop"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        # Checked here and not by lazyrich.core.check, whose import of torch would cost
        # more time than the rest of a build in which nothing changed.
        if self.scale not in SCALES:
            raise ValueError(f"scale must be one of {SCALES}, got {self.scale!r}")
        if self.device not in DEVICES:
            raise ValueError(f"device must be one of {DEVICES}, got {self.device!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise TypeError(f"seed must be an integer, got {self.seed!r}")
        if self.seed < 0:
            raise ValueError(f"seed must be an integer >= 0, got {self.seed!r}")

    def parameters(self) -> dict[str, str | int]:
        """As papermill injects them."""
        return {"scale": self.scale, "device": self.device, "seed": self.seed}


@dataclass(frozen=True)
class Tree:
    """The folders of a book with sources under ``root`` and one choice of settings.

    ``package`` is the library whose modules count as part of the chapters that import
    them.

    Only the default settings build into ``_build`` itself; every other choice has a
    folder of its own there, so that a run of hours is not overwritten by one of
    minutes.
    """

    root: Path
    settings: Settings = Settings()
    package: Path = field(default_factory=lambda: Path(lazyrich.__file__).parent)

    @property
    def config(self) -> Path:
        """Configuration of the pages."""
        return self.root / "_config.yml"

    @property
    def toc(self) -> Path:
        """The table of contents, which says what pages there are in which order."""
        return self.root / "_toc.yml"

    @property
    def lock(self) -> Path:
        """Exact versions of all dependencies."""
        return self.root / "requirements" / "constraints.txt"

    @property
    def build(self) -> Path:
        """Everything this run makes."""
        if self.settings == Settings():
            return self.root / "_build"
        chosen = self.settings
        name = f"{chosen.scale}-{chosen.device}-seed{chosen.seed}"
        return self.root / "_build" / name

    @property
    def executed(self) -> Path:
        """Executed notebooks, as they came from their kernels, with their stamps."""
        return self.build / "executed"

    @property
    def staged(self) -> Path:
        """What the pages are built from: notebooks with the prose of today, assets."""
        return self.build / "staged"

    @property
    def notes(self) -> Path:
        """What is known of the modules of the package, kept from one build to the next."""
        return self.root / "_build" / "modules.json"

    @property
    def failed(self) -> Path:
        """Partial notebooks of chapters that failed."""
        return self.executed / "failed"

    @property
    def output(self) -> Path:
        """The folder in which Jupyter Book makes its ``_build``."""
        return self.root if self.settings == Settings() else self.build

    @property
    def html(self) -> Path:
        """The pages."""
        return self.output / "_build" / "html"

    @property
    def notebooks(self) -> Path:
        """Notebooks for the launch buttons, made where the repository is known."""
        return self.build / "notebooks"

    def records(self, name: str) -> Path:
        """What the chapter ``name`` measured, written by the chapter itself."""
        folder = self.root / "_build" / "records" / self.settings.scale
        return folder / f"{name}.json"
