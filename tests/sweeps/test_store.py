"""The store notices every kind of damage and never loses what it holds."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyrich import sweeps
from lazyrich.sweeps import files, netcdf
from lazyrich.sweeps.manifest import Entry
from lazyrich.sweeps.store import Store


def fill(study, folder):
    sweeps.run(study, store=folder, progress=False)
    return sorted(Store(study, "laptop", folder).folder.glob("*.nc"))


def found(study, folder):
    return sweeps.status(study, store=folder)


@pytest.fixture
def small(toy):
    """One width, one alpha, one seed: a single file."""
    return toy.study(h=(3,), alpha=(0.1,), seed=(0,))


@pytest.fixture
def one_file(small, tmp_path):
    (path,) = fill(small, tmp_path)
    return path


def test_the_name_is_the_hash_of_spec_and_content(toy, tmp_path):
    names = [path.name for path in fill(toy.STUDY, tmp_path / "a")]
    assert len(names) == 6
    keys = {name.split(".")[0] for name in names}
    assert {p.name.split(".")[0] for p in fill(toy.STUDY, tmp_path / "b")} == keys
    for other in (toy.study(version=2), toy.study(anything=1), toy.study(h=(3, 7))):
        changed = {p.name.split(".")[0] for p in fill(other, tmp_path / "c")}
        assert changed - keys, "another spec must have other keys"
    # A longer grid with the same settings shares whole chunks.
    assert keys & changed


def test_flipping_any_byte_is_noticed(small, one_file, tmp_path):
    sound = one_file.read_bytes()
    store = Store(small, "laptop", tmp_path)
    assert store._verify(one_file.name, sound)
    content = bytearray(sound)
    for at in range(len(content)):
        content[at] ^= 1 << (at % 8)
        with pytest.raises(ValueError, match="damaged: its"):
            store._verify(one_file.name, bytes(content))
        content[at] = sound[at]


def test_every_digit_of_the_digest_in_a_name_counts(small, one_file, tmp_path):
    store, sound = Store(small, "laptop", tmp_path), one_file.read_bytes()
    key, digest, end = one_file.name.split(".")
    for at in range(len(digest)):
        other = "0" if digest[at] != "0" else "1"
        name = f"{key}.{digest[:at]}{other}{digest[at + 1 :]}.{end}"
        with pytest.raises(ValueError, match="damaged: its"):
            store._verify(name, sound)


@pytest.fixture(scope="module")
def filled(toy, tmp_path_factory):
    """A study of two files, and a store that holds both."""
    study = toy.study(h=(3,), alpha=(0.1,), seed=(0, 1), size=1)
    folder = tmp_path_factory.mktemp("filled")
    fill(study, folder)
    return study, folder


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_damage_is_reported_set_aside_and_computed_again(filled, data):
    study, sound = filled
    before = sweeps.load(study, store=sound)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(sound, folder, dirs_exist_ok=True)
        first = min(Path(folder).rglob("*.nc"))
        content = bytearray(first.read_bytes())
        if data.draw(st.booleans(), "truncate"):
            del content[data.draw(st.integers(0, len(content) - 1), "length") :]
        else:
            bits = st.integers(0, 8 * len(content) - 1)
            for bit in data.draw(st.sets(bits, min_size=1, max_size=5), "bits"):
                content[bit // 8] ^= 1 << bit % 8
        first.write_bytes(content)

        status = found(study, folder)
        assert (status.done, status.missing) == (1, 1)
        assert [damage.path for damage in status.damaged] == [first]
        assert first.exists(), "looking changes nothing"
        with pytest.warns(UserWarning, match="not loaded"):
            assert sweeps.load(study, store=folder).attrs["members_done"] == 1

        report = sweeps.run(study, store=folder, progress=False)
        assert (report.computed, report.done) == (1, 2)
        (damage,) = report.damaged
        assert damage.set_aside
        assert damage.path.read_bytes() == content
        assert "do not match the digest" in report.summary()
        reason = damage.path.with_name(f"{damage.path.name}.txt").read_text()
        assert reason.strip() == damage.reason
        after = sweeps.load(study, store=folder)
        xr.testing.assert_identical(before.drop_attrs(), after.drop_attrs())
        assert not found(study, folder).damaged


def test_foreign_files_are_set_aside(toy, tmp_path):
    study = toy.STUDY
    first, second, *_ = fill(study, tmp_path)
    folder = first.parent
    strangers = {
        "notes.nc": b"not mine",
        # Another chunk's key on a sound file: right digest, wrong members.
        f"{second.name[:16]}{first.name[16:]}": first.read_bytes(),
    }
    (other,) = fill(toy.study(h=(3,), alpha=(0.1,), seed=(0,), other=1), tmp_path)
    strangers[other.name] = other.read_bytes()
    # Even under the name that its members would have in this study.
    members = [{"h": 3, "alpha": 0.1, "seed": 0}]
    forged = Store(study, "laptop", tmp_path).key(members)
    strangers[f"{forged}{other.name[16:]}"] = other.read_bytes()
    for name, content in strangers.items():
        (folder / name).write_bytes(content)
    (folder / "README.txt").write_text("left alone")

    report = sweeps.run(study, store=tmp_path, progress=False)
    assert report.computed == 0
    reasons = {damage.path.name: damage.reason for damage in report.damaged}
    assert sorted(reasons) == sorted(f"{name}.damaged" for name in strangers)
    assert {reason.split(":")[0] for reason in reasons.values()} == {"foreign"}
    assert (folder / "README.txt").read_text() == "left alone"
    assert found(study, tmp_path).done == 18


def test_damage_twice_in_one_place_keeps_both(small, one_file, tmp_path):
    for content in (b"first", b"second"):
        (path,) = [p for p in one_file.parent.glob("*.nc")]
        path.rename(one_file)
        one_file.write_bytes(content)
        sweeps.run(small, store=tmp_path, progress=False)
    kept = {path.read_bytes() for path in one_file.parent.glob("*.damaged")}
    assert kept == {b"first", b"second"}


def test_results_are_read_under_another_chunking(toy, tmp_path):
    a = toy.study(size=2)
    b = toy.study(size=7)
    sweeps.run(a, store=tmp_path, progress=False)
    before = sweeps.load(a, store=tmp_path)
    report = sweeps.run(b, store=tmp_path, progress=False)
    assert (report.computed, report.done) == (0, 18)
    # A larger scale with the same settings takes over what is there.
    report = sweeps.run(b, "paper", store=tmp_path, progress=False)
    assert (report.computed, report.done) == (6, 24)
    wide = sweeps.load(a, "paper", store=tmp_path).sel(seed=[0, 1, 2])
    xr.testing.assert_equal(wide.drop_vars("status"), before.drop_vars("status"))


def test_leftovers_of_dead_writers_go_and_others_stay(small, tmp_path):
    folder = Store(small, "laptop", tmp_path).folder
    folder.mkdir(parents=True)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    node = os.uname().nodename
    gone = folder / f".{node}.{dead.pid}.0123abcd.tmp"
    mine = folder / f".{node}.{os.getpid()}.0123abcd.tmp"
    elsewhere = folder / ".other-host.1.0123abcd.tmp"
    old = folder / ".other-host.2.0123abcd.tmp"
    for path in (gone, mine, elsewhere, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    sweeps.run(small, store=tmp_path, progress=False)
    left = {path for path in (gone, mine, elsewhere, old) if path.exists()}
    assert left == {mine, elsewhere}


@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_files_of_other_machines_are_left_after_a_day(small, tmp_path, hours, stays):
    folder = Store(small, "laptop", tmp_path).folder
    folder.mkdir(parents=True)
    path = folder / ".other-host.1.0123abcd.tmp"
    path.write_bytes(b"half")
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))
    sweeps.run(small, store=tmp_path, progress=False)
    assert path.exists() == stays


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_refusing_file_system_is_named_and_loses_nothing(
    toy, tmp_path, monkeypatch, code, call
):
    study = toy.STUDY
    calls = []

    def refuse(*args):
        calls.append(args)
        if len(calls) > 3:  # the probe and one result get through
            raise OSError(code, os.strerror(code))
        return real(*args)

    where, name = (os, "fsync") if call == "fsync" else (files.Path, "replace")
    with monkeypatch.context() as patch:
        real = getattr(where, name)
        patch.setattr(where, name, refuse)
        with pytest.raises(sweeps.StoreError, match="before is safe") as caught:
            sweeps.run(study, store=tmp_path, progress=False)
    assert caught.value.errno == code
    assert os.strerror(code) in str(caught.value)
    folder = Store(study, "laptop", tmp_path).folder
    assert str(folder) in str(caught.value)
    stored = sorted(folder.iterdir())
    assert stored, "what was stored before stays"
    assert {path.suffix for path in stored} == {".nc", ".jsonl"}, (
        "and no halves are left"
    )
    done = found(study, tmp_path).done
    report = sweeps.run(study, store=tmp_path, progress=False)
    assert report.computed == 18 - done
    assert not report.damaged


def test_a_file_size_limit_of_the_system_is_survived(toy, toy_path, tmp_path):
    """A real refusal by the kernel, half way through a file."""
    code = f"""
    import resource, sys
    sys.path.insert(0, {toy_path!r})
    from lazyrich import sweeps
    import toy_study
    study = toy_study.study(noise=5000)
    sweeps.run(toy_study.study(), store={str(tmp_path)!r}, progress=False)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        sweeps.run(study, store={str(tmp_path)!r}, progress=False)
    except sweeps.StoreError as error:
        print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "File too large" in done.stdout
    assert found(toy.STUDY, tmp_path).done == 18
    left = list(Store(toy.study(noise=5000), "laptop", tmp_path).folder.iterdir())
    # The last chunks are a single member each and fit; the run had stopped before them.
    assert left == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of its own, 512 kB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=512k", "none", str(disk)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_and_a_read_only_disk(toy, tiny_disk):
    study = toy.study(size=1, noise=5000)
    with pytest.raises(sweeps.StoreError, match="No space left on device"):
        sweeps.run(study, store=tiny_disk, progress=False)
    status = found(study, tiny_disk)
    assert 0 < status.done < 18
    assert status.damaged == ()
    stored = sorted(tiny_disk.rglob("*.nc"))
    spoilt = stored[0].read_bytes()[:-1]
    stored[0].write_bytes(spoilt)

    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(sweeps.StoreError, match="Read-only file system"):
        sweeps.run(study, store=tiny_disk, progress=False)
    with pytest.warns(UserWarning, match="not loaded"):
        loaded = sweeps.load(study, store=tiny_disk)
    assert loaded.attrs["members_done"] == status.done - 1
    (damage,) = found(study, tiny_disk).damaged
    assert damage.path.read_bytes() == spoilt, "only reported"
    # A finished study in a read-only store needs no writing.
    subprocess.run(["mount", "-o", "remount,rw,size=100m", str(tiny_disk)], check=True)
    sweeps.run(study, store=tiny_disk, progress=False)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    assert sweeps.run(study, store=tiny_disk, progress=False).computed == 0


