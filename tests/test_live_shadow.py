"""A shadow changes nothing of a run; a promotion is whole or not there; nothing is forgotten."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from test_live_guards import BARS, WARM, Run, long, wants

from setrade import candles
from setrade.errors import ArgumentError
from setrade.inference import FOLDER, load, save
from setrade.live import Journal, JournalError
from setrade.live.__main__ import main
from setrade.live.config import Config, UsageError
from setrade.live.shadow import (
    PROMOTED,
    SHADOW,
    Isolated,
    Shadow,
    compare,
    promote,
    rollback,
)

RECORD = {"file": "new", "sha256": "ab" * 32, "checkpoint": "new", "model": "se_trader",
          "interval": "1min", "size": 1.0, "budget": 1.0, "fee_bps": 5.5,
          "slippage_bps": 1.0}  # fmt: skip


def turning(window):
    """Turn round every third bar."""
    return wants((0.5, -0.5)[window.index[-1].minute // 3 % 2], window)


def lived(path, shadow=None, **more) -> Any:
    """Return a run of sixty bars with a shadow, or without one."""
    run = Run(path, BARS[WARM : WARM + 60], model=turning, on_exit="keep", **more)
    if shadow is not None:
        run.line.shadow = Shadow(run.journal, "new", shadow, wait=more.get("wait", 5.0))
    run.go()
    if run.line.shadow is not None:
        run.line.shadow.close()
    assert run.error is None
    return run


def traded(run) -> list[tuple]:
    """Return all that is of the live path."""
    sql = "SELECT link_id, time, record, status FROM intents ORDER BY rowid"
    said = "SELECT time, position FROM signals ORDER BY time"
    return [*run.rows, *run.journal.db.execute(sql), *run.journal.db.execute(said)]


def fails(window):
    raise MemoryError("no")


def no_signal(window) -> Any:
    return "up"


def leaves(window):
    raise SystemExit(3)


def spoils(window):
    window.iloc[:] = np.nan
    return long(window)


@pytest.mark.parametrize("model", [long, fails, no_signal, spoils], ids=lambda f: f.__name__)
def test_a_run_with_a_shadow_is_the_run_without_one(tmp_path, model):
    alone, beside = lived(tmp_path / "a"), lived(tmp_path / "b", model)
    assert traded(beside) == traded(alone)
    lines = beside.journal.db.execute("SELECT count(*) FROM shadow").fetchone()[0]
    asked = beside.journal.counts()["signals"]
    failed = len(beside.journal.events("shadow_failed"))
    assert (lines, failed) == ((0, asked) if model in (fails, no_signal) else (asked, 0))
    assert asked > 40


@pytest.mark.parametrize("model", [lambda w: time.sleep(60), leaves], ids=["hangs", "leaves"])
def test_one_that_hangs_is_skipped_and_nobody_waits(tmp_path, model):
    alone, start = lived(tmp_path / "a"), time.monotonic()
    run = Run(tmp_path / "b", BARS[WARM : WARM + 60], model=turning, on_exit="keep")
    run.line.shadow = Shadow(run.journal, "new", model)
    run.go()
    assert time.monotonic() - start < 30
    assert traded(run) == traded(alone)
    asked = run.journal.counts()["signals"]
    assert len(run.journal.events("shadow_skipped")) == asked - 1
    assert run.error is None


@pytest.mark.parametrize("kind", ["FAIL", "ABORT"])
def test_what_the_journal_does_not_take_of_it_is_left_out(tmp_path, kind):
    alone = lived(tmp_path / "a")
    run = Run(tmp_path / "b", BARS[WARM : WARM + 60], model=turning, on_exit="keep")
    run.journal.db.execute("CREATE TEMP TRIGGER no BEFORE INSERT ON shadow BEGIN "
                           f"SELECT RAISE({kind}, 'no'); END")  # fmt: skip
    run.line.shadow = Shadow(run.journal, "new", long, wait=5.0)
    run.go()
    assert run.error is None
    assert traded(run) == traded(alone)


def test_lines_that_were_lost_with_it_are_told(tmp_path):
    """A full disk may take back what was written before: that must not go unsaid."""
    run = Run(tmp_path, BARS[WARM : WARM + 60], model=turning, on_exit="keep")
    run.journal.db.execute("CREATE TEMP TRIGGER no BEFORE INSERT ON shadow BEGIN "
                           "SELECT RAISE(ROLLBACK, 'full'); END")  # fmt: skip
    run.journal.bar(BARS[0])
    with pytest.raises(JournalError), run.journal.aside():
        run.journal.shadow(0, "new", long(candles.sample()), 0.0)


def test_the_comparison_by_hand(tmp_path):
    journal = Journal(tmp_path / "j.sqlite")
    journal.keep(SHADOW, RECORD | {"fee_bps": 10.0, "slippage_bps": 0.0})
    live, other = (0.0, 0.5, 0.5, -0.5), (0.5, 0.5, 0.0, -0.5)
    window = candles.sample().iloc[:9]
    for k, close in enumerate((100.0, 110.0, 110.0, 99.0)):
        bar = BARS[k]._replace(open=100.0 if k < 2 else 110.0, high=120.0, low=90.0, close=close)
        journal.bar(bar)
        journal.signal(bar.time, wants(live[k], window))
        journal.shadow(bar.time, "new", wants(other[k], window), 0.1 if k < 3 else 0.2)
    journal.shadow(BARS[3].time, "older", wants(1.0, window), 0.1)
    found = compare(journal)
    assert (found["bars"], found["late"], found["agreement"]) == (4, 0, 0.5)
    assert found["difference"] == pytest.approx(0.25)
    assert found["live"]["turnover"] == pytest.approx(1.5)
    assert found["shadow"]["turnover"] == pytest.approx(1.5)
    # half of it, fee included, is bought at 110 and sold at 99
    half = 0.5 / 1.001
    assert found["live"]["equity"] == pytest.approx(0.5 + half * 0.9 * (1 - 0.001), abs=1e-9)
    # bought at 100; sold at the last bar's open, 110
    assert found["shadow"]["equity"] == pytest.approx(0.5 + half * 1.1 * (1 - 0.001), abs=1e-9)
    journal.keep(SHADOW, RECORD | {"budget": 0.15})
    assert (compare(journal)["bars"], compare(journal)["late"]) == (3, 1)
    journal.close()


def test_nothing_to_compare_to_promote_or_to_take_back_is_said(tmp_path, capsys):
    journal = Journal(tmp_path / "j.sqlite")
    for work in (compare, promote, rollback):
        with pytest.raises(ArgumentError, match="journal"):
            work(journal)
    journal.keep(SHADOW, RECORD)
    with pytest.raises(ArgumentError, match="two bars"):
        compare(journal)
    with pytest.raises(FileNotFoundError):  # its copy is gone
        promote(journal)
    journal.commit()
    assert journal.kept(PROMOTED) is None
    assert main(["promote", str(tmp_path / "j.sqlite")]) == 5  # it is open here
    assert "another run holds it" in capsys.readouterr().err
    journal.close()
    assert main(["rollback", str(tmp_path / "none.sqlite")]) == 3
    assert not (tmp_path / "none.sqlite").exists()


@pytest.mark.parametrize("option", ["--checkpoint", "--shadow"])
@pytest.mark.parametrize("model", ["rules", "ensemble"])
def test_a_file_of_weights_wants_a_model_that_is_one_file(option, model):
    with pytest.raises(UsageError, match=f"{option}: .*--model se_trader or efficientnet"):
        Config.read([option, "x", "--model", model]).check()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return a file of weights that are not the package's."""
    net, spec = load("efficientnet_micro")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.neg_()
    return save(tmp_path_factory.mktemp("new") / "new.safetensors", net, spec)


