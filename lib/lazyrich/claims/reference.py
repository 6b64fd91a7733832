"""Where the library reference documents a function: one page a package."""

# Packages whose reference has a page for each of their parts.
_IN_PARTS = ("figures", "studies")


def address(function: str) -> str:
    """The link, from another page of the book, to a function by its dotted path.

    ``lazyrich.kernels.ntk`` stands on ``reference_kernels.html``,
    ``lazyrich.studies.alignment.transfer.learning_curve`` on
    ``reference_studies_alignment.html``.
    """
    package, *below = function.split(".")[1:]
    words = ["reference", package]
    if package in _IN_PARTS and len(below) > 2:
        words.append(below[0])
    return f"{'_'.join(words)}.html#{function}"
