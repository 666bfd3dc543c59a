# %% [markdown]
# (ch-channels)=
# # Channels
#
# **What can you read from five columns of candles, and how many different things is that?**
#
# ```{admonition} What you will do
# :class: tip
# - compute 32 channels in six groups, and one of them by hand
# - see when each channel is first known
# - turn raw units into ratios that no change of unit can move
# - standardise with the past only
# - measure how many channels the 32 are really worth
# ```
#
# *You need* {ref}`ch-candles`. *Runs* in under 20 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from setrade import candles, channels
from setrade.orderbook import Snapshots
from setrade.plots import DOWN, NEUTRAL, UP, correlations, use_style

use_style()

# %% tags=["parameters"]
TRAIN_SHARE = 0.7  # the first part of the bars, for the statistics
N_WALKS = 4_000  # random walks in "What goes wrong"

# %% [markdown]
# ## 1 Six questions to a market
#
# A picture has three channels, red, green and blue, and so we may ask what the channels of a
# market are. The SE chapter names six groups, and each group asks one question.
#
# | group | question |
# |---|---|
# | price | where is the market? |
# | volume | how much was traded, and on which side? |
# | momentum | how fast did it move? |
# | volatility | how wild is it? |
# | trend | which way, and for how long? |
# | order flow | who is waiting to trade? |
#
# Five columns of candles answer the first five, while the sixth needs an order book. One call
# computes them all, each from its own bar and older ones.

# %%
bars = candles.sample()
raw = channels.compute(bars)
sizes = {group: len(names) for group, names in channels.GROUPS.items()}
print(sizes)
print(
    f"{len(bars):,} bars, {raw.shape[1]} channels (order flow is "
    "absent: no books)"
)

# %%
assert raw.shape == (5_528, 32)
assert sum(sizes.values()) == 34
assert raw.index.equals(bars.index)

# %% [markdown]
# Look at three days of October 2021, one row a group. In the afternoon of the 20th the price runs
# along its upper band, RSI passes 80, and +DI leaves −DI far behind. These three rows tell you
# one thing, that the price rose, and section 7 will ask how common such repetition is. ATR swells
# on the 20th, and again on the 21st while the price falls, because it measures the size of a
# movement and not its direction.

# %% mystnb={"figure": {"caption": "Three days of real 15-minute bars, one row for each of five groups of channels.", "name": "fig-channels-days"}, "image": {"alt": "Five stacked line plots over three days in October 2021. The price climbs from about 61,000 to nearly 67,000 dollars on 20 October along its upper Bollinger band; there RSI passes 80 and +DI lies far above -DI. ATR rises on that day and again on the 21st, when the price falls."}}
days = raw["2021-10-18 12:00":"2021-10-21 12:00"]
band = days[["bollinger_lower", "bollinger_upper"]].T.to_numpy()
size = {"figsize": (7.2, 6.6), "height_ratios": [2, 1, 1, 1, 1]}
fig, axes = plt.subplots(5, 1, sharex=True, **size)
days[["close", "vwap"]].plot(ax=axes[0], color=["black", "#E69F00"])
axes[0].fill_between(days.index, *band, color="#ddd", label="Bollinger")
volumes = days[["volume", "volume_ma"]] / 1e9
volumes.plot(ax=axes[1], color=[NEUTRAL, "black"])
days["rsi"].plot(ax=axes[2], color="black")
axes[2].axhline(50, color=NEUTRAL, linewidth=0.8)
days["atr"].plot(ax=axes[3], color="black")
days["plus_di"].plot(ax=axes[4], color=UP)
days["minus_di"].plot(ax=axes[4], color=DOWN, linestyle="--")
labels = "price, USD|volume, 10⁹|RSI, 0–100|ATR, USD|DI, 0–100"
for ax, label in zip(axes, labels.split("|"), strict=True):
    ax.set(ylabel=label, xlabel="time, UTC")
for ax in axes[[0, 1, 4]]:
    ax.legend(loc="upper left", ncols=3)
plt.show()

# %%
run = days.loc["2021-10-20 15:45+00:00"]
quiet = days.loc["2021-10-20 12:00+00:00"]
fall = days.loc["2021-10-21 12:00+00:00"]

# %%
assert run["rsi"] > 80
assert run["plus_di"] > 5 * run["minus_di"]
assert run["bollinger_percent_b"] > 0.8
assert run["atr"] > 1.5 * quiet["atr"]
assert fall["atr"] > 2 * quiet["atr"]
assert fall["close"] < run["close"]

