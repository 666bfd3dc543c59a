"""Studies: a grid as data, a store that survives, workers that may die, a table that is right."""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
import pytest
import study_work
from hypothesis import given
from hypothesis import strategies as st

from setrade import candles, results
from setrade.costs import Costs
from setrade.errors import ArgumentError
from setrade.study import Data, Store, StudyError, experiment, grid, key, run, summary
from setrade.study.command import arguments, busy_seconds, carry_out, finish, settled
from setrade.study.experiment import Setting, daily, folds, judge, run_config
from setrade.study.runner import connect, estimate
from setrade.study.store import REQUESTS

HERE = Path(__file__).parent


def quiet(text: str) -> None:
    """Swallow the estimate."""


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "runs.jsonl", "squares", {"bars": "abc"})


def test_grid_by_hand():
    assert grid(model=["a", "b"], seed=range(2)) == [
        {"model": "a", "seed": 0}, {"model": "a", "seed": 1},
        {"model": "b", "seed": 0}, {"model": "b", "seed": 1},
    ]  # fmt: skip


@pytest.mark.parametrize("axis", [[], [1, 1], [float("nan")], [object()], 5, "ab"])
def test_grid_refuses(axis):
    with pytest.raises(ArgumentError):
        grid(seed=axis)


@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=3), max_size=4))
def test_key_does_not_depend_on_order(config):
    assert key(config) == key(dict(reversed(config.items())))
    assert key(config) != key(config | {"another": 1})


def test_run_stores_every_run_with_its_provenance(store):
    configs = grid(x=range(6))
    report = run(study_work.square, configs, store, n_jobs=2, say=quiet)
    assert (report.ran, report.failed, report.skipped) == (6, 0, 0)
    rows = store.of(configs)
    assert [row["measures"]["square"] for row in rows] == [0, 1, 4, 9, 16, 25]
    wanted = {"key", "config", "commit", "versions", "machine", "device", "seconds", "status"}
    assert all(wanted <= set(row) for row in rows)
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", rows[0]["commit"])
    here = run(study_work.square, grid(x=[9]), store, say=quiet)  # torch is loaded in this process
    assert (here.ran, store.rows()[-1]["device"]) == (1, "cpu")


def test_a_backend_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(StudyError, match=r"dask is not installed: pip install .\.\[cluster\]"),
        connect("dask", "tcp://127.0.0.1:1", 1),
    ):
        pass