def test_a_store_that_is_a_file_is_refused(small, tmp_path):
    (tmp_path / "file").write_text("")
    for call in (sweeps.run, sweeps.status, sweeps.load):
        with pytest.raises(sweeps.StoreError, match="Not a directory.*choose another"):
            call(small, store=tmp_path / "file")


def test_the_default_store_is_set_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LAZYRICH_STORE", str(tmp_path))
    assert sweeps.default_store() == tmp_path
    monkeypatch.delenv("LAZYRICH_STORE")
    assert sweeps.default_store().parts[-2:] == ("_build", "store")


def test_files_say_where_they_come_from(small, one_file):
    with xr.open_dataset(one_file, engine="h5netcdf") as table:
        attrs = table.attrs
    assert json.loads(attrs["spec"])["study"] == "toy"
    assert attrs["device"] == "cpu"
    assert attrs["threads"] == 1
    assert attrs["note"] == "toy"
    known = {"date", "seconds", "torch_version", "lazyrich_version", "device_name"}
    assert known <= attrs.keys()


def test_random_order_of_reading_does_not_matter(toy, tmp_path):
    """Two files for one member: the same one counts, whatever the file system lists."""
    rng = random.Random(0)
    sweeps.run(toy.study(size=2), store=tmp_path, progress=False)
    folder = Store(toy.STUDY, "laptop", tmp_path).folder
    for path in folder.glob("*.nc"):
        path.rename(path.with_suffix(".aside"))
    sweeps.run(toy.study(size=3), store=tmp_path, progress=False)
    asides = list(folder.glob("*.aside"))
    rng.shuffle(asides)
    for path in asides:
        path.rename(path.with_suffix(".nc"))
    loaded = sweeps.load(toy.STUDY, store=tmp_path)
    assert loaded.attrs["members_done"] == 18
    assert np.isfinite(loaded["end"]).all()


