# %% [markdown]
# (ch-primer-channels)=
# # Primer: thirty-two channels
#
# **What does each of the thirty-two channels ask of a market, and when does its answer mislead?**
#
# ```{admonition} What you will do
# :class: tip
# - work out every group of channels with a pencil, on five bars
# - write all thirty-two by hand in a few lines, and find them equal to `setrade`'s
# - see each group on real bars, at a moment when it misleads
# - count what three famous rules of thumb were worth
# ```
#
# *You need* {ref}`ch-first-light`. *Runs* in under 20 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from setrade import candles, channels
from setrade.plots import DOWN, NEUTRAL, UP, draw_bars, use_style

use_style()

# %% tags=["parameters"]
AHEAD = 10  # bars that a rule of thumb is given to come true

# %% [markdown]
# This is a page to come back to. If you know these indicators, look at the pictures and go on; if you
# do not, take a pencil, since each of them is a few sums. A **{term}`channel`** is one
# number a bar, worked out from that bar and older ones. {ref}`ch-channels` then asks what happens
# when all of them are given to a net together.
#
# Five bars are enough to try everything, and each {term}`bar` has an open, a high, a low, a close and
# a volume:
#
# | bar | open | high | low | close | volume |
# |---|---|---|---|---|---|
# | 1 | 100 | 102 | 99 | 101 | 10 |
# | 2 | 101 | 104 | 100 | 103 | 20 |
# | 3 | 103 | 104 | 99 | 102 | 10 |
# | 4 | 102 | 105 | 102 | 105 | 30 |
# | 5 | 105 | 106 | 103 | 104 | 10 |

# %%
five = pd.DataFrame({
    "open": [100.0, 101, 103, 102, 105],
    "high": [102.0, 104, 104, 105, 106],
    "low": [99.0, 100, 99, 102, 103],
    "close": [101.0, 103, 102, 105, 104],
    "volume": [10.0, 20, 10, 30, 10],
}, index=range(1, 6))  # fmt: skip

# %% [markdown]
# Beside the five stand the 5,528 real bars of the sample, and what `setrade` makes of them. Whatever we
# write by hand below is compared with a column of this table, on every bar.

# %%
bars = candles.sample()
raw = channels.compute(bars)
o, h, l, c, v = (bars[k] for k in bars.columns[:5])  # noqa: E741
checked = set()


def agree(name, by_hand):
    np.testing.assert_allclose(by_hand, raw[name], rtol=1e-7, atol=1e-9)
    checked.add(name)


# %% [markdown]
# ## 1 Price: where is the market?
#
# `open`, `high`, `low`, `close`
# : *Formula*: the first, highest, lowest and last price at which somebody traded during the bar.
# : *Asks*: where did the market begin, how far did it reach, and where did it end?
# : *Misleads*: a high may be one trade of one coin, and nobody could have sold more there. And an
#   account is never paid the close that it decided on ({ref}`ch-first-light`).
#
# `vwap`, the {term}`volume-weighted average price <VWAP>`
# : *Formula*: $\sum p_t v_t / \sum v_t$ over the newest 20 bars, with $p_t = (h_t + l_t + c_t)/3$.
# : *Asks*: what did the average coin cost those who bought it lately?
# : *Misleads*: after a jump it stands where the market was. Other programs begin it anew each
#   midnight, and then the first bars of a day have hardly anything to average.
#
# With a pencil: $p$ is 101.67, 104 and 104.33 on bars 3 to 5, the volumes are 10, 30 and 10. The
# average of the three bars is $(1016.7 + 3120 + 1043.3) / 50 = 103.6$. The bar that traded most pulls
# it up: an unweighted mean would say 103.3.

# %%
typical = five[["high", "low", "close"]].mean(axis=1)
last = slice(3, 5)
money = (typical * five["volume"]).loc[last]
vwap = money.sum() / five["volume"].loc[last].sum()
print("p:", typical.loc[last].round(2).tolist())
print("p v:", money.round(1).tolist())
print(f"VWAP {vwap:.1f}, plain mean {typical.loc[last].mean():.1f}")

# %%
for name in ("open", "high", "low", "close"):
    agree(name, bars[name])
p = (h + l + c) / 3
agree("vwap", (p * v).rolling(20).sum() / v.rolling(20).sum())

# %% mystnb={"figure": {"caption": "Price: the candles of one afternoon and evening, and the average price that was paid over the newest 20 bars.", "name": "fig-primer-price"}, "image": {"alt": "Candles on 1 October 2021. The price jumps from about 45,000 to above 47,000 dollars within two bars; the volume-weighted average rises by half as much at once, then slowly, and needs some four hours to catch up."}}
jump = slice("2021-10-01 06:00", "2021-10-01 20:00")
fig, ax = plt.subplots(figsize=(7.2, 3))
draw_bars(ax, bars[jump])
ax.plot(raw["vwap"][jump], color="black", label="VWAP")
ax.legend()
plt.show()

