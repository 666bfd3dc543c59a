"""Errors tell the same in another process, where studies and workers raise them."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest

import setrade
from setrade import candles, costs, labels, metrics
from setrade.bybit import constants, order_client, orders
from setrade.bybit.order_client import Secret
from setrade.candles import CandleError
from setrade.efficientnet import WeightError
from setrade.errors import ArgumentError, Pickled, integer, number, paired
from setrade.inference import MissingRuntimeError
from setrade.inference.quantize import QuantizationRefused
from setrade.live.trader import HeldError
from setrade.models import timeframes
from setrade.models.backbones import WeightsUnavailable
from setrade.orderbook import BookError
from setrade.orderbook.book import BookStateError
from setrade.simulator.wire import Refused
from setrade.training import CheckpointError

MISSING = pd.date_range("2024-01-01", periods=3, freq="1h", tz="UTC")
ERRORS = [
    ArgumentError("lookback", 0, "an integer >= 1"),
    MissingRuntimeError("runtime", "onnx", "installed"),
    CheckpointError("checkpoint", "a.pt", "a whole file"),
    WeightError("stem.weight", "missing"),
    constants.ExchangeError("/v5/order", 10001, "wrong"),
    constants.AccessError("/v5/order", 10003, "no such key"),
    constants.UnreachableError("/v5/order", 10000, "timed out", 8),
    constants.GapError("BTCUSDT", "60", MISSING),
    constants.ArchiveError("a.zip", "is no archive"),
    orders.OrderUnknownError("name", "no answer"),
    orders.OrderRejectedError("name", 110007, "too little money"),
    order_client.NotDoneError("later", 2.0),
    HeldError("BTCUSDT", 0.1),
    QuantizationRefused(0.5, 0.99),
    WeightsUnavailable("b0", "timm/b0"),
    BookStateError("gap", "a number is missing"),
    Refused(10001, "no such order"),
    BookError({"crossed": np.arange(3).astype("datetime64[s]")}),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_a_journey(error):
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), found.args) == (type(error), str(error), error.args)
    assert found.__dict__.keys() == error.__dict__.keys()
    assert repr(found.__dict__) == repr(error.__dict__)


def test_what_cannot_be_sent_arrives_as_text():
    for value in ((k for k in "ab"), lambda: 0, Secret("word" * 8)):
        error = ArgumentError("x", value, "a number")
        found = pickle.loads(pickle.dumps(error))
        assert str(found) == str(error)
        assert type(found.value) is str
        assert "word" not in found.value


def test_every_error_with_fields_can_travel():
    modules = pkgutil.walk_packages(setrade.__path__, "setrade.")
    names = [m.name for m in modules if not m.name.endswith("__main__")]
    own = {
        value
        for module in map(importlib.import_module, names)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception)
        if value.__module__.startswith("setrade")
    }
    assert len(own) > 40
    built = [kind for kind in own if "__init__" in vars(kind)]
    assert [kind for kind in built if kind.__reduce__ is not Pickled.__reduce__] == []
    fields_in_c = (OSError, ImportError, UnicodeError, SyntaxError, StopIteration)
    assert [
        kind for kind in own if issubclass(kind, Pickled) and issubclass(kind, fields_in_c)
    ] == []


def test_a_worker_says_what_was_wrong():
    """A pool of processes used to break on an error that it could not read."""
    bars = candles.synthetic(30, seed=0).candles
    twice = pd.concat([bars, bars])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(ArgumentError, match="horizon") as caught:
            pool.submit(labels.forward_return, bars, 0).result()
        assert (caught.value.name, caught.value.value) == ("horizon", 0)
        with pytest.raises(CandleError, match="candles") as told:
            pool.submit(candles.check, twice, pd.Timedelta("1h")).result()
    assert told.value.faults


# --- what passes for a number, and for the same time --------------------------------------


@pytest.mark.parametrize("check", [number, integer])
@pytest.mark.parametrize("unit", ["h", "ns", "D"])
def test_a_span_of_time_is_no_number(check, unit):
    """NumPy makes its spans of time a kind of integer."""
    with pytest.raises(ArgumentError, match="^x: "):
        check("x", np.timedelta64(4, unit), 0)


BARS = candles.synthetic(40, seed=1).candles
FAR = BARS.set_axis(BARS.index.as_unit("s") + np.timedelta64(365 * 7000, "D"))
RATES = pd.Series(1e-4, FAR.index)
BEYOND = {
    "periods_per_year": lambda: metrics.periods_per_year(FAR.index),
    "monthly_returns": lambda: metrics.monthly_returns(FAR["close"]),
    "bar_interval": lambda: candles.bar_interval(FAR),
    "funding_by_bar, bars": lambda: costs.funding_by_bar(FAR.index, RATES.set_axis(BARS.index)),
    "funding_by_bar, rates": lambda: costs.funding_by_bar(BARS.index, RATES),
    "known_at, values": lambda: timeframes.known_at(FAR, "1h", BARS.index),
    "known_at, index": lambda: timeframes.known_at(BARS, "1h", FAR.index),
    "align": lambda: timeframes.align({"15min": BARS, "1h": FAR}, BARS.index),
}


@pytest.mark.parametrize("call", BEYOND.values(), ids=BEYOND)
def test_stamps_that_nanoseconds_do_not_reach(call):
    """Stamps in seconds reach the year 9019; what counts in nanoseconds says that it does not."""
    with pytest.raises(ArgumentError, match="in the years 1678 to 2261"):
        call()


def test_stamps_are_the_same_in_any_spelling_of_utc_and_unit():
    for index in (BARS.index.tz_convert("Etc/UTC"), BARS.index.as_unit("ns")):
        assert paired("x", BARS.set_axis(index), BARS) is None
        with pytest.raises(ArgumentError, match="row 0 is"):
            paired("x", BARS.set_axis(index + pd.Timedelta("15min")), BARS)
    with pytest.raises(ArgumentError, match="the same stamps"):
        paired("x", BARS.tz_convert("Europe/Berlin"), BARS)
