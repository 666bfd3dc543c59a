"""Kernels: functions that numba compiles, never stale, safe in any thread and after a fork.

`kernel` stands in place of ``numba.njit``. It keeps compiled code on disk as numba does, with
three differences.

*Nothing stale.* Numba minds the file that a kernel stands in, and not what it calls: a fee formula
of another file can change while the old machine code goes on. Here the code lies in a folder whose
name is a hash of all sources of the package and of numba's settings: compiling all anew costs time,
yesterday's fee costs money. A kernel of a reader's own file, not in that hash, is never kept.

*Threads.* Without OpenMP or TBB numba aborts the process when two threads run parallel loops
at once: there they take turns.

*Forks.* A forked process inherits a pool of threads that are dead. It runs the same source
compiled without threads, which gives the same bits.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, overload

import numba
from numba.core import config
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock

Function = TypeVar("Function", bound=Callable[..., Any])

PACKAGE = Path(__file__).parent
KEEP_DAYS = 30  # a folder that no process has used for so long is removed
THREAD_SAFE = ("omp", "tbb")
# Settings of numba that leave machine code as it is and differ from run to run.
INERT = ("CACHE_", "COLOR_", "CUDA_", "NUMBA_", "RUNNING_", "THREADING_", "DISABLE_CUDA", "FORCE_")


class _Pool:
    """What is known of numba's threads in this process."""

    forked = False  # this process was forked: its threads, if there were any, are dead
    free = False  # the layer that runs lets several threads in at once
    lock = threading.RLock()


@overload
def kernel(function: Function, /) -> Function: ...
@overload
def kernel(*, parallel: bool = False, **options: Any) -> Callable[[Function], Function]: ...
def kernel(function: Any = None, /, *, parallel: bool = False, **options: Any) -> Any:
    """Compile a function with numba when it is first called, and keep the code on disk.

    Args:
        function: What to compile; without it, a decorator is returned.
        parallel: Run loops over ``prange`` on all cores. Such a kernel is called from Python,
            not from other kernels, by any number of threads, and by forked processes too.
        options: Of ``numba.njit``, all but ``cache``.

    Returns:
        numba's dispatcher; with ``parallel`` a function that chooses between two of them.
    """
    if function is None:
        return functools.partial(kernel, parallel=parallel, **options)
    return _parallel(function, options) if parallel else _compile(function, options)


def _compile(function: Callable[..., Any], options: dict[str, Any], twin: str = "") -> Any:
    """Return numba's dispatcher of a function, with its cache in a folder of these sources.

    ``twin`` names a second way to compile one function: numba's key does not tell them apart.
    """
    made: Any = numba.njit(**options)(function)
    folder = _folder() if PACKAGE in Path(function.__code__.co_filename).parents else None
    if made is not function and folder is not None:  # NUMBA_DISABLE_JIT leaves a plain function
        with suppress(Exception), _caching_in(folder / twin):  # none costs time, not the kernel
            cache = _Cache(function)
            if Path(cache.cache_path).is_relative_to(folder):  # else a place of numba's choice
                made._cache = cache
    return made


def _parallel(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """Return a function that runs a parallel kernel in the way that is safe where it is called."""
    threaded = _compile(function, {**options, "parallel": True})
    if threaded is function:
        return function
    serial = functools.cache(lambda: _compile(function, options, "serial"))

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        if _Pool.forked:
            return serial()(*args)
        if _Pool.free:
            return threaded(*args)
        with _Pool.lock, _torch_threads():
            result = threaded(*args)
            _Pool.free = _layer() in THREAD_SAFE
            return result

    vars(call).update(py_func=function, threaded=threaded, serial=serial)
    return call


@contextmanager
def _torch_threads() -> Iterator[None]:
    """Keep torch's number of threads: numba sets it too where it starts its own (OpenMP)."""
    torch: Any = sys.modules.get("torch")
    before = torch.get_num_threads() if hasattr(torch, "set_num_threads") else 0
    try:
        yield
    finally:
        if before and torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _layer() -> str:
    """Return the name of numba's threading layer, empty as long as none was started."""
    try:
        return numba.threading_layer()  # pyright: ignore[reportPrivateImportUsage]
    except ValueError:
        return ""


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """Let parallel kernels inside use at most ``threads`` threads, at least one."""
    if _Pool.forked:
        yield
        return
    with _torch_threads():
        before = numba.get_num_threads()  # starts them, if none run yet
    numba.set_num_threads(max(1, min(before, threads)))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _enter_child() -> None:
    """Mark a forked process, and free the compiler's lock, which the fork waited for."""
    _Pool.forked = True
    _Pool.lock = threading.RLock()  # a thread that is not here may have held the other
    global_compiler_lock.release()


if hasattr(os, "register_at_fork"):
    # A fork while another thread compiles would leave the child a lock that nobody frees.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=_enter_child,
    )