# %% [markdown]
# The jump is over within a few bars, and the average is not there yet. «The price is above the average
# that was paid» is true for hours, but it says so because of one move that has passed.

# %%
behind = (c / raw["vwap"] - 1)[jump]
print(
    f"furthest above: {behind.max():.1%}, {behind.idxmax():%H:%M} UTC"
)

# %%
assert behind.max() > 0.02
assert (behind > 0).mean() > 0.8

# %% [markdown]
# ## 2 Volume: how much, and on which side?
#
# `volume`
# : *Formula*: what changed hands during the bar.
# : *Asks*: how many were at it?
# : *Misleads*: it has hours and weekends of its own, and each exchange counts its own trades. Twice the usual
#   volume at four in the morning may be less than half of an afternoon's.
#
# `obv`, the {term}`on-balance volume <OBV>`
# : *Formula*: $\mathrm{OBV}_t = \mathrm{OBV}_{t-1} + \operatorname{sign}(c_t - c_{t-1})\, v_t$.
# : *Asks*: is more traded on the way up than on the way down?
# : *Misleads*: a close that is a cent higher takes the whole volume of its bar. And its level depends on
#   the bar at which the file begins.
#
# `volume_ma`
# : *Formula*: the mean volume of the newest 20 bars.
# : *Asks*: what is usual at the moment?
# : *Misleads*: one enormous bar raises it for 20 bars, and then it drops as though something had
#   happened.
#
# With a pencil: the closes rise, fall, rise, fall. So OBV goes 10, then $10 + 20 = 30$, $30 - 10 = 20$,
# $20 + 30 = 50$, $50 - 10 = 40$. Of the 70 that were traded on bars 2 to 5, 50 were on the way up and
# 20 on the way down: a signed share of $30/70 = 0.43$. This share is the form that nets will get.

# %%
sign = np.sign(five["close"].diff()).fillna(1)
print("OBV:", (sign * five["volume"]).cumsum().tolist())
share = (sign * five["volume"])[1:].sum() / five["volume"][1:].sum()
print(f"signed share {share:.2f}")

# %%
assert five["volume"][1:].sum() == 70

# %%
agree("volume", v)
agree("obv", (np.sign(c.diff()).fillna(1) * v).cumsum())
mean_20 = v.rolling(20).mean()
np.testing.assert_allclose(
    mean_20, raw["volume_ma"], atol=1e-6 * v.max()
)
checked.add("volume_ma")

# %% mystnb={"figure": {"caption": "Volume: a bar that closed slightly higher, and what OBV made of it.", "name": "fig-primer-volume"}, "image": {"alt": "Three stacked plots on the afternoon and evening of 3 November 2021: the close hardly moves at 18:00 UTC; the volume of that bar is a spike about twelve times as high as its average; OBV jumps up by the whole spike."}}
evening = slice("2021-11-03 13:00", "2021-11-03 23:00")
fig, axes = plt.subplots(3, 1, figsize=(7.2, 4.4), sharex=True)
axes[0].plot(c[evening], color="black")
axes[1].plot(v[evening] / 1e9, color=NEUTRAL, drawstyle="steps-mid")
axes[1].plot(raw["volume_ma"][evening] / 1e9, color="black", ls="--")
axes[2].plot(raw["obv"][evening] / 1e9, color=UP)
words = ("close, USD", "volume, 10⁹", "OBV, 10⁹")
for ax, label in zip(axes, words, strict=True):
    ax.set_ylabel(label)
axes[2].set_xlabel("time, UTC")
plt.show()

# %% [markdown]
# At 18:00 UTC twelve times the usual amount changed hands, and the close ended 2.3 bps higher
# ({term}`basis points <basis point>`, hundredths of a per cent). For OBV all of it was buying,
# though with one more trade below the last close all of it would have been selling. Do not believe
# the volumes of this file too far: the next chapter finds that a quarter of them is zero in bars in
# which the price moved, and that they count dollars. What is shown here is how the formulas behave.

# %%
spike = pd.Timestamp("2021-11-03 18:00", tz="UTC")
times = v[spike] / raw["volume_ma"][spike]
moved = 1e4 * c.pct_change()[spike]
print(
    f"{times:.0f} times the usual volume, close moved {moved:.1f} bps"
)

# %%
assert raw["obv"].diff()[spike] == v[spike]