def test_the_package_needs_no_dask():
    """It is an extra: only who asks for a cluster imports it."""
    program = (
        "import sys; sys.modules['distributed'] = None\n"
        "import setrade.study, setrade.study.experiment, setrade.study.command\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_store_of_2026_is_read(store):
    """Its rows called the configuration a cell."""
    old = {"key": key({"x": 1}), "cell": {"x": 1}, "status": "ok", "seconds": 1.0}
    store.add(old | {"measures": {"square": 1}})
    assert store.of(grid(x=[1]))[0]["config"] == {"x": 1}


def test_second_run_does_nothing_and_is_fast(store):
    configs = grid(x=range(200))
    run(study_work.square, configs, store, say=quiet)
    start = time.perf_counter()
    report = run(study_work.square, configs, store, say=quiet)
    assert (report.ran, report.skipped) == (0, 200)
    assert time.perf_counter() - start < 1


def test_estimate_comes_before_the_work(store):
    said: list[str] = []
    run(study_work.slow, grid(x=range(5)), store, say=said.append)
    assert len(said) == 1
    assert said[0].startswith("4 runs left, about 0.0 minutes with 1 at a time (median of 1 done")
    fresh = Store(store.path.with_name("fresh.jsonl"), "squares", {})
    assert "not known" in estimate(fresh, 3, 1)


def test_failed_run_is_recorded_and_tried_again(store, tmp_path):
    work, configs = partial(study_work.picky, folder=str(tmp_path)), grid(x=range(5))
    assert run(work, configs, store, n_jobs=2, say=quiet).failed == 1
    with pytest.raises(StudyError, match=r"'x': 3(.|\n)*no threes today"):
        store.of(configs)
    (tmp_path / "mended").touch()
    report = run(work, configs, store, say=quiet)
    assert (report.ran, report.failed, report.skipped) == (1, 0, 4)
    assert [row["status"] for row in store.rows()].count("failed") == 1  # not rewritten
    assert len(store.of(configs)) == 5


def test_a_measure_that_json_cannot_hold_is_a_failed_run_and_stops_no_other(store):
    report = run(study_work.lost, grid(x=range(5)), store, n_jobs=2, say=quiet)
    assert (report.ran, report.failed) == (5, 1)
    (failed,) = [row for row in store.rows() if row["status"] == "failed"]
    assert "measures.square cannot be stored" in failed["error"]


def test_a_result_that_was_computed_is_never_lost(store):
    """Each of these raised after the work, and was computed again at every call."""
    third, calls = 1 / 3, []
    found = {
        "f": np.float32(0.1), "n": np.int64(3), "b": np.bool_(True), "nan": np.nan,
        "array": np.array([third, -np.inf]), "pair": (1, third), "year": {2024: third},
    }  # fmt: skip

    def work(config: dict) -> dict:
        calls.append(config)
        return found

    for _ in range(3):
        run(work, grid(x=[1]), store, say=quiet)
    (row,) = store.rows()
    assert (len(calls), row["status"]) == (1, "ok")
    assert row["measures"] == {
        "f": float(np.float32(0.1)), "n": 3, "b": True, "nan": None,
        "array": [third, None], "pair": [1, third], "year": {"2024": third},
    }  # fmt: skip
    run(lambda config: 5, grid(x=[2]), store, say=quiet)  # type: ignore[arg-type, return-value]
    assert "no dict of measures" in store.rows()[-1]["error"]


def test_a_year_without_a_correlation_is_not_defined():
    by_year = {"2023": [0.5, 4], "2024": [None, 2]}
    rows = [{"config": {"model": "a"}, "measures": {"by_year": by_year}}]
    found = summary.by_year(rows, "model")["a"]
    assert found["2023"] == 0.5
    assert np.isnan(found["2024"])


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"setting": {"lr": np.float32(1)}}, "setting"),
        ({"setting": {"lr": np.nan}}, "setting"),
        ({"setting": [1]}, "setting"),
        ({"data": None}, "data"),
        ({"study": 5}, "study"),
        ({"repair": "False"}, "repair"),
    ],
)
def test_a_store_refuses(tmp_path, change, name):
    with pytest.raises(ArgumentError, match=f"^{name}: got"):
        Store(tmp_path / "s.jsonl", **({"study": "x", "data": {}} | change))
    assert not (tmp_path / "s.jsonl").exists()


def test_a_failed_row_without_its_error_is_told(store):
    store.add({"key": key({"x": 1}), "config": {"x": 1}, "status": "failed", "seconds": 1})
    with pytest.raises(StudyError, match="names no error"):
        store.of(grid(x=[1]))


def test_worker_killed_mid_run_loses_nothing(store, tmp_path):
    configs = grid(x=range(12))
    notes: list[str] = []
    work = partial(study_work.mortal, folder=str(tmp_path))
    run(work, configs, store, n_jobs=2, say=notes.append)
    assert [row["measures"]["square"] for row in store.of(configs)] == [x * x for x in range(12)]
    assert len(store.rows()) == 12  # none twice
    assert any("a worker died" in note for note in notes)


@pytest.mark.parametrize("deadly", [0, 5])
def test_a_run_that_always_kills_its_worker_is_recorded_and_the_others_are_done(store, deadly):
    configs = grid(x=range(8))
    work = partial(study_work.deadly, x=deadly)
    report = run(work, configs, store, n_jobs=2, say=quiet)
    assert (report.ran, report.failed) == (8, 1)
    (failed,) = [row for row in store.rows() if row["status"] == "failed"]
    assert failed["config"] == {"x": deadly}
    assert "its worker died" in failed["error"]
    with pytest.raises(StudyError, match="its worker died"):
        store.of(configs)