# %% [markdown]
# ## 2 One channel by hand
#
# RSI, the relative strength index, asks which part of the recent movement went up
# {cite:p}`wilder1978`. Split each change of the close, $\Delta_t = c_t - c_{t-1}$, into a gain $g_t
# = \max(\Delta_t, 0)$ and a loss $d_t = \max(-\Delta_t, 0)$, and average both. Then
#
# $$\mathrm{RSI}_t = 100\,\frac{\bar g_t}{\bar g_t + \bar d_t}.$$
#
# Try it with a pencil on a market that goes up 2, down 1, up 2, down 1, for ever. The mean gain
# is 1 and the mean loss one half, so RSI is $100 / 1.5 = 66.7$.
#
# The averages are exponential: Wilder's moves a fourteenth of the way to each new value,
#
# $$\bar g_t = \bar g_{t-1} + \tfrac{1}{14}\,(g_t - \bar g_{t-1}).$$
#
# Such an average needs a value to start from. That value is not zero, which would report a calm
# market that never was, but the plain mean of the first 14 changes. So there is no RSI for the
# first 14 bars.


# %%
def rsi_by_hand(close, n=14):
    change = np.diff(close)
    gain, loss = np.maximum(change, 0), np.maximum(-change, 0)
    up, down = gain[:n].mean(), loss[:n].mean()  # the seed
    out = [np.nan] * n + [100 * up / (up + down)]
    for g, ell in zip(gain[n:], loss[n:], strict=True):
        up, down = up + (g - up) / n, down + (ell - down) / n
        out.append(100 * up / (up + down))
    return np.array(out)


staircase = 100 + np.cumsum([2, -1] * 10)
print(rsi_by_hand(staircase)[14].round(1))

# %% [markdown]
# `setrade` leaves this loop to TA-Lib, which runs it in compiled code, and the two agree on every
# bar.

# %%
np.testing.assert_allclose(
    raw["rsi"], rsi_by_hand(bars["close"]), rtol=1e-9
)
assert raw["rsi"].isna().sum() == 14

# %% [markdown]
# ## 3 When is a channel known?
#
# <!-- number: 14, 50 from setrade/channels.py -->
# RSI wants 14 changes, a 50-bar mean wants 50 bars. Before that the honest value is «not known
# yet», which is NaN, and these first bars are the {term}`warm-up` of the channel. A zero would be
# a false claim, since an RSI of 0 says that the price only fell.
#
# The table shows the first bar, counted from 0, at which all channels of a group are known.

# %%
first = raw.notna().to_numpy().argmax(axis=0)
first = pd.Series(first, index=raw.columns)
for group, names in channels.GROUPS.items():
    if group != "order_flow":
        print(f"{group:10s} {first[list(names)].max():3d}")

# %% [markdown]
# The slowest is one of Ichimoku's lines, senkou B, which is the middle of the range of 52 bars,
# *drawn 26 bars ahead*. The value that you see above bar $t$ was therefore computed at bar
# $t - 26$, and the line is first known at bar $51 + 26 = 77$. Because it is old, it reacts late,
# and because it is old, it cannot have seen a bar that comes after it.

# %%
middle = (
    bars["high"].rolling(52).max() + bars["low"].rolling(52).min()
) / 2
np.testing.assert_allclose(raw["ichimoku_senkou_b"], middle.shift(26))

# %%
assert first.max() == 77 == first["ichimoku_senkou_b"]

# %% [markdown]
# One channel never forgets its start. OBV, the on-balance volume, adds the volume of rising bars
# and subtracts that of falling ones, from the first row on. If you begin a week later, the whole
# curve moves up or down by a constant, and therefore only its changes mean something.

# %%
week = 7 * 96
late = channels.compute(bars.iloc[week:])["obv"]
gap = raw["obv"].iloc[week:] - late
print(
    f"OBV moved by {gap.iloc[0]:.3g}, spread of the gap {gap.std():.0f}"
)

# %%
assert gap.std() < 1 < abs(gap.iloc[0])