# %% [markdown]
# ## 3 Momentum: how fast?
#
# `rsi`, the {term}`relative strength index <RSI>`
# : *Formula*: $100\,\bar g / (\bar g + \bar d)$, with $\bar g$ and $\bar d$ the averages of gains
#   and losses of the close over about 14 bars. Each new value moves them a fourteenth of the way
#   {cite:p}`wilder1978`.
# : *Asks*: which part of the recent movement went up?
# : *Misleads*: «above 70 is overbought» fails where it matters most, because in a strong rise it stays
#   above 70.
#
# `macd`, the {term}`gap between two averages <MACD>`
# : *Formula*: $\mathrm{EMA}_{12}(c) - \mathrm{EMA}_{26}(c)$. An **{term}`EMA`** (exponential moving average)
#   over $n$ bars moves $2/(n+1)$ of the way to each new close.
# : *Asks*: is the fast average above the slow one?
# : *Misleads*: it is in dollars, so a MACD of 100 was much in one year and nothing in another.
#
# `macd_signal` and `macd_hist`
# : *Formula*: $\mathrm{EMA}_9$ of the MACD; and the MACD less this signal.
# : *Asks*: is the gap between the averages widening or closing?
# : *Misleads*: it is an average of a difference of averages. In a market without direction it crosses
#   zero all day, and each crossing looks like news.
#
# `momentum` and `roc`, the rate of change
# : *Formula*: $c_t - c_{t-10}$; and $100\,(c_t / c_{t-10} - 1)$, in per cent.
# : *Asks*: how far has the price come in ten bars?
# : *Misleads*: it has two ends. A jump that leaves at the old end moves it as much as one that arrives,
#   though today nothing happened.
#
# With a pencil: the four changes of the five closes are $+2, -1, +3, -1$. Gains add up to 5 and
# losses to 2, so the RSI without smoothing is $100 \cdot 5/7 = 71.4$. Momentum over four bars is
# $104 - 101 = 3$, and ROC 2.97 %. The EMA over three bars begins with the mean of the first three
# closes, 102, and goes half of the way each time: $102 + (105 - 102)/2 = 103.5$, then 103.75.


# %%
def ema(x, n, begin=None):
    """EMA whose first value, at row `begin`, is a plain mean."""
    begin = n - 1 if begin is None else begin
    out = np.full(len(x), np.nan)
    out[begin] = np.mean(x[begin - n + 1 : begin + 1])
    for t in range(begin + 1, len(x)):
        out[t] = out[t - 1] + 2 / (n + 1) * (x[t] - out[t - 1])
    return out


# %%
close = five["close"].to_numpy()
change = np.diff(close)
gain, loss = change[change > 0].sum(), -change[change < 0].sum()
strong = 100 * gain / (gain + loss)
print(f"gains {gain:.0f}, losses {loss:.0f}, RSI {strong:.1f}")
rate = 100 * (close[4] / close[0] - 1)
print(f"momentum {close[4] - close[0]:.0f}, ROC {rate:.2f} %")
print("EMA over 3:", ema(close, 3)[2:])

# %% [markdown]
# On the real bars two details decide whether the numbers agree. Wilder's average begins with the
# plain mean of the first 14 changes. The two averages of the MACD both begin at the same bar, the
# 26th, which is how TA-Lib does it.


# %%
def wilder(x, n):
    """Mean of the first n values, then an n-th of the way."""
    out = np.full(len(x), np.nan)
    out[n - 1] = np.mean(x[:n])
    for t in range(n, len(x)):
        out[t] = out[t - 1] + (x[t] - out[t - 1]) / n
    return out


# %%
change = np.diff(c)
up, down = (wilder(np.maximum(s * change, 0), 14) for s in (1, -1))
agree("rsi", np.r_[np.nan, 100 * up / (up + down)])

# %%
agree("momentum", c - c.shift(10))
agree("roc", 100 * (c / c.shift(10) - 1))

# %%
x = c.to_numpy()
macd = ema(x, 12, begin=25) - ema(x, 26)
signal = np.r_[[np.nan] * 25, ema(macd[25:], 9)]
macd[:33] = np.nan  # TA-Lib gives all three from the same bar on
agree("macd", macd)
agree("macd_signal", signal)
agree("macd_hist", macd - signal)

# %% mystnb={"figure": {"caption": "Momentum: a rise during which the RSI stays above 70.", "name": "fig-primer-momentum"}, "image": {"alt": "Three stacked plots for the night to 30 September 2021. The close climbs from 41,000 to 43,600 dollars; the RSI passes the dashed line at 70 early in the climb and stays above it for six hours; the MACD histogram peaks at the beginning and falls below zero while the price still stands high."}}
day = slice("2021-09-29 20:00", "2021-09-30 14:00")
fig, axes = plt.subplots(3, 1, figsize=(7.2, 4.4), sharex=True)
axes[0].plot(c[day], color="black")
axes[1].plot(raw["rsi"][day], color=UP)
axes[1].axhline(70, color=NEUTRAL, ls="--")
axes[2].plot(raw["macd_hist"][day], color=UP)
axes[2].axhline(0, color=NEUTRAL, ls="--")
words = ("close, USD", "RSI", "histogram, USD")
for ax, label in zip(axes, words, strict=True):
    ax.set_ylabel(label)