def test_study_killed_at_random_points_is_resumed(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import study_work; from setrade.study import Store, grid, run\n"
        "store = Store(sys.argv[1], 'squares', {})\n"
        "print('ready', flush=True)\n"
        "run(study_work.slow, grid(x=range(20)), store, say=lambda text: None)\n"
    )
    path, configs = tmp_path / "runs.jsonl", grid(x=range(20))
    rng = np.random.default_rng(0)
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(HERE)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0.1, 0.6))
        child.kill()
        child.wait()
    store = Store(path, "squares", {})
    run(study_work.slow, configs, store, say=quiet)
    assert sorted(row["key"] for row in store.rows()) == sorted(map(key, configs))


def test_two_processes_do_not_share_a_study(store):
    with store.locked(), pytest.raises(StudyError, match="another process"):
        run(study_work.square, grid(x=[1]), store, say=quiet)


def test_a_repair_does_not_disturb_a_process_that_writes(store):
    with store.locked(), pytest.raises(StudyError, match="another process"):
        Store(store.path, "squares", {"bars": "abc"}, repair=True)


def test_two_that_start_together_write_one_header(tmp_path):
    paths = [tmp_path / f"{n}.jsonl" for n in range(40)]
    start = time.time() + 4  # both have imported by then
    program = (
        "import sys, time; from setrade.study import Store, StudyError\n"
        "for n, path in enumerate(sys.argv[2:]):\n"
        "    time.sleep(max(0, float(sys.argv[1]) + n / 50 - time.time()))\n"
        "    try:\n        Store(path, 'squares', {})\n"
        "    except StudyError as error:\n        assert 'another process' in str(error)\n"
    )
    command = [sys.executable, "-c", program, str(start), *map(str, paths)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [child.wait() for child in both] == [0, 0]
    assert all(len(path.read_bytes().splitlines()) == 1 for path in paths)


def test_another_setting_is_refused(tmp_path):
    path, setting = tmp_path / "runs.jsonl", {"epochs": 12, "span": ("2022", "2025")}
    Store(path, "squares", {}, setting=setting)
    Store(path, "squares", {}, setting=setting)  # a tuple is a list in the file, and no other
    with pytest.raises(StudyError, match=r"setting .*12.*not .*'epochs': 1,"):
        Store(path, "squares", {}, setting=setting | {"epochs": 1})


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"{}", "lacks config, key"),
        (b"null", "lacks config"),
        (b"\xff", "utf-8"),
        (b"{'x'", "Expect"),
        (b"[" * 100_000, "recursion"),
        (b'{"key": ["a"], "config": 2, "status": "ok", "seconds": 1}', "lacks config, key"),
    ],
)
def test_a_damaged_line_is_named(store, line, fault):
    run(study_work.square, grid(x=range(4)), store, say=quiet)
    lines = store.path.read_bytes().splitlines(keepends=True)
    store.path.write_bytes(b"".join([*lines[:2], line + b"\n", *lines[3:]]))
    with pytest.raises(StudyError, match=f"line 3 of 5, is damaged .*{fault}.*delete the line"):
        Store(store.path, "squares", {"bars": "abc"})
    store.path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    assert len(Store(store.path, "squares", {"bars": "abc"}).missing(grid(x=range(4)))) == 1


def test_a_lost_header_is_named(store):
    run(study_work.square, grid(x=range(2)), store, say=quiet)
    store.path.write_bytes(store.path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(StudyError, match="line 1 of 2, is damaged .*data_sha256.*new store"):
        Store(store.path, "squares", {"bars": "abc"})


def test_other_data_are_refused(store):
    with pytest.raises(StudyError, match=r"data_sha256 .*abc.*not .*def"):
        Store(store.path, "squares", {"bars": "def"})
    with pytest.raises(StudyError, match="study"):
        Store(store.path, "cubes", {"bars": "abc"})


def test_line_cut_short_is_reported_and_moved_aside(store):
    configs = grid(x=range(4))
    run(study_work.square, configs, store, say=quiet)
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[:-20])
    with pytest.raises(StudyError, match=r"line 5 of 5, is cut short"):
        Store(store.path, "squares", {"bars": "abc"})
    mended = Store(store.path, "squares", {"bars": "abc"}, repair=True)
    assert len(mended.missing(configs)) == 1
    torn = store.path.with_suffix(".torn").read_bytes()
    assert whole[:-20].endswith(torn)
    assert torn
    run(study_work.square, configs, mended, say=quiet)
    assert len(mended.of(configs)) == 4


