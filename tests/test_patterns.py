"""Patterns: the generator's truth and its traps, the rules, the teacher, scores, calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_causal
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from setrade import candles, patterns
from setrade.errors import ArgumentError
from setrade.patterns.detect import extrema

DRAWN = patterns.synthetic(3_000, seed=0)
SAMPLE = candles.sample().iloc[:1_500]
TWINS = [
    ("head_and_shoulders", "inverse_head_and_shoulders"),
    ("double_top", "double_bottom"),
    ("ascending_triangle", "descending_triangle"),
    ("bull_flag", "bear_flag"),
]


def bars(rows: list[tuple[float, float, float, float]]) -> pd.DataFrame:
    """Return candles (open, high, low, close): 13 plain bars of range 2 and body 1, then rows."""
    plain = [(100.0, 101.5, 99.5, 101.0), (101.0, 101.5, 99.5, 100.0)] * 7
    table = np.array([*plain[:13], *rows])
    index = pd.date_range("2024-01-01", periods=len(table), freq="h", tz="UTC", name="time")
    columns = ["open", "high", "low", "close"]
    return pd.DataFrame(table, index, columns).assign(volume=1.0)


def path_of(levels: list[float], leg: int = 6) -> np.ndarray:
    """Return one window (1, 5, n) that runs straight from level to level."""
    knots = np.arange(len(levels)) * leg
    close = np.exp(np.interp(np.arange(knots[-1] + 1), knots, levels) * 0.05)
    return np.stack([close, close, close, close, np.ones_like(close)])[None]


def cues(windows: np.ndarray) -> np.ndarray:
    """Return last return and window return in volatilities, the volatility, the range."""
    x = np.log(windows[:, 3])
    r = np.diff(x, axis=1)
    vol = np.sqrt((r**2).mean(1))
    return np.c_[r[:, -1] / vol, (x[:, -1] - x[:, 0]) / vol, vol, np.ptp(x, 1) / vol]


class TestSynthetic:
    def test_windows_are_valid_candles_and_the_box_encloses_the_pattern(self):
        for i in range(20):
            candles.check(DRAWN.frame(i))
            if DRAWN.kind[i]:
                part = DRAWN.windows[i][:, DRAWN.start[i] : DRAWN.end[i] + 1]
                assert DRAWN.low[i] == part[2].min()
                assert DRAWN.high[i] == part[1].max()
            else:
                assert DRAWN.start[i] == DRAWN.end[i] == -1
                assert np.isnan(DRAWN.low[i])

    def test_spans_are_as_asked_and_end_near_the_last_bar(self):
        held = DRAWN.kind > 0
        span = (DRAWN.end - DRAWN.start + 1)[held]
        assert span.min() == 26
        assert span.max() == 46
        assert set(DRAWN.end[held]) == {59, 60, 61, 62, 63}

    def test_the_first_windows_do_not_depend_on_how_many_follow(self):
        few = patterns.synthetic(7, seed=0)
        np.testing.assert_array_equal(few.windows, DRAWN.windows[:7])
        np.testing.assert_array_equal(few.kind, DRAWN.kind[:7])

    def test_a_cut_pattern_shows_its_share_and_ends_at_the_last_bar(self):
        cut = patterns.synthetic(200, seed=1, span=(40, 40), completeness=0.5)
        held = cut.kind > 0
        assert (cut.end[held] == 63).all()
        assert (cut.end - cut.start + 1)[held].tolist() == [20] * held.sum()

    def test_twins_are_each_other_upside_down(self):
        for up, down in TWINS:
            a, b = (np.array(patterns.SHAPES[name].knots) for name in (up, down))
            np.testing.assert_allclose(a[:, 1], 1 - b[:, 1], atol=1e-12)
            assert patterns.SHAPES[up].bias == -patterns.SHAPES[down].bias

    def test_a_clean_double_top_has_two_equal_tops(self):
        one = patterns.synthetic(50, seed=2, kinds=["double_top"], noise=0, trend=0, warp=0)
        for window, start, end in zip(one.windows[:, 3], one.start, one.end, strict=True):
            x = np.log(window[start : end + 1])
            n, height = len(x), np.ptp(x)
            first = x[: round(0.52 * n)].max()
            second = x[round(0.52 * n) :].max()
            assert abs(first - second) < 0.25 * height  # jitter of 0.04 a knot: 4 deviations

    def test_volatility_and_return_say_nothing_about_the_class(self):
        found = cues(DRAWN.windows)
        for column in (1, 2):
            for k in range(len(patterns.NAMES)):
                auc = roc_auc_score(DRAWN.kind == k, found[:, column])
                assert abs(auc - 0.5) < 0.13, (column, patterns.NAMES[k], auc)

    def test_none_holds_the_returns_of_a_pattern_in_another_order(self):
        nothing = patterns.synthetic(400, seed=3, kinds=["none"])
        held = patterns.synthetic(400, seed=3, kinds=["head_and_shoulders"])
        a, b = (cues(d.windows)[:, 1] for d in (nothing, held))
        assert abs(a.std() / b.std() - 1) < 0.2
        assert abs(a.mean() - b.mean()) < 1

    def test_cheap_cues_hardly_help_but_give_a_naive_generator_away(self):
        """Trap 35's cousin: the naive version draws «none» from elsewhere."""
        wrong = DRAWN.windows.copy()
        rows = np.flatnonzero(DRAWN.kind == 0)
        walk = candles.synthetic(64 * len(rows), seed=0).candles.to_numpy()
        wrong[rows] = walk.reshape(-1, 64, 5).swapaxes(1, 2)
        auc = {}
        for name, windows in (("ours", DRAWN.windows), ("naive", wrong)):
            tree = DecisionTreeClassifier(max_depth=6, min_samples_leaf=20, random_state=0)
            tree.fit(cues(windows)[:2_000], DRAWN.kind[:2_000] == 0)
            p = tree.predict_proba(cues(windows)[2_000:])[:, 1]
            auc[name] = roc_auc_score(DRAWN.kind[2_000:] == 0, p)
        assert auc["ours"] < 0.65
        assert auc["naive"] > 0.9

    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 10_000), st.floats(0, 1), st.floats(0.1, 1))
    def test_every_draw_is_finite_and_ordered(self, seed, noise, share):
        x = patterns.synthetic(5, seed=seed, noise=noise, completeness=share).windows
        assert np.isfinite(x).all()
        assert (x[:, 1] >= np.maximum(x[:, 0], x[:, 3])).all()
        assert (x[:, 2] <= np.minimum(x[:, 0], x[:, 3])).all()