axes[2].set_xlabel("time, UTC")
plt.show()

# %% [markdown]
# The longest stretch above 70 in the whole sample lasts for 24 bars, which is six hours. To sell at
# its first bar, because the market was «overbought», was to sell with a good part of the rise still
# to come.

# %%
high_rsi = raw["rsi"] > 70
runs = high_rsi.ne(high_rsi.shift()).cumsum()[high_rsi]
longest = runs[runs == runs.value_counts().idxmax()].index
start, end = longest[0], longest[-1]

# %%
print(f"{len(longest)} bars from {start:%d %B %H:%M}")
print(f"the close rose by {c[end] / c[start] - 1:.1%} in that time")
assert c[end] > c[start]

# %% [markdown]
# ## 4 Volatility: how wild?
#
# `atr`, the {term}`average true range <ATR>`
# : *Formula*: Wilder's average over 14 bars of the true range, $\max(h_t, c_{t-1}) - \min(l_t, c_{t-1})$.
# : *Asks*: how large is a usual bar, gaps included?
# : *Misleads*: it does not ask which way, and remembers a single wild bar for dozens of bars.
#
# `bollinger_middle`, `bollinger_upper`, `bollinger_lower`, the {term}`Bollinger bands <Bollinger band>`
# : *Formula*: the mean of the newest 20 closes, and this mean plus and minus two standard deviations of the
#   same closes.
# : *Asks*: is this price unusual, measured against the newest 20?
# : *Misleads*: the price is part of its own yardstick. A jump widens the bands at once, so no close can
#   ever be more than $\sqrt{19} = 4.36$ deviations away, however wild the market
#   ({ref}`ex-primer-channels-3` shows why).
#
# `bollinger_percent_b`
# : *Formula*: $(c - \text{lower}) / (\text{upper} - \text{lower})$; 0 at the lower band, 1 at the upper.
# : *Asks*: where between the bands?
# : *Misleads*: in a trend it stays near 1, as the RSI stays above 70, so it tells much the same as a
#   momentum channel.
#
# `bollinger_width`
# : *Formula*: $(\text{upper} - \text{lower}) / \text{middle}$.
# : *Asks*: how wide are the bands, as a fraction of the price?
# : *Misleads*: «narrow bands come before a large move» is often said. Even where it is so, it says nothing about which way.
#
# `keltner_middle`, `keltner_upper`, `keltner_lower`
# : *Formula*: $\mathrm{EMA}_{20}(c)$, and this plus and minus two ATR.
# : *Asks*: the same, with ranges of bars in place of deviations of closes.
# : *Misleads*: because the EMA is nearly the mean of 20 closes, its middle is almost a copy of
#   Bollinger's. Two channels then seem to confirm each other.
#
# With a pencil: the newest four closes 103, 102, 105, 104 have the mean 103.5. Their squared
# distances from it are 0.25, 2.25, 2.25 and 0.25, on average 1.25, with the root 1.118. So the bands
# stand at $103.5 \pm 2.236$, and the last close has %B 0.61. The true ranges of bars 2 to 5 are 4, 5,
# 3 and 3; the first three average 4, and a third of the way to 3 is 3.67.

# %%
four = five["close"][1:]
deviation = four.std(ddof=0)
below = four.mean() - 2 * deviation
squares = (four - four.mean()) ** 2
print("squares:", squares.tolist(), f"root {deviation:.3f}")
print(f"middle {four.mean()}, ± {2 * deviation:.3f}")
print(f"%B {(104 - below) / (4 * deviation):.2f}")

# %%
assert squares.mean() == 1.25

# %%
before = five["close"].shift()
top = np.maximum(five["high"], before)
bottom = np.minimum(five["low"], before)
ranges = (top - bottom)[1:].to_numpy()
print("true ranges:", ranges.tolist())
print("ATR over 3:", wilder(ranges, 3).round(2)[2:])

# %%
before = c.shift()
true_range = (np.maximum(h, before) - np.minimum(l, before))[1:]
atr = np.r_[np.nan, wilder(true_range.to_numpy(), 14)]
agree("atr", atr)

# %%
middle, deviation = c.rolling(20).mean(), c.rolling(20).std(ddof=0)
upper, lower = middle + 2 * deviation, middle - 2 * deviation
agree("bollinger_middle", middle)
agree("bollinger_upper", upper)
agree("bollinger_lower", lower)
agree("bollinger_percent_b", (c - lower) / (upper - lower))
agree("bollinger_width", (upper - lower) / middle)