@pytest.mark.skipif(find_spec("resource") is None, reason="Windows limits no file's length")
def test_full_disk_leaves_the_file_as_it_was(tmp_path):
    program = (
        "import resource, sys; from setrade.study import Store, StudyError\n"
        "store = Store(sys.argv[1], 'squares', {})\n"
        "size = store.path.stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, size + 50))\n"
        "try:\n    store.add({'key': 'x' * 200})\n"
        "except StudyError as error:\n    print(error)\n"
        "assert store.path.stat().st_size == size and store.rows() == []\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "runs.jsonl")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "cannot take another run" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"n_jobs": 0}, "n_jobs"), ({"backend": "slurm"}, "backend")],
)
def test_run_refuses(store, arguments, name):
    with pytest.raises(ArgumentError, match=name):
        run(study_work.square, grid(x=[1]), store, **arguments)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listen(port: int, seconds: float = 60.0) -> None:
    """Return when somebody listens there; a scheduler starts slowly on a busy machine."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.1)
    pytest.fail(f"nobody listens on port {port} after {seconds:g} s")


def test_unreachable_cluster_is_named():
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(StudyError, match=address), connect("dask", address, 1, timeout=1.0):
        pass


@pytest.mark.parametrize("address", ["not-an-address", "foo://bar"])
def test_an_address_that_is_none_is_named(address):
    with pytest.raises(StudyError, match=address), connect("dask", address, 1, timeout=1.0):
        pass


def test_a_client_that_is_given_no_address_leaves_nothing_behind():
    """Its loop, ended by the garbage collector while another client starts, hangs the process."""

    def loops() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "IO loop"}

    before = loops()
    gc.disable()
    try:
        for address in ("not-an-address", "foo://bar"):
            with pytest.raises(StudyError), connect("dask", address, 1, timeout=1.0):
                pass
        assert loops() <= before
    finally:
        gc.enable()


@pytest.fixture
def dask_cluster(tmp_path):
    """A scheduler and three workers, each a process of its own; yields the address and both."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    surroundings = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    surroundings["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = "1"
    dask = [sys.executable, "-m", "dask"]

    def start(*arguments: str) -> subprocess.Popen:
        log = open(tmp_path / "dask.log", "a", encoding="utf-8")  # noqa: SIM115
        command = [*dask, *arguments]
        return subprocess.Popen(command, env=surroundings, stdout=log, stderr=log, cwd=tmp_path)

    scheduler = start(
        "scheduler", "--host", "127.0.0.1", "--port", str(port),
        "--no-dashboard", "--dashboard-address", ":0",
    )  # fmt: skip
    options = ("--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1", "--no-nanny")
    workers = [start("worker", address, *options) for _ in range(3)]
    listen(port)
    yield address, scheduler, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait(timeout=20)


@pytest.mark.slow
def test_dask_gives_the_table_that_loky_gives_though_a_worker_dies(dask_cluster, tmp_path):
    address, _, workers = dask_cluster
    configs = grid(x=range(40))
    tables = {}
    for backend, where in (("loky", None), ("dask", address)):
        store = Store(tmp_path / f"{backend}.jsonl", "squares", {})
        if backend == "dask":
            stop = threading.Timer(1.0, workers[0].kill)
            stop.start()
        run(study_work.slow, configs, store, n_jobs=2, backend=backend, address=where, say=quiet)
        tables[backend] = [(row["config"], row["measures"]) for row in store.of(configs)]
        assert len(store.rows()) == 40
    stop.join()
    assert tables["loky"] == tables["dask"]


@pytest.mark.slow
def test_a_cluster_without_workers_is_waited_for_aloud(dask_cluster, tmp_path):
    from distributed import Client

    address, _, workers = dask_cluster
    for worker in workers:
        worker.kill()
        worker.wait(timeout=20)
    with Client(address) as client:
        while client.scheduler_info()["workers"]:
            time.sleep(0.05)
    with pytest.warns(UserWarning, match=f"{address} has no worker"), connect("dask", address, 1):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("deadly", [0, 3])
