"""Fetching files with known checksums; an interrupted download goes on where it was."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazyrich.core import extras, presence

ENVIRONMENT = presence.DATA


@dataclass(frozen=True)
class Remote:
    """A file somewhere else, and the checksum (``algorithm:digest``) that proves it."""

    name: str
    url: str
    checksum: str


def home() -> Path:
    """Where fetched data lie: ``$LAZYRICH_DATA``, else a folder of the user cache."""
    return presence.data_home()


def retrieve(remote: Remote, folder: Path, progress: bool = False) -> Path:
    """The file in `folder`, downloaded if it is not there.

    Raises:
        ValueError: the file, old or new, does not have the known checksum. A new one is
            deleted, an old one left for the user to look at.
        OSError: the server cannot be reached; what came so far is kept, and used the
            next time.
    """
    extras.require("pooch", "fetching data", "data")
    import pooch
    import requests

    path = folder / remote.name
    if path.exists():
        verify(path, remote.checksum)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    try:
        pooch.retrieve(
            remote.url,
            known_hash=remote.checksum,
            fname=remote.name,
            path=folder,
            downloader=_Resuming(  # pyright: ignore[reportArgumentType]
                folder / f"{remote.name}.part", progress
            ),
        )
    except requests.RequestException as error:
        raise OSError(f"cannot fetch {remote.url} ({error})") from error
    except ValueError as error:
        raise ValueError(f"{remote.url} is not the known file: {error}") from error
    return path


def verify(path: Path, checksum: str) -> None:
    """Compare a file with its known checksum.

    Raises:
        ValueError: they differ.
    """
    extras.require("pooch", "checking fetched data", "data")
    import pooch

    algorithm, _, expected = checksum.rpartition(":")
    found = pooch.file_hash(str(path), alg=algorithm or "sha256")
    if found != expected:
        raise ValueError(
            f"{path} must have the {algorithm or 'sha256'} checksum {expected}, got "
            f"{found}: remove it and fetch it again"
        )


class _Resuming:
    """A downloader for pooch that keeps what has arrived and asks for the rest."""

    def __init__(self, partial: Path, progress: bool) -> None:
        self.partial = partial
        self.progress = progress

    def __call__(self, url: str, output_file: Any, pooch: Any, **_: Any) -> None:
        import requests
        from tqdm import tqdm

        have = self.partial.stat().st_size if self.partial.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
            if answer.status_code == 416:  # nothing is left to send: it was all here
                self.partial.replace(output_file)
                return
            answer.raise_for_status()
            resumed = answer.status_code == 206
            length = answer.headers.get("Content-Length")
            expected = int(length) if length else None
            arrived = 0
            with (
                self.partial.open("ab" if resumed else "wb") as file,
                tqdm(
                    total=expected,
                    unit="B",
                    unit_scale=True,
                    desc=self.partial.stem,
                    disable=not self.progress,
                ) as bar,
            ):
                for block in answer.iter_content(1 << 16):
                    file.write(block)
                    arrived += len(block)
                    bar.update(len(block))
        if expected is not None and arrived < expected:
            raise requests.ConnectionError(
                f"the connection ended after {arrived} of {expected} bytes"
            )
        self.partial.replace(output_file)