# %%
centre = ema(x, 20)
agree("keltner_middle", centre)
agree("keltner_upper", centre + 2 * atr)
agree("keltner_lower", centre - 2 * atr)

# %%
copies = raw["bollinger_middle"] / raw["keltner_middle"] - 1
print(
    f"two middles, apart by {copies.abs().median():.2%} in the median"
)
furthest = ((c - middle) / deviation).abs().max()
print(f"furthest close: {furthest:.2f} deviations")
print(f"at most: {np.sqrt(19):.2f}")

# %%
assert furthest < np.sqrt(19)

# %% mystnb={"figure": {"caption": "Volatility: the narrowest bands of the sample, and the move after them. Grey: Bollinger. Dotted: Keltner.", "name": "fig-primer-volatility"}, "image": {"alt": "Two stacked plots for 14 to 16 November 2021. Above, the close with a grey band and two dotted lines: the grey band narrows to almost nothing on the 15th, then opens wide as the price falls by thousands of dollars on the 16th. Below, ATR is low, then high."}}
calm = slice("2021-11-14 12:00", "2021-11-16 12:00")
b = raw[calm]
shape = {"figsize": (7.2, 4), "height_ratios": [2, 1]}
fig, axes = plt.subplots(2, 1, sharex=True, **shape)
bands = b["bollinger_lower"], b["bollinger_upper"]
axes[0].fill_between(b.index, *bands, color="#dddddd")
axes[0].plot(
    b[["keltner_lower", "keltner_upper"]], color=NEUTRAL, ls=":"
)
axes[0].plot(b["close"], color="black")
axes[0].set_ylabel("USD")
axes[1].plot(b["atr"], color=DOWN)
axes[1].set(ylabel="ATR, USD", xlabel="time, UTC")
plt.show()

# %% [markdown]
# On 15 November the bands are as narrow as nowhere else in the sample. A large move follows within a
# day, and it goes down. The bands had said «soon», and nothing of the direction, so a buyer and a
# seller could have read the same picture with the same confidence.

# %%
width = raw["bollinger_width"]
narrow = width.idxmin()
day_later = c[narrow : narrow + pd.Timedelta("24h")]
print(
    f"narrowest: {width.min():.2%} of the price, {narrow:%d %B %H:%M}"
)
lowest = day_later.min() / c[narrow] - 1
print(f"within a day: {lowest:+.1%} at the lowest")

# %%
assert narrow.day == 15 and lowest < -0.05

# %% [markdown]
# <!-- number: 25 by half of 50 -->
# ## 5 Trend: which way, and for how long?
#
# `sma` and `ema`
# : *Formula*: the plain and the exponential average of about 50 closes.
# : *Asks*: what did the price cost lately?
# : *Misleads*: an average of 50 bars describes the market as it was some 25 bars ago. In a market
#   without trend the price crosses it all the time, and each crossing costs
#   ({ref}`ch-first-light`).
#
# `plus_di` and `minus_di`, the directional indicators
# : *Formula*: $100 \sum \mathrm{DM}^{+} / \sum \mathrm{TR}$ and the same with $\mathrm{DM}^{-}$, Wilder's sums over
#   14 bars of TR, the true range, and of $\mathrm{DM}^{\pm}$. $\mathrm{DM}^{+}$ is the rise of the
#   high if it is positive and exceeds the fall of the low, and else 0; $\mathrm{DM}^{-}$ is the same
#   the other way round.
# : *Asks*: which part of the range was new ground above, and which below?
# : *Misleads*: a bar inside the one before it counts for neither, so in a narrow market both
#   rest on a few bars.
#
# `adx`, the {term}`average directional index <ADX>`
# : *Formula*: Wilder's average of $100\,|{+\mathrm{DI}} - {-\mathrm{DI}}| / ({+\mathrm{DI}} + {-\mathrm{DI}})$.
# : *Asks*: how one-sided is the movement, whichever side?
# : *Misleads*: it is high in a crash too, and as an average of an average it peaks when the move is
#   over.
#
# `ichimoku_tenkan` and `ichimoku_kijun`
# : *Formula*: the middle between highest high and lowest low, of 9 and of 26 bars.
# : *Asks*: where is the middle of the short and of the longer range?
# : *Misleads*: both stand still for hours and then leap, when an old extreme drops out of the window.
#
# `ichimoku_senkou_a` and `ichimoku_senkou_b`
# : *Formula*: the mean of tenkan and kijun, and the middle of the range of 52 bars, both as they were 26
#   bars ago.
# : *Asks*: does the price stand above or below an older middle?
# : *Misleads*: charts draw them ahead, so they look like forecasts. They are the oldest of the
#   thirty-two.
#
# With a pencil: the highs rise by 2, 0, 1, 1, and the low falls once, by 1 on bar 3. So the sum of
# $\mathrm{DM}^{+}$ is 4 and that of $\mathrm{DM}^{-}$ is 1, while the true ranges add up to 15. That
# makes +DI 26.7 and −DI 6.7, and their difference over their sum is $3/5$: 60. The middle of the
# range of the newest two bars is $(106 + 102)/2 = 104$, that of the newest four
# $(106 + 99)/2 = 102.5$.