def test_a_run_that_kills_the_workers_of_a_cluster_is_recorded(dask_cluster, tmp_path, deadly):
    """Two workers may die of it; a third one does the rest."""
    address, *_ = dask_cluster
    work, configs = partial(study_work.deadly, x=deadly), grid(x=range(6))
    store = Store(tmp_path / "runs.jsonl", "squares", {})
    report = run(work, configs, store, n_jobs=2, backend="dask", address=address, say=quiet)
    assert (report.ran, report.failed) == (6, 1)
    (failed,) = [row for row in store.rows() if row["status"] == "failed"]
    assert failed["config"] == {"x": deadly}
    assert "its worker died" in failed["error"]


@pytest.mark.slow
def test_a_scheduler_that_dies_is_named_and_nothing_stored_is_lost(dask_cluster, tmp_path):
    address, scheduler, _ = dask_cluster
    store, configs = Store(tmp_path / "runs.jsonl", "squares", {}), grid(x=range(100))

    def kill_after_five() -> None:
        while len(store.path.read_bytes().splitlines()) < 6:
            time.sleep(0.02)
        scheduler.kill()

    killer = threading.Thread(target=kill_after_five, daemon=True)
    killer.start()
    with pytest.raises(StudyError, match=f"{address} is lost"):
        run(study_work.slow, configs, store, n_jobs=2, backend="dask", address=address, say=quiet)
    killer.join()
    assert 5 <= len(store.rows()) < 100
    run(study_work.square, configs, store, say=quiet)
    assert len(store.of(configs)) == 100


def test_a_store_that_may_only_be_read_is_left_as_it_is(tmp_path):
    path = tmp_path / "runs.jsonl"
    run(study_work.square, grid(x=[2, 3]), Store(path, "squares", {}), say=quiet)
    os.utime(path, (1, 1))
    path.chmod(0o444)
    assert len(Store(path, "squares", {}).of(grid(x=[2, 3]))) == 2
    assert path.stat().st_mtime == 1


