"""What other systems lack, and what their default encoding would spoil, is used nowhere."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("setrade", "tools", "studies", "tests", "chapters", "book")


@lru_cache
def trees(*folders: str) -> dict[str, ast.Module]:
    """Return the syntax tree of each file, by its path in the project."""
    found = [f for folder in folders for f in sorted((ROOT / folder).rglob("*.py"))]
    return {f.relative_to(ROOT).as_posix(): ast.parse(f.read_text(encoding="utf-8")) for f in found}


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str, dict[str | None, ast.expr]]]:
    """Yield each call with the last part of its name, and its keywords."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield node, name, {keyword.arg: keyword.value for keyword in node.keywords}


def opens_text(node: ast.Call, words: dict[str | None, ast.expr]) -> bool:
    """Return whether a call named ``open`` opens a text, as far as its words tell."""
    if ast.unparse(node.func) in ("os.open", "gzip.open"):
        return False
    first = 0 if isinstance(node.func, ast.Attribute) else 1  # path.open(mode), open(path, mode)
    mode = words.get("mode", next(iter(node.args[first:]), ast.Constant("r")))
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" not in mode.value


def default_encodings(tree: ast.Module) -> list[str]:
    """Return the calls that leave the encoding to the system."""
    return [
        f"line {node.lineno}: {ast.unparse(node)[:70]}"
        for node, name, words in calls(tree)
        if "encoding" not in words and (
            name in ("read_text", "write_text")
            or (name == "open" and opens_text(node, words))
            or getattr(words.get("text", words.get("universal_newlines")), "value", None) is True
        )
    ]  # fmt: skip


def test_every_text_names_its_encoding():
    found = {name: default_encodings(tree) for name, tree in trees(*FOLDERS).items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("open(path)", True), ("open(path, 'w')", True), ("open(path, mode='a')", True),
        ("path.open()", True), ("Path(name).open('w')", True), ("path.read_text()", True),
        ("path.write_text(text, newline='')", True), ("run(command, text=True)", True),
        ("open(path, 'rb')", False), ("path.open('ab', buffering=0)", False),
        ("open(path, encoding='utf-8')", False), ("run(command, encoding='utf-8')", False),
        ("desk.open(bar, 0.5)", False), ("archive.open(archive.namelist()[0])", False),
        ("os.open(path, os.O_RDONLY)", False), ("Response(text=page)", False),
    ],
)  # fmt: skip
def test_such_calls_are_seen(line, wrong):
    assert bool(default_encodings(ast.parse(line))) == wrong


MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
# Of every system, as are the two ways to treat one.
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
CALLS = {
    "O_DIRECTORY", "O_NOFOLLOW", "chown", "fchmod", "fork", "geteuid", "getloadavg", "getuid",
    "killpg", "mkfifo", "nice", "register_at_fork", "sched_getaffinity", "sched_setaffinity",
    "setsid", "statvfs", "sysconf", "umask", "uname",
}  # fmt: skip
ASK_AT_THE_START = {"studies/torture_rest.py"}  # and then refuse to run


def of_unix(tree: ast.Module) -> list[str]:
    """Return what a file takes for granted and another system lacks.

    ``hasattr(os, "fork")`` anywhere in the file says that it does not.
    """
    asked = {getattr(node.args[1], "value", "") for node, name, _ in calls(tree)
             if name in ("hasattr", "getattr")}  # fmt: skip
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
            found += [f"line {node.lineno}: {name}" for name in names & MODULES]
        if isinstance(node, ast.Attribute) and node.attr not in asked:
            module, name = ast.unparse(node.value), node.attr
            signal = module == "signal" and name.startswith("SIG") and name not in SIGNALS
            if signal or (module == "os" and name in CALLS):
                found.append(f"line {node.lineno}: {module}.{name}")
    return found


def test_nothing_that_a_system_may_lack_is_taken_for_granted():
    found = {name: of_unix(tree) for name, tree in trees("setrade", "tools", "studies").items()}
    assert {name for name, lines in found.items() if lines} <= ASK_AT_THE_START, found
    for name in ASK_AT_THE_START:
        assert "parser.error" in (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("import fcntl", True), ("from resource import getrusage", True), ("os.fork()", True),
        ("signal.SIGUSR1", True), ("os.fork() if hasattr(os, 'fork') else None", False),
        ("signal.SIGINT", False), ("getattr(signal, 'SIGKILL', signal.SIGTERM)", False),
    ],
)  # fmt: skip
def test_such_names_are_seen(line, wrong):
    assert bool(of_unix(ast.parse(line))) == wrong


# a file kept back for a full disk; one of the system's own; folders that last as long as a call
NO_NEED = {"setrade/files.py", "setrade/live/journal.py", "setrade/live/shadow.py",
           "setrade/inference/quantize.py",
           "studies/b0_to_b7.py", "studies/fuzz.py"}  # fmt: skip


def drawn_by_axes(tree: ast.Module) -> list[str]:
    """Return the draws of correlated numbers whose axes each processor chooses for itself.

    NumPy's default takes them from a singular value decomposition, in which axes of one length may
    be turned at will: the same seed then gives other numbers. Cholesky's factor is unique.
    """
    return [
        f"line {node.lineno}: {ast.unparse(node)[:70]}"
        for node, name, words in calls(tree)
        if name == "multivariate_normal"
        and isinstance(node.func, ast.Attribute)
        and getattr(words.get("method"), "value", None) != "cholesky"
    ]


def test_the_same_seed_draws_the_same_numbers_on_every_processor():
    found = {name: drawn_by_axes(tree) for name, tree in trees(*FOLDERS).items()}
    assert {name: lines for name, lines in found.items() if lines} == {}
    default = "rng.multivariate_normal(m, c, 9)"
    assert len(drawn_by_axes(ast.parse(default))) == 1
    assert drawn_by_axes(ast.parse(default.replace("9", "9, method='cholesky'"))) == []


