"""Failover by error and by latency, with hysteresis; metrics that say what happened."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from setrade import candles
from setrade.bybit import PaperBroker
from setrade.errors import ArgumentError
from setrade.inference import Predictor
from setrade.live import (
    Failover,
    FailoverError,
    Journal,
    ModelError,
    Pipeline,
    Recorded,
    Trader,
    models,
)
from setrade.live.config import Config
from setrade.signals import Signal, rule_based
from setrade.training import device

MARKET = candles.synthetic(120, seed=5, interval="1min").candles
MINUTE = 60_000_000_000
SURE = Signal(MARKET.index[0], 0.5, 1.0)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads for one small picture wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Bench:
    """A clock and models whose speed and health the test decides."""

    def __init__(self, names=("large", "small", "rule"), **settings) -> None:
        self.now, self.changes = 0.0, []
        self.seconds = dict.fromkeys(names, 0.01)
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.failover = Failover(
            [(name, self.model(name)) for name in names], budget=0.1, clock=lambda: self.now,
            changed=lambda *what: self.changes.append(what), **settings,
        )  # fmt: skip

    def model(self, name):
        def answer(x):
            self.asked.append(name)
            self.now += self.seconds[name]
            if name in self.broken:
                raise RuntimeError("out of memory")
            return SURE

        return answer

    def ask(self, times: int) -> list[str]:
        return [self.failover(None).model for _ in range(times)]


def test_by_hand_down_on_an_error_and_up_again():
    b = Bench(good=2, pause=3)
    assert b.ask(2) == ["large"] * 2
    b.broken = {"large"}
    assert b.ask(1) == ["small"]  # the same bar is answered, by the next level
    assert b.ask(5) == ["small"] * 5
    b.broken = set()
    # a trial every third bar (the third, sixth, ninth after it fell): the second good one counts
    assert b.ask(6) == ["small"] * 3 + ["large"] * 3
    assert [change[:2] for change in b.changes] == [("large", "small"), ("small", "large")]
    assert b.changes[0][2] == "RuntimeError: out of memory"


def test_slow_answers_count_in_a_row():
    b = Bench(slow=3)
    b.seconds["large"] = 0.2
    assert b.ask(2) == ["large"] * 2
    b.seconds["large"] = 0.01
    b.ask(1)
    b.seconds["large"] = 0.2
    assert b.ask(4) == ["large"] * 3 + ["small"]
    assert b.changes == [("large", "small", "3 answers over 0.1 s")]


def test_late_answers_may_lie_apart():
    """A net that works at every fifth bar is late there: three times among twelve answers."""
    b = Bench(slow=3, within=12)
    for k in range(11):
        b.seconds["large"] = 0.2 if k % 5 == 0 else 0.01
        assert b.ask(1) == ["large"]
    assert b.failover.name == "small"
    other = Bench(slow=3, within=10)
    for k in range(20):
        other.seconds["large"] = 0.2 if k % 5 == 0 else 0.01
        other.ask(1)
    assert other.failover.name == "large"  # never more than two of ten


def test_a_level_on_the_edge_does_not_flap():
    """0.09 s is within the budget, but a trial wants 0.08: it stays where it is."""
    b = Bench(slow=1, good=1, pause=1)
    b.seconds["large"] = 0.2
    b.ask(2)
    b.seconds["large"] = 0.09
    assert b.ask(20) == ["small"] * 20
    b.seconds["large"] = 0.05
    assert b.ask(1) == ["large"]


def test_every_level_failing_is_an_error():
    b = Bench()
    b.broken = {"large", "small", "rule"}
    with pytest.raises(FailoverError, match="the last level, rule, failed"):
        b.ask(1)
    b.seconds["b2"] = 0.0
    for unsaid in (
        lambda x: Signal(MARKET.index[0], math.nan, 1.0),  # NaN is no position
        lambda x: SimpleNamespace(position=0.5, confidence=1.0, source="net"),  # no signal
    ):
        either = Failover([("a", unsaid), ("b2", b.model("b2"))], budget=1.0)
        assert either(None).model == "b2"


@given(st.lists(st.sampled_from(["ok", "slow", "broken"]), min_size=1, max_size=60))
def test_there_is_an_answer_as_long_as_the_rule_works(states):
    b = Bench(slow=2, good=2, pause=2)
    for state in states:
        b.seconds["large"] = 0.5 if state == "slow" else 0.01
        b.broken = {"large"} if state == "broken" else set()
        assert b.ask(1)[0] in ("large", "small")
    for (_, new, _), (old, _, _) in zip(b.changes, b.changes[1:], strict=False):
        assert new == old


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"levels": []}, "levels"), ({"levels": [("a", 1)]}, "levels"), ({"budget": 0.0}, "budget"),
     ({"levels": "ab"}, "levels"), ({"levels": [("a", len, 3)]}, "levels"),
     ({"levels": 5}, "levels"), ({"levels": [(1, len)]}, "levels"),
     ({"slow": 0}, "slow"), ({"within": 2}, "within"),
     ({"good": 0}, "good"), ({"pause": 0}, "pause")],
)  # fmt: skip
def test_bad_arguments_are_named(settings, name):
    given_ = {"levels": [("a", lambda x: None)], "budget": 1.0} | settings
    with pytest.raises(ArgumentError) as error:
        Failover(given_.pop("levels"), **given_)
    assert error.value.name == name


def test_in_the_pipeline_each_change_is_in_the_journal_and_the_end_is_flat(tmp_path):
    journal, broker, bars = (
        Journal(tmp_path / "r.sqlite", durable=False),
        PaperBroker("BTCUSDT"),
        [],
    )

    def fails_after(count, name):
        def model(window):
            bars.append(name)
            if bars.count(name) > count:
                raise RuntimeError(f"{name} is gone")
            return SURE

        return model

    levels = [("large", fails_after(5, "large")), ("rule", fails_after(8, "rule"))]
    chain = Failover(levels, budget=10.0, pause=1000,
                     changed=lambda *what: journal.event("failover", what=what))  # fmt: skip
    trader = Trader(journal, broker, "BTCUSDT", MINUTE, equity=10_000.0)
    line = Pipeline(Recorded(MARKET, 30), chain, trader, window=10)
    with pytest.raises(ModelError, match="the last level, rule"):
        asyncio.run(line.run())
    assert broker.position("BTCUSDT") == 0.0
    kinds = [r[0] for r in journal.db.execute("SELECT kind FROM events")]
    assert kinds == ["start", "failover", "halt", "stop"]
    sources = [r[0] for r in journal.db.execute("SELECT source FROM signals ORDER BY time")]
    assert sources == ["large"] * 5 + ["rule"] * 8
    journal.close()


class Chain:
    """The command line's own chain over real bars, with nets whose health the test decides."""

    def __init__(self, path, *told: str, bars: int = 40) -> None:
        history = 246  # what the nets want
        self.market = candles.sample().iloc[: history + bars]
        self.journal = Journal(path / "r.sqlite", durable=False)
        options = Config.read(
            ["--interval", "15min", "--runtime", "onnx", "--budget", "3.0", *told]
        )
        self.now = 0.0
        made, most, least = models.fallback_chain(
            options, lambda *what: self.journal.event("failover", what=what),
            clock=lambda: self.now,
        )  # fmt: skip
        self.levels = dict(made.levels)
        self.broker = PaperBroker("BTCUSDT")
        trader = Trader(self.journal, self.broker, "BTCUSDT", 15 * MINUTE, equity=10_000.0)
        self.line = Pipeline(
            Recorded(self.market, history), made, trader, window=most, min_bars=least
        )

    def harm(self, name: str, bars: range, harm) -> None:
        """Call ``harm`` before the level answers, after these bars of the run."""
        level, opens = self.levels[name], self.market.index[246:][bars.start : bars.stop]
        model = level.model

        def harmed(window):
            if window.index[-1] in opens:
                harm()
            return model(window)

        level.model = harmed

    def late(self) -> None:
        """Take longer than the budget, by the clock that the budget goes by."""
        self.now += 4.0

    def run(self) -> None:
        asyncio.run(self.line.run())

    def changes(self) -> list[list[str]]:
        rows = self.journal.db.execute("SELECT figures FROM events WHERE kind = 'failover'")
        return [json.loads(row[0])["what"] for row in rows]

    def sources(self) -> list[str]:
        rows = self.journal.db.execute("SELECT source FROM signals ORDER BY time")
        return [row[0] for row in rows]