def test_an_interval_by_hand():
    # mean 2, standard error 1/sqrt(3), t of 0.975 at 2 degrees of freedom 4.3027
    mean, low, high = summary.t_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert (low, high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    for still in ([5.0], [5.0, 5.0]):
        assert summary.t_interval(still) == (5.0, 5.0, 5.0)


# the experiment


SMALL = Setting(
    lookback=8, horizon=4, n_folds=2, validation=100, embargo=4, hidden=4, num_epochs=1, lr=5e-3,
    batch_size=32, span=("2024-01-18", "2024-01-28"), size=16,
)  # fmt: skip


def hourly(n: int = 800, seed: int = 3) -> pd.DataFrame:
    bars = candles.synthetic(n, seed=seed, interval="1h").candles
    bars.index = pd.date_range("2024-01-01", periods=n, freq="1h", tz="UTC", name="time")
    return bars


def saved(bars: pd.DataFrame, path: Path) -> Data:
    bars.to_parquet(path)
    return Data.of(path)


CONFIG = {"data": "1h", "view": "channels", "model": "mean", "seed": 0, "fold": 0, "fee_bps": 5.5}


@pytest.mark.parametrize(("view", "model"), [("channels", "mean"), ("gadf", "nano")])
def test_a_model_knows_nothing_of_what_follows_its_test(tmp_path, one_thread, view, model):
    bars = hourly()
    fold = folds(saved(bars, tmp_path / "a.parquet"), SMALL)[0]
    other = bars.copy()
    late = slice(fold.split.test[-1] + SMALL.horizon + 2, None)
    other.iloc[late] = bars.iloc[late].to_numpy() * 3.0
    altered = folds(saved(other, tmp_path / "b.parquet"), SMALL)[0]
    before, after = (experiment.train(f, view, model, seed=0)("test") for f in (fold, altered))
    assert np.ptp(before, axis=0).min() > 1e-5  # the scores say something
    np.testing.assert_allclose(after, before, atol=1e-7)
    coin = np.full_like(before, 1 / 3)
    assert judge(fold, coin, before, Costs()) == judge(altered, coin, before, Costs())


def test_folds_lie_side_by_side_and_share_no_bar(tmp_path):
    a, b = folds(saved(hourly(), tmp_path / "a.parquet"), SMALL)
    assert b.ends("test")[0] == a.ends("test")[-1] + 1
    for fold in (a, b):
        last_label = fold.ends("train")[-1] + 1 + SMALL.horizon
        assert last_label < fold.ends("validation")[0] - SMALL.lookback + 1 - SMALL.embargo + 1
        assert fold.ends("validation")[-1] < fold.ends("test")[0]


def test_a_ruined_account_earns_nothing_more():
    days = pd.date_range("2024-01-01", periods=4, freq="1D", tz="UTC")
    assert daily(pd.Series([1.0, 0.5, 0.0, 0.0], index=days)) == [0.0, -0.5, -1.0, 0.0]


def test_judge_by_oracle_and_by_a_coin(tmp_path):
    fold = folds(saved(hourly(), tmp_path / "a.parquet"), SMALL)[0]
    truth = fold.truth.to_numpy()[fold.ends("test")].astype(int)
    oracle = np.eye(3)[truth] * 0.9 + 0.05
    good = judge(fold, oracle, oracle, Costs())
    assert good["accuracy"] == good["precision"] == good["f1"] == 1.0
    assert good["ic"] > 0.8
    flat = np.full((len(truth), 3), 1 / 3)
    none = judge(fold, flat, flat, Costs())
    assert none["ic"] == none["turnover"] == none["trades"] == 0
    assert set(none["daily"]) == {0.0}


def test_data_changed_under_the_study(tmp_path):
    data = saved(hourly(), tmp_path / "a.parquet")
    saved(hourly(seed=4), tmp_path / "a.parquet")
    with pytest.raises(StudyError, match="changed under the study"):
        run_config(CONFIG, data={"1h": data}, setting=SMALL)


def test_a_study_of_a_file_keeps_its_setting_and_its_data(tmp_path, one_thread):
    data, configs = saved(hourly(), tmp_path / "a.parquet"), [CONFIG, CONFIG | {"fold": 1}]
    words = ["--data", str(tmp_path), "--store", str(tmp_path / "runs"), "--jobs", "1"]
    args = arguments("about", seeds=1, argv=words)
    store, report = carry_out("small", args, configs, data, SMALL)
    assert (report.ran, report.failed) == (2, 0)
    assert store.path == tmp_path / "runs" / "small.jsonl"
    measures = run_config(CONFIG, data={"1h": data}, setting=SMALL)
    assert store.of(configs)[0]["measures"] == measures
    with pytest.raises(StudyError, match="setting"):
        carry_out("small", args, configs, data, replace(SMALL, num_epochs=2))
    other = saved(hourly(seed=4), tmp_path / "a.parquet")
    with pytest.raises(StudyError, match="data_sha256"):
        carry_out("small", args, configs, other, SMALL)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"data": "5m"}, "data"), ({"view": "tarot"}, "view"), ({"model": "b9"}, "model"),
        ({"fold": 2}, "fold"), ({"seed": -1}, "seed"), ({"fee_bps": -1.0}, "fee_bps"),
    ],
)  # fmt: skip
def test_run_config_refuses(tmp_path, one_thread, change, name):
    data = saved(hourly(), tmp_path / "a.parquet")
    with pytest.raises(ArgumentError, match=name):
        run_config(CONFIG | change, data={"1h": data}, setting=SMALL)


def test_missing_folder_and_faulty_candles(tmp_path):
    with pytest.raises(StudyError, match="SETRADE_DATA"):
        Data.of(tmp_path / "nothing.parquet")
    bars = hourly()
    bars.iloc[7, bars.columns.get_loc("high")] = 0.1
    with pytest.raises(candles.CandleError, match="high"):
        run_config(CONFIG, data={"1h": saved(bars, tmp_path / "bad.parquet")}, setting=SMALL)


# the table


def row(model: str, seed: int, fold: int, daily: list[float], **measures) -> dict:
    flat = dict.fromkeys(("accuracy", "precision", "recall", "f1", "ic"), 0.5)
    sums = {"trades": 4, "wins": 3, "gain": 3.0, "loss": 1.5}
    return {
        "key": f"{model}{seed}{fold}", "status": "ok",
        "config": {"model": model, "seed": seed, "fold": fold},
        "measures": flat | sums | {"daily": daily} | measures,
    }  # fmt: skip