PATHS = {
    "head_and_shoulders": [0, 0.6, 0.3, 1, 0.3, 0.6, 0.1],
    "inverse_head_and_shoulders": [1, 0.4, 0.7, 0, 0.7, 0.4, 0.9],
    "double_top": [0, 1, 0.5, 1, 0.3],
    "double_bottom": [1, 0, 0.5, 0, 0.7],
    "ascending_triangle": [0, 1, 0.3, 1, 0.6, 1, 0.8],
    "descending_triangle": [1, 0, 0.7, 0, 0.4, 0, 0.2],
    "symmetric_triangle": [0.5, 1, 0, 0.8, 0.2, 0.62, 0.4],
}


class TestFinder:
    def test_extrema_by_hand(self):
        path = np.array([0.0, 1, 2, 1.9, 3, 1, 0, 0.2, 2])
        assert extrema(path, 0.5).tolist() == [0, 4, 6, 8]
        assert extrema(path, 5.0).tolist() == []

    @pytest.mark.parametrize("name", PATHS)
    def test_finds_the_shape_drawn_by_hand(self, name):
        found = patterns.find(path_of(PATHS[name]))
        assert patterns.NAMES[found.kind[0]] == name
        column = patterns.NAMES.index(name) - 1
        assert found.start[0, column] <= 8
        assert found.end[0, column] >= path_of(PATHS[name]).shape[2] - 10

    @pytest.mark.parametrize("levels", [[0, 1], [0, 1, 0], [1, 0.9, 0.5, 0.4, 0]])
    def test_finds_nothing_in_a_line_a_peak_or_a_slide(self, levels):
        assert not patterns.find(path_of(levels, leg=30)).mask.any()

    def test_a_head_no_higher_than_its_shoulders_is_no_head(self):
        flat = patterns.find(path_of([0, 1, 0.3, 1, 0.3, 1, 0.1]))
        assert not flat.mask[0, patterns.NAMES.index("head_and_shoulders") - 1]

    def test_upside_down_charts_hold_the_twins(self):
        turned = DRAWN.windows[:, [0, 2, 1, 3, 4]].copy()
        turned[:, :4] = 1e4 / turned[:, :4]
        a, b = patterns.find(DRAWN.windows), patterns.find(turned)
        for up, down in TWINS:
            i, j = (patterns.NAMES.index(name) - 1 for name in (up, down))
            assert (a.mask[:, i] == b.mask[:, j]).mean() > 0.999  # the logs round

    def test_the_unit_of_price_does_not_matter(self):
        scaled = patterns.find(DRAWN.windows * 64.0)
        assert (scaled.mask == patterns.find(DRAWN.windows).mask).mean() > 0.999

    def test_is_right_about_half_the_time_on_drawn_windows(self):
        kind = patterns.find(DRAWN.windows).kind
        assert 0.5 < (kind == DRAWN.kind).mean() < 0.75

    def test_spans_belong_to_the_mask(self):
        found = patterns.find(DRAWN.windows)
        assert ((found.start >= 0) == found.mask).all()
        assert (found.end > found.start)[found.mask].all()

    def test_scan_never_looks_ahead_and_starts_with_a_whole_window(self):
        assert_causal(patterns.scan, SAMPLE, cuts=(700, 1_100, 1_498))
        seen = patterns.scan(SAMPLE, 40)
        assert seen.iloc[:39].isna().all().all()
        assert seen.iloc[39:].notna().all().all()
        one = patterns.find(candles.windows(SAMPLE.iloc[60:100], 40)).mask[0]
        np.testing.assert_array_equal(seen.iloc[99] == 1, one)


