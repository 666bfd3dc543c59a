"""Charts, pixel by pixel: hand-drawn cases, a Pillow peer, laws, traps and bad input."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from laws import assert_causal
from PIL import Image, ImageDraw

from setrade import charts
from setrade.errors import ArgumentError

# One character an ink, so that a test can draw what it expects.
LETTERS = dict(zip(charts.INKS, ".UDFudf^v=123", strict=True))
INK_NUMBERS = np.arange(len(charts.INKS), dtype=np.uint8)[:, None]  # a palette of one channel


def sketch(windows, *args, **options) -> str:
    """Draw the first window as text."""
    inks = charts.candlesticks(windows, *args, colours=INK_NUMBERS, **options)[0, 0]
    return "\n".join("".join(list(LETTERS.values())[ink] for ink in row) for row in inks)


def art(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


def bars(*rows: tuple[float, ...]) -> np.ndarray:
    """Turn (open, high, low, close, volume) rows into one window (1, 5, n)."""
    return np.array(rows, float).T[None]


def walk(n_windows: int, n: int, seed: int = 0, step: float = 1.0) -> np.ndarray:
    """Return random, valid windows (N, 5, n)."""
    rng = np.random.default_rng(seed)
    close = 1000.0 + rng.normal(0, step, (n_windows, n)).cumsum(axis=1)
    first = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    high = np.maximum(first, close) + rng.exponential(step / 2, close.shape)
    low = np.minimum(first, close) - rng.exponential(step / 2, close.shape)
    return np.stack([first, high, low, close, rng.gamma(2.0, 1.0, close.shape)], axis=1)


# ---------------------------------------------------------------- drawn by hand


def test_one_rising_candle():
    # Prices 0..4 on five rows: high 4, close 3, open 1, low 0. One candle owns all five
    # columns and leaves the last one empty; the wick is left of the middle of four.
    got = sketch(bars((1, 4, 0, 3, 1)), 5, 5, volume=False)
    assert got == art("""
        .u...
        UUUU.
        UUUU.
        UUUU.
        .u...""")


def test_rise_fall_doji_with_volume():
    # Height 13: 13 // 5 = 2 rows of volume, one empty row, ten rows for prices 0..9.
    window = bars((2, 9, 1, 7, 4), (7, 8, 0, 3, 2), (3, 5, 2, 3, 0.5))
    assert sketch(window, 13, 12) == art("""
        .u..........
        .u...d......
        UUU.DDD.....
        UUU.DDD.....
        UUU.DDD..f..
        UUU.DDD..f..
        UUU.DDD.FFF.
        UUU..d...f..
        .u...d......
        .....d......
        ............
        ^^^.........
        ^^^.vvv.....""")


def test_average_is_drawn_from_its_first_full_window_on():
    # Closes 0 4 0 4: the mean of two is 2, 2, 2, of one the close itself.
    window = bars((0, 0, 0, 0, 1), (0, 4, 0, 4, 1), (4, 4, 0, 0, 1), (0, 4, 0, 4, 1))
    assert sketch(window, 5, 8, volume=False, averages=(2,)) == art("""
        ..UUDDUU
        ..UUDDUU
        ..111111
        ..UUDDUU
        FFUUDDUU""")
    assert sketch(window[:, :, 1:3], 5, 4, volume=False, averages=(1,)) == art("""
        111D
        UU1D
        UU1D
        UU1D
        UU11""")


def test_slots_of_two_and_three_columns():
    # Eight columns for three candles: 0..1, 2..4, 5..7; the narrowest owns two, so no gaps.
    window = bars((0, 2, 0, 2, 1), (2, 2, 0, 0, 1), (0, 2, 0, 2, 1))
    assert sketch(window, 3, 8, volume=False) == "\n".join(["UUDDDUUU"] * 3)


@pytest.mark.parametrize("height", [5, 6, 224])
def test_constant_price_is_a_flat_line_at_mid_height(height):
    window = bars(*[(7, 7, 7, 7, 0)] * 4)
    inks = charts.candlesticks(window, height, 8, volume=False, colours=INK_NUMBERS)[0, 0]
    line = (height - 1) // 2
    assert (inks[line] == charts.INKS.index("flat")).all()
    assert inks.sum() == 8 * charts.INKS.index("flat")


def test_volume_panel():
    window = bars((1, 1, 1, 1, 10), (1, 1, 1, 1, 5), (1, 1, 1, 1, 0.4), (1, 1, 1, 1, 0))
    picture = sketch(window, 50, 4).splitlines()
    assert picture[39] == "....", "one empty row between the panels"
    panel = ["".join(column) for column in zip(*picture[40:], strict=True)]
    assert [column.count("=") for column in panel] == [10, 5, 0, 0]
    assert all(column == "." * column.count(".") + "=" * column.count("=") for column in panel)


# ---------------------------------------------------------------- an independent peer


def row_by_fractions(price: float, low: float, high: float, rows: int) -> int:
    """The nearest row in exact arithmetic, ties away from the middle, zero span in the middle."""
    if high == low:
        return (rows - 1) // 2
    low, high, price = Fraction(low), Fraction(high), Fraction(price)
    up = (2 * price - low - high) / (high - low) * (rows - 1) / 2  # above the middle
    middle = Fraction(rows - 1, 2)
    if up >= 0:
        row = middle - up
        return -((-row + Fraction(1, 2)).__floor__()) if row != middle else int(middle)
    return (middle - up + Fraction(1, 2)).__floor__()


def pillow_chart(window: np.ndarray, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """Draw the same chart with Pillow rectangles, one candle after the other."""
    ink = {name: tuple(map(int, rgb)) for name, rgb in zip(charts.INKS, colours, strict=True)}
    image = Image.new("RGB", (width, height), ink["background"])
    draw = ImageDraw.Draw(image)
    n = window.shape[1]
    volume_rows = height // charts.VOLUME_PART
    low, high = window[2].min(), window[1].max()
    for i, (first, high_, low_, last, v) in enumerate(window.T):
        left, right = i * width // n, (i + 1) * width // n - 1 - (width // n >= 3)
        y = [
            row_by_fractions(p, low, high, height - volume_rows - 1)
            for p in (first, high_, low_, last)
        ]
        kind = "flat" if first == last else "up" if last > first else "down"
        middle = (left + right) // 2
        draw.rectangle((middle, y[1], middle, y[2]), ink[kind + "_wick"])
        draw.rectangle((left, min(y[0], y[3]), right, max(y[0], y[3])), ink[kind])
        if tall := int(v / window[4].max() * volume_rows + 0.5):
            draw.rectangle((left, height - tall, right, height - 1), ink[kind + "_volume"])
    return np.asarray(image).transpose(2, 0, 1)


@pytest.mark.parametrize("colours", list(charts.COLOURS))
@pytest.mark.parametrize(("n", "height", "width"), [(1, 9, 5), (60, 224, 224), (31, 61, 100)])
def test_agrees_with_pillow(n, height, width, colours):
    windows = walk(4, n, seed=n)
    got = charts.candlesticks(windows, height, width, colours=colours)
    for window, picture in zip(windows, got, strict=True):
        expected = pillow_chart(window, height, width, charts.COLOURS[colours])
        np.testing.assert_array_equal(picture, expected)


# ---------------------------------------------------------------- laws

whole = st.integers(-50, 50).map(float)


@st.composite
def whole_windows(draw):
    """Windows of whole prices: many ties, where rounding is put to the test."""
    n = draw(st.integers(1, 12))
    x = np.sort(draw(arrays(float, (2, 4, n), elements=whole)), axis=1)  # low a b high
    swap = draw(arrays(bool, (2, n)))
    first, last = np.where(swap, x[:, 1], x[:, 2]), np.where(swap, x[:, 2], x[:, 1])
    volume = draw(arrays(float, (2, n), elements=st.integers(0, 9).map(float)))
    return np.stack([first, x[:, 3], x[:, 0], last, volume], axis=1)


def mirrored(windows: np.ndarray) -> np.ndarray:
    return np.stack([-windows[:, k] for k in (0, 2, 1, 3)] + [windows[:, 4]], axis=1)


@settings(max_examples=60, deadline=None)
@given(whole_windows(), st.integers(5, 40))
def test_mirror_is_exact(windows, height):
    """The chart of -p is the chart of p upside down, up and down exchanged (TRAPS 35)."""
    exchange = np.array([charts.INKS.index(_exchanged(name)) for name in charts.INKS], np.uint8)
    rows = height - height // charts.VOLUME_PART - 1
    if rows % 2 == 0:  # no middle row: the one undecided case, see the docstring
        height += 1
        rows = height - height // charts.VOLUME_PART - 1
    if rows % 2 == 0:
        return
    chart = charts.candlesticks(windows, height, 36, colours=INK_NUMBERS)[:, 0]
    other = charts.candlesticks(mirrored(windows), height, 36, colours=INK_NUMBERS)[:, 0]
    np.testing.assert_array_equal(exchange[other[:, :rows]], chart[:, :rows][:, ::-1])
    np.testing.assert_array_equal(exchange[other[:, rows:]], chart[:, rows:])


def _exchanged(name: str) -> str:
    kind, _, rest = name.partition("_")
    return {"up": "down", "down": "up"}.get(kind, kind) + (f"_{rest}" if rest else "")


@settings(max_examples=40, deadline=None)
@given(whole_windows(), st.integers(3, 40), st.integers(12, 50))
def test_every_candle_stays_in_its_columns(windows, height, width):
    """Other candles of the same price range change nothing in the columns before theirs."""
    middle = windows.shape[2] // 2
    changed = windows.copy()
    changed[:, :4, middle:] = 51.0
    options = {"volume": False, "price_range": (-50.0, 51.0), "colours": INK_NUMBERS}
    chart = charts.candlesticks(windows, height, width, **options)
    other = charts.candlesticks(changed, height, width, **options)
    edge = middle * width // windows.shape[2]
    np.testing.assert_array_equal(chart[..., :edge], other[..., :edge])


def test_column_zero_is_the_oldest_and_row_zero_the_highest():
    rising = np.arange(10.0)
    window = np.stack([rising, rising + 1, rising, rising + 1, np.ones(10)])[None]
    chart = charts.candlesticks(window, 50, 40, volume=False, colours=INK_NUMBERS)[0, 0]
    heights = [np.flatnonzero(chart[:, 4 * i + 1]).min() for i in range(10)]
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] == 0
    assert chart[-1, 0] == charts.INKS.index("up")


def test_bars_in_reverse_order_are_the_slots_in_reverse_order():
    windows = walk(3, 14)
    chart = charts.candlesticks(windows, 64, 56).reshape(3, 3, 64, 14, 4)
    other = charts.candlesticks(windows[:, :, ::-1], 64, 56).reshape(3, 3, 64, 14, 4)
    np.testing.assert_array_equal(chart, other[:, :, :, ::-1])


def test_scaling_prices_and_volume_changes_nothing():
    windows = walk(5, 60)
    scaled = windows * np.array([4.0, 4.0, 4.0, 4.0, 0.25])[None, :, None]
    np.testing.assert_array_equal(charts.candlesticks(windows), charts.candlesticks(scaled))


def frame_of(window: np.ndarray) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=window.shape[1], freq="15min", tz="UTC")
    names = ["open", "high", "low", "close", "volume"]
    return pd.DataFrame(window.T, index=index.rename("time"), columns=names)


@pytest.mark.parametrize("span", [None, 0.2])
def test_truncation_law(span):
    """A picture knows its own bars and nothing later (also with a reference range)."""

    def pictures(frame):
        x = np.lib.stride_tricks.sliding_window_view(frame.to_numpy().T, 24, axis=1)
        x = x.transpose(1, 0, 2)
        limits = "window" if span is None else charts.reference_range(x, span)
        options = {"price_range": limits, "outside": "clip", "averages": (5,)}
        return charts.candlesticks(x, 40, 72, **options)

    assert_causal(pictures, frame_of(walk(1, 120)[0]), offset=23)


def test_frame_is_a_batch_of_one():
    window = walk(1, 30)
    np.testing.assert_array_equal(
        charts.candlesticks(frame_of(window[0])), charts.candlesticks(window)
    )


def test_views_read_only_and_float32_windows():
    window = walk(1, 40)[0].astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view(window, 20, axis=1).transpose(1, 0, 2)
    assert not view.flags.writeable
    got = charts.candlesticks(view, 50, 60)
    np.testing.assert_array_equal(got, charts.candlesticks(view.astype(float), 50, 60))


def test_out_is_filled_and_returned_whatever_it_held():
    windows = walk(3, 20)
    out = np.full((3, 3, 50, 60), 137, np.uint8)
    before = windows.copy()
    assert charts.candlesticks(windows, 50, 60, out=out) is out
    np.testing.assert_array_equal(out, charts.candlesticks(windows, 50, 60))
    np.testing.assert_array_equal(windows, before)


def test_tiny_and_huge_prices_stay_inside_the_panel():
    smallest = np.nextafter(0.0, 1.0)
    for low, high in [(0.0, smallest), (1e300, 1.0000001e300), (1.0, 1.0 + 2e-16)]:
        window = bars((low, high, low, high, smallest), (high, high, low, low, 2 * smallest))
        chart = charts.candlesticks(window, 224, 8, volume=False, colours=INK_NUMBERS)[0, 0]
        assert chart[0, 0] == charts.INKS.index("up")
        assert chart[-1, 4] == charts.INKS.index("down")


# ---------------------------------------------------------------- traps


def integer_spacing(n: int, width: int) -> set[int]:
    """TRAPS 29 as published: a whole number of columns for each candle, the rest unused."""
    step = width // n
    return {i * step + k for i in range(n) for k in range(max(step, 1)) if i * step + k < width}


@pytest.mark.parametrize("n", [1, 60, 120, 224])
def test_trap_29_candles_fill_the_width(n):
    window = bars(*[(0, 1, 0, 1, 1)] * n)
    chart = charts.candlesticks(window, 50, 224, volume=False, colours=INK_NUMBERS)[0, 0]
    painted = np.flatnonzero(chart[0])
    owned = {i * 224 // n for i in range(n)}
    assert len(owned) == n, "no two candles share a column"
    assert owned <= set(painted.tolist()), "each candle starts where exact division says"
    assert painted[-1] >= 224 - 2
    if n == 120:
        assert len(integer_spacing(n, 224)) / 224 == pytest.approx(0.536, abs=0.001)


def test_trap_29_what_cannot_be_drawn_is_refused():
    with pytest.raises(ArgumentError, match=r"width: got 224, .*at least 300 columns"):
        charts.candlesticks(walk(1, 300))
    assert charts.candlesticks(walk(1, 300), width=300).shape == (1, 3, 224, 300)


@pytest.mark.parametrize("height", [5, 8, 64])
def test_trap_30_a_doji_has_a_body(height):
    wrong = abs(3 - 3)  # the seed's body height, rows between open and close, is none
    assert wrong == 0
    window = bars((0, 0, 0, 0, 1), (3, 6, 0, 3, 1), (6, 6, 6, 6, 1))
    chart = charts.candlesticks(window, height, 9, volume=False, colours=INK_NUMBERS)[0, 0]
    for i in range(3):
        assert (chart[:, 3 * i] == charts.INKS.index("flat")).sum() == 1


def test_trap_30_falling_bodies_are_not_lost_in_unsigned_subtraction():
    falling = bars((3, 4, 0, 1, 1))
    y_open, y_close = np.uint32(1), np.uint32(3)
    with np.errstate(over="ignore"):
        assert y_open - y_close > 4_000_000_000  # the wrong version's height for the mirror image
    got = sketch(falling, 5, 5, volume=False)
    rising = sketch(bars((1, 4, 0, 3, 1)), 5, 5, volume=False)
    assert got == rising.replace("U", "D").replace("u", "d")


def test_trap_31_window_scale_hides_volatility_and_a_reference_range_shows_it():
    calm = walk(1, 60, step=1.0)
    wild = calm.copy()
    wild[:, :4] = calm[:, 3:4, -1:] + 2.0 * (calm[:, :4] - calm[:, 3:4, -1:])
    both = np.concatenate([calm, wild])
    hidden = charts.candlesticks(both)
    np.testing.assert_array_equal(hidden[0], hidden[1])  # the trap: twice the moves, same picture

    span = charts.smallest_span(both).max()
    limits = charts.reference_range(both, span)
    shown = charts.candlesticks(both, price_range=limits, colours=INK_NUMBERS)[:, 0, :179]
    rows = [np.flatnonzero(picture.any(axis=1)) for picture in shown]
    tall = [r.max() - r.min() + 1 for r in rows]
    assert tall[1] / tall[0] == pytest.approx(2.0, abs=0.05)


def test_outside_a_given_range():
    window = bars((2, 9, 1, 7, 1), (7, 8, 3, 3, 1))
    with pytest.raises(ArgumentError, match=r"price_range: .*clip.*window 0, candle 0"):
        charts.candlesticks(window, price_range=(1.5, 8.5))
    got = sketch(window, 6, 6, volume=False, price_range=(3, 8), outside="clip")
    assert got == art("""
        u..d..
        UU.DD.
        UU.DD.
        UU.DD.
        UU.DD.
        UU.DD.""")
    below = bars((1, 1.5, 0, 1.2, 1), (7, 8, 6, 7.5, 1))  # the first candle lies outside
    got = sketch(below, 3, 4, volume=False, price_range=(6, 8), outside="clip")
    assert got == art("""
        ..UU
        ..UU
        UUu.""")


def test_reference_range_by_hand():
    window = bars((100, 104, 99, 103, 1), (103, 106, 94, 100, 1))
    np.testing.assert_allclose(charts.reference_range(window, 0.1), [[90.0, 110.0]])
    np.testing.assert_allclose(charts.smallest_span(window), [0.06])


# ---------------------------------------------------------------- colours

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLINDNESS = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def luminance(rgb: np.ndarray, kind: str) -> float:
    x = np.asarray(rgb) / 255.0
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return float(np.clip(np.asarray(BLINDNESS[kind]) @ linear, 0, 1) @ [0.2126, 0.7152, 0.0722])


def contrast(a, b, kind: str) -> float:
    """WCAG 2 contrast ratio of two colours as an eye of this kind sees them."""
    dark, light = sorted((luminance(a, kind), luminance(b, kind)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("name", "part", "kind"),
    list(itertools.product(charts.COLOURS, ("", "_wick", "_volume"), BLINDNESS)),
)
def test_up_and_down_differ_in_brightness_for_every_eye(name, part, kind):
    ink = dict(zip(charts.INKS, charts.COLOURS[name], strict=True))
    assert contrast(ink["up" + part], ink["down" + part], kind) > 1.5
    for direction in ("up", "down", "flat"):
        assert contrast(ink[direction + part], ink["background"], kind) > 1.8


def test_rgb_is_the_colour_table_looked_up():
    windows = walk(2, 30)
    inks = charts.candlesticks(windows, 60, 90, averages=(3, 9), colours=INK_NUMBERS)[:, 0]
    for name, table in charts.COLOURS.items():
        rgb = charts.candlesticks(windows, 60, 90, averages=(3, 9), colours=name)
        np.testing.assert_array_equal(rgb, table[inks].transpose(0, 3, 1, 2))


def test_colour_maps_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        charts.COLOURS["safe"][0] = 9


# ---------------------------------------------------------------- bad input


def broken(field: int, value: float) -> np.ndarray:
    windows = walk(2, 10)
    windows[1, field, 4] = value
    return windows


GOOD = walk(2, 10)
READ_ONLY = np.empty((2, 3, 224, 224), np.uint8)
READ_ONLY.flags.writeable = False
BAD = [
    ("windows", broken(0, np.nan)),
    ("windows", broken(4, np.inf)),
    ("windows", broken(1, 1.0)),  # high below the rest
    ("windows", broken(2, 1e6)),  # low above the rest
    ("windows", broken(4, -1.0)),
    ("windows", bars((-1e308, -1e308, -1e308, -1e308, 1), (1e308, 1e308, 1e308, 1e308, 1))),
    ("windows", GOOD[0]),
    ("windows", GOOD[:, :4]),
    ("windows", GOOD[:0]),
    ("windows", GOOD[:, :, :0]),
    ("windows", "candles"),
    ("windows", None),
    ("windows", frame_of(GOOD[0]).drop(columns="volume")),
    ("windows", frame_of(GOOD[0]).iloc[:0]),
    ("height", 4),
    ("height", 32.0),
    ("height", True),
    ("width", 9),
    ("width", 0),
    ("width", "wide"),
    ("volume", 1),
    ("averages", (0,)),
    ("averages", (11,)),
    ("averages", (2.5,)),
    ("averages", (1, 2, 3, 4)),
    ("averages", 20),
    ("averages", "20"),
    ("colours", "rainbow"),
    ("colours", 7),
    ("colours", np.zeros((3, 3), np.uint8)),
    ("colours", np.zeros((len(charts.INKS), 3))),
    ("price_range", "all"),
    ("price_range", (2.0, 1.0)),
    ("price_range", (1.0, 1.0)),
    ("price_range", (1.0, np.nan)),
    ("price_range", (1.0, 2.0)),
    ("price_range", np.ones((3, 2))),
    ("price_range", (-1e308, 1e308)),  # the difference overflows
    ("outside", "drop"),
    ("out", np.empty((2, 3, 224, 224))),
    ("out", np.empty((1, 3, 224, 224), np.uint8)),
    ("out", np.empty((2, 3, 224, 448), np.uint8)[..., ::2]),
    ("out", [[0]]),
    ("out", READ_ONLY),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_bad_argument_is_named(name, value):
    arguments = {"windows": GOOD} | {name: value}
    with pytest.raises(ArgumentError) as caught:
        charts.candlesticks(**arguments)
    assert caught.value.name == name
    assert str(caught.value).startswith(f"{name}: got ")


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((GOOD, 0.0), "span"),
        ((GOOD, 1.5), "span"),
        ((GOOD, np.nan), "span"),
        ((broken(0, np.nan), 0.1), "windows"),
        ((GOOD - 2000.0 * np.array([1, 1, 1, 1, 0])[:, None], 0.1), "windows"),
    ],
)
def test_bad_reference_range(arguments, name):
    with pytest.raises(ArgumentError) as caught:
        charts.reference_range(*arguments)
    assert caught.value.name == name
    if name == "windows":
        with pytest.raises(ArgumentError):
            charts.smallest_span(arguments[0])


def test_fault_is_located():
    with pytest.raises(ArgumentError, match=r"low <= open, close <= high \(window 1, candle 4\)"):
        charts.candlesticks(broken(1, 1.0))