# %% [markdown]
# ## 4 Order flow, from books
#
# The sixth group looks at the best bid $b$ and ask $a$ and at the sizes that wait there:
#
# $$\text{spread} = a - b, \qquad \text{imbalance} = \frac{\text{bid size} - \text{ask size}}
# {\text{bid size} + \text{ask size}}.$$
#
# A bar may use the last snapshot *at or before its close*. Our first bar opens at 13:45 and
# closes at 14:00, so of these three snapshots it sees the first, and no other.

# %%
hour = np.datetime64("2021-09-27T14:00:00", "ns")
# at 14:00:00, 14:00:01 and 14:40
time = hour + np.array([0, 1, 2_400], "m8[s]")
bid, ask = (
    [[43_547.0], [43_550.0], [43_600.0]],
    [[43_548.0], [43_552.0], [43_603.0]],
)
bid_size, ask_size = [[3.0], [1.0], [1.0]], [[1.0], [1.0], [4.0]]
books = Snapshots(time, bid, bid_size, ask, ask_size)
flow = channels.compute(bars.iloc[:200], books)[["spread", "imbalance"]]
flow.head(4)

# %%
assert flow["spread"].head(4).tolist() == [1, 2, 2, 3]
assert flow["imbalance"].head(4).tolist() == [0.5, 0, 0, -0.6]

# %% [markdown]
# Real books come in {ref}`ch-order-book-day`, and until then we go on without them.
#
# ## 5 Raw units mislead
#
# Suppose that a strategy adds its channels up, and buys when the sum is large, as the SE chapter
# does in its momentum strategy. What would the sum say?

# %%
known = raw.dropna()
total = known.sum(axis=1)
share = known.corrwith(total) ** 2
print(share.nlargest(3).round(4))
print(f"smallest RSI: {known['rsi'].min():.1f}")

# %%
assert share["obv"] > 0.999 and len(share) == 31 + 1

# %% [markdown]
# OBV explains the sum to more than 99.9 %, so the other 31 channels might as well be absent. Nor
# can RSI ever vote «sell», because it is always above zero.
#
# So a net gets **scale-free** forms, which do not depend on the unit of a price or a volume. They
# follow four rules.
#
# | raw channel | scale-free form |
# |---|---|
# | a level: average, band, VWAP | distance from the close, as a fraction of it |
# | a difference: MACD, momentum | in units of ATR, the usual size of a bar |
# | bounded: RSI, ADX, %B | a fraction; RSI and %B less one half |
# | a volume | over its own average, less one |
#
# The close itself becomes its return. OBV becomes the signed share of the volume of the last 20
# bars, which lies between −1 and 1 and forgets where the history began.

# %%
free = channels.compute(bars, scale_free=True)
close, atr = bars["close"], raw["atr"]
np.testing.assert_allclose(free["sma"], raw["sma"] / close - 1)
np.testing.assert_allclose(free["macd"], raw["macd"] / atr)
np.testing.assert_allclose(free["rsi"], raw["rsi"] / 100 - 0.5)
np.testing.assert_allclose(free["close"], close.pct_change())

# %% mystnb={"figure": {"caption": "How far each channel spreads: its standard deviation in raw units and in scale-free form.", "name": "fig-channels-scales"}, "image": {"alt": "Dot plot on a logarithmic axis of the standard deviation of 32 channels. In raw units they run over more than twelve powers of ten, from a hundredth for the Bollinger width to fifty billion for OBV; in scale-free form they lie within four powers of ten."}}
fig, ax = plt.subplots(figsize=(7.2, 4.6))
spread = pd.DataFrame({"raw": raw.std(), "scale-free": free.std()})
circle = {"mfc": "none", "ms": 8, "color": DOWN}
ax.plot(spread["raw"], spread.index, "o", **circle, label="raw units")
ax.plot(
    spread["scale-free"], spread.index, "s", ms=4, color=UP,
    label="scale-free",
)
ax.set(
    xscale="log",
    xlabel="standard deviation (raw: USD, volume or points)",
)
ax.tick_params(axis="y", labelsize=6)
ax.invert_yaxis()
ax.legend()
plt.show()

# %%
decades = np.log10(spread.max() / spread.min())
print(decades.round(1))
assert decades["raw"] > 12 > 4 > decades["scale-free"]

# %% [markdown]
# The test of a scale-free channel is simple: multiply all prices by one factor, count the volume in
# other lots, and nothing may change. (The rate of a real second currency moves, and its moves would
# then be in the channels.)

