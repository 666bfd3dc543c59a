"""Nets and rules in the pipeline: closed bars only, agreement, and a chain that holds."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from setrade import candles
from setrade.errors import ArgumentError
from setrade.inference import CheckpointError, Predictor
from setrade.live import Window, models
from setrade.live.config import Config
from setrade.live.failover import HangError, TimeoutModel
from setrade.live.models import PrecomputedModel, Timeframe
from setrade.live.types import bars_of
from setrade.models.timeframes import known_at
from setrade.signals import Signal

MINUTES = candles.synthetic(4_200, seed=3, interval="1min").candles
NAMES = ("se_trader", "efficientnet_micro")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two threads for one small picture wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@lru_cache
def predictor(name: str) -> Predictor:
    return Predictor.load(name, "cpu", runtime="onnx")


def net(name: str, **more) -> models.Net:
    return models.Net(predictor(name), "1min", **more)


def test_a_timeframe_by_hand():
    """Seven minutes from 00:03: one whole five-minute bar, from 00:05, known at 00:10."""
    frame = Timeframe("5min", "1min", 2)
    assert frame.needs == 14
    bars = MINUTES.iloc[3:17]  # 00:03 to 00:16, so that 00:15 is forming
    made = frame(bars)
    assert list(made.index.strftime("%H:%M")) == ["00:05", "00:10"]
    first = MINUTES.iloc[5:10]
    assert made["open"].iloc[0] == first["open"].iloc[0]
    assert made["high"].iloc[0] == first["high"].max()
    assert made["volume"].iloc[0] == pytest.approx(first["volume"].sum())
    assert list(frame.span(bars).index) == list(MINUTES.index[5:15])


@settings(max_examples=30, deadline=None)
@given(end=st.integers(200, 4_000), count=st.integers(2, 12), long=st.sampled_from([1, 5, 15]))
def test_a_timeframe_knows_what_has_closed(end, count, long):
    """The same bars as a join of the whole series by closes; the forming one changes nothing."""
    frame = Timeframe(f"{long}min", "1min", count)
    window = MINUTES.iloc[end - frame.needs : end]
    whole = candles.resample(MINUTES, f"{long}min") if long > 1 else MINUTES
    joined = known_at(whole[["close"]], f"{long}min", MINUTES.index)["close"]
    made = frame(window)
    assert made["close"].iloc[-1] == joined.iloc[end - 1]
    assert len(made) == count
    assert len(frame.span(window)) == count * long


def test_the_forming_bar_repaints_a_wrong_version():
    """pandas keeps the bar that is forming: its close moves from minute to minute."""
    frame, wrong, right = Timeframe("15min", "1min", 4), set(), set()
    for end in range(3_000, 3_014):
        window = MINUTES.iloc[end - frame.needs : end]
        wrong.add(window["close"].resample("15min").last().iloc[-1])
        right.add(frame(window)["close"].iloc[-1])
    assert len(wrong) == 14
    assert len(right) == 1


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Timeframe("5min", "15min", 3), "interval"),
        (lambda: Timeframe("7min", "1min", 3), "interval"),
        (lambda: Timeframe("5min", "1min", 1), "count"),
        (lambda: Timeframe("5min", "1min", 2)(MINUTES.iloc[:13]), "window"),
        (lambda: net("se_trader", interval="1min"), "interval"),
        (lambda: models.Net(predictor("se_trader"), "1h"), "interval"),
        (lambda: models.Ensemble([models.Rule("1min")]), "members"),
        (lambda: net("se_trader")(MINUTES.iloc[:100]), "window"),
        (lambda: PrecomputedModel(net("se_trader"), MINUTES.iloc[::5]), "recorded"),
        (lambda: TimeoutModel(print, 0.0), "limit"),
        (lambda: Window(5, 6), "min_bars"),
    ],
)
def test_bad_arguments_are_named(make, name):
    with pytest.raises(ArgumentError) as error:
        make()
    assert error.value.name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_net_says_what_it_says_to_the_whole_history(name):
    """Live, from a window, and in one batch from all bars: the same, at every close."""
    model, whole = net(name), candles.resample(MINUTES, "15min")
    images, times = predictor(name).inputs(whole, 20)
    said = predictor(name).predict(images, times)
    for k in (0, 7, 19):
        end = MINUTES.index.get_loc(times[k]) + 15
        assert model(MINUTES.iloc[end - model.needs : end]).time == times[k]
        live = model(MINUTES.iloc[end - model.needs - 9 : end])
        np.testing.assert_allclose(live.probabilities, said[k].probabilities, atol=2e-6)


def test_between_two_closes_the_answer_stands_and_another_market_is_another_question():
    model, asked = net("efficientnet_micro"), []
    real = model.predictor.predict

    def predict(*args):
        asked.append(args)
        return real(*args)

    model.predictor = SimpleNamespace(predict=predict)  # type: ignore[assignment]
    for end in range(3_000, 3_030):
        signal = model(MINUTES.iloc[end - model.needs : end])
    assert len(asked) == 2
    drawn = [images for images, _ in asked]
    assert np.shares_memory(*drawn)  # the same buffer each time
    other = MINUTES.iloc[3_029 - model.needs : 3_029] * 2.0  # same times, another symbol
    other.iloc[-20:, :4] *= 1.01
    assert model(other) is not signal
    assert len(asked) == 3


@pytest.mark.parametrize("name", NAMES)
def test_answers_precomputed_in_batches_are_the_same(name):
    live, batched = net(name), PrecomputedModel(net(name), MINUTES.iloc[:3_900], batch=7)
    for end in (3_710, 3_719, 3_720, 3_721, 3_900):
        window = MINUTES.iloc[end - live.needs : end]
        one, other = live(window), batched(window)
        assert one.time == other.time
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=2e-6)
    with pytest.raises(ArgumentError, match="of the recording"):
        batched(MINUTES.iloc[4_000:4_100])


class Says:
    """A member that says what the test wants."""

    frame, needs = SimpleNamespace(interval="1min"), 2

    def __init__(self, *p: float) -> None:
        self.signal = (
            Signal(MINUTES.index[0], p[2] - p[0], max(p), p)  # type: ignore[arg-type]
            if len(p) == 3 else Signal(MINUTES.index[0], p[0], abs(p[0]), source="rule")
        )  # fmt: skip

    def __call__(self, window):
        return self.signal


def test_an_ensemble_by_hand():
    """Two for buy, one against: the mean of the shares, and an agreement of two thirds."""
    members = [Says(0.2, 0.3, 0.5), Says(0.6, 0.3, 0.1), Says(1.0)]
    answer = models.Ensemble(members)(None)  # type: ignore[arg-type]
    assert answer.probabilities == pytest.approx((0.8 / 3, 0.2, 1.6 / 3))
    assert answer.position == pytest.approx(0.8 / 3)
    assert answer.agreement == pytest.approx(2 / 3)
    both = models.Ensemble([Says(0.1, 0.2, 0.7), Says(1.0)])(None)  # type: ignore[arg-type]
    assert both.agreement == 1.0
    split = models.Ensemble([Says(1.0), Says(-1.0)])(None)  # type: ignore[arg-type]
    assert (split.position, split.agreement) == (0.0, 0.0)


def test_a_model_that_hangs_is_not_waited_for():
    waits = [0.0, 0.3, 0.0]

    def model(x):
        time.sleep(waits.pop(0))
        if x == "bad":
            raise ValueError("bad")
        return x

    worker = TimeoutModel(model, 0.1)  # type: ignore[arg-type]
    assert worker("a") == "a"
    with pytest.raises(HangError, match=r"within 0.1 s"):
        worker("b")
    with pytest.raises(HangError, match="busy"):
        worker("c")
    time.sleep(0.3)
    with pytest.raises(ValueError, match="bad"):  # its own answer, not the late one
        worker("bad")


def options(*told: str):
    return Config.read(["--runtime", "onnx", *told])


def test_the_chain_by_name():
    for name, levels in models.CHAINS.items():
        made, most, least = models.fallback_chain(options("--model", name), print)
        assert tuple(n for n, _ in made.levels) == levels
        assert least == 49
        assert most == (49 if name == "rules" else 3_704)
    made, _, _ = models.fallback_chain(options(), print)
    signal = made(MINUTES.iloc[-3_704:])
    assert 0 <= signal.agreement <= 1
    assert signal.model == "ensemble"
    assert abs(signal.position) <= 1
    assert set(signal.attention) == set(predictor("se_trader").spec.preprocessing["columns"])


def test_an_hour_is_no_bar_for_these_nets():
    with pytest.raises(ArgumentError, match="15min ones can be made, or --model rules"):
        models.fallback_chain(options("--interval", "1h"), print)
    made, _, _ = models.fallback_chain(
        options("--interval", "15min", "--frames", "30min,1h"), print
    )
    ensemble = made.levels[0][1].model
    assert [m.frame.interval for m in ensemble.members] == ["15min", "15min", "30min", "1h"]
    made, _, _ = models.fallback_chain(options("--interval", "1h", "--model", "rules"), print)


def test_a_model_file_cut_short(tmp_path):
    """A new run does not start on it; one that goes on is a level lower, with the cause told."""
    from setrade.inference import FOLDER

    file = tmp_path / "cut.safetensors"
    file.write_bytes((FOLDER / "efficientnet_micro.safetensors").read_bytes()[:300_000])
    told = options("--model", "efficientnet", "--checkpoint", str(file))
    with pytest.raises(CheckpointError, match="whole safetensors file"):
        models.fallback_chain(told, print)
    changes = []
    made, _, _ = models.fallback_chain(told, lambda *what: changes.append(what), resumed=True)
    assert made(MINUTES).model == "se_trader"
    assert changes[0][:2] == ("efficientnet", "se_trader")
    assert "whole safetensors file" in changes[0][2]


def test_the_window_keeps_the_newest_in_order():
    window, bars = Window(5, 3), bars_of(MINUTES.iloc[:40])
    assert not window.whole
    for k, bar in enumerate(bars, 1):
        window.push([bar])
        assert window.whole == (k >= 3)
        expected = MINUTES.iloc[max(0, k - 5) : k]
        pd.testing.assert_frame_equal(window.frame(), expected, check_freq=False,
                                      check_index_type=False)  # fmt: skip
    before = window.frame()
    window.push([replace_close(bars[-1])])
    assert before["close"].iloc[-1] == bars[-1].close  # a frame that was given out stays as it is
    window.clear()
    assert len(window) == 0


def replace_close(bar):
    return bar._replace(time=bar.time + 60_000_000_000, close=bar.high)


def test_other_bars_only_on_request():
    spec = replace(predictor("efficientnet_micro").spec, interval="1min")
    model = net("efficientnet_micro", interval="1min", foreign=True)
    assert model.spec == spec
    assert model.needs == 48
    assert model(MINUTES.iloc[:60]).time == MINUTES.index[59]