def test_a_checkpoint_under_the_name_of_another_chunk_changes_nothing(toy, tmp_path):
    study = toy.study(h=(3,), alpha=(0.1,), seed=(0, 1), size=1, save=True)
    first, second = study.chunks("laptop")
    store = Store(study, "laptop", tmp_path / "a")
    store.prepare()
    store.checkpoint(first).save(
        {"x": np.array([0.5]), "curve": np.zeros((1, 60)), "step": 60}
    )
    for name in (first, second):
        shutil.copy(
            store.checkpoint(first).path, store.folder / f"{store.key(name.members)}.x"
        )
    (store.folder / f"{store.key(second.members)}.x").rename(
        store.folder / f"{store.key(second.members)}.checkpoint"
    )
    store.checkpoint(first).clear()
    with pytest.warns(RuntimeWarning, match="of something else"):
        sweeps.run(study, store=tmp_path / "a", progress=False)
    sweeps.run(study, store=tmp_path / "b", progress=False)
    disturbed, sound = (sweeps.load(study, store=tmp_path / k) for k in "ab")
    xr.testing.assert_equal(disturbed, sound)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.EIO])
def test_what_the_machine_cannot_read_is_not_damage(toy, tmp_path, monkeypatch, code):
    first, *others = fill(toy.STUDY, tmp_path)
    real = Path.read_bytes

    def refuse(path):
        if path == first:
            raise OSError(code, os.strerror(code))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(files.Path, "read_bytes", refuse)
        for call in (sweeps.status, sweeps.load, sweeps.run):
            with pytest.raises(sweeps.StoreError, match="cannot read") as caught:
                call(toy.STUDY, store=tmp_path)
            assert caught.value.errno == code
            assert str(first) in str(caught.value)
    assert sorted(first.parent.glob("*.nc")) == [first, *others]
    assert found(toy.STUDY, tmp_path).done == 18