class TestCandlesticks:
    def test_never_looks_ahead(self):
        assert_causal(patterns.candlestick_labels, SAMPLE, cuts=(100, 801, 1_498))
        assert_causal(patterns.candlestick_quality, SAMPLE, cuts=(100, 801, 1_498))

    def test_missing_in_the_warm_up_where_the_teacher_says_zero(self):
        flat = np.full(patterns.WARM_UP, 100.0)
        assert not talib.CDLDOJI(flat, flat, flat, flat)[:10].any()  # dojis all, and it says 0
        for frame in (patterns.candlestick_labels(SAMPLE), patterns.candlestick_quality(SAMPLE)):
            assert frame.iloc[: patterns.WARM_UP].isna().all().all()
            assert frame.iloc[patterns.WARM_UP :].notna().all().all()
            assert tuple(frame) == tuple(patterns.CANDLESTICKS)

    def test_the_teacher_against_formulas_of_our_own(self):
        frame = SAMPLE
        o, c = frame["open"], frame["close"]
        body, reach = (c - o).abs(), (frame["high"] - frame["low"]).shift().rolling(10).mean()
        said = patterns.candlestick_labels(frame).iloc[patterns.WARM_UP :]
        doji = (body <= 0.1 * reach).iloc[patterns.WARM_UP :]
        assert (doji == (said["doji"] == 1)).mean() > 0.999  # running sums round
        p, q = o.shift(), c.shift()
        covers = ((c >= p) & (o < q)) | ((c > p) & (o <= q))
        engulfs = ((q < p) & (c >= o) & covers).iloc[patterns.WARM_UP :]
        assert (engulfs == (said["bullish_engulfing"] == 1)).all()

    def test_several_patterns_may_hold_at_one_bar(self):
        said = patterns.candlestick_labels(SAMPLE)
        assert (said.sum(axis=1) > 1).any()
        dragonfly = said["dragonfly_doji"] == 1
        assert (said["doji"][dragonfly] == 1).all()

    # R = 2 and B = 1 where only the last bar is not plain.
    @pytest.mark.parametrize(
        ("name", "rows", "quality"),
        [
            ("doji", [(100, 101, 99, 100)], 1.0),
            ("doji", [(100, 101, 99, 100.1)], 0.5),
            ("doji", [(100, 101, 99, 100.3)], 0.0),
            ("dragonfly_doji", [(100, 100, 98, 100)], 1.0),
            ("dragonfly_doji", [(100, 100.1, 99, 100)], 0.5),
            ("gravestone_doji", [(100, 102, 100, 100)], 1.0),
            ("long_legged_doji", [(100, 100.5, 98, 100)], 0.5),
            ("bullish_engulfing", [(101, 101, 100, 100), (100, 101.5, 100, 101.5)], 0.5),
            ("bearish_engulfing", [(100, 101, 100, 101), (101, 101, 99, 99)], 1.0),
            ("hammer", [(99, 99.25, 96, 99.25)], 1.0),
            ("hammer", [(99.7, 99.9, 98, 99.9)], 0.5),  # 0.2 above the low before: R/10
            ("hanging_man", [(101.5, 101.75, 98, 101.75)], 1.0),
            ("morning_star", [(103, 103, 101, 101), (101, 101.2, 100.8, 101), (101, 103, 101, 103)],
             1.0),
            ("three_white_soldiers",
             [(100, 102, 100, 102), (101, 104, 101, 104), (103, 106, 103, 106)], 1.0),
            ("three_black_crows",
             [(106, 106, 103.5, 104), (105, 105, 101.5, 102), (103, 103, 99.5, 100)], 6 / 11),
        ],
    )  # fmt: skip
    def test_quality_by_hand(self, name, rows, quality):
        got = patterns.candlestick_quality(bars(rows))[name].iloc[-1]
        assert got == pytest.approx(quality, abs=1e-9)

    def test_quality_is_higher_where_the_teacher_says_yes(self):
        said, score = patterns.candlestick_labels(SAMPLE), patterns.candlestick_quality(SAMPLE)
        for name in ("doji", "dragonfly_doji", "hammer", "hanging_man", "bullish_engulfing"):
            use = said[name].notna()
            assert roc_auc_score(said[name][use], score[name][use]) > 0.95, name

    def test_a_star_without_a_gap_scores_though_the_teacher_wants_the_gap(self):
        rows = [(103, 103, 101, 101), (101, 101.2, 100.8, 100.95), (100.95, 103, 100.9, 103)]
        frame = bars(rows)
        assert patterns.candlestick_labels(frame)["morning_star"].iloc[-1] == 0
        assert patterns.candlestick_quality(frame)["morning_star"].iloc[-1] > 0.5

    def test_scores_stay_in_range_and_ignore_the_unit_of_price(self):
        score = patterns.candlestick_quality(SAMPLE)
        assert score.min().min() >= 0
        assert score.max().max() <= 1
        again = patterns.candlestick_quality(SAMPLE * [4.0, 4.0, 4.0, 4.0, 1.0])
        pd.testing.assert_frame_equal(score, again)