def out_of_memory() -> None:
    raise RuntimeError("CUDA error: out of memory")


def test_the_large_model_breaks_and_comes_back(tmp_path):
    """Broken for bars 10 to 24: the small one answers until three trials have been good."""
    c = Chain(tmp_path, "--model", "efficientnet", bars=80)
    c.harm("efficientnet", range(10, 25), out_of_memory)
    c.run()
    # trials at 25, 40, 55: each is good, and the third one's answer is taken
    assert c.sources() == ["efficientnet"] * 10 + ["se_trader"] * 45 + ["efficientnet"] * 25
    assert c.changes() == [
        ["efficientnet", "se_trader", "RuntimeError: CUDA error: out of memory"],
        ["se_trader", "efficientnet", "3 good trials"],
    ]


def test_each_level_is_left_for_being_late(tmp_path):
    c = Chain(tmp_path, "--model", "ensemble", bars=30)
    c.harm("ensemble", range(5, 30), c.late)
    c.harm("se_trader", range(12, 30), c.late)
    c.run()
    assert c.sources() == ["ensemble"] * 8 + ["se_trader"] * 7 + ["rules"] * 15
    assert [change[2] for change in c.changes()] == ["3 answers over 3 s"] * 2


def test_a_level_that_hangs_is_left_at_once(tmp_path):
    never = threading.Event()
    c = Chain(tmp_path, "--model", "se_trader", "--budget", "0.4", bars=12)
    c.harm("se_trader", range(5, 6), never.wait)
    c.run()
    assert c.sources() == ["se_trader"] * 5 + ["rules"] * 7
    assert c.changes() == [["se_trader", "rules", "HangError: no answer within 2 s"]]
    never.set()