class _Cache(FunctionCache):
    """Numba's cache of one kernel; what the disk refuses is compiled again, and no error.

    Sources that change under a running process (an update, an edit before a reload) are no
    longer those that the folder is named after: from then on nothing is loaded or kept.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function of a signature, or None."""
        with suppress(Exception):  # removed, damaged, of a numba that writes otherwise
            return super().load_overload(sig, target_context) if _unchanged() else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled function of a signature."""
        with suppress(Exception):  # a full disk, say
            if _unchanged():
                super().save_overload(sig, data)


@contextmanager
def _caching_in(folder: Path) -> Iterator[None]:
    """Point numba to a folder; its setting is one for the process, so it is set back at once."""
    with _Pool.lock:
        before = config.CACHE_DIR  # pyright: ignore[reportAttributeAccessIssue]
        config.CACHE_DIR = str(folder)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            config.CACHE_DIR = before  # pyright: ignore[reportAttributeAccessIssue]


def _stats() -> list[tuple[str, int, int]]:
    """Return name, date and size of every source of the package."""
    found = []
    for folder, inner, files in os.walk(PACKAGE):
        inner[:] = sorted(name for name in inner if name != "__pycache__")
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                status = os.stat(path)
                found.append((path, status.st_mtime_ns, status.st_size))
    return found


@functools.cache
def _state() -> tuple[list[tuple[str, int, int]], str]:
    """Return the dates of all sources, and a hash of them, their text and numba's settings.

    The dates are part of it because Python itself goes by them: where a file changed and its date
    did not, old bytecode runs, and must not be taken for the new text's.
    """
    stats = _stats()
    digest = hashlib.sha256(repr(stats).encode())
    for path, _, _ in stats:
        digest.update(Path(path).read_bytes())
    settings = {k: repr(v) for k, v in vars(config).items() if k.isupper()}
    active = sorted((k, v) for k, v in settings.items() if not k.startswith(INERT))
    digest.update(repr((sys.version, numba.__version__, active)).encode())
    return stats, digest.hexdigest()[:16]


def _unchanged() -> bool:
    """Return whether the sources are still those that this process started with."""
    return _stats() == _state()[0]


def _places() -> list[Path]:
    """Return where compiled code may lie, best first: as asked, beside bytecode, the user's."""
    beside = Path(importlib.util.cache_from_source(__file__)).parent
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        home = os.path.expanduser("~/Library/Caches")
    else:
        home = os.environ.get("XDG_CACHE_HOME", "") or os.path.expanduser("~/.cache")
    asked = getattr(config, "CACHE_DIR", "")  # NUMBA_CACHE_DIR
    wanted = [Path(asked, "setrade")] if asked else []
    return [*wanted, beside, *([Path(home, "setrade")] if os.path.isabs(home) else [])]


@functools.cache
def _folder() -> Path | None:
    """Return the folder of compiled code for these sources; None where none can be written to."""
    for place in _places():
        with suppress(OSError, ValueError):
            folder = place / f"kernels-{_state()[1]}"
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            os.utime(folder)  # in use
            if _private(folder):
                _tidy(place)
                return folder
    return None


def _private(folder: Path) -> bool:
    """Return whether nobody but this user and the administrator can have written to a folder.

    To load a cached kernel is to run it. Windows keeps these folders private on its own.
    """
    if not hasattr(os, "geteuid"):
        return True
    status = folder.stat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022


def _tidy(place: Path) -> None:
    """Remove the folders of sources that no process has started with for long."""
    for old in place.glob("kernels-*"):
        with suppress(OSError):  # another process may be doing the same
            if time.time() - old.stat().st_mtime > KEEP_DAYS * 86_400:
                shutil.rmtree(old, ignore_errors=True)
