"""``python -m lazyrich.publish.cover``: draw the picture of the README from stored runs."""

from lazyrich import sweeps
from lazyrich.core.project import root
from lazyrich.figures.lazy_and_rich import alpha_sweep as pictures
from lazyrich.studies.lazy_and_rich.alpha_sweep import STUDY


def main() -> None:
    """Write ``book/_assets/cover.png`` from the laptop runs, computing missing ones."""
    sweeps.run(STUDY, cluster="auto")
    table = sweeps.load(STUDY)
    figure = pictures.cover(table, h=int(table["h"][-1]), seed=0)
    path = root() / "book" / "_assets" / "cover.png"
    figure.savefig(path, dpi=130)
    print(f"written to {path.relative_to(root())}")


if __name__ == "__main__":
    main()
