"""Files that are whole or as they were: written beside themselves, then renamed."""

from __future__ import annotations

import glob
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from setrade.errors import ArgumentError

TRIES = 20 if os.name == "nt" else 1  # Windows replaces no file that another program has open
WAIT = 0.05  # seconds between them
DAY = 86_400  # seconds after which nobody writes any more to a file that was never renamed


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Put a file in place whole; killed at any moment, it leaves the old one as it was.

    Text is written as UTF-8, and its line ends stay as they are.

    Raises:
        ArgumentError: ``path`` is something else than a file, such as a device.
        OSError: the disk refuses; the old file is as it was.
    """
    raw = data.encode("utf-8") if isinstance(data, str) else data
    with atomic_path(path) as temporary:
        temporary.write_bytes(raw)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a new, empty file, which takes the place of ``path`` after the block.

    For writers that want a path, as ``to_parquet`` does; each must close what it opened. When
    the block raises, the new file is removed. It keeps the permissions of the file it replaces.

    Raises:
        ArgumentError: ``path`` is something else than a file, such as a device.
        OSError: the disk refuses; the old file is as it was.
    """
    target = Path(os.path.realpath(path))  # a link stays a link, and its file is written
    if target.exists() and not target.is_file():
        raise ArgumentError("path", os.fspath(path), "the path of a file")
    start = f".{target.name[:40]}."
    _sweep(target.parent, start)
    temporary = target.with_name(f"{start}{secrets.token_hex(6)}.tmp")
    # exclusive: two writers never share a file; 0o666 less the umask, as `open` gives
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        mode = stat.S_IMODE((target if target.exists() else temporary).stat().st_mode)
        yield temporary
        with open(temporary, "rb+") as file:  # a rename may reach the disk before the bytes do
            os.fsync(file.fileno())
        temporary.chmod(mode)  # some writers make a file for its owner alone
        _replace(temporary, target)
    except BaseException:
        with suppress(OSError):  # what went wrong is told, and not that this went wrong as well
            temporary.unlink()
        raise
    _flush_folder(target.parent)


def _sweep(folder: Path, start: str) -> None:
    """Remove what writers that were killed left, days ago."""
    for old in folder.glob(f"{glob.escape(start)}*.tmp"):
        with suppress(OSError):  # gone by now, or another user's
            if time.time() - old.stat().st_mtime > DAY:
                old.unlink()


def _replace(source: Path, target: Path) -> None:
    """Rename; on Windows again, while a reader or a virus scanner holds the old file open."""
    for left in reversed(range(TRIES)):
        try:
            return os.replace(source, target)
        except PermissionError:
            if not left:
                raise
            time.sleep(WAIT)


def _flush_folder(folder: Path) -> None:
    """Put the new name on the disk as well, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folder
        return
    with suppress(OSError):  # some network disks refuse; the file is whole all the same
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
