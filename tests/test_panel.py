"""Many markets at once, against a pencil, peers and laws: leads, cells, clusters, neighbours."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from setrade import panel
from setrade.errors import ArgumentError


def stamps(n, first="2024-01-01", step="15min"):
    return pd.date_range(first, periods=n, freq=step, tz="UTC", name="time")


def series(n=200, seed=0, **how):
    return pd.Series(np.random.default_rng(seed).normal(size=n), stamps(n, **how))


def bars(n=50, seed=0, **how):
    close = 100 * np.exp(np.random.default_rng(seed).normal(0, 0.01, n).cumsum())
    return pd.DataFrame({"close": close}, stamps(n, **how))


# ---- Common bars.


def test_only_bars_that_all_have_are_kept():
    table = panel.aligned(
        {"A": bars(), "B": bars(40, 1), "C": bars(50, 2, first="2024-01-01 01:00")}
    )
    assert list(table) == ["A", "B", "C"]
    assert len(table) == 40 - 4
    assert table.index[0] == pd.Timestamp("2024-01-01 01:00", tz="UTC")
    np.testing.assert_array_equal(table["B"], bars(40, 1)["close"].iloc[4:])


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"A": bars()}, "two coins"),
        ({"A": bars(), " a": bars()}, "each symbol once"),
        ({"A": bars(), "B": bars(step="1h")}, "'B'.*0:15:00"),
        ({"A": bars(), "LATE": bars(first="2025-01-01")}, "'LATE'.*in common"),
        ({"A": bars(), "B": bars().drop(bars().index[20])}, "no hole in what is common"),
        ({"A": bars(), "B": bars().iloc[::-1]}, "rises"),
        ({"A": bars(), "B": bars() * np.nan}, "finite"),
        ({"A": bars(), "B": -bars()}, "'B'.*above 0"),
        ({"A": bars(), "B": bars().tz_localize(None)}, "UTC"),
        ({"A": bars(), "B": bars().rename(columns={"close": "last"})}, "column close"),
        ([bars(), bars()], "by symbol"),
    ],
)
def test_coins_that_do_not_go_together_are_named(tables, said):
    with pytest.raises(ArgumentError, match=said):
        panel.aligned(tables)


def test_a_hole_in_what_is_common_is_not_bridged():
    """Each coin is whole, but they share two stretches only: no such pair of candles exists."""
    half = bars(20)
    with pytest.raises(ArgumentError, match="no hole in what is common"):
        panel.aligned({"A": bars(50), "B": pd.concat([half, bars(20, first="2024-01-01 06:00")])})


# ---- Lead and lag.


def test_a_lead_with_a_pencil():
    """The second repeats the first one bar later: seven products of ones over eight bars."""
    first = pd.Series([1.0, 1, -1, -1, 1, 1, -1, -1], stamps(8))
    second = pd.Series([-1.0, 1, 1, -1, -1, 1, 1, -1], stamps(8))
    found = panel.lead_lag(first, second, 2)
    assert found.to_dict() == pytest.approx({-2: 0, -1: -7 / 8, 0: 0, 1: 7 / 8, 2: 0})


def test_lags_agree_with_scipy_and_a_planted_lead_is_the_peak():
    first, noise = series(5_000), series(5_000, 1)
    second = (0.5 * first.shift(3, fill_value=0.0) + noise).rename("late")
    found = panel.lead_lag(first, second, 5)
    for lag in range(6):
        a, b = first.iloc[: len(first) - lag], second.iloc[lag:]
        assert found[lag] == pytest.approx(pearsonr(a, b)[0], abs=1e-3)
    assert found.abs().idxmax() == 3


@given(st.integers(0, 99), st.integers(0, 12), st.floats(1e-6, 1e6))
def test_who_leads_follows_when_both_change_places(seed, lag, scale):
    a, b = series(60, seed), scale * series(60, seed + 1)
    there, back = panel.lead_lag(a, b, lag), panel.lead_lag(b, a, lag)
    np.testing.assert_allclose(there, back.to_numpy()[::-1], atol=1e-12)
    assert (there.abs() <= 1 + 1e-9).all()


@pytest.mark.parametrize(
    ("first", "second", "lag", "said"),
    [
        (series(), series(199), 2, "second"),
        (series(), series(first="2024-01-01 00:15"), 2, "same stamps"),
        (series(), series(step="1h"), 2, "same stamps"),
        (series().iloc[::-1], series(), 2, "rises"),
        (series(), series().replace(series().iloc[5], np.nan), 2, "finite"),
        (series(), 0 * series(), 2, "vary"),
        (series(), series(), 51, "max_lag"),
        (series().to_numpy(), series(), 2, "Series"),
        (series().drop(series().index[9]), series().drop(series().index[9]), 2, "evenly"),
    ],
)
def test_series_that_are_not_aligned_are_named(first, second, lag, said):
    with pytest.raises(ArgumentError, match=said):
        panel.lead_lag(first, second, lag)


# ---- Cells.


@given(st.integers(2, 9), st.integers(0, 50))
def test_each_coin_is_new_once_and_no_example_stands_in_two_cells(m, seed):
    names = [f"C{i}" for i in range(m)]
    folds = panel.leave_out(names, 50, folds=2, start=30, gap=5, seed=seed)
    np.testing.assert_array_equal(np.sum([f.new_coins for f in folds], axis=0), 1)
    cells = [folds[0].cell(c, t) for c in ("seen", "new") for t in ("seen", "new")]
    total = np.sum(cells, axis=0)
    assert total.max() == 1
    np.testing.assert_array_equal(total.sum(1), np.r_[[m] * 25, [0] * 5, [m] * 20])


def test_cells_by_hand():
    fold = panel.PanelFold(
        np.array([False, True]), np.array([1, 0, 0], bool), np.array([0, 0, 1], bool)
    )
    assert fold.cell("new", "seen").tolist() == [[False, True], [False, False], [False, False]]
    assert fold.cell("seen", "new").tolist() == [[False, False], [False, False], [True, False]]
    with pytest.raises(ArgumentError, match="time"):
        fold.cell("new", "old")


@pytest.mark.parametrize(
    ("symbols", "change", "said"),
    [
        (["A", "A"], {}, "symbols"),
        ("AB", {}, "symbols"),
        ([1, 2], {}, "symbols"),
        (["A", "B"], {"folds": 3}, "folds"),
        (["A", "B"], {"start": 50}, "start"),
        (["A", "B"], {"gap": 30}, "gap"),
    ],
)
def test_splits_that_cannot_be_are_named(symbols, change, said):
    with pytest.raises(ArgumentError, match=said):
        panel.leave_out(symbols, 50, **{"folds": 2, "start": 30, "gap": 5, "seed": 0} | change)


# ---- Clusters.


def test_copies_count_once():
    """Five copies of each of four values: the variance of the mean is that of four, not twenty."""
    x = np.array([1.0, 2, 4, 9])
    found = panel.clustered_mean(np.repeat(x, 5), np.repeat(np.arange(4), 5))
    assert found.mean == 4
    assert found.error == pytest.approx(x.std(ddof=1) / 2)
    assert found.design_effect == pytest.approx((38 / 12) / (190 / 19 / 20))
    low, high = found.interval()
    assert (4 - low, high - 4) == pytest.approx([3.1824 * found.error] * 2, rel=1e-4)


def test_errors_agree_with_statsmodels():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 30, 400)
    x = rng.normal(size=400) + rng.normal(size=30)[group]
    fitted = sm.OLS(x, np.ones(400)).fit(
        cov_type="cluster", cov_kwds={"groups": group, "use_correction": False}
    )
    found = panel.clustered_mean(x, group)
    assert found.clusters == len(np.unique(group))
    assert found.error == pytest.approx(fitted.bse[0] * np.sqrt(30 / 29))


@given(st.integers(2, 60), st.integers(0, 99))
def test_values_alone_in_their_clusters_are_independent(n, seed):
    x = np.random.default_rng(seed).normal(size=n)
    found = panel.clustered_mean(x, np.arange(n))
    assert found.design_effect == pytest.approx(1)
    assert panel.clustered_mean(0 * x, np.arange(n)).design_effect == 1


def test_clusters_that_cannot_be_are_named():
    for x, group, said in (
        ([1.0, np.nan], [0, 1], "values"),
        ([1.0, 2], [0, 0], "clusters"),
        ([1.0, 2], [0, 1, 2], "clusters"),
        ([1.0, 2], [0.0, 1.0], "clusters"),
    ):
        with pytest.raises(ArgumentError, match=said):
            panel.clustered_mean(np.array(x), np.array(group))


# ---- Neighbours.


def windows(n=120, d=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_neighbours_by_hand():
    """The nearest window is not known yet; of those that are, two and then zero are nearest."""
    reference = np.array([[0.0], [5.0], [2.0], [1.0]])
    found = panel.neighbours([[1.1]], reference, asked=[7], known=[3, 7, 5, 8], k=2)
    assert found.tolist() == [[2, 0]]


def test_what_comes_later_changes_no_answer():
    x, known = windows(), np.arange(120) + 8
    full = panel.neighbours(x[60:], x, asked=np.arange(60, 120), known=known, k=3)
    for last in (70, 90, 118):
        part = panel.neighbours(
            x[60:last], x[:last], asked=np.arange(60, last), known=known[:last], k=3
        )
        np.testing.assert_array_equal(part, full[: last - 60])
        other = x.copy()
        other[last:] *= 9
        kept = panel.neighbours(x[60:last], other, asked=np.arange(60, last), known=known, k=3)
        np.testing.assert_array_equal(kept, part)
    assert (known[full] <= np.arange(60, 120)[:, None]).all()


@given(st.integers(0, 99), st.integers(1, 5))
def test_the_nearest_of_all_are_scikit_learns(seed, k):
    from sklearn.neighbors import NearestNeighbors

    q, r = windows(7, 3, seed), windows(20, 3, seed + 1)
    peer = NearestNeighbors(n_neighbors=k).fit(r).kneighbors(q, return_distance=False)
    asked, known = np.zeros(7, int), np.zeros(20, int)
    np.testing.assert_array_equal(panel.neighbours(q, r, asked=asked, known=known, k=k), peer)


def test_searches_that_cannot_be_are_named():
    good = {"query": windows(3), "reference": windows(9), "asked": np.full(3, 5)}
    good |= {"known": np.arange(9), "k": 2}
    for change, said in (
        ({"query": windows(3) * np.nan}, "query"),
        ({"reference": windows(9, 3)}, "reference"),
        ({"asked": np.zeros(3)}, "asked"),
        ({"known": np.arange(8)}, "known"),
        ({"k": 7}, "at most 6"),
        ({"k": 10}, "k"),
    ):
        with pytest.raises(ArgumentError, match=said):
            panel.neighbours(**good | change)


@pytest.mark.parametrize(
    ("one", "other"), [([0, 1, 3, 5, 7, 9], [1, 2, 3, 5, 7, 9]), ([0, 1, 3, 8], [2, 3, 8])]
)
def test_a_hole_that_two_coins_share_is_not_bridged(one, other):
    """What is common may look even, with a step that neither coin has."""
    stamps = pd.date_range("2024-01-01", periods=10, freq="1h", tz="UTC", name="time")
    bars = {
        name: pd.DataFrame({"close": 1.0 + np.arange(len(at))}, stamps[at])
        for name, at in (("A", one), ("B", other))
    }
    with pytest.raises(ValueError, match="bars"):
        panel.aligned(bars)


def test_a_symbol_in_another_case_is_the_same_coin():
    with pytest.raises(ArgumentError, match="symbols"):
        panel.leave_out(["BTC", "btc ", "ETH"], 9, folds=2, start=5, gap=1, seed=0)


def test_what_rounding_leaves_of_one_number_is_no_error():
    told = panel.clustered_mean([0.1] * 7, [0, 0, 1, 1, 2, 2, 2])
    assert (told.error, told.naive_error, told.design_effect) == (0, 0, 1)


def test_clusters_of_other_stamps_are_named():
    stamps = pd.date_range("2024-01-01", periods=4, freq="1h", tz="UTC")
    values = pd.Series([1.0, 0, 1, 0], stamps)
    with pytest.raises(ArgumentError, match="clusters"):
        panel.clustered_mean(values, pd.Series([0, 0, 1, 1], stamps[::-1]))


def test_neighbours_compare_the_same_columns_at_their_own_bars():
    stamps = pd.date_range("2024-01-01", periods=9, freq="1h", tz="UTC")
    windows = pd.DataFrame(np.random.default_rng(0).random((9, 3)), stamps, list("abc"))
    bar = pd.Series(np.arange(9), stamps)
    right = panel.neighbours(windows, windows, asked=bar + 9, known=bar, k=2)
    np.testing.assert_array_equal(
        panel.neighbours(
            windows, windows, asked=bar.set_axis(stamps.as_unit("s")) + 9, known=bar, k=2
        ),
        right,
    )
    for name, bad in (
        ("reference", {"reference": windows[["c", "b", "a"]]}),
        ("asked", {"asked": bar[::-1] + 9}),
        ("known", {"known": bar.set_axis(stamps + pd.Timedelta("1h"))}),
    ):
        given = {"reference": windows, "asked": bar + 9, "known": bar} | bad
        with pytest.raises(ArgumentError, match=f"^{name}: "):
            panel.neighbours(windows, k=2, **given)