def options(path, weights, *more) -> list[str]:
    """Return a command line that keeps its position and plays a file."""
    file = path / "bars.parquet"
    if not file.exists():
        candles.sample().iloc[:380].to_parquet(file)
    return ["--source", "file", "--file", str(file), "--speed", "0", "--minutes", "300",
            "--model", "efficientnet", "--stop-atr", "0", "--history", "260", "--on-exit", "keep",
            "--shadow", str(weights), "--journal", str(path / "r.sqlite"), *more]  # fmt: skip


def seen(path) -> Any:
    """Return what a journal says of checkpoints, positions and answers."""
    journal = Journal(path / "r.sqlite")
    state, db = journal.state(), journal.db
    found = SimpleNamespace(
        promoted=journal.kept(PROMOTED), units=state and state[1]["account"][1],
        signals=dict(db.execute("SELECT time, position FROM signals")),
        shadow=dict(db.execute("SELECT time, position FROM shadow")),
        events=[row[0] for row in db.execute("SELECT kind FROM events")],
    )  # fmt: skip
    journal.close()
    return found


def test_compared_promoted_gone_on_with_and_rolled_back(tmp_path, weights, capsys):
    """The command line, with the shadow in its own process; a position is held all the time."""
    run, journal = options(tmp_path, weights), str(tmp_path / "r.sqlite")
    assert main(run) == 0
    first = seen(tmp_path)
    assert first.units != 0
    assert first.shadow.keys() == first.signals.keys()
    assert first.shadow != first.signals
    assert main(["compare", journal]) == 0
    assert f"{len(first.signals)} bars compared" in capsys.readouterr().out.replace(
        f"{len(first.signals) - 1} bars compared, 1 late",  # the first answer loads the net
        f"{len(first.signals)} bars compared, 1 late",
    )
    assert main(["promote", journal]) == 0
    assert main(["promote", journal]) == 3  # it decides already
    assert main([*run, "--model", "se_trader"]) == 4  # held, and another model was asked for
    weights_now = weights.read_bytes()
    weights.write_bytes(b"")  # what was compared is what decides, whatever becomes of the file
    assert main(run) == 0
    weights.write_bytes(weights_now)
    second = seen(tmp_path)
    assert "promoted" in second.events
    assert "checkpoint" in second.events
    assert len(second.signals) == 2 * len(first.signals)
    assert main(["rollback", journal]) == 0
    assert main(["rollback", journal]) == 3
    assert main([*run, "--minutes", "15"]) == 0
    assert seen(tmp_path).promoted == []


