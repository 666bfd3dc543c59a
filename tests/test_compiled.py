"""Kernels: never stale, quiet where nothing can be cached, safe in threads and forked processes."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

import setrade
from setrade import compiled

PACKAGE = Path(setrade.__file__).parent
LAYERS = ("omp", "workqueue")
# The caller's settings may not decide these tests.
CLEAN = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("NUMBA_", "PYTHON", "XDG_"))
}

TOY = {
    "__init__.py": "",
    "rates.py": "RATE = 0.5\n",
    "kinds.py": (
        "from typing import NamedTuple\nclass Kind(NamedTuple):\n    a: float\n    b: float\n"
    ),
    "deep.py": (
        "from setrade.compiled import kernel\nfrom .rates import RATE\n"
        "@kernel\ndef deep(x):\n    return RATE * x\n"
    ),
    "callee.py": (
        "from setrade.compiled import kernel\nfrom .deep import deep\n"
        "@kernel(forceinline=True)\ndef fee(x):\n    return 1 * deep(x)\n"
    ),
    "loop.py": (
        "import numpy as np\nfrom setrade.compiled import kernel\n"
        "from .callee import fee\nfrom .kinds import Kind\n"
        "@kernel\ndef run(x, kind):\n    return kind.a + fee(x[len(x) - 1])\n"
        "@kernel\ndef outside(x):\n    return x[len(x)]\n"
        "def main():\n"
        "    kind = Kind(a=0.0, b=100.0)\n"
        "    print(run(np.array([2.0, 4.0]), kind), sum(run.stats.cache_hits.values()))\n"
    ),
}
MAIN = "from setrade.toy.loop import main; main()"
SAMPLE = """
import numpy as np
from setrade import candles, charts
bars = candles.sample()[:400]
windows = np.array(candles.windows(bars, 60))[:64]
"""


def python(code: str, folder: Path | None = None, **environment: str | None):
    """Run ``code`` in a fresh process that finds the package of ``folder`` first.

    An environment value of None takes the name out.
    """
    merged = {**CLEAN, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1", **environment}
    if folder is not None:
        merged["PYTHONPATH"] = str(folder)
    kept = {name: value for name, value in merged.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120, env=kept
    )


def answer(code: str, folder: Path | None = None, **environment: str | None) -> str:
    """Return what ``code`` prints; it has to end well and to say nothing on stderr."""
    done = python(code, folder, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Return a folder with a package `setrade` of kernels so small that they compile at once."""
    package = tmp_path / "first" / "setrade"
    (package / "toy").mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(PACKAGE / "compiled.py", package)
    for name, text in TOY.items():
        (package / "toy" / name).write_text(text, encoding="utf-8")
    return package.parent


def edit(folder: Path, name: str, old: str, new: str) -> None:
    """Replace ``old`` by as many characters, and keep the file's date and size."""
    path = folder / "setrade" / name
    status, text = path.stat(), path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    assert len(old) == len(new)
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def block(folder: Path) -> None:
    """Put files where folders of bytecode would be: for root, too, nothing can be written there."""
    for package in ("setrade", "setrade/toy"):
        (folder / package / "__pycache__").touch()


def kept(folder: Path) -> set[str]:
    """Return the names of the cache files beside the package's bytecode."""
    return {str(path) for path in cached(folder / "setrade" / "__pycache__")}


def cached(place: Path) -> list[Path]:
    """Return the files of compiled code in a place, whatever their sources."""
    return [path for path in place.glob("kernels-*/**/*.nb[ic]") if path.is_file()]


def test_a_new_fee_formula_is_charged_at_the_next_start(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "setrade", ignore=shutil.ignore_patterns("__pycache__"))
    code = SAMPLE + (
        "from setrade import backtest\n"
        "result = backtest.run(bars, np.sign(np.sin(np.arange(len(bars)) / 5)))\n"
        "print(result.metrics()['fees'])\n"
    )
    before = float(answer(code, tmp_path))
    files = kept(tmp_path)
    assert float(answer(code, tmp_path)) == before
    assert kept(tmp_path) == files  # unchanged sources: all came from the disk
    edit(
        tmp_path,
        "costs.py",
        "return abs(units) * price * rate\n",
        "return abs(units)*price*rate * 2\n",
    )
    assert 1.8 * before < float(answer(code, tmp_path)) < 2.2 * before