def test_table_by_hand():
    rng = np.random.default_rng(1)
    days = {f: rng.normal(0, 0.01, 40 + f).round(4).tolist() for f in range(2)}
    rows = [row("none", s, f, days[f]) for s in range(3) for f in range(2)]
    rows += [row("se", s, f, days[f], accuracy=0.6) for s in range(3) for f in range(2)]
    table = summary.table(rows, "model", "none", n_samples=200)
    joined = np.array(days[0] + days[1])
    assert table["annual_return"]["none"]["estimate"] == pytest.approx(
        (1 + joined).prod() ** (365 / 81) - 1
    )
    assert table["win_rate"]["se"]["estimate"] == 0.75
    assert table["profit_factor"]["se"]["estimate"] == 2.0
    gain = table["accuracy"]["se"]["difference"]
    assert [gain["estimate"], gain["low"], gain["high"]] == pytest.approx([0.1] * 3)
    same = table["sharpe"]["se"]["difference"]  # the same days: paired, so exactly nothing
    assert (same["estimate"], same["low"], same["high"]) == (0, 0, 0)
    assert table["sharpe"]["none"]["difference"] is None


def test_table_refuses_a_hole():
    rows = [row("none", s, f, [0.0] * 9) for s in range(2) for f in range(2)]
    with pytest.raises(StudyError, match="no run"):
        summary.cube(rows[:-1], "model", "daily")
    failed = [*rows[:-1], rows[-1] | {"status": "failed"}]
    with pytest.raises(StudyError, match="no run"):
        summary.cube(failed, "model", "daily")


def test_command_line_says_what_it_lacks(tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE.parent / "studies" / "se_real.py"), "--help"],
        capture_output=True, encoding="utf-8", env=os.environ | {"TQDM_DISABLE": "1"},
    )  # fmt: skip
    assert done.returncode == 0
    assert "--backend" in done.stdout
    assert "Eight folds" in done.stdout


def test_busy_seconds_by_hand():
    """Two runs overlap, a third comes after a pause: 0 to 3 and 10 to 11."""
    rows = [{"started": a, "seconds": b} for a, b in ((10.0, 1.0), (0.0, 2.0), (1.0, 2.0))]
    assert busy_seconds(rows) == 4.0
    inside = [{"started": a, "seconds": b} for a, b in ((0.0, 5.0), (1.0, 1.0), (3.0, 1.0))]
    assert busy_seconds(inside) == 5.0


def test_every_try_in_the_store_is_counted(tmp_path):
    store = Store(tmp_path / "runs.jsonl", "nets", {})
    rng, flat = np.random.default_rng(0), {}
    for config in grid(model=["a", "b"], seed=range(3), fold=range(2)):
        daily = rng.normal(0, 0.01, 30 + config["fold"]).tolist()
        flat.setdefault(f"{config['model']}/{config['seed']}", []).extend(daily)
        row = {"key": key(config), "config": config, "status": "ok", "seconds": 1.0}
        store.add(row | {"measures": {"daily": daily}})
    bench = {"model": "hold", "seed": 0, "fold": 0, "view": "rule"}
    row = {"key": key(bench), "config": bench, "status": "ok", "seconds": 1.0}
    store.add(row | {"measures": {"daily": [0.02, 0.03] * 5}})  # wins, but is no try
    assert summary.tries(store, "model")["best"]["name"] == "hold/0"
    tries = summary.tries(store, "model", beside=("rule",))
    sharpes = {name: np.mean(x) / np.std(x, ddof=1) for name, x in flat.items()}
    assert tries["sharpes"] == pytest.approx(sharpes)
    best = max(sharpes, key=lambda name: sharpes[name])
    assert tries["best"]["name"] == best
    assert tries["best"]["daily"] == pytest.approx(flat[best])


def test_lines_are_json(store):
    run(study_work.square, grid(x=[2]), store, say=quiet)
    lines = [json.loads(line) for line in store.path.read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"study": "squares", "data_sha256": {"bars": "abc"}, "setting": {}}
    assert lines[1]["measures"] == {"square": 4}


