"""Diebold and Mariano's test: by hand, against statsmodels, its size on overlapping forecasts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from setrade.errors import ArgumentError
from setrade.evidence import diebold_mariano
from setrade.evidence.forecasts import standard_error


def losses(n=400, seed=0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.exponential(1.0, n) + shift, rng.exponential(1.0, n)


def test_eight_losses_with_a_pencil():
    """Differences 1 and 0 in turn: mean 1/2, variance 1/4, so the mean's is 1/32, times 8 / 7."""
    first, second = np.array([2.0, 1] * 4), np.ones(8)
    found = diebold_mariano(first, second, lags=0)
    error = np.sqrt(1 / 32 * 8 / 7)
    assert found.estimate == 0.5
    assert found.high - found.estimate == pytest.approx(error * student.ppf(0.975, 7))
    assert found.p == pytest.approx(2 * student.sf(0.5 / error, 7))


def test_one_lag_with_a_pencil():
    """Of the same differences each is the mean's other side: the first covariance is -7/32."""
    d = np.array([1.0, 0] * 4)
    expected = np.sqrt((8 / 4 + 2 * 0.5 * (-7 / 4)) / 64)
    assert standard_error(d, 1) == pytest.approx(expected)


@pytest.mark.parametrize("lags", [0, 3, 20])
def test_equal_to_statsmodels(lags):
    sm = pytest.importorskip("statsmodels.api")
    a, b = losses()
    fit = sm.OLS(a - b, np.ones(len(a))).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
    )
    assert standard_error(a - b, lags) == pytest.approx(float(fit.bse[0]), rel=1e-9)


def test_the_correction_of_1997():
    a, b = losses()
    found, plain = diebold_mariano(a, b, horizon=4, lags=6), standard_error(a - b, 6)
    n, h = len(a), 4
    factor = np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    half = plain / factor * student.ppf(0.975, n - 1)
    assert found.high - found.estimate == pytest.approx(half)


def test_overlap_widens_the_interval_and_keeps_the_size():
    """Of forecasts that are equally good a test at 5 % may refuse 5 in 100; plain, many more."""
    rng, refused = np.random.default_rng(0), [0, 0]
    for _ in range(200):
        raw = rng.normal(size=(2, 611))
        a, b = (np.convolve(x, np.ones(12), "valid") ** 2 for x in raw)  # errors 12 bars ahead
        for i, options in enumerate(({"horizon": 12}, {"lags": 0})):
            refused[i] += diebold_mariano(a, b, **options).p < 0.05
    assert refused[0] < 30 < 80 < refused[1]


def test_the_better_forecast_is_found():
    a, b = losses(shift=0.5)
    found = diebold_mariano(a, b)
    assert found.low > 0.2
    assert found.p < 1e-3
    assert "p " in str(found)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), horizon=st.integers(1, 20))
def test_swapping_the_forecasts_swaps_the_signs(seed, horizon):
    a, b = losses(100, seed)
    one, two = diebold_mariano(a, b, horizon=horizon), diebold_mariano(b, a, horizon=horizon)
    assert one.estimate == pytest.approx(-two.estimate)
    assert one.low == pytest.approx(-two.high)
    assert one.p == pytest.approx(two.p)
    assert one.low <= one.estimate <= one.high


def test_losses_that_never_differ():
    a, _ = losses()
    same = diebold_mariano(a, a)
    assert (same.estimate, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert diebold_mariano(np.ones(10), np.zeros(10)).p == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("first", {"first": np.ones(4)}), ("first", {"first": np.full(40, np.nan)}),
        ("second", {"second": np.ones(39)}), ("horizon", {"horizon": 0}),
        ("horizon", {"horizon": 11}), ("lags", {"lags": 40}), ("lags", {"lags": -1}),
        ("level", {"level": 2.0}), ("first", {"first": np.ones((40, 2))}),
    ],
)  # fmt: skip
def test_what_is_refused(name, options):
    call = {"first": np.arange(40.0), "second": np.ones(40)} | options
    with pytest.raises(ArgumentError, match=rf"^{name}: got "):
        diebold_mariano(**call)


def test_the_unit_of_losses_does_not_matter():
    """Squares of 1e200 are infinite, and those of 1e-200 are 0."""
    first, second = losses()
    found = diebold_mariano(first, second)
    for unit in (1e200, 1e-200):
        scaled = diebold_mariano(first * unit, second * unit)
        assert scaled.p == pytest.approx(found.p)
        assert scaled.high / unit == pytest.approx(found.high)


def test_what_rounding_leaves_is_no_difference():
    first = losses()[0]
    assert diebold_mariano((first + 0.1) - 0.1, first).p == 1
    assert diebold_mariano(first + 1e-9, first).p == 0  # small, and sure


def test_losses_too_far_apart_are_named():
    with pytest.raises(ArgumentError, match="^first: got"):
        diebold_mariano(np.full(9, 1.7e308), np.full(9, -1.7e308))


def test_small_differences_beside_one_huge_loss_count():
    """Rounding is told by each pair of losses, and not by the largest of all."""
    first, second = np.full(40, 2.0), np.ones(40)
    first[7] = second[7] = 1e14
    assert diebold_mariano(first, second).estimate == pytest.approx(39 / 40, rel=1e-2)