def test_whatever_changes_is_compiled_anew(toy):
    changes = (
        ("toy/callee.py", "return 1 * deep", "return 3 * deep", 6.0),
        ("toy/rates.py", "RATE = 0.5", "RATE = 2.5", 10.0),
        ("toy/kinds.py", "a: float\n    b: float", "b: float\n    a: float", 2.0),
        ("toy/loop.py", "kind.a + fee", "kind.b + fee", 102.0),
    )
    assert answer(MAIN, toy) == "2.0 0"
    for name, old, new, result in changes:
        edit(toy, name, old, new)
        assert answer(MAIN, toy) == f"{result} 0"
        edit(toy, name, new, old)
    assert answer(MAIN, toy) == "2.0 1"  # the first file is still there, and right


def test_a_reloaded_module_is_compiled_anew(toy):
    code = (
        "import importlib, pathlib\n"
        "from setrade.toy import callee, loop\n"
        "loop.main()\n"
        "path = pathlib.Path(callee.__file__)\n"
        "text = path.read_text()\n"
        "path.write_text(text.replace('1 * deep', '3 * deep'))\n"
        "importlib.reload(callee); importlib.reload(loop)\n"
        "loop.main()\n"
        "path.write_text(text)\n"
    )
    assert answer(code, toy).split("\n") == ["2.0 0", "6.0 0"]
    assert answer(MAIN, toy) == "2.0 0"  # another date: nothing of that session was kept


def test_a_kernel_of_a_reader_is_never_kept(toy):
    """What it calls is in no hash of ours, and numba minds its own file alone."""
    (toy / "rates.py").write_text("RATE = 0.5\n", encoding="utf-8")
    (toy / "mine.py").write_text(
        "from setrade.compiled import kernel\nfrom rates import RATE\n"
        "@kernel\ndef fee(x):\n    return RATE * x\n"
        "@kernel(parallel=True)\ndef fees(x):\n    return RATE * x.sum()\n",
        encoding="utf-8",
    )
    code = "import numpy as np\nfrom mine import fee, fees\nprint(fee(4.0), fees(np.ones(8)))"
    assert answer(code, toy, PYTHONWARNINGS="ignore") == "2.0 4.0"
    (toy / "rates.py").write_text("RATE = 2.5\n", encoding="utf-8")
    assert answer(code, toy, PYTHONWARNINGS="ignore") == "10.0 20.0"
    assert not list(toy.rglob("*.nb[ic]"))


def test_checked_bounds_are_another_code(toy):
    code = (
        "import numpy as np\nfrom setrade.toy.loop import outside\n"
        "try:\n    outside(np.zeros(3)); print('read')\nexcept IndexError:\n    print('refused')\n"
    )
    assert answer(code, toy) == "read"
    assert answer(code, toy, NUMBA_BOUNDSCHECK="1") == "refused"


def test_where_nothing_can_be_written_it_compiles_without_a_word(toy):
    blocked = toy / "a_file"
    blocked.touch()
    block(toy)
    nowhere = str(blocked / "below")
    homes = {"HOME": nowhere, "XDG_CACHE_HOME": nowhere, "LOCALAPPDATA": nowhere}
    assert answer(MAIN, toy, **homes) == "2.0 0"
    assert not blocked.stat().st_size