@pytest.mark.skipif("SETRADE_DATA" not in os.environ, reason="SETRADE_DATA names no folder")
@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_names_the_span_and_the_bar_of_its_file(name):
    asked = dict(parse_qsl(REQUESTS[name].partition("?")[2]))
    bars = candles.read(Path(os.environ["SETRADE_DATA"], name))
    opens = pd.DatetimeIndex(bars.index).as_unit("ms").asi8
    assert (asked["start"], asked["end"]) == (str(opens[0]), str(opens[-1]))
    assert int(asked["interval"]) * 60_000 == opens[1] - opens[0]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A project of its own: one module, one study, a folder of results."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.setattr(results, "ROOT", tmp_path / "project")
    monkeypatch.setattr(results, "FOLDER", tmp_path / "project" / "book" / "results")
    for folder in ("setrade/study", "setrade/live", "studies", "book/results"):
        (tmp_path / "project" / folder).mkdir(parents=True)
        (tmp_path / "project" / folder / "x.py").write_text("old", encoding="utf-8")

    def git(*words: str) -> None:
        me = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *me, *words], cwd=tmp_path / "project", check=True, encoding="utf-8")

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    return tmp_path / "project"


def test_a_study_is_settled_only_while_its_runs_and_its_code_are_the_same(store, repository):
    configs, work = grid(x=range(3)), study_work.square
    report = run(work, configs, store, say=quiet)
    assert not settled("x", report, store)  # it has just run
    again = run(work, configs, store, say=quiet)
    assert not settled("x", again, store)  # nothing is stored yet
    finish("x", {}, again, store, seeds=1, start=time.perf_counter())
    assert results.load("x")["results"]["machinery"]["commits"] == {results.commit(): 3}
    for other in ("book/results", "setrade/live"):
        (repository / other / "x.py").write_text("new", encoding="utf-8")
        assert settled("x", again, store)
    for mine in ("setrade/study", "studies"):
        (repository / mine / "x.py").write_text("new", encoding="utf-8")
        assert not settled("x", again, store)
        (repository / mine / "x.py").write_text("old", encoding="utf-8")
    run(work, grid(x=range(4)), store, say=quiet)
    assert not settled("x", again, store)  # one run more


def test_a_commit_is_marked_when_its_code_differs_and_not_when_its_results_do(repository):
    (repository / "book/results/x.py").write_text("new", encoding="utf-8")
    assert len(results.commit()) == 40
    (repository / "setrade/live/x.py").write_text("new", encoding="utf-8")
    assert results.commit().endswith("+")


def test_a_result_made_between_commits_is_never_settled(store, repository):
    (repository / "setrade/study/x.py").write_text("not committed", encoding="utf-8")
    run(study_work.square, grid(x=[1]), store, say=quiet)
    again = run(study_work.square, grid(x=[1]), store, say=quiet)
    finish("x", {}, again, store, seeds=1, start=time.perf_counter())
    assert not settled("x", again, store)


def test_a_study_without_git_is_run_and_stored_and_never_settled(store, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    run(study_work.square, grid(x=range(3)), store, say=quiet)
    again = run(study_work.square, grid(x=range(3)), store, say=quiet)
    finish("x", {}, again, store, seeds=1, start=time.perf_counter())
    assert results.load("x")["commit"] == "unknown"
    assert results.load("x")["results"]["machinery"]["commits"] == {"unknown": 3}
    assert not settled("x", again, store)


HOLDS_THE_LOCK = """
import sys, time
from setrade.study import Store
store = Store(sys.argv[1], "squares", {"bars": "abc"})
with store.locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_leaves_no_lock(store):
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(store.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"held"
        with pytest.raises(StudyError, match="another process"):
            run(study_work.square, grid(x=[1]), store, say=quiet)
        process.kill()
        process.wait()
    assert run(study_work.square, grid(x=[1]), store, say=quiet).ran == 1


def test_a_lock_is_freed_when_its_block_raises(store):
    with pytest.raises(KeyError), store.locked():
        raise KeyError
    with store.locked():
        pass