def test_when_the_rules_fail_too_all_is_closed(tmp_path):
    c = Chain(tmp_path, "--model", "ensemble", bars=40)
    for k, name in enumerate(("ensemble", "se_trader", "rules")):
        c.harm(name, range(10 * k + 10, 40), out_of_memory)
    with pytest.raises(ModelError, match="the last level, rules"):
        c.run()
    assert c.sources() == ["ensemble"] * 10 + ["se_trader"] * 10 + ["rules"] * 10
    assert c.broker.position("BTCUSDT") == 0.0
    kinds = [r[0] for r in c.journal.db.execute("SELECT kind FROM events")]
    assert kinds == ["start", "failover", "failover", "halt", "stop"]


class Compiled:
    """A model whose first answer takes long, in each thread that asks it, as a compiler's does."""

    needs = 6

    def __init__(self) -> None:
        self.thread = None

    def __call__(self, window):
        if self.thread != threading.get_ident():
            self.thread = threading.get_ident()
            time.sleep(0.6)
        return rule_based(window, lookback=3)


def test_a_first_answer_that_is_slow_costs_no_level(monkeypatch):
    """Budgets of 0.05 s: the level would be left after 0.25 s, were it not warm."""
    monkeypatch.setattr(models, "_make", lambda name, o, *, first: Compiled())
    options = Config.read(["--model", "efficientnet", "--budget", "0.05"])
    changes = []
    made, _, _ = models.fallback_chain(options, lambda *what: changes.append(what))
    assert made(MARKET.iloc[-6:]).model == "efficientnet"
    for _, level in made.levels:
        level(MARKET.iloc[-6:])  # the others are warm as well
    assert changes == []


def test_a_model_that_fails_when_it_is_warmed_fails_at_its_bar(monkeypatch):
    def broken(window):
        raise RuntimeError("no compiler")

    broken.needs = 6  # type: ignore[attr-defined]
    monkeypatch.setattr(models, "_make", lambda name, o, *, first: broken if first else Compiled())
    changes = []
    options = Config.read(["--model", "se_trader"])
    made, _, _ = models.fallback_chain(options, lambda *what: changes.append(what))
    assert made(MARKET.iloc[-6:]).model == "rules"
    assert changes == [("se_trader", "rules", "RuntimeError: no compiler")]


def test_only_the_first_level_runs_as_it_is_told(monkeypatch):
    """What it was told may be what breaks it: the others are on the CPU, and plain."""
    asked, load = [], Predictor.load

    def noted(path, device=None, **options):
        asked.append((path, str(device), options["runtime"]))
        return load(path, device, **options)

    monkeypatch.setattr(Predictor, "load", noted)
    words = ["--model", "efficientnet", "--runtime", "folded", "--interval", "15min"]
    models.fallback_chain(Config.read(words), lambda *what: None)
    assert asked == [
        ("efficientnet_micro", str(device()), "folded"), ("se_trader", "cpu", "onnx"),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_compiled_net_answers_the_first_bar():
    words = ["--model", "se_trader", "--runtime", "compiled", "--interval", "15min"]
    changes = []
    made, most, _ = models.fallback_chain(
        Config.read([*words, "--device", "cpu"]), lambda *what: changes.append(what)
    )
    assert made(candles.sample().iloc[-most:]).model == "se_trader"
    assert changes == []


def test_a_rehearsal_compiles_what_a_run_would_stop_for(tmp_path):
    """In a process of its own: here all may be compiled already."""
    code = f"""
import pathlib
from test_live_guards import BARS, WARM, Run, wants
from setrade.backtest import engine
from setrade.costs import Costs
from setrade.live.account import rehearse
from setrade.risk import Risk

def compiled():
    found = {{n: len(f.signatures) for n, f in vars(engine).items() if hasattr(f, "signatures")}}
    for name in ("fill_price", "fill", "force_exit"):  # of the account on paper, and short
        found.pop(name)
    return found

def model(window):
    return wants((0.5, -0.5, 0.0, 0.7, 0.2)[window.index[-1].minute // 2 % 5], window)

rehearse(Costs(), Risk())
before = compiled()
run = Run(pathlib.Path({str(tmp_path)!r}), BARS[WARM : WARM + 60], model=model, on_exit="flat")
assert run.go().report.bars == 60
assert compiled() == before, (before, compiled())
"""
    folder = Path(__file__).parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(folder.parent)])}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, cwd=tmp_path, timeout=600)