def caches_lost_on_the_way(name: str, tree: ast.Module) -> list[str]:
    """Return the cached functions of a script that its workers would look for in vain.

    joblib sends a cached function by its module's name, which is ``__main__`` in a script; the
    worker's ``__main__`` is another. Scripts that start under their own name are spared.
    """
    sends = any(call in ("Parallel", "ProcessPoolExecutor") for _, call, _ in calls(tree))
    start = ast.walk(tree.body[-1])  # what runs where it is a script
    again = any(isinstance(n, ast.ImportFrom) and n.module == Path(name).stem for n in start)
    return [
        node.name for node in tree.body
        if sends and not again and isinstance(node, ast.FunctionDef)
        and any("cache" in ast.unparse(mark) for mark in node.decorator_list)
    ]  # fmt: skip


def test_workers_find_what_a_script_sends_them():
    found = {name: caches_lost_on_the_way(name, tree) for name, tree in trees("studies").items()}
    assert {name: lost for name, lost in found.items() if lost} == {}
    script = "@lru_cache(1)\ndef load(): ...\nParallel()\nif __name__ == '__main__':\n    "
    assert caches_lost_on_the_way("studies/x.py", ast.parse(script + "main()")) == ["load"]
    mended = ast.parse(script + "from x import main\n    main()")
    assert caches_lost_on_the_way("studies/x.py", mended) == []


def test_there_is_one_way_to_write_a_file():
    """Whole or not at all: `setrade.files`."""
    writes = {
        name
        for name, tree in trees("setrade", "tools", "studies").items()
        for node, call, _ in calls(tree)
        if call in ("write_text", "write_bytes") or ast.unparse(node.func) == "os.replace"
    }
    assert writes <= NO_NEED


def python(code: str, folder: Path, *options: str, **environment: str) -> str:
    """Run code in a process without any UTF-8 but what it asks for; return what it prints."""
    env = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "TQDM_DISABLE": "1"}
    env = os.environ | env | {"PYTHONPATH": str(ROOT)} | environment
    (folder / "program.py").write_text(code, encoding="utf-8")
    command = [sys.executable, *options, "program.py"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


STRICT = """
import locale, sys, warnings
from pathlib import Path
assert sys.platform != "linux" or locale.getencoding() == "ANSI_X3.4-1968"
warnings.filterwarnings("error", category=EncodingWarning, module="setrade|[a-z_]+_page|provenance")
"""
READS = """
from setrade import candles, evidence, inference, plots, results, simulator
from setrade.bybit.paper import PaperBroker, replay_lines
from setrade.evidence import claims
from setrade.files import write_atomic
from setrade.live import Journal
from setrade.study import Store, grid, run

assert len(claims.ledger()) > 50
assert any(not claim.claim.isascii() or not claim.note.isascii() for claim in claims.ledger())
for path in results.STORED.glob("*.json"):
    results.load(path.stem)
results.FOLDER = Path("folder")
results.save("x", {"größer": "≥"}, command="make study STUDY=x", seed=0, seconds=0)
assert results.load("x")["results"] == {"größer": "≥"}
write_atomic("x.txt", "≥")
assert Path("x.txt").read_bytes() == "≥".encode()
plots.use_style()
bars = candles.sample().iloc[:300]
bars.to_csv("bars.csv")
assert len(candles.read("bars.csv")) == 300
store = Store("runs.jsonl", "größer", {"bars": "≥"})
run(dict, grid(x=["≥"]), store, say=len)
assert Store("runs.jsonl", "größer", {"bars": "≥"}).rows()[0]["measures"] == {"x": "≥"}
journal = Journal("run.sqlite")
journal.event("größer", why="≥")
journal.close()
Path("lines").write_bytes('{"kind": "fill", "größer": "≥"}\\n'.encode())
replay_lines(PaperBroker("BTCUSDT"), Path("lines"))
inference.load("se_trader")
with simulator.serve(bars) as server:
    assert server.http_url
"""
COMMANDS = """
import contextlib
from setrade.bybit import __main__ as bybit
from setrade.live import config as live
from setrade.simulator import __main__ as simulator
for parser in (live.parser(), bybit.parser(), simulator.parser()):
    with contextlib.suppress(SystemExit):
        parser.parse_args(["--help"])
"""


@pytest.mark.parametrize("code", [READS, COMMANDS], ids=["reads", "commands"])
def test_no_default_encoding_is_used(tmp_path, code):
    """Where the system's encoding is ASCII, and a default one is an error."""
    python(STRICT + code, tmp_path, "-X", "warn_default_encoding")


LACKING = """
import os, signal, sys
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGSTOP"):
    delattr(signal, name) if hasattr(signal, name) else None
from setrade.live import __main__ as live
from setrade.simulator import __main__ as simulator
from setrade import results
del simulator
print(sorted(live.SIGNALS.values()))
for name in ("sched_getaffinity", "getloadavg", "fork", "uname"):
    delattr(os, name) if hasattr(os, name) else None
assert results.machine().split()[-2].isdigit()
"""


def test_signals_and_calls_that_windows_lacks_are_done_without(tmp_path):
    said = python(LACKING, tmp_path).strip()
    assert "interrupt" in said
    assert "terminated" in said
    assert "kill_signal" not in said


def test_children_start_afresh_where_nothing_forks(monkeypatch):
    import multiprocessing

    from studies.torture_live import Torture

    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert Torture(10, 60.0, 0).context.get_start_method() == "spawn"