@pytest.mark.skipif(sys.platform != "linux", reason="the folder's name differs")
def test_an_unwritable_package_is_cached_for_its_user(toy, tmp_path):
    block(toy)
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": None}
    assert answer(MAIN, toy, **home) == "2.0 0"
    assert answer(MAIN, toy, **home) == "2.0 1"
    assert len(cached(tmp_path / ".cache" / "setrade")) == 6  # an index and a file each
    elsewhere = {"NUMBA_CACHE_DIR": str(tmp_path / "asked")}
    assert answer(MAIN, toy, **home, **elsewhere) == "2.0 0"
    assert len(cached(tmp_path / "asked" / "setrade")) == 6


def test_a_place_of_numbas_own_choice_is_not_used(toy, tmp_path):
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    chosen = {**home, "NUMBA_CACHE_LOCATOR_CLASSES": "InTreeCacheLocator"}
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", toy))
    assert answer(MAIN, packed, **home) == "2.0 0"
    assert answer(MAIN, toy, **chosen) == "2.0 0"
    edit(toy, "toy/rates.py", "RATE = 0.5", "RATE = 2.5")
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", toy))
    assert answer(MAIN, packed, **home) == "10.0 0"
    assert answer(MAIN, toy, **chosen) == "10.0 0"


def test_damaged_files_are_compiled_over(toy):
    assert answer(MAIN, toy) == "2.0 0"
    for path in cached(toy / "setrade" / "__pycache__"):
        path.write_bytes(path.read_bytes()[:-100])
    assert answer(MAIN, toy) == "2.0 0"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders have no mode here")
def test_a_folder_that_others_can_write_to_is_not_read(toy, tmp_path):
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert answer(MAIN, toy, **home) == "2.0 0"
    for folder in (toy / "setrade" / "__pycache__").glob("kernels-*"):
        folder.chmod(0o777)
    assert answer(MAIN, toy, **home) == "2.0 0"
    assert answer(MAIN, toy, **home) == "2.0 1"  # from the user's own folder


def test_folders_of_sources_that_nobody_starts_with_are_removed_in_the_end(tmp_path):
    before = time.time() - (compiled.KEEP_DAYS + 1) * 86_400
    for name in ("kernels-old", "kernels-new", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        if name != "kernels-new":
            os.utime(tmp_path / name, (before, before))
    compiled._tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernels-new", "other"]


def test_a_folder_that_vanishes_costs_no_call(toy):
    code = (
        "import pathlib, shutil, setrade\nfrom setrade.toy import loop\n"
        "for folder in pathlib.Path(setrade.__file__).parent.glob('__pycache__/kernels-*'):\n"
        "    shutil.rmtree(folder)\n"
        "loop.main()\n"
    )
    assert answer(code, toy) == "2.0 0"


@functools.cache
def sources() -> list[tuple[str, ast.Module]]:
    """Return the name and syntax tree of each module of the package, `compiled` left out."""
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "compiled.py"]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    return [(name, ast.parse(text)) for name, text in zip(names, texts, strict=True)]


def test_no_module_compiles_past_the_decorator():
    past = {"njit", "jit", "vectorize", "guvectorize", "cfunc", "stencil", "generated_jit"}
    past |= {"set_num_threads", "get_num_threads", "jit_module", "overload", "intrinsic"}
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert all(a.asname is None for a in node.names if a.name == "numba"), name
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numba"):
                used = {alias.name for alias in node.names}
                # `register_jitable` compiles nothing by itself: its callers' kernels take it in.
                assert node.module == "numba" or used == {"register_jitable"}, name
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "numba":
                used = {node.attr}
            else:
                continue
            assert not used & past, f"{name}, line {node.lineno}: use setrade.compiled.kernel"


def kernels() -> dict[str, object]:
    """Return all kernels of the package by module and name, parallel ones as they are called."""
    found = {}
    for name, tree in sources():
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        if not imported & {"kernel", "compiled"}:
            continue
        for key, value in vars(importlib.import_module(name)).items():
            if isinstance(value, Dispatcher) or hasattr(value, "threaded"):
                found[f"{value.__module__}.{key}"] = value
    return found