# %%
rise, fall = five["high"].diff(), -five["low"].diff()
plus = rise.where((rise > fall) & (rise > 0), 0.0)
minus = fall.where((fall > rise) & (fall > 0), 0.0)
total = ranges.sum()
a, z = 100 * plus.sum() / total, 100 * minus.sum() / total

# %%
print("DM+:", plus[1:].tolist(), "DM−:", minus[1:].tolist())
print(f"ranges {total:.0f}, +DI {a:.1f}, −DI {z:.1f}")
print(f"one-sided {100 * (a - z) / (a + z):.0f}")
for n in (2, 4):
    top, bottom = five["high"][-n:].max(), five["low"][-n:].min()
    print(f"middle of {n} bars:", (top + bottom) / 2)

# %%
agree("sma", c.rolling(50).mean())
agree("ema", ema(x, 50))


# %%
def middle(n):
    return (h.rolling(n).max() + l.rolling(n).min()) / 2


tenkan, kijun = middle(9), middle(26)
agree("ichimoku_tenkan", tenkan)
agree("ichimoku_kijun", kijun)
agree("ichimoku_senkou_a", ((tenkan + kijun) / 2).shift(26))
agree("ichimoku_senkou_b", middle(52).shift(26))


# %%
def wilder_sum(x, n):
    """The sum of n - 1 values, then each time an n-th of it is lost."""
    out = np.full(len(x), np.nan)
    total = x[: n - 1].sum()
    for t in range(n - 1, len(x)):
        out[t] = total = total * (1 - 1 / n) + x[t]
    return out


# %%
rise, fall = h.diff()[1:], -l.diff()[1:]
plus = rise.where((rise > fall) & (rise > 0), 0).to_numpy()
minus = fall.where((fall > rise) & (fall > 0), 0).to_numpy()
tr = wilder_sum(true_range.to_numpy(), 14)
di = [100 * wilder_sum(side, 14) / tr for side in (plus, minus)]
dx = 100 * abs(di[0] - di[1]) / (di[0] + di[1])
agree("plus_di", np.r_[np.nan, di[0]])
agree("minus_di", np.r_[np.nan, di[1]])
agree("adx", np.r_[[np.nan] * 14, wilder(dx[13:], 14)])

# %% mystnb={"figure": {"caption": "Trend: a rise and a fall within four days. ADX is high in both.", "name": "fig-primer-trend"}, "image": {"alt": "Two stacked plots for 7 to 11 November 2021. Above, the close climbs to 68,000 dollars, comes back there on the 10th and falls below 65,000; the 50-bar average follows with a delay, and a shaded Ichimoku cloud later still. Below, plus DI is high in the rise, minus DI in the fall, and ADX is above 50 in both."}}
span = slice("2021-11-07 18:00", "2021-11-11 12:00")
b = raw[span]
fig, axes = plt.subplots(2, 1, figsize=(7.2, 4.2), sharex=True)
cloud = b["ichimoku_senkou_a"], b["ichimoku_senkou_b"]
axes[0].fill_between(b.index, *cloud, color="#dddddd", label="cloud")
axes[0].plot(b["close"], color="black", label="close")
axes[0].plot(b["sma"], color=UP, label="mean of 50")
axes[1].plot(b["plus_di"], color=UP, label="+DI")
axes[1].plot(b["minus_di"], color=DOWN, ls="--", label="−DI")
axes[1].plot(b["adx"], color="black", label="ADX")
axes[0].set_ylabel("USD")
axes[1].set(ylabel="0 to 100", xlabel="time, UTC")
for ax in axes:
    ax.legend(ncols=3, fontsize=8)
plt.show()

# %% [markdown]
# ADX passes 60 in the rise of 8 November and again in the fall that ends on the 11th, since it asks
# only how one-sided the movement is. Each of the two peaks comes after the steep part of its move.

# %%
rising, falling = b["adx"]["2021-11-08"], b["adx"]["2021-11-10 12:00":]
for name, part in (("rise", rising), ("fall", falling)):
    row = b.loc[part.idxmax()]
    high, up, down = row[["adx", "plus_di", "minus_di"]]
    print(f"{name}, {row.name:%d %B %H:%M}:", end=" ")
    print(f"ADX {high:.0f}, +DI {up:.0f}, −DI {down:.0f}")
    assert high > 60