class TestCalibration:
    def test_reliability_by_hand(self):
        table = patterns.reliability(np.array([0.1, 0.2, 0.9, 0.7]), np.array([0, 1, 1, 1]), 2)
        assert table["count"].tolist() == [2, 2]
        assert table["forecast"].tolist() == pytest.approx([0.15, 0.8])
        assert table["share"].tolist() == [0.5, 1]
        error = patterns.calibration_error(
            np.array([0.1, 0.2, 0.9, 0.7]), np.array([0, 1, 1, 1]), 2
        )
        assert error == pytest.approx((0.35 + 0.2) / 2)

    def test_reliability_against_scikit_learn(self):
        rng = np.random.default_rng(0)
        p = rng.random(2_000)
        hit = (rng.random(2_000) < p).astype(int)
        table = patterns.reliability(p, hit)
        share, mean = calibration_curve(hit, p, n_bins=10)
        np.testing.assert_allclose(table["share"], share)
        np.testing.assert_allclose(table["forecast"], mean)
        assert patterns.calibration_error(p, hit) < 0.04

    def test_wilson_against_scipy(self):
        got = patterns.wilson(np.array([3, 0, 10]), np.array([10, 5, 10]))
        for (low, high), k, n in zip(got, (3, 0, 10), (10, 5, 10), strict=True):
            peer = binomtest(k, n).proportion_ci(method="wilson")
            assert (low, high) == pytest.approx((peer.low, peer.high), abs=1e-12)
        assert np.isnan(patterns.wilson(np.array([0]), np.array([0]))).all()

    def test_temperature_finds_the_factor_that_logits_were_blown_up_by(self):
        rng = np.random.default_rng(1)
        z = rng.normal(size=(20_000, 4))
        kind = (z + rng.gumbel(size=z.shape)).argmax(1)  # a draw from the softmax of z
        assert patterns.temperature(z, kind) == pytest.approx(1, abs=0.05)
        assert patterns.temperature(3 * z, kind) == pytest.approx(3, abs=0.15)