# %%
other = bars * 0.86  # all prices by one factor
other["volume"] = bars["volume"] / 1_000
moved = channels.compute(other, scale_free=True) - free
print(
    "changed by more than 1e-8:",
    list(moved.columns[moved.abs().max() > 1e-8]),
)

# %%
assert moved.abs().max().max() < 1e-8

# %% [markdown]
# ```{admonition} Ties
# :class: note
# One library channel fails this test on some markets. ADX asks whether the high rose by more than
# the low fell, and on a grid of ticks the two are sometimes *equal*. Multiply all prices by a
# third, and rounding makes them unequal, so that a whole bar changes sides. `setrade` has its own
# ADX, in which almost equal is equal, and {ref}`ex-channels-3` shows the effect.
# ```
#
# ## 6 Standardise, with the past only
#
# Scale-free channels still differ in spread by a factor of thousands, as the figure shows. A
# net learns faster when all inputs have mean 0 and deviation 1:
#
# $$x' = \frac{x - \mu}{\sigma}.$$
#
# Here $\mu$ and $\sigma$ are those of the **training rows**, because later rows are not yet known
# when the net is trained. They are scaled with the same figures, whatever comes. `Standardizer`
# leaves rows with NaN out of the fit.

# %%
n_train = int(TRAIN_SHARE * len(free))
train, test = free.iloc[:n_train], free.iloc[n_train:]
scaler = channels.Standardizer().fit(train)
by_hand = (test - train.dropna().mean()) / train.dropna().std(ddof=0)
np.testing.assert_allclose(scaler.transform(test), by_hand)
print(f"fitted on {scaler.rows:,} of {n_train:,} rows")

# %%
z = scaler.transform(test)
print(z[["atr", "obv", "rsi", "roc"]].agg(["mean", "std"]).round(2))

# %% [markdown]
# On the training rows mean and deviation are 0 and 1, by construction, but on the test rows they
# are not. The ATR is higher there, and varies more, than before. That is no fault of the scaling:
# the market became wilder, and this is information that the net is allowed to see.

# %%
assert scaler.rows == n_train - channels.WARM_UP
assert abs(scaler.transform(train.dropna()).mean()).max() < 1e-9
assert z["atr"].mean() > 0.2
assert z["atr"].std() > 1.2

# %% [markdown]
# ## 7 How many channels are 32 channels?
#
# In the first figure three rows told the same story. To see how common that is, correlate every
# pair.

# %% mystnb={"figure": {"caption": "Correlation of every pair of scale-free channels on real 15-minute bars. Lines separate the groups.", "name": "fig-channels-correlation"}, "image": {"alt": "A 32 by 32 heat map of correlations. Large dark blocks join the moving averages, bands, momentum and trend channels, mostly beyond plus or minus 0.7, while volume, ATR and ADX form narrow pale stripes that are correlated with almost nothing else."}}
fig, ax = plt.subplots(figsize=(6.4, 5.8))
image = correlations(free, ax)
fig.colorbar(image, label="correlation", shrink=0.8)
plt.show()

# %% [markdown]
# Dark blocks are copies, or mirror images. ROC and momentum, for example, are one move of ten bars,
# once over the price and once over the ATR. The averages lie together, whatever their name or
# period, because every one of them is a distance from the close, so when the close jumps, all of
# them do.

# %%
c = free.corr()
pairs = c.where(np.triu(np.ones(c.shape, bool), 1)).stack().dropna()
print(f"{(pairs.abs() > 0.9).sum()} of {len(pairs)} pairs beyond 0.9")
for (a, b), r in pairs[pairs.abs().nlargest(5).index].items():
    print(f"{r:+.2f}  {a} and {b}")

# %%
assert len(pairs) == 32 * 31 / 2
assert pairs["roc", "momentum"] > 0.95
assert pairs["bollinger_middle", "keltner_middle"] > 0.95