@pytest.mark.parametrize("error", [MemoryError, ImportError])
def test_what_python_cannot_open_is_not_damage(toy, tmp_path, monkeypatch, error):
    fill(toy.STUDY, tmp_path)
    folder = Store(toy.STUDY, "laptop", tmp_path).folder
    (folder / "manifest.jsonl").unlink()

    def refuse(*args):
        raise error("not now")

    with monkeypatch.context() as patch:
        patch.setattr(netcdf, "_read", refuse)
        with pytest.raises(error):
            sweeps.run(toy.STUDY, store=tmp_path, progress=False)
    assert len(list(folder.glob("*.nc"))) == 6
    assert not list(folder.glob("*.damaged"))


def test_the_manifest_is_a_copy_and_never_more(toy, tmp_path, monkeypatch):
    study = toy.STUDY
    fill(study, tmp_path)
    manifest = Store(study, "laptop", tmp_path).folder / "manifest.jsonl"
    sound = manifest.read_bytes()
    opened = []
    real = Store._unpack

    def count(self, content, names=None):
        opened.append(len(content))
        return real(self, content, names)

    monkeypatch.setattr(Store, "_unpack", count)
    before = found(study, tmp_path)
    assert not opened, "with a manifest no file is opened"
    lines = [line for line in sound.splitlines() if line]
    entries = [json.loads(line.partition(b" ")[2]) for line in lines]
    forged = [Entry(e[0], e[1], ((9, 9.0, 9),), ("fitted",)).line() for e in entries]
    swapped = [
        Entry(a[0], b[1], tuple(map(tuple, b[2])), tuple(b[3])).line()
        for a, b in zip(entries, entries[1:] + entries[:1], strict=True)
    ]
    lies = {
        "missing": None,
        "empty": b"",
        "cut": sound[: len(sound) // 2],
        "flipped": sound.replace(b"fitted", b"fitteD"),
        "noise": bytes(range(256)),
        "other digests": b"".join(swapped),
        "a line for a file that is not there": sound
        + Entry(
            "0" * 16 + "." + "0" * 16 + ".nc", "0" * 64, ((3, 0.1, 0),), ("x",)
        ).line(),
    }
    for what, content in lies.items():
        manifest.unlink(missing_ok=True)
        if content is not None:
            manifest.write_bytes(content)
        assert found(study, tmp_path) == before, what
        assert sweeps.run(study, store=tmp_path, progress=False).computed == 0, what
        opened.clear()
        assert found(study, tmp_path) == before, what
        assert not opened, f"{what}: the run listed what was missing"
    # Members that are not those of the file's name are never believed.
    manifest.write_bytes(b"".join(forged))
    assert found(study, tmp_path).done == 0
    assert len(found(study, tmp_path).damaged) == 6


def test_a_chunk_that_another_run_is_at_is_waited_for_and_not_computed_twice(
    toy, tmp_path
):
    log = tmp_path / "log"
    study = toy.study(log=str(log), pause=0.3)
    code = (
        "import sys\nfrom pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(toy.__file__).parent)!r})\n"
        "import toy_study\nfrom lazyrich import sweeps\n"
        f"study = toy_study.study(log={str(log)!r}, pause=0.3)\n"
        f"report = sweeps.run(study, store={str(tmp_path)!r}, progress=False)\n"
        "print(report.computed, report.done)\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate()[0].split() for process in both]
    assert [done for _, done in told] == ["18", "18"]
    assert sum(int(computed) for computed, _ in told) == 18
    assert len(log.read_text().split()) == 6, "every chunk was measured once"
    assert len(list(Store(study, "laptop", tmp_path).folder.glob("*.nc"))) == 6
    assert found(study, tmp_path).done == 18