def test_all_kernels_of_the_package_are_cached():
    found = kernels()
    assert len(found) > 80
    for name, value in found.items():
        made = getattr(value, "threaded", value)
        assert isinstance(made, Dispatcher), name
        assert compiled._folder().name in made.stats.cache_path, name


def test_a_parallel_kernel_looks_like_its_function():
    from setrade.charts import paint

    assert list(inspect.signature(paint).parameters)[:2] == ["windows", "limits"]
    assert inspect.getdoc(paint) == inspect.getdoc(paint.py_func)
    assert inspect.getsource(paint).startswith("@kernel(parallel=True)\ndef paint")
    code = "from setrade.charts import paint; print(type(paint).__name__, paint.__name__)"
    assert answer(code, PACKAGE.parent, NUMBA_DISABLE_JIT="1") == "function paint"


def layer_of(layer: str) -> dict[str, str]:
    """Return the environment that asks numba for a layer, or skip where it has none."""
    if layer == "omp":
        pytest.importorskip("numba.np.ufunc.omppool")
    return {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}


@pytest.mark.parametrize("first", ["torch", "numba"])
def test_kernels_leave_torchs_threads_as_they_were(first):
    """Numba starts OpenMP threads of its own, and sets the number that torch goes by."""
    asks = "with compiled.at_most(2): pass" if first == "numba" else ""
    code = (
        "import torch\nfrom setrade import compiled\n"
        f"torch.set_num_threads(1)\nassert torch.get_num_threads() == 1\n{asks}\n{SAMPLE}"
        "charts.candlesticks(windows, 64, 64)\nprint(torch.get_num_threads())\n"
    )
    assert answer(code, PACKAGE.parent, **layer_of("omp")) == "1"


@pytest.mark.parametrize("layer", LAYERS)
def test_several_threads_may_draw_at_once(layer):
    code = SAMPLE + (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from setrade import gramian\n"
        "def draw(i):\n"
        "    if i % 2:\n        return int(charts.candlesticks(windows[:16]).sum())\n"
        "    return round(float(gramian.gasf(windows[:16, 3]).sum()))\n"
        "alone = [draw(0), draw(1)]\n"
        "with ThreadPoolExecutor(3) as pool:\n"
        "    print(all(x == alone[i % 2] for i, x in enumerate(pool.map(draw, range(60)))))\n"
    )
    assert answer(code, PACKAGE.parent, **layer_of(layer)) == "True"


FORKS = """
import multiprocessing, threading, torch

class Drawn(torch.utils.data.Dataset):
    def __len__(self):
        return 16
    def __getitem__(self, i):
        return charts.candlesticks(windows[i : i + 1])[0]

class Taken(Drawn):
    def __getitem__(self, i):
        return pictures.batch(np.array([i]))[0][0].clone()

def total(i):
    return int(charts.candlesticks(windows[i : i + 1]).sum())

from setrade.pictures import PictureSet, encoder
pictures = PictureSet(windows, np.zeros(len(windows), int), encoder("gasf", 16))
whole = charts.candlesticks(windows)
fields = torch.cat([pictures.batch(np.array([i]))[0].clone() for i in range(16)])
for made, right in ((Drawn(), torch.from_numpy(whole[:16])), (Taken(), fields)):
    loader = torch.utils.data.DataLoader(
        made, batch_size=4, num_workers=2, multiprocessing_context="fork")
    print(torch.equal(torch.cat(list(loader)), right))
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    print(pool.map(total, range(8)) == [int(x.sum()) for x in whole[:8]])
# a fork while other threads are inside a kernel
stop = threading.Event()
def draw_on():
    while not stop.is_set():
        charts.candlesticks(windows)
threads = [threading.Thread(target=draw_on) for _ in range(2)]
for thread in threads:
    thread.start()
with context.Pool(2) as pool:
    print(pool.map(total, range(8)) == [int(x.sum()) for x in whole[:8]])
stop.set()
for thread in threads:
    thread.join()
print(total(0) == int(whole[0].sum()))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
@pytest.mark.parametrize("layer", LAYERS)
def test_forked_workers_draw_the_same_pictures(layer):
    environment = {**layer_of(layer), "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    assert answer(SAMPLE + FORKS, PACKAGE.parent, **environment).split() == ["True"] * 5


SPAWNS = """
import sys
import numpy as np
import torch
from setrade import candles
from setrade.pictures import ENCODERS, PictureSet, encoder