def test_a_promoted_file_that_changed_since_does_not_decide(tmp_path, weights, capsys):
    run, journal = options(tmp_path, weights), str(tmp_path / "r.sqlite")
    assert main(run) == 0
    assert main(["promote", journal]) == 0
    (copy,) = tmp_path.glob("r.sqlite.*.safetensors")
    copy.write_bytes((FOLDER / "efficientnet_micro.safetensors").read_bytes())
    capsys.readouterr()
    assert main(run) == 0
    assert "is not the file that was promoted" in capsys.readouterr().out
    events = seen(tmp_path).events
    assert "failover" in events[events.index("checkpoint_changed") :]


def test_the_one_that_decides_is_no_shadow(tmp_path, capsys):
    file = FOLDER / "efficientnet_micro.safetensors"
    assert main(options(tmp_path, file, "--minutes", "15")) == 0
    assert "no shadow: ArgumentError" in capsys.readouterr().out
    assert main(options(tmp_path, tmp_path / "none", "--minutes", "15")) == 0
    assert seen(tmp_path).events.count("shadow_ended") == 2
    assert seen(tmp_path).shadow == {}


def test_its_process_dies_and_the_run_goes_on(tmp_path, weights):
    model = Isolated(str(weights), "15min")
    window = candles.sample().iloc[:300]
    assert model(window).probabilities is not None
    assert model.process is not None
    model.process.kill()

    def sample(asked):
        return model(window)

    run = lived(tmp_path, sample)
    model.close()
    assert len(run.journal.events("shadow_ended")) == 1
    assert run.journal.counts()["signals"] > 40


def test_a_file_that_is_none_is_told_by_its_process(tmp_path):
    (tmp_path / "no").write_bytes(b"no")
    model = Isolated(str(tmp_path / "no"), "15min")
    with pytest.raises(RuntimeError, match="CheckpointError"):
        model(candles.sample().iloc[:300])
    model.close()


def again_and_again(path: str, ready: Any) -> None:
    """Promote and take back, until killed."""
    journal = Journal(path, busy_timeout=30.0)
    ready.set()
    while True:
        promote(journal)
        rollback(journal)


@pytest.mark.skipif(sys.platform == "win32", reason="wants a fork server")
def test_killed_at_any_moment_the_old_or_the_new_one_decides(tmp_path, weights):
    import hashlib

    data, path = weights.read_bytes(), tmp_path / "r.sqlite"
    sha256 = hashlib.sha256(data).hexdigest()
    record = RECORD | {"sha256": sha256, "checkpoint": sha256[:12], "interval": "15min"}
    journal = Journal(path)
    journal.keep(SHADOW, record)
    journal.finish(BARS[0].time, account=[1.0, 0.7])
    journal.close()
    (tmp_path / f"r.sqlite.{sha256[:12]}.safetensors").write_bytes(data)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["setrade.live.models", __name__])
    draw, states = np.random.default_rng(0), set()
    for _ in range(12):
        ready = context.Event()
        process = context.Process(target=again_and_again, args=(str(path), ready), daemon=True)
        process.start()
        assert ready.wait(60)
        process.join(float(draw.uniform(0.0, 0.4)))
        process.kill()
        process.join(30)
        journal = Journal(path)
        promoted = journal.kept(PROMOTED) or []
        events = journal.events("promoted"), journal.events("rolled_back")
        assert [one["sha256"] for one in promoted] in ([], [sha256])
        assert len(events[0]) - len(events[1]) == len(promoted)  # both lines or none
        assert journal.state() == (BARS[0].time, {"account": [1.0, 0.7]})
        states.add(len(promoted))
        if promoted:
            rollback(journal)
        journal.close()
    assert states  # whatever it was, it was whole


def test_a_run_that_goes_on_is_compared_from_a_copy(tmp_path):
    journal = Journal(tmp_path / "r.sqlite")
    journal.keep(SHADOW, RECORD)
    window = candles.sample().iloc[:9]
    for bar in BARS[:40]:
        journal.bar(bar)
        journal.signal(bar.time, wants(0.5, window))
        journal.shadow(bar.time, "new", wants(0.2, window), 0.0)
    journal.commit()
    journal.event("open", transaction=True)
    told = subprocess.run(
        [sys.executable, "-m", "setrade.live", "compare", str(tmp_path / "r.sqlite")],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert "40 bars compared" in told.stdout
    journal.close()
