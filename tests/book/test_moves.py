"""The moving pictures compute what setrade computes: both are run on many inputs."""

from __future__ import annotations

import json

import moves
import numpy as np
import pandas as pd
import pytest
import torch
from provenance import BOOK, CHAPTERS
from test_browser import CHROMIUM, FLAGS

from setrade import backtest, candles, labels, orderbook, se
from setrade.backtest import Costs
from setrade.evidence import claims
from setrade.gramian import gasf
from setrade.recurrence import quantify, recurrence

JS = BOOK / "_static" / "js"
pytestmark = pytest.mark.enable_socket


@pytest.fixture(scope="module")
def compute():
    """Return a function that runs ``moves.NAME.compute`` in a browser, on JSON arguments."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page()
        for name in ("moves", *moves.DATA):
            page.add_script_tag(path=JS / f"{name}.js")

        def run(call: str, *arguments):
            return page.evaluate(f"args => moves.{call}(...args)", list(arguments))

        yield run
        chromium.close()


def test_every_picture_has_a_script_data_and_a_place():
    scripts = {p.stem for p in JS.glob("*.js")} - {"moves", "reach", "quiz"}
    assert scripts == set(moves.DATA)
    texts = [p.read_text(encoding="utf-8") for p in CHAPTERS.glob("*.py")]
    placed = [name for text in texts for name in moves.PLACE.findall(text)]
    assert sorted([*placed, "claims"]) == sorted(scripts)
    for path in JS.glob("*.js"):
        assert path.read_text(encoding="utf-8").count("\n") <= 200, path.name


@pytest.mark.parametrize("name", moves.DATA)
def test_the_data_of_a_picture_is_small_and_cannot_end_its_script(name):
    text = moves.script(name)
    assert len(text) < 100_000
    assert "</" not in text
    assert json.loads(text) == json.loads(json.dumps(moves.DATA[name]()))


# ---- One test a picture: what it computes is what the package computes.


@pytest.mark.parametrize(("channels", "steps", "reduction", "seed"), [
    (4, 3, 2, 0), (8, 60, 4, 1), (32, 20, 16, 2), (3, 1, 8, 3),
])  # fmt: skip
def test_se_block(compute, channels, steps, reduction, seed):
    torch.manual_seed(seed)
    block = se.SEBlock(channels, reduction).double()
    for layer in (block.excite.reduce, block.excite.expand):
        torch.nn.init.normal_(layer.bias)
    x = 3 * torch.randn(channels, steps, dtype=torch.float64)
    reduce, expand = block.excite.reduce, block.excite.expand
    found = compute("se_block.compute", {
        "x": x.tolist(), "w1": reduce.weight.tolist(), "b1": reduce.bias.tolist(),
        "w2": expand.weight.tolist(), "b2": expand.bias.tolist(),
    })  # fmt: skip
    np.testing.assert_allclose(found["z"], x.mean(-1), atol=1e-9)
    np.testing.assert_allclose(found["gates"], block.gates(x[None])[0].detach(), atol=1e-9)
    np.testing.assert_allclose(found["scaled"], block(x[None])[0].detach(), atol=1e-9)


def test_the_faders_start_with_the_pencil_of_the_chapter(compute):
    data = moves.se_block()
    source = (CHAPTERS / "03_se_math.py").read_text(encoding="utf-8")
    for name, key in (("X", "x"), ("W1", "w1"), ("W2", "w2")):
        assert f"{name} = np.array({json.dumps(data[key])}, float)" in source
    found = compute("se_block.compute", data)
    np.testing.assert_allclose(found["gates"], [np.e / (1 + np.e), 1 / (1 + np.e), 0.5, 0.5])


def series(n: int, seed: int) -> np.ndarray:
    return 40_000 * np.exp(np.random.default_rng(seed).normal(0, 0.004, n).cumsum())


@pytest.mark.parametrize("x", [
    np.array(moves.gasf()["close"]), series(30, 0), series(2, 1), np.full(5, 7.0), -series(9, 2),
])  # fmt: skip
def test_gasf(compute, x):
    found = compute("gasf.compute", x.tolist())
    field = np.reshape(found["field"], (len(x), len(x)))
    np.testing.assert_allclose(field, gasf(x), atol=3e-7)  # which is float32
    angles = np.array(found["angle"])
    np.testing.assert_allclose(field, np.cos(angles[:, None] + angles), atol=1e-9)


@pytest.mark.parametrize(("dim", "delay"), [(1, 1), (2, 5), (3, 2), (5, 8)])
@pytest.mark.parametrize("eps", [0.0, 0.001, 0.004, 0.02, 1.0])
def test_recurrence(compute, dim, delay, eps):
    for x in (
        np.array(moves.recurrence()["price"]),
        np.log(series(70, dim)),
        np.round(series(60, 3), -2) / 1e4,
    ):
        found = compute("recurrence.compute", x.tolist(), dim, delay, eps)
        plot = recurrence(x, dim, delay, eps=eps)
        np.testing.assert_array_equal(np.reshape(found["image"], plot.shape), plot)
        for name, value in quantify(plot).items():
            assert found[name] == pytest.approx(float(value), abs=1e-9), name


@pytest.mark.parametrize("bars_back", [0, 16, 96, 288])
@pytest.mark.parametrize(("fee", "slippage", "funding"), [
    (0, 0, 0), (5.5, 1, 0), (10, 5, 5), (2, 0, -5),
])  # fmt: skip
def test_costs(compute, bars_back, fee, slippage, funding):
    data, bars = moves.costs(), candles.sample()
    prices = compute("costs.prices", data)
    for name in ("open", "close"):
        np.testing.assert_array_equal(prices[name], bars[name])
    position = compute("costs.momentum", prices["close"], bars_back)
    moved = np.sign(bars["close"].diff(bars_back).fillna(0.0)) if bars_back else np.ones(len(bars))
    np.testing.assert_array_equal(position, moved)
    settled = bars.index[np.array(data["settles"], bool)]
    assert list(settled) == list(pd.date_range(bars.index[0].ceil("8h"), bars.index[-1], freq="8h"))
    rates = funding / 1e4 * np.array(data["settles"])
    found = compute("costs.compute", {
        **prices, "position": position, "fee": fee, "slippage": slippage, "funding": rates.tolist(),
    })  # fmt: skip
    result = backtest.run(bars, position, costs=Costs(fee_bps=fee, slippage_bps=slippage),
                          funding=pd.Series(funding / 1e4, settled))  # fmt: skip
    np.testing.assert_allclose(found["equity"], result.equity, atol=1e-9)
    assert found["trades"] == len(result.trades)
    for name in ("fees", "funding"):
        assert found[name] == pytest.approx(result.trades[name].sum(), abs=1e-9)


def test_claims_on_the_plot_are_the_ledger(compute):
    rows, ledger = moves.claim_rows()["rows"], {claim.id: claim for claim in claims.ledger()}
    found = compute("claims.compute", rows, {})
    assert [row["id"] for row in found] == list(ledger)
    judged = 0
    for row in found:
        claim = ledger[row["id"]]
        measured = claim.found()
        if row["place"] is None:
            exact = measured is None or measured.low == measured.high  # counted, or timed once
            assert claim.claimed is None or exact
            continue
        low, high = claim.checked("corrected") or (measured.low, measured.high)
        half = (high - low) / 2
        wanted = [(x - claim.claimed) / half for x in (low, measured.value, high)]
        np.testing.assert_allclose(
            [row["place"][k] for k in ("low", "at", "high")], wanted, atol=1e-9
        )
        assert (row["gap"] > 0) == (not claim.allows()), claim.id
        judged += 1
    assert judged > 50


@pytest.mark.parametrize("verdict", claims.VERDICTS)
def test_claims_filtered_and_sorted(compute, verdict):
    rows = moves.claim_rows()["rows"]
    wanted = [c.id for c in claims.ledger() if c.verdict == verdict]
    found = compute("claims.compute", rows, {"verdict": verdict})
    assert [row["id"] for row in found] == wanted
    by_gap = compute("claims.compute", rows, {"verdict": verdict, "order": "distance"})
    assert sorted(row["id"] for row in by_gap) == sorted(wanted)
    gaps = [row["gap"] for row in by_gap]
    assert gaps == sorted(gaps, reverse=True)
    words = compute("claims.compute", rows, {"verdict": verdict, "text": "sharpe SE"})
    assert {r["id"] for r in words} == {
        r["id"] for r in rows
        if r["verdict"] == verdict
        and all(w in f"{r['claim']} {r['source']} {r['id']}".lower() for w in ("sharpe", "se"))
    }  # fmt: skip


@pytest.mark.parametrize(("rows", "span"), [(24, 0.2), (40, 0.07), (7, 5.0)])
def test_order_book(compute, rows, span):
    data, books = moves.order_book(), moves.book()
    for t in (0, 17, 60, len(books) - 1):
        stored = compute("order_book.snapshot", data, t)
        sizes = {
            k: np.round(getattr(books, k)[t, : moves.LEVELS], 3) for k in ("bid_size", "ask_size")
        }
        prices = {k: getattr(books, k)[t, : moves.LEVELS] for k in ("bid_price", "ask_price")}
        names = {
            "bidPrice": "bid_price",
            "bidSize": "bid_size",
            "askPrice": "ask_price",
            "askSize": "ask_size",
        }
        for name, field in names.items():
            np.testing.assert_allclose(stored[name], (prices | sizes)[field], atol=1e-9)
        one = orderbook.Snapshots(books.time[t : t + 1], **{
            field: np.array([stored[name]]) for name, field in names.items()
        })  # fmt: skip
        found, drawn = compute("order_book.compute", stored, rows, span), orderbook.heatmap(
            one, rows=rows, span_bps=span, out=np.empty((1, 2, rows, 1)))  # fmt: skip
        np.testing.assert_allclose(
            [found["bids"], found["asks"]], drawn.volume[0, :, :, 0], atol=1e-9
        )
        np.testing.assert_allclose(found["outside"], drawn.outside[0, :, 0], atol=1e-9)
        np.testing.assert_allclose(found["imbalance"], orderbook.depth_imbalance(one)[0], atol=1e-9)
        assert found["microprice"] == pytest.approx(orderbook.microprice(one)[0], abs=1e-9)
        assert found["mid"] == pytest.approx(one.mid()[0], abs=1e-9)


@pytest.mark.parametrize(
    ("lookback", "horizon", "embargo"), [(1, 1, 0), (4, 3, 2), (12, 1, 12), (2, 12, 5)]
)
@pytest.mark.parametrize("n", [80, 97])
def test_walk_forward(compute, n, lookback, horizon, embargo):
    asked = {"n": n, "lookback": lookback, "horizon": horizon, "embargo": embargo}
    for expanding in (True, False):
        sizes = {"train": 40, "test": 15}
        found = compute(
            "walk_forward.compute",
            {**asked, **sizes, "way": "walk-forward", "expanding": expanding},
        )
        wanted = labels.walk_forward(n, lookback=lookback, horizon=horizon, embargo=embargo,
                                     expanding=expanding, **sizes)  # fmt: skip
        same_splits(found, wanted)
    found = compute("walk_forward.compute", {**asked, "way": "k-fold", "groups": 4})
    same_splits(found, labels.combinatorial(n, lookback=lookback, horizon=horizon, groups=4,
                                            tests=1, embargo=embargo))  # fmt: skip


def same_splits(found: list, wanted: list) -> None:
    assert len(found) == len(wanted)
    for split, other in zip(found, wanted, strict=True):
        assert split["train"] == other.train.tolist()
        assert split["test"] == other.test.tolist()
        taken = split["purged"] + split["embargoed"] + split["train"] + split["test"]
        assert len(taken) == len(set(taken)), "a bar has one part"