# %%
assert len(checked) == raw.shape[1] == 32
print(f"{len(checked)} channels, each by hand on {len(bars):,} bars")

# %% [markdown]
# ## 6 And the order book
#
# Candles say what was traded. Two more channels say what *waits* to be traded: `spread`, the best
# ask less the best bid, and `imbalance`, the size of the bids less that of the asks over both. With
# 3 coins bid and 1 asked it is $(3 - 1)/(3 + 1) = 0.5$. They need another recording.
# {ref}`ch-channels` computes them on three made snapshots, and {ref}`ch-order-book-images` and
# {ref}`ch-order-book-day` are about the book itself. The imbalance misleads, because an order that
# waits can be taken away again, and some were never meant to trade.

# %%
bid, ask = 3.0, 1.0
assert (bid - ask) / (bid + ask) == 0.5

# %% [markdown]
# ## 7 What are the rules of thumb worth?
#
# Every one of these channels comes with a saying, such as «above 70 sell», «below the lower band
# buy» or «above the average hold». Such a saying can be counted: for all bars at which its
# condition holds, how often had the close fallen ten bars later? Beside that share stands the same
# one over *all* bars, without which it means nothing, because the close falls after many bars
# anyway.

# %%
later = (c.shift(-AHEAD) / c - 1).dropna()
sayings = {
    "every bar": c > 0,
    "RSI above 70": raw["rsi"] > 70,
    "below the lower band": raw["bollinger_percent_b"] < 0,
    "above the mean of 50": c > raw["sma"],
}
print(f"{'':22} bars  stretches  fell later")
for name, holds in sayings.items():
    holds = holds.loc[later.index]
    stretches = int((holds & ~holds.shift(fill_value=False)).sum())
    share = (later[holds] < 0).mean()
    print(f"{name:22}{holds.sum():5}{stretches:11}{share:12.0%}")

# %% [markdown]
# After an RSI above 70 the close fell about as often as after any bar. After a close below the lower
# band it fell in 39 % of the cases against 50 %, which looks like something. But the bars at which
# the condition holds come in stretches, and a stretch is more like one observation than like many.
# Whether a difference of about ten points from so few stretches is more than luck is a question for
# {ref}`ch-primer-words` and then for {ref}`ch-honest-evaluation`; and whether it pays for its costs
# is a third one.

# %%
def at(name):
    return (later[sayings[name].loc[later.index]] < 0).mean()


# %%
assert abs(at("RSI above 70") - at("every bar")) < 0.03
assert 0.08 < at("every bar") - at("below the lower band") < 0.12

# %% [markdown]
# ## What goes wrong
#
# «RSI» is a name, and libraries disagree about what it names. Wilder's average moves a *fourteenth*
# of the way. An exponential average with «span 14», as in many notebooks, moves $2/15$ of the way,
# almost twice as much. Others take plain means, and all three are called RSI 14.

# %%
gain, loss = c.diff().clip(lower=0), -c.diff().clip(upper=0)


def strength(average):
    up, down = average(gain), average(loss)
    return 100 * up / (up + down)


three = pd.DataFrame({
    "Wilder's": raw["rsi"],
    "span=14": strength(lambda x: x.ewm(span=14, adjust=False).mean()),
    "plain means": strength(lambda x: x.rolling(14).mean()),
}).iloc[100:]  # fmt: skip
print((three > 70).sum().to_string())

# %% [markdown]
# A net that was trained on one of them and is fed another one live gets wrong inputs, and no error is
# raised: each lies between 0 and 100. The same bar is «overbought» in one library and not in the
# next. It is put right by asking for the average that the formula names, and by comparing with a
# second program on real bars, as this page did thirty-two times.

# %%
fixed = strength(lambda x: x.ewm(alpha=1 / 14, adjust=False).mean())
apart = (fixed - raw["rsi"]).iloc[300:].abs().max()
print("alpha = 1/14, after 300 bars: within a millionth:", apart < 1e-6)
assert apart < 1e-6

# %%
high = (three > 70).sum()
assert high.drop("Wilder's").min() > 1.5 * high["Wilder's"]

# %% [markdown]
# ## Summary
#
# - Thirty-two channels are five questions: where, how much, how fast, how wild, which way.
# - Each is a few sums, and most of them average a window of older bars. So most are late, by about
#   half of their window.
# - Many are made from the same closes, and agree because they have to. Agreement among them is
#   no confirmation.
# - A saying about a channel can be counted, and the count needs the share over all bars beside it.
# - One name may stand for several formulas. Compare numbers, not names.
#
# ## Exercises
#
# ```{exercise} Bar 6 ★
# :label: ex-primer-channels-1
# A sixth bar opens at 104 and has high 105, low 101, close 102 and volume 20. By hand: its typical
# price, OBV, true range, the EMA over three bars, and the momentum over four.
# ```
#
# ```{solution-start} ex-primer-channels-1
# :class: dropdown
# ```
# The typical price is $(105 + 101 + 102)/3 = 102.67$. The close fell, so OBV loses 20. The true range
# reaches from 105 down to 101, because the close before, 104, lies inside. The EMA goes half of the
# way from 103.75 to 102.