# %% [markdown]
# One number summarises the whole table. Take the eigenvalues of the correlation matrix, divide them
# by their sum, and read them as probabilities.
#
# ```{prf:definition} Effective rank
# :label: def-effective-rank
#
# Let $n$ channels vary, let $\lambda_1, \dots, \lambda_n$ be the eigenvalues of their correlation
# matrix, and $p_i = \lambda_i / \sum_k \lambda_k$. The **effective rank** {cite:p}`roy2007` is the
# exponential of the entropy of the $p_i$, with $0 \ln 0 = 0$:
#
# $$\operatorname{erank} = \exp\Big(-\sum_i p_i \ln p_i\Big).$$
# ```
#
# ```{prf:proposition} Between one channel and all
# :label: prop-effective-rank
#
# The effective rank of $n$ channels lies between 1 and $n$. It is $n$ exactly if no two channels
# are correlated, and 1 exactly if every two have the correlation 1 or −1.
# ```
#
# ```{prf:proof}
# Eigenvalues of a correlation matrix are at least 0, so the $p_i$ are probabilities. Their entropy
# lies between 0 and $\ln n$. It is $\ln n$ only where all are equal, and then the matrix is the
# identity. It is 0 only where one of them is 1, and then the matrix has rank one: with ones on its
# diagonal it is $u u^\top$ with entries $u_i = \pm 1$. The converses follow by putting in.
# ```
#
# So it is 32 for 32 uncorrelated channels, and 1 for 32 copies of one channel.


# %%
def effective_rank(table):
    eigenvalues = np.linalg.eigvalsh(table.dropna().corr())
    p = eigenvalues[eigenvalues > 1e-12] / eigenvalues.sum()
    return np.exp(-(p * np.log(p)).sum())


noise = pd.DataFrame(np.random.default_rng(0).normal(size=(5_000, 32)))
print(f"noise      {effective_rank(noise):.1f}")
print(f"raw        {effective_rank(raw):.1f}")
print(f"scale-free {effective_rank(free):.1f}")

# %%
copies = pd.DataFrame(dict.fromkeys(range(32), bars["close"]))
assert abs(effective_rank(copies) - 1) < 1e-6
assert 5.5 < effective_rank(free) < 6.2 < 31 < effective_rank(noise)
assert effective_rank(raw) < effective_rank(free)

# %% [markdown]
# Our 32 channels are worth about six, and in raw units about four. That matters for what follows,
# because an SE block gives each channel a gate, and we shall want to read the gates. When two
# channels say the same thing, a net can lean on either, so a large gate on one of two copies says
# nothing against the other. {ref}`ch-attention-by-regime` returns to this.
#
# ## What goes wrong
#
# Here is a line from many notebooks, which standardises the whole table at once.


# %%
def standardise_all(bars):
    close = np.log(bars["close"])
    return (close - close.mean()) / close.std()


# %% [markdown]
# It looks harmless, and every bar is treated alike, but the mean and the deviation are computed
# from bars that come later. If the price will rise, the whole-history mean lies high, and today's
# value looks *low*, so that low values are followed by rises. The net need not know anything
# about markets to exploit that.
#
# <!-- number: 100 by 600 − 500, the steps in the code below -->
# Test it where nothing can be known, on random walks: standardise the level at step 500, and
# compare it with the move of the next 100 steps.

# %%
walks = (
    np.random.default_rng(0)
    .normal(size=(N_WALKS, 1_000))
    .cumsum(axis=1)
)
now, future = walks[:, 500], walks[:, 600] - walks[:, 500]
past = walks[:, :501]
leaking = (now - walks.mean(axis=1)) / walks.std(axis=1)
honest = (now - past.mean(axis=1)) / past.std(axis=1)
for name, z in (("whole history", leaking), ("past only", honest)):
    hits = (np.sign(-z) == np.sign(future)).mean()
    r = np.corrcoef(z, future)[0, 1]
    print(f"{name:13s} correlation {r:+.3f}, right {hits:.0%}")

# %% mystnb={"figure": {"caption": "Standardised level of a random walk against its next 100 steps: with the statistics of the whole history, and of the past only.", "name": "fig-channels-leak"}, "image": {"alt": "Two scatter plots of random walks. On the left, standardised with the whole history, low values are followed by rises and high values by falls, a clear downward cloud. On the right, standardised with the past only, the cloud is round and shows nothing."}}
fig, axes = plt.subplots(1, 2, sharey=True, sharex=True)
panels = ((leaking, "whole history", DOWN), (honest, "past only", UP))
for ax, (z, title, colour) in zip(axes, panels, strict=True):
    ax.plot(z[:1_500], future[:1_500], ".", markersize=2, color=colour)
    ax.axhline(0, color="black", linewidth=0.6)
    ax.set(title=title, xlabel="standardised level, deviations")
axes[0].set_ylabel("next 100 steps")
plt.show()

