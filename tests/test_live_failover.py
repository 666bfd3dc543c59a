"""Failover by error and by latency, with hysteresis; metrics that say what happened."""

from __future__ import annotations

import asyncio
import math
import urllib.request

import pytest
from hypothesis import given
from hypothesis import strategies as st

from setrade import candles
from setrade.bybit import PaperBroker
from setrade.errors import ArgumentError
from setrade.live import (
    Failover,
    FailoverError,
    Journal,
    ModelError,
    Pipeline,
    Recorded,
    Trader,
    Wish,
)
from setrade.live.monitor import Monitor
from setrade.live.trader import Row

MARKET = candles.synthetic(120, seed=5, interval="1min").candles
MINUTE = 60_000_000_000


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
            return Wish(0.5, 1.0, name)

        return answer

    def ask(self, times: int) -> list[str]:
        return [self.failover(None).source for _ in range(times)]


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
    nan = Failover([("a", lambda x: Wish(math.nan, 1.0, "a")), ("b", b.model("b2"))], budget=1.0)
    b.seconds["b2"] = 0.0
    assert nan(None).source == "b2"  # NaN is no answer


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
     ({"slow": 0}, "slow"), ({"good": 0}, "good"), ({"pause": 0}, "pause")],
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
            return Wish(0.5, 1.0, name)

        return model

    levels = [("large", fails_after(5, "large")), ("rule", fails_after(8, "rule"))]
    chain = Failover(levels, budget=10.0, pause=1000,
                     changed=lambda *what: journal.event("failover", what=what))  # fmt: skip
    trader = Trader(journal, broker, "BTCUSDT", MINUTE, equity=10_000.0)
    line = Pipeline(Recorded(MARKET, 30), chain, trader, journal, window=10)
    with pytest.raises(ModelError, match="the last level, rule"):
        asyncio.run(line.run())
    assert broker.position("BTCUSDT") == 0.0
    kinds = [r[0] for r in journal.db.execute("SELECT kind FROM events")]
    assert kinds == ["start", "failover", "halt", "stop"]
    sources = [r[0] for r in journal.db.execute("SELECT source FROM signals ORDER BY time")]
    assert sources == ["large"] * 5 + ["rule"] * 8
    journal.close()


def test_metrics_by_hand():
    m = Monitor()
    assert math.isnan(m.quantile("model", 0.5))
    for seconds in (0.002, 0.002, 0.03, 20.0):
        m.stage("model", seconds, 3)
    assert m.quantile("model", 0.5) == 0.0025
    assert m.quantile("model", 0.75) == 0.05
    assert m.quantile("model", 0.99) == math.inf
    m.row(Row(0, 1.0, 0.5, -0.25, 9_990.0, 2), 0.004)
    values = {s.name: s.value for family in m.registry.collect() for s in family.samples}
    assert values["setrade_units"] == -0.25
    assert values["setrade_orders_total"] == 2


def test_the_pipeline_is_watched(tmp_path):
    m = Monitor()
    journal = Journal(tmp_path / "r.sqlite", durable=False)
    trader = Trader(journal, PaperBroker("BTCUSDT"), "BTCUSDT", MINUTE, equity=10_000.0)
    line = Pipeline(Recorded(MARKET, 30), lambda window: Wish(0.5, 0.9, "rule"), trader, journal,
                    window=10, monitor=m)  # fmt: skip
    asyncio.run(line.run())
    with urllib.request.urlopen(f"http://127.0.0.1:{m.serve(0)}/metrics") as answer:
        page = answer.read().decode()
    assert "setrade_bars_total 90.0" in page
    assert 'setrade_latency_seconds_count{stage="model"} 90.0' in page
    assert 'setrade_queue_depth{queue="trade"}' in page
    journal.close()