# %%
six = [*five["close"], 102.0]
print(f"typical price {(105 + 101 + 102) / 3:.2f}")
print(f"OBV {40 - 20}, true range {105 - 101}")
print(f"EMA {ema(six, 3)[5]}, momentum {six[5] - six[1]:.0f}")

# %%
assert ema(six, 3)[4] == 103.75

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Nothing happened today ★★
# :label: ex-primer-channels-2
# Find the bar at which the rate of change moved most although the close itself moved by less than 5
# bps. What happened ten bars before?
# ```
#
# ```{solution-start} ex-primer-channels-2
# :class: dropdown
# ```
# A jump left the window at its old end.

# %%
still = c.pct_change().abs() < 0.0005
bar = raw["roc"].diff().abs().where(still).idxmax()
place = bars.index.get_loc(bar)
left = 100 * c.pct_change().iloc[place - 10]
step = raw["roc"].diff()[bar]
print(f"ROC moved by {step:+.1f} points at {bar:%d %B %H:%M}")
print(f"ten bars before, the close had moved by {left:+.1f} %")

# %%
assert np.sign(left) == -np.sign(step) and abs(left) > 1

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The yardstick that grows ★★
# :label: ex-primer-channels-3
# Nineteen closes at 100 and a twentieth at 200: how many deviations above its mean is the last?
# What is it with a million instead? Why does the answer not depend on the size?
# ```
#
# ```{solution-start} ex-primer-channels-3
# :class: dropdown
# ```
# With one outlier of size $d$ the mean is $d/20$ above 100, the deviation $d\sqrt{19}/20$. So the
# distance $19d/20$ is $\sqrt{19}$ deviations, whatever $d$ is.

# %%
for peak in (200.0, 1e6):
    window = np.array([100.0] * 19 + [peak])
    away = (peak - window.mean()) / window.std()
    print(f"{away:.3f}")
    assert np.isclose(away, np.sqrt(19))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Is ten points luck? ★★★
# :label: ex-primer-channels-4
# Move the condition «below the lower band» around the sample by a random number of bars, so that its
# stretches stay as they are but meet other returns. Do it 500 times. How often is the share of falls
# as far from that of all bars as the real one?
# ```
#
# ```{solution-start} ex-primer-channels-4
# :class: dropdown
# ```
# The shifted conditions know nothing of the returns, and so their spread shows what luck can do with
# so many stretches. {ref}`ch-primer-words` calls the share that is printed here a {term}`p-value`. It
# is small, even if one multiplies it by the three sayings that were tried. So there may be something
# in this one. But what it earned beyond the mean of all bars is about what a purchase and a sale
# cost, 13 bps.

# %%
rng = np.random.default_rng(0)
holds = sayings["below the lower band"].loc[later.index].to_numpy()
fell = (later < 0).to_numpy()


def far(some):
    return abs(fell[some].mean() - fell.mean())


moves = rng.integers(200, len(fell) - 200, 500)
luck = np.array([far(np.roll(holds, k)) for k in moves])
share = (luck >= far(holds)).mean()
print(f"as far by luck: {share:.0%} of the shifts")

# %%
gain = 1e4 * (later[holds].mean() - later.mean())
print(f"beyond any other bar: {gain:.1f} bps")
print(f"costs of a purchase and a sale: {2 * (5.5 + 1.0):.0f} bps")

# %%
assert share < 0.05
assert 10 < gain < 16

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} On your own bars ★★★
# :label: ex-primer-channels-5
# Choose one saying of your own about one channel. Write down what you expect, count it on bars of
# your own ({ref}`ch-bring-your-own`), and put the share over all bars beside it.
# ```
#
# ```{solution-start} ex-primer-channels-5
# :class: dropdown
# ```
# For example, «a rising ADX means that the move goes on». It needs a direction, and the sign of +DI
# less −DI is one.

# %%
rising = raw["adx"].diff() > 0
side = np.sign(raw["plus_di"] - raw["minus_di"])
goes_on = (side * later > 0).loc[later.index]
on, every = goes_on[rising.loc[later.index]].mean(), goes_on.mean()
print(f"went on: {on:.0%} when ADX rose, {every:.0%} on every bar")

# %%
assert abs(on - every) < 0.05

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Further reading
#
# {cite:t}`wilder1978` introduced RSI, ATR and ADX, worked out in tables by hand, which is still the
# best way to understand them.