# %%
assert np.corrcoef(leaking, future)[0, 1] < -0.4
assert abs(np.corrcoef(honest, future)[0, 1]) < 3 / np.sqrt(N_WALKS)

# %% [markdown]
# The leaking column calls the next move of a random walk right about two times in three. No model
# can do that on a random walk, so the knowledge came from the table.
#
# You need no random walks to catch such a column. **Cut off the future, compute again, and
# compare**: nothing at or before the cut may change.
#
# ```{prf:definition} Truncation test
# :label: def-truncation-test
#
# Let a computation return one row for each bar of a table. It passes the **truncation test** at bar
# $t$ of a table if its rows up to and including $t$ are the same, whether it is given the whole
# table or only the bars up to and including $t$.
# ```
#
# ```{prf:proposition} What passes everywhere uses no later bar of its table
# :label: prop-truncation-test
#
# If a computation passes the truncation test at every bar of every table, then for two tables that
# agree up to and including bar $t$ it returns the same row at $t$.
# ```
#
# ```{prf:proof}
# Both rows are equal to the one that it returns for the bars that the two tables share.
# ```
#
# A run on a few tables cannot show that it passes on all, but a single row that changes shows that
# it does not.


# %%
def rows_that_change(compute, bars, last):
    full, cut = compute(bars), compute(bars.iloc[: last + 1])
    same = np.isclose(
        full.iloc[: last + 1], cut, rtol=1e-12, atol=0, equal_nan=True
    )
    return int((~same.reshape(last + 1, -1).all(axis=1)).sum())


def standardise_past(bars):
    table = channels.compute(bars, scale_free=True)
    return (
        channels.Standardizer().fit(table.iloc[:2_000]).transform(table)
    )


print("whole history:", rows_that_change(standardise_all, bars, 2_999))
print("past only:    ", rows_that_change(standardise_past, bars, 2_999))

# %% [markdown]
# All 3,000 rows of the first change, and none of the second. The truncation test needs no knowledge
# of what is computed, and so it runs over every channel, in raw and scale-free form, each time that
# the project is tested. What it cannot see is the subject of {ref}`ch-evening-1`.

# %%
assert rows_that_change(standardise_all, bars, 2_999) == 3_000
assert rows_that_change(standardise_past, bars, 2_999) == 0
for scale_free in (False, True):
    def every(b, f=scale_free):
        return channels.compute(b, scale_free=f)

    assert rows_that_change(every, bars, 2_999) == 0

# %% [markdown]
# <!-- number: 99 from setrade/channels.py -->
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* One may think of channels as witnesses of one market, of whom many repeat each other.
# The effective rank is then a guess at how many of them speak for themselves.
#
# *Proved.* The effective rank lies between one and the number of channels
# ({prf:ref}`prop-effective-rank`), and a computation that always passes the truncation test uses no
# later bar of the table that it is given ({prf:ref}`prop-truncation-test`; what its constants know
# is another question, {ref}`ch-evening-1`). Ratios of prices, or of volumes, do not change with the
# unit, by construction.
#
# *Measured here.* In one real sample the channels are worth a small part of their number. Later
# bars varied more than those on which mean and deviation were taken. On random walks, where nothing
# can be known, statistics of the whole history foretold the next move, and those of the past did
# not.
#
# *Open.* Correlation sees only what is linear, so channels may share more than the effective rank
# shows. Whether any of them foretells a real market was not asked.
# ```
#
# ## Summary
#
# - Candles give 32 channels in five groups; a book adds two more.
# - A channel that is not known yet is NaN. The slowest needs 77 older bars in raw units, and
#   99 in scale-free form.
# - In raw units the largest channel drowns the rest. Scale-free forms are ratios, so no change of
#   unit, of price or of lot, moves them.
# - Mean and deviation come from the training rows. Statistics of the whole history let a
#   model predict a random walk.
# - The 32 channels are worth about six independent ones, which matters when gates are read.
#
# ## Exercises
#
# ```{exercise} ATR by hand ★
# :label: ex-channels-1
# The true range of a bar is the largest of high − low, |high − close before| and |low − close
# before|. ATR is its Wilder average over 14 bars, seeded with the mean of the true ranges of bars
# 1 to 14. Compute it and compare with `raw["atr"]`.
# ```
#
# ```{solution-start} ex-channels-1
# :class: dropdown
# ```