class Taken(torch.utils.data.Dataset):
    def __init__(self, pictures):
        self.pictures = pictures
    def __len__(self):
        return 8
    def __getitem__(self, i):
        return self.pictures.batch(np.array([i]))[0][0].clone()

if __name__ == "__main__":
    windows = np.array(candles.windows(candles.sample()[:80], 16))[:8]
    encoders = [encoder(name, 16) for name in ENCODERS]
    pictures = PictureSet(windows, np.zeros(8, int), encoders)
    right = pictures.batch(np.arange(8))[0].clone()
    loader = torch.utils.data.DataLoader(
        Taken(pictures), batch_size=4, num_workers=2, multiprocessing_context="spawn")
    print(torch.equal(torch.cat(list(loader)), right))
"""


def test_spawned_workers_draw_the_same_pictures(tmp_path):
    """The only way on Windows, and the usual one on macOS: the whole set is sent to a worker."""
    program = tmp_path / "program.py"
    program.write_text(SPAWNS, encoding="utf-8")
    env = {**CLEAN, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, program], capture_output=True, encoding="utf-8", env=env)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_fork_waits_for_a_compilation_in_another_thread(toy):
    code = (
        "import os, signal, threading, time\n"
        "from numba.core.compiler_lock import global_compiler_lock\n"
        "from setrade.toy.loop import main\n"
        "held = threading.Event()\n"
        "def compile_long():\n"
        "    with global_compiler_lock:\n        held.set(); time.sleep(0.3)\n"
        "thread = threading.Thread(target=compile_long)\n"
        "thread.start(); held.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n    signal.alarm(60); main(); os._exit(0)\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    # From 3.12 on Python warns of a fork beside a thread, where that is not yet gone by then.
    quiet = {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    assert answer(code, toy, **quiet).split("\n") == ["2.0 0", "0"]


ALL_PARALLEL = """
import hashlib, os, sys
import pandas as pd
from setrade import backtest, gramian, orderbook, pictures, recurrence
close = np.ascontiguousarray(windows[:, 3])
books = orderbook.synthetic(1000, seed=1).books
scores = np.sin(np.arange(len(bars)) / 9)
sets = pd.DataFrame({"threshold": [0.1, 0.5, 0.9], "stop_atr": [1.0, 2.0, 3.0]})
def results():
    plot = recurrence.recurrence(close, dim=2, quantile=0.1)
    table, curves = backtest.run_many(bars, scores, sets, curves=True)
    yield charts.candlesticks(windows, averages=(5, 20))
    yield gramian.gasf(close)
    yield gramian.gadf(close, size=20)
    yield gramian.transition_field(close, size=20)
    yield recurrence.recurrence(close, dim=3)
    yield plot
    yield from recurrence.quantify(plot).values()
    yield orderbook.heatmap(books, rows=8, span_bps=200.0).volume
    yield pictures.compose(windows, np.sin(windows[:, 4]))
    yield pictures.ohlc(windows)
    yield table.to_numpy(float)
    yield curves
def digest():
    return [hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest() for x in results()]
several = digest()
unused = [
    f"{name}.{key}" for name, module in sorted(sys.modules.items()) if name.startswith("setrade")
    for key, value in vars(module).items()
    if hasattr(value, "threaded") and not value.threaded.signatures
]
print(unused, flush=True)
child = os.fork()
if child == 0:
    print(digest() == several, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_one_thread_and_several_give_the_same_bits():
    environment = {"NUMBA_NUM_THREADS": "2", "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    assert answer(SAMPLE + ALL_PARALLEL, PACKAGE.parent, **environment) == "[]\nTrue"
