"""Atomic writing: whole or as it was, whatever interrupts it, on every system."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from setrade import files
from setrade.errors import ArgumentError
from setrade.files import atomic_path, write_atomic

WINDOWS = os.name == "nt"
unix_only = pytest.mark.skipif(WINDOWS, reason="permissions of Unix")


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize(
    "name", ["a.json", "no_suffix", ".hidden", "sør 東京 [1].csv", "x" * (60 if WINDOWS else 240)]
)
def test_bytes_and_text_are_written_as_they_are(tmp_path, name):
    path = tmp_path / name
    write_atomic(path, "first")
    write_atomic(path, "größer\r\nand\nend")
    assert path.read_bytes() == "größer\r\nand\nend".encode()
    write_atomic(os.fspath(path), b"\x00\r\n\xff")
    assert path.read_bytes() == b"\x00\r\n\xff"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def interrupted(path: Path) -> None:
    path.write_bytes(b"half")
    raise KeyboardInterrupt


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        interrupted(temporary)
    assert path.read_bytes() == b"old"
    assert left_over(tmp_path) == []


def test_text_that_no_encoding_holds_touches_nothing(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "\ud800")
    assert path.read_bytes() == b"old"
    assert left_over(tmp_path) == []


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "nowhere" / "a", b"x")


@pytest.mark.parametrize("place", ["folder", pytest.param(os.devnull, marks=unix_only)])
def test_what_is_no_file_is_refused(tmp_path, place):
    """As root, a rename would put a file where the device was."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(ArgumentError, match="path: got .*, allowed: the path of a file"):
        write_atomic(tmp_path / place, b"x")
    assert left_over(tmp_path) == []


@unix_only
def test_a_new_file_is_as_the_umask_says_and_a_replaced_one_as_it_was(tmp_path):
    path, before = tmp_path / "a", os.umask(0o027)
    try:
        with atomic_path(path) as temporary:
            temporary.unlink()  # as safetensors does
            temporary.touch(0o600)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    write_atomic(path, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@unix_only
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
    for text in (b"made", b"replaced"):
        write_atomic(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "a").read_bytes() == text


@pytest.mark.parametrize(("busy", "done"), [(2, True), (3, False)])
def test_a_file_that_is_open_elsewhere_is_tried_again(tmp_path, monkeypatch, busy, done):
    """As on Windows, where a reader or a virus scanner keeps a file from being replaced."""
    real, tries = os.replace, []

    def replace(source: Path, target: Path) -> None:
        tries.append(source)
        if len(tries) <= busy:
            raise PermissionError(13, "Access is denied")
        real(source, target)

    monkeypatch.setattr(files, "TRIES", 3)
    monkeypatch.setattr(files, "WAIT", 0.0)
    monkeypatch.setattr(os, "replace", replace)
    path = tmp_path / "a"
    path.write_bytes(b"old")
    if done:
        write_atomic(path, b"new")
    else:
        with pytest.raises(PermissionError):
            write_atomic(path, b"new")
    assert path.read_bytes() == (b"new" if done else b"old")
    assert left_over(tmp_path) == []


def test_bytes_are_on_the_disk_before_the_name_is_and_then_the_name(tmp_path, monkeypatch):
    order, sync, replace = [], os.fsync, os.replace

    def fsync(handle: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "bytes")
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *a: (order.append("name"), replace(*a))[1])
    write_atomic(tmp_path / "a", b"x")
    assert order == ["bytes", "name"] + ["folder"] * (not WINDOWS)


@pytest.mark.parametrize("lacking", ["no O_DIRECTORY", "fsync refuses"])
def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path, monkeypatch, lacking):
    """As on Windows, and on some network disks."""
    sync = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        sync(handle)

    if lacking == "no O_DIRECTORY":
        monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    monkeypatch.setattr(os, "fsync", fsync)
    write_atomic(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_what_killed_writers_left_is_swept_after_a_day_and_not_before(tmp_path):
    old, young, other = (tmp_path / n for n in (".a[1].0.tmp", ".a[1].1.tmp", ".a1.2.tmp"))
    for path in (old, young, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (time.time() - 90_000,) * 2)
    write_atomic(tmp_path / "a[1]", b"x")
    assert sorted(left_over(tmp_path)) == [".a1.2.tmp", ".a[1].1.tmp"]


def test_writers_at_the_same_time_never_share_a_file(tmp_path):
    path, contents = tmp_path / "a", [bytes([65 + n]) * 300_000 for n in range(8)]
    threads = [threading.Thread(target=write_atomic, args=(path, text)) for text in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert left_over(tmp_path) == []


KILLED_IN_THE_MIDDLE = """
import os, signal, sys
from setrade.files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
"""


def test_a_writer_killed_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_atomic(path, b"old")
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_THE_MIDDLE, str(path)], check=False)
    assert killed.returncode != 0
    assert path.read_bytes() == b"old"
    write_atomic(path, b"new")  # what it left is not in the way
    assert path.read_bytes() == b"new"


WRITES_FOR_EVER = """
import sys
from setrade.files import write_atomic
contents = [letter * 4_000_000 for letter in (b"A", b"B")]
write_atomic(sys.argv[1], contents[1])
print("begun", flush=True)
while True:
    for content in contents:
        write_atomic(sys.argv[1], content)
"""


def test_kills_at_any_moment_leave_a_whole_file(tmp_path):
    path, whole = tmp_path / "a", {b"A" * 4_000_000, b"B" * 4_000_000}
    for n in range(8):
        command = [sys.executable, "-c", WRITES_FOR_EVER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.003 + 0.004 * n)
            process.kill()
        assert path.read_bytes() in whole


DISK_THAT_REFUSES = """
import resource, sys
from setrade.files import write_atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomic(sys.argv[1], b"x" * 200_000)
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(find_spec("resource") is None, reason="Windows limits no file's length")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "a"
    write_atomic(path, b"old")
    command = [sys.executable, "-c", DISK_THAT_REFUSES, str(path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["OSError"]
    assert path.read_bytes() == b"old"
    assert left_over(tmp_path) == []