# %%
before = bars["close"].shift()
top, bottom = (
    np.maximum(bars["high"], before), np.minimum(bars["low"], before),
)
# the same as the largest of the three
true_range = (top - bottom).to_numpy()
average = [np.nan] * 14 + [true_range[1:15].mean()]
for value in true_range[15:]:
    average.append(average[-1] + (value - average[-1]) / 14)
np.testing.assert_allclose(raw["atr"], average)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The fifth line of Ichimoku ★
# :label: ex-channels-2
# Charts draw a fifth Ichimoku line, the chikou span, which is the close, drawn 26 bars *back*.
# Why is it not among our channels? Run the truncation test on it, and correlate chikou / close −
# 1 with the return of the next bar.
# ```
#
# ```{solution-start} ex-channels-2
# :class: dropdown
# ```
#
# The value drawn above bar $t$ is the close of bar $t + 26$, which nobody knows at bar $t$. The
# truncation test finds the 26 rows whose value comes from behind the cut.

# %%
def chikou(b):
    return b["close"].shift(-26)


print(rows_that_change(chikou, bars, 2_999))
ahead = chikou(bars) / bars["close"] - 1
r = ahead.corr(bars["close"].pct_change().shift(-1))
print(f"{r:.2f}")

# %%
assert rows_that_change(chikou, bars, 2_999) == 26
assert r > 0.1

# %% [markdown]
# ```{solution-end}
# ```
#
# <!-- number: 0.25 by the exercise -->
# ```{exercise} A tie ★★
# :label: ex-channels-3
# Make bars on a tick grid of 0.25. Compute TA-Lib's ADX on the prices, and on the prices divided
# by three. By how many points do they differ at most, and by how many does `setrade`'s?
# ```
#
# ```{solution-start} ex-channels-3
# :class: dropdown
# ```

# %%
import talib

market = candles.synthetic(2_000, seed=2).candles
# near 100
grid = (market[["open", "high", "low", "close"]] / 300 * 4).round() / 4
columns = [grid[k].to_numpy() for k in ("high", "low", "close")]
library = talib.ADX(*columns) - talib.ADX(*[x / 3 for x in columns])
grid["volume"] = market["volume"]
ours = channels.compute(grid)["adx"] - channels.compute(grid / 3)["adx"]
print(
    "TA-Lib differs by more than a point: "
    f"{np.nanmax(np.abs(library)) > 1}"
)
print(
    "setrade differs by more than a millionth: "
    f"{ours.abs().max() > 1e-6}"
)

# %%
assert np.nanmax(np.abs(library)) > 1
assert ours.abs().max() < 1e-6

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Fewer channels ★★
# :label: ex-channels-4
# Go through the scale-free channels in order, and keep one only if its correlation with every
# channel kept so far is below 0.9 in size. How many are left, and what is their effective rank?
# Use the training rows for the choice.
# ```
#
# ```{solution-start} ex-channels-4
# :class: dropdown
# ```

# %%
size, kept = train.corr().abs(), []
for name in size:
    if all(size.loc[name, other] < 0.9 for other in kept):
        kept.append(name)
print(
    len(kept), "channels, effective rank",
    effective_rank(test[kept]).round(1),
)

# %%
assert len(kept) == 22
assert effective_rank(test[kept]) > effective_rank(test)

# %% [markdown]
# Ten of the 32 channels can go, and the effective rank even rises: what was counted many
# times is now counted once.
#
# ```{solution-end}
# ```
#
# ```{exercise} Is your market worth more channels? ★★★
# :label: ex-channels-own
# Compute the effective rank of the scale-free channels on bars of your own: another coin, another
# interval, a share. Write down first whether you expect more than on our sample, and why.
# ```
#
# ```{solution} ex-channels-own
# :class: dropdown
# Use the training rows only, as section 6 does. Most copies are copies by formula, such as ROC
# and momentum, the averages, and the bands. These stay copies on any market, so expect a number
# that is not far from ours. Where it differs, look which block of the correlation figure became
# paler: a market with hours, such as shares, has volumes that say something new each morning.
# ```
#
# ## Further reading
#
# RSI, ATR and ADX are Wilder's {cite:p}`wilder1978`, and the effective rank is due to Roy and
# Vetterli {cite:p}`roy2007`. What an imbalance of the queues says about the next move of the
# price is measured by Gould and Bonart {cite:p}`gould2016`.