X = DRAWN.windows[:3]
BAD = [
    (patterns.synthetic, (0,), {"seed": 0}, "n"),
    (patterns.synthetic, (5,), {"seed": -1}, "seed"),
    (patterns.synthetic, (5,), {"seed": 0, "length": 8}, "length"),
    (patterns.synthetic, (5,), {"seed": 0, "kinds": "none"}, "kinds"),
    (patterns.synthetic, (5,), {"seed": 0, "kinds": ["tea_pot"]}, "kinds"),
    (patterns.synthetic, (5,), {"seed": 0, "span": (26, 64)}, "span"),
    (patterns.synthetic, (5,), {"seed": 0, "span": 26}, "span"),
    (patterns.synthetic, (5,), {"seed": 0, "noise": (0.2, 0.1)}, "noise"),
    (patterns.synthetic, (5,), {"seed": 0, "noise": np.nan}, "noise"),
    (patterns.synthetic, (5,), {"seed": 0, "completeness": 0}, "completeness"),
    (patterns.synthetic, (5,), {"seed": 0, "warp": -1}, "warp"),
    (patterns.synthetic, (5,), {"seed": 0, "trend": "up"}, "trend"),
    (patterns.synthetic, (5,), {"seed": 0, "after": 60}, "after"),
    (patterns.find, (X[:, :4],), {}, "windows"),
    (patterns.find, (X[:, :, :10],), {}, "windows"),
    (patterns.find, (np.full_like(X, np.nan),), {}, "windows"),
    (patterns.find, (-X,), {}, "windows"),
    (patterns.find, (X,), {"bandwidth": 0}, "bandwidth"),
    (patterns.find, (X,), {"swing": 2}, "swing"),
    (patterns.find, (X,), {"tolerance": -0.1}, "tolerance"),
    (patterns.find, (X,), {"fresh": 0}, "fresh"),
    (patterns.scan, (SAMPLE, 9), {}, "length"),
    (patterns.candlestick_labels, (SAMPLE.iloc[:13],), {}, "candles"),
    (patterns.candlestick_quality, (SAMPLE.iloc[:13],), {}, "candles"),
    (patterns.reliability, (np.array([1.5]), np.array([1])), {}, "probability"),
    (patterns.reliability, (np.array([0.5]), np.array([2])), {}, "hit"),
    (patterns.reliability, (np.array([0.5]), np.array([1])), {"n_bins": 0}, "n_bins"),
    (patterns.wilson, (np.array([3]), np.array([2])), {}, "hits"),
    (patterns.temperature, (np.zeros((3, 2)), np.array([0, 1, 2])), {}, "kind"),
    (patterns.temperature, (np.zeros((3, 1)), np.array([0, 0, 0])), {}, "logits"),
]


@pytest.mark.parametrize(("call", "args", "options", "name"), BAD)
def test_bad_input_is_named(call, args, options, name):
    with pytest.raises(ValueError, match=rf"^{name}: got "):
        call(*args, **options)


@pytest.mark.parametrize(
    "call", [patterns.scan, patterns.candlestick_labels, patterns.candlestick_quality]
)
def test_faulty_candles_are_refused(call):
    with pytest.raises(candles.CandleError):
        call(SAMPLE.iloc[::-1])


def test_calibration_of_forecasts_without_doubt():
    hit = np.array([0, 1, 1, 0])
    assert patterns.calibration_error(hit.astype(float), hit) == 0
    assert patterns.calibration_error(1.0 - hit, hit) == 1
    logits = 5.0 * np.eye(3)[[0, 1, 2, 0]]
    assert np.exp(-3) <= patterns.temperature(logits, np.array([0, 1, 2, 0])) < 0.2
    assert 15 < patterns.temperature(logits, np.array([1, 2, 0, 1])) <= np.exp(3)
    assert patterns.temperature(np.ones((4, 3)), np.array([1, 2, 0, 1])) == 1.0


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("hit", lambda p, hit: patterns.calibration_error(p, hit)),
        ("hit", lambda p, hit: patterns.reliability(p, hit)["share"]),
        ("hits", lambda p, hit: patterns.wilson(hit, 1 + (p > 0.5).astype(int))),
        ("kind", lambda p, hit: patterns.temperature(pd.DataFrame({0: 1 - p, 1: p}), hit)),
    ],
)
def test_forecasts_are_held_against_what_happened_then(name, ask):
    stamps = pd.date_range("2024-01-01", periods=6, freq="1h", tz="UTC")
    p = pd.Series([0.1, 0.2, 0.4, 0.6, 0.8, 0.9], stamps)
    hit = pd.Series([0, 0, 1, 0, 1, 1], stamps)
    for index in (stamps.tz_convert("Etc/UTC"), stamps.as_unit("s")):
        np.testing.assert_array_equal(ask(p, hit.set_axis(index)), ask(p, hit))
    for bad in (hit[::-1], hit.set_axis(stamps + pd.Timedelta("1h"))):
        with pytest.raises(ArgumentError, match=f"^{name}: .* same stamps"):
            ask(p, bad)
