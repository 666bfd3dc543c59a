# %% [markdown]
# (ch-honest-evaluation)=
# # Honest evaluation
#
# **How do we tell skill from a leak, from luck, and from a search?**
#
# ```{admonition} What you will do
# :class: tip
# - meet a strategy with a Sharpe ratio above 7, find its leak, and watch it lose
# - split time so that no bar is on both sides
# - put an interval around every figure, by hand once
# - make the best of many tries pay for the tries
# - find the fee at which an edge dies
# ```
#
# *You need* {ref}`ch-se-trader` and {ref}`ch-backtesting`. *Runs* in under 40 s on two cores.

# %%
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.neighbors import KNeighborsClassifier

from setrade import backtest, candles, evidence, labels, metrics, results, signals
from setrade.plots import use_style

use_style()

# %% tags=["parameters"]
LOOKBACK, HORIZON = 48, 48  # bars of 15 minutes
N_SAMPLES = 500  # bootstrap histories
SEED = 0

# %% [markdown]
# ## 1 A wonderful strategy
#
# The idea is old and simple: history repeats. Take the last 48 closes. Find the most similar
# stretch that we have seen. Bet that what followed then will follow now. That is a classifier
# with one nearest neighbour, and its label is the sign of the return over the next 48 bars.


# %%
def shapes(bars):
    """Return windows of log closes, each less its mean: row i ends at bar i + 47."""
    price = np.log(bars["close"].to_numpy())
    windows = np.lib.stride_tricks.sliding_window_view(price, LOOKBACK)
    return windows - windows.mean(axis=1, keepdims=True)


def signs(bars):
    """Return +1 or -1 for what follows each window, and which rows have a future."""
    ahead = labels.forward_return(bars, HORIZON).to_numpy()[LOOKBACK - 1 :]
    return np.where(ahead > 0, 1, -1), np.flatnonzero(np.isfinite(ahead))


# %% [markdown]
# We split the windows into a training and a test half, at random, as the textbook says.


# %%
def random_halves(rows):
    """Return two halves of the rows, drawn at random."""
    mixed = np.random.default_rng(SEED).permutation(rows)
    return mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]


def nearest(X, y, train, test):
    """Return the predictions of one nearest neighbour."""
    return KNeighborsClassifier(1).fit(X[train], y[train]).predict(X[test])


# %%
bars = candles.sample()
X, (y, rows) = shapes(bars), signs(bars)
train, test = random_halves(rows)
guess = nearest(X, y, train, test)
accuracy = (guess == y[test]).mean()
print(f"{accuracy:.1%} of {len(test)} test windows right")

# %% [markdown]
# Now trade it. After each test window the position is the prediction; in between it is kept.
# The engine of {ref}`ch-backtesting` fills at the next open and charges every cost.

# %%
wanted = pd.Series(np.nan, bars.index)
wanted.iloc[test + LOOKBACK - 1] = guess
wonderful = backtest.run(bars, wanted.ffill().fillna(0.0))
figures = ["sharpe", "max_drawdown", "win_rate", "profit_factor"]
print(wonderful.table().loc[figures].round(2).to_string())

# %% mystnb={"figure": {"caption": "Equity of the nearest-neighbour strategy after costs, with a random split.", "name": "fig-wonderful"}, "image": {"alt": "Equity on a log scale over eight weeks. The strategy's curve climbs steadily to about twice its start, and holding bitcoin climbs and falls back."}}
fig, ax = plt.subplots(figsize=(7.2, 3))
ax.plot(wonderful.equity, label="nearest neighbour, random split")
ax.plot(wonderful.buy_and_hold.equity, color="grey", lw=1, label="buy and hold")
ax.set_ylabel("equity")
ax.tick_params(axis="x", rotation=20)
ax.legend()
plt.show()

# %%
sharpe = wonderful.metrics()["sharpe"]
assert accuracy > 0.75
assert sharpe > 7
assert wonderful.equity.iloc[-1] > wonderful.buy_and_hold.equity.iloc[-1]

# %% [markdown]
# A Sharpe ratio above 7 after costs, with no parameter tuned. It was tested on windows that the
# model never trained on. Would you put money on it?
#
# ## 2 Find the leak
#
# A score that is too good is a measurement. Ask what it measures. The model copies the label of
# its nearest neighbour, so look at *where* the neighbour is.

# %%
model = KNeighborsClassifier(1).fit(X[train], y[train])
nearest_row = train[model.kneighbors(X[test], return_distance=False)[:, 0]]
apart = np.abs(nearest_row - test)
print("median distance in time:", int(np.median(apart)), "bar")
print(f"closer than {LOOKBACK} bars: {(apart < LOOKBACK).mean():.0%}")

# %% mystnb={"figure": {"caption": "How far in time the nearest neighbour lies from the window it predicts.", "name": "fig-neighbours"}, "image": {"alt": "A histogram of the distance in bars between a test window and its nearest training window. Most windows have their neighbour one or two bars away, far less than the window length of 48."}}
fig, ax = plt.subplots(figsize=(7.2, 2.6))
ax.hist(apart.clip(max=100), bins=np.arange(0, 102, 2))
ax.axvline(LOOKBACK, color="black", ls=":", label="window length")
ax.set(xlabel="distance (bars; 100 and more in the last bin)", ylabel="windows")
ax.legend()
plt.show()

# %%
assert np.median(apart) <= 2
assert (apart < LOOKBACK).mean() > 0.5

# %% [markdown]
# For most windows the neighbour is the *next window*. It shares 47 of 48 closes with the test
# window, and its label looks at the same 48 bars of future but one. The model looks the answer
# up.
#
# The proof is a market in which nothing can be predicted. On a random walk the same recipe does
# just as well.

# %%
walk = candles.synthetic(len(bars), seed=SEED).candles
steps = np.random.default_rng(SEED).normal(0, 0.002, len(bars))
path = 30_000 * np.exp(steps.cumsum())
walk[["open", "high", "low", "close"]] = np.stack([path] * 4, axis=1)
X_walk, (y_walk, _) = shapes(walk), signs(walk)
on_walk = (nearest(X_walk, y_walk, train, test) == y_walk[test]).mean()
print(f"on a random walk: {on_walk:.1%}")
assert on_walk > 0.7

# %% [markdown]
# ## 3 Split time, not rows
#
# The mend has three parts. **Chronological**: the test comes after the training. **Purge**: a
# training window whose label reaches into the test span is dropped. **Embargo**: a few more
# bars are left out, for what fades slowly {cite:p}`lopezdeprado2018`. `labels.chronological`
# does all three, and a test proves that no bar is used on both sides.

# %%
split = labels.chronological(
    len(bars), lookback=LOOKBACK, horizon=HORIZON, fractions=(0.5, 0.2, 0.3)
)
gap = split.validation[0] - LOOKBACK + 1 - (split.train[-1] + 1 + HORIZON)
print("last label bar of training to first bar of validation:", gap)
assert gap > 0


# %%
def in_time_order(X, y):
    """Return accuracy and predictions on the last 30 % of time."""
    first, last = split.train - LOOKBACK + 1, split.test - LOOKBACK + 1
    guess = nearest(X, y, first, last)
    return (guess == y[last]).mean(), guess


honest_accuracy, honest_guess = in_time_order(X, y)
walk_accuracy, _ = in_time_order(X_walk, y_walk)
print(f"in time order: {honest_accuracy:.1%}, random walk: {walk_accuracy:.1%}")

# %%
later = bars.iloc[split.test[0] :]
position = pd.Series(0.0, later.index)
position.iloc[split.test - split.test[0]] = honest_guess
honest = backtest.run(later, position)
print(honest.table().loc[figures].round(2).to_string())
assert abs(honest_accuracy - 0.5) < 0.1
assert honest.metrics()["sharpe"] < 0

# %% [markdown]
# The wonder is gone. What remains is a coin that pays fees.
#
# ## 4 An interval around every figure
#
# A Sharpe ratio from 17 days of bars is one draw. How far might it have come out elsewhere? The
# **stationary bootstrap** makes other histories from this one: it strings together stretches of
# random length, so that neighbours stay neighbours {cite:p}`politis1994`. Written out:


# %%
def another_history(n, mean_length, rng):
    """Return n bar numbers: stretches of random length from random places."""
    place = np.arange(n)
    fresh = (rng.random(n) < 1 / mean_length) | (place == 0)  # a stretch starts here
    began = np.maximum.accumulate(np.where(fresh, place, 0))
    return (rng.integers(0, n, n)[began] + place - began) % n  # round the end


rng = np.random.default_rng(SEED)
print(another_history(10, 4, rng))

# %% [markdown]
# Ten bars, redrawn in stretches. Apply it 500 times to the honest strategy and look at the
# Sharpe ratios. `evidence.interval` does the same with the `arch` library.

# %%
returns = metrics.returns(honest.equity.to_numpy())
block = evidence.block_length(returns)
drawn = []
for _ in range(N_SAMPLES):
    history = returns[another_history(len(returns), block, rng)]
    drawn.append(metrics.sharpe(history, 35_040))
low, high = np.quantile(drawn, [0.025, 0.975])
assert round(len(later) / 96) == 17  # days
print(f"block of {block:.0f} bars; by hand [{low:.0f}, {high:.0f}]")


# %%
def yearly_sharpe(r):
    """Return the Sharpe ratio of 15-minute returns, a year."""
    return metrics.sharpe(r, honest.periods)


theirs = evidence.interval(yearly_sharpe, returns, seed=SEED, n_samples=N_SAMPLES)
assert abs(theirs.low - low) < 0.25 * (high - low)
assert abs(theirs.high - high) < 0.25 * (high - low)
print("evidence.interval:", theirs)

# %% [markdown]
# The interval is wide: that is what 17 days can say. Two strategies on the same bars are
# compared on the *same* histories, so that what moves both cancels.

# %%
held = metrics.returns(honest.buy_and_hold.equity.to_numpy())
paired = evidence.paired_difference(
    np.mean, returns, held, seed=SEED, n_samples=N_SAMPLES
)
print(f"per bar, in basis points: {paired.estimate * 1e4:.2f}", end=" ")
print(f"[{paired.low * 1e4:.2f}, {paired.high * 1e4:.2f}]")

# %% [markdown]
# ## 5 What a search costs
#
# Suppose we try 200 rules that know nothing, and show the best. Here are 200 strategies that
# toss coins every 16 bars, on the real sample, at no cost.

# %%
coins = np.random.default_rng(1)
moves = bars["close"].pct_change().iloc[1:].to_numpy()
tosses = coins.choice([-1.0, 1.0], size=(len(moves) // 16 + 1, 200))
tried = np.repeat(tosses, 16, axis=0)[: len(moves)] * moves[:, None]
ratios = np.array([evidence.sharpe(r) for r in tried.T])
best = tried[:, ratios.argmax()]
print(f"best Sharpe a year: {ratios.max() * np.sqrt(35_040):.1f}")
print(f"one minus its p-value: {evidence.probabilistic_sharpe(best):.3f}")

# %% [markdown]
# That number is the **probabilistic Sharpe ratio** of the literature. The name misleads: it is one
# minus the p-value of a test, and says how rarely a strategy with no skill looks *worse* than this
# one. It is no probability of skill. How many of those that look so good have skill depends on how
# many of those that were tried have any, and here none has. (The test allows for skewed returns and
# fat tails; it takes the sample's own moments, divided by $T$.)
#
# So a coin reaches what one would ask of a strategy, because the test is right for *one* strategy
# chosen beforehand. For the best of $N$ the ratio must be held against what luck alone would show
# {cite:p}`bailey2014`:
#
# $$ \mathrm{SR}_0 = \sqrt{V}\,\Big[(1-\gamma)\,\Phi^{-1}\big(1-\tfrac1N\big)
#    + \gamma\,\Phi^{-1}\big(1-\tfrac1{N e}\big)\Big] $$
#
# <!-- number: 0.577 by definition, Euler's constant -->
# $V$ is the variance of the ratios over the tries, $\gamma \approx 0.577$ Euler's constant.

# %% mystnb={"figure": {"caption": "Sharpe ratios of 200 coins, and what the best of 200 coins is expected to show.", "name": "fig-coins"}, "image": {"alt": "A histogram of 200 yearly Sharpe ratios, bell-shaped around zero. A dotted line marks what luck gives the best of 200, and the best coin lies close to it."}}
year = np.sqrt(35_040)
luck = evidence.expected_best_sharpe(200, ratios.var(ddof=1))
fig, ax = plt.subplots(figsize=(7.2, 2.8))
ax.hist(ratios * year, bins=30)
ax.axvline(luck * year, color="black", ls=":", label="expected best of 200 by luck")
ax.axvline(ratios.max() * year, color="#D55E00", label="the best coin")
ax.set(xlabel="Sharpe ratio a year", ylabel="coins")
ax.legend()
plt.show()

# %%
deflated = evidence.deflated_sharpe(best, 200, ratios.var(ddof=1))
assert evidence.probabilistic_sharpe(best) > 0.95
assert deflated < 0.9
need = evidence.min_track_record(best, luck)
print(f"deflated: {deflated:.2f}; bars it would need against luck: {need}")
assert need == np.inf
print(f"against zero: {evidence.min_track_record(best):,.0f} of {len(best):,}")

# %% [markdown]
# It is still one minus a p-value, now of the right question, and coins give about one half. The
# other numbers turn it round: how long a record with the same figures must be to tell the strategy
# from a benchmark at 95 %. Against zero a part of these bars is enough. Against luck no record is,
# since the best of 200 coins is expected to look better still.
#
# How many tries were there? Two hundred, if each was another bet. A rule with a lookback of 96 bars
# and its sister with 97 are hardly two. `evidence.effective_tries` joins those that correlate by
# a half or more, and counts the groups {cite:p}`lopezdeprado2018`.

# %%
mixed = np.random.default_rng(2).normal(0, 1e-3, (*tried[:, :20].shape, 1))
signs = mixed[..., 0, None] * [0, 1, -1]
sisters = (tried[:, :20, None] + signs).reshape(len(tried), -1)
print("coins:", evidence.effective_tries(tried), "different bets of 200")
print("twenty coins with two sisters each:", evidence.effective_tries(sisters))
assert evidence.effective_tries(tried) == 200
assert evidence.effective_tries(sisters) == 20

# %% [markdown]
# ### Many tests at once
#
# Not every search is for one best. Ask twenty questions at 5 %, and one is answered «yes» by
# chance. **Bonferroni** multiplies every p-value by the number of questions. **Holm** does it step
# by step {cite:p}`holm1979`: the smallest of $m$ is multiplied by $m$, the next by $m - 1$, and so
# on, and none may come out smaller than the one before. It rejects at least as much, and the chance
# of even one false «yes» stays below 5 %.

# %%
p_values = np.array([0.030, 0.004, 0.020, 0.400])
order = np.argsort(p_values)
steps = p_values[order] * (len(order) - np.arange(len(order)))
by_hand = np.empty(4)
by_hand[order] = np.minimum(np.maximum.accumulate(steps), 1)
print("Bonferroni", (4 * p_values).clip(max=1), "| Holm", by_hand)

# %%
assert np.allclose(by_hand, evidence.holm(p_values))
assert (p_values < 0.05).sum() == 3
assert (by_hand < 0.05).sum() == 1

# %% [markdown]
# Three of four looked significant alone; one is left.
#
# ### Does the best of the past stay the best?
#
# The **probability of overfitting** cuts time into blocks, chooses the best strategy on half of
# them, and sees how it ranks on the other half {cite:p}`bailey2017`. If the choice is worth
# nothing, the chosen one is below the median half of the time. By hand, with four blocks and five
# coins:

# %%
five, bad = tried[: len(tried) // 4 * 4, :5], []
blocks = np.array_split(five, 4)
for chosen in combinations(range(4), 2):
    parts = [[blocks[k] for k in range(4) if (k in chosen) == half] for half in (1, 0)]
    past, future = (np.concatenate(part) for part in parts)
    best_then = np.argmax(past.mean(0) / past.std(0))
    rank = rankdata(future.mean(0) / future.std(0))[best_then]
    bad.append(rank / (5 + 1) <= 0.5)  # equal strategies share their ranks
print(f"{sum(bad)} of {len(bad)} choices are no better than the median")
assert np.isclose(np.mean(bad), evidence.overfitting_probability(five, 4))

# %% [markdown]
# With five coins and six choices it can come out at anything. Ranks are shared where strategies tie, and a tie for the best is chosen in equal parts. Otherwise a
# strategy that never trades, tied with others like it, would count as a winner.
#
# Now all two hundred. One sample of coins does not give one half; it scatters around it, since the
# halves overlap. `evidence.overfitting` shows by how much: it takes each strategy's mean away, so
# that none has skill, and redraws the history in stretches.

# %%
overfit = evidence.overfitting(tried, 10, seed=SEED, n_samples=30)
print(f"probability of overfitting {overfit.probability:.2f}")
print(f"without any skill {overfit.luck:.2f} ± {overfit.scatter:.2f},", end=" ")
print(f"95 % within [{overfit.low:.2f}, {overfit.high:.2f}]")

# %%
assert overfit.low < overfit.probability < overfit.high
assert abs(overfit.luck - 0.5) < 0.15
assert 0.08 < overfit.scatter < 0.3

# %% [markdown]
# Alone the first number looks like a finding. Beside the scatter it is what coins do.
#
# ### Does the best beat a benchmark?
#
# Hansen's **SPA** test asks whether the best of many models beats a benchmark once all are counted
# {cite:p}`hansen2005`. Three steps make it. *Studentise*: divide each model's mean advantage by its
# own standard error, because the largest mean belongs to the most volatile model. *Take the
# largest*, and zero if all are worse. *Compare* it with the same on histories in which no model is
# better: redraw, and take away the mean that was found. Here are three series: a quiet one with
# skill, and two volatile ones without.

# %%
rng = np.random.default_rng(8)
three = rng.normal([0.0004, 0, 0], [0.003, 0.03, 0.03], (1_000, 3))
redrawn = np.array(
    [three[another_history(1_000, 5, rng)].mean(axis=0) for _ in range(N_SAMPLES)]
)
centred = redrawn - three.mean(axis=0)
for name, unit in (("plain", 1), ("studentised", redrawn.std(axis=0))):
    found = max((three.mean(axis=0) / unit).max(), 0)
    by_luck = (centred / unit).max(axis=1).clip(min=0)
    print(f"{name:12} p = {(by_luck >= found).mean():.3f}")

# %%
spa = evidence.superior_ability(np.zeros(1_000), three, seed=0, block=5.0)
print(f"evidence.superior_ability: p = {spa.consistent:.3f}, best is series {spa.best}")
assert spa.best == 0
assert spa.consistent < 0.01
assert abs((by_luck >= found).mean() - spa.consistent) < 0.01

# %% [markdown]
# Without the division the noise of the volatile series hides the skilled one. Hansen's test has
# one step more: a model that is clearly worse than the benchmark, by more than
# $\sqrt{2 \log\log T}$ standard errors, is left where it is, since it stands no chance; otherwise
# anyone could hide a good model among bad ones. How often the test errs and how often it finds
# skill was counted on 600 markets of each kind (`spa_size_power.json`):

# %%
counted = results.load("spa_size_power")["results"]
for kind, row in counted["size"].items():
    print(f"no skill, {kind:10} rejected {row['studentised']['measured']:.1%}")
for name, row in counted["power"].items():
    print(f"a quiet skilled model, {name:12} found {row['measured']:.0%}")

# %%
sizes = {kind: row["studentised"] for kind, row in counted["size"].items()}
after = sizes.pop("dependent")
assert counted["draws"] == 600
assert all(0.025 <= row["measured"] <= 0.08 for row in sizes.values())
assert after["low"] < 0.08 < after["measured"] < 0.09
assert counted["power"]["studentised"]["low"] > 0.5
assert counted["power"]["arch"]["high"] < 0.15

# %% [markdown]
# It errs about as often as it says, and a little more often where returns depend on those before:
# the standard error is then an estimate from few stretches. And the coins? A copy of the benchmark would be refused by name: it has no standard error.

# %%
on_coins = evidence.superior_ability(np.zeros(len(tried)), tried, seed=0, reps=300)
print(f"SPA p-value of 200 coins: {on_coins.consistent:.2f}")
assert on_coins.consistent > 0.05

# %% [markdown]
# ## 6 The fee at which an edge dies
#
# Last, costs. Take the plain momentum rule on the sample, and ask what fee it could bear.

# %%
rule = signals.momentum(bars, lookback=96, threshold=1.0)
by_fee = evidence.cost_sensitivity(bars, rule, [0, 1, 2, 4, 5.5, 8, 12])
dies = evidence.break_even_fee(bars, rule)
print(by_fee[["sharpe", "turnover", "fees"]].round(2).to_string())
print(f"earns nothing at {dies:.1f} basis points per side, slippage included")

# %% mystnb={"figure": {"caption": "Sharpe ratio of the momentum rule by taker fee.", "name": "fig-fees"}, "image": {"alt": "A line of Sharpe ratio against fee that falls from left to right; a dotted line marks the taker fee of five and a half basis points."}}
fig, ax = plt.subplots(figsize=(7.2, 2.6))
ax.plot(by_fee["sharpe"], marker="o")
ax.axhline(0, color="black", lw=0.8)
ax.axvline(5.5, color="grey", ls=":", label="taker fee")
ax.set(xlabel="fee (basis points per side)", ylabel="Sharpe ratio a year")
ax.legend()
plt.show()

# %%
assert by_fee["sharpe"].is_monotonic_decreasing
assert by_fee.loc[0.0, "sharpe"] < 0
assert dies == 0

# %% [markdown]
# It loses even where trading is free of fees. Nothing that is done about fees can save it.
#
# Here is the rule at the usual costs, with an interval on every figure:

# %%
at_cost = backtest.run(bars, rule)
table = evidence.metric_intervals(at_cost, seed=SEED, n_samples=N_SAMPLES)
print(table.loc[["sharpe", *figures[1:]]].round(1).to_string())
assert table.loc["sharpe", "low"] < 0 < table.loc["sharpe", "high"]

# %% [markdown]
# Zero lies inside. Eight weeks cannot tell this rule from chance, in either direction.
#
# ## What goes wrong
#
# The bootstrap itself has a trap. If bars are drawn one by one, dependence is destroyed, and the
# interval comes out too narrow. Here is a strategy whose profits come in runs: each return
# keeps eight tenths of the one before.

# %%
from scipy.signal import lfilter

runs = lfilter([1], [1, -0.8], np.random.default_rng(3).normal(0, 1e-3, 4000))
single = evidence.interval(np.mean, runs, seed=0, block=1.0, n_samples=N_SAMPLES)
blocks = evidence.interval(np.mean, runs, seed=0, n_samples=N_SAMPLES)
ratio = (blocks.high - blocks.low) / (single.high - single.low)
print(f"blocks give an interval {ratio:.1f} times as wide")

# %% [markdown]
# Theory says how wide it should be. With $\phi = 0.8$ the standard deviation of the mean is
# $\sqrt{(1+\phi)/(1-\phi)} = 3$ times what independent bars would give. The blocks come close.
# One by one, a mean of zero would be declared significant far too often.

# %%
assert np.isclose(np.sqrt((1 + 0.8) / (1 - 0.8)), 3)
assert 2.2 < ratio < 3.8

# %% [markdown]
# ## Summary
#
# - A random split of overlapping windows is a lookup table. It finds skill in a random walk.
# - Split in time, purge, embargo. Then prove that no bar is on both sides.
# - A figure needs an interval, from a bootstrap that keeps neighbours together.
# - The best of many tries must be measured against the best of many coins.
# - One minus a p-value is no probability of skill, whatever it is called.
# - Many questions share one error: Holm. Ties share one rank. Noise is divided out before models
#   are compared.
# - An edge is worth what is left of it after costs, and often that is nothing.
#
# ## Exercises
#
# ```{exercise} How much is shared
# :label: ex-honest-1
# Two windows of 48 closes end one bar apart, and their labels look 48 bars ahead. What share of
# the closes, and what share of the label bars, do they have in common?
# ```
#
# ```{solution-start} ex-honest-1
# :class: dropdown
# ```

# %%
shared = (LOOKBACK - 1) / LOOKBACK, (HORIZON - 1) / HORIZON
print([f"{s:.1%}" for s in shared])
assert all(s > 0.97 for s in shared)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The price of trying
# :label: ex-honest-2
# By what factor does the expected best Sharpe ratio of luck grow when you try 1,000 strategies
# instead of 10?
# ```
#
# ```{solution-start} ex-honest-2
# :class: dropdown
# ```

# %%
ten, thousand = (evidence.expected_best_sharpe(n, 1.0) for n in (10, 1000))
print(round(ten, 2), round(thousand, 2), round(thousand / ten, 1))
assert 2 < thousand / ten < 2.2

# %% [markdown]
# A hundred times the work, twice the luck: the search is cheap to pay for, if it is counted.
#
# ```{solution-end}
# ```
#
# ```{exercise} Six names for one strategy ★★
# :label: ex-honest-3
# One coin is entered six times. Its rank among six, counted as the number of strategies that it is
# *not worse than*, and then as a shared rank: what is the probability of overfitting either way?
# ```
#
# ```{solution-start} ex-honest-3
# :class: dropdown
# ```

# %%
not_worse, shared_rank = 6, (1 + 2 + 3 + 4 + 5 + 6) / 6
print(not_worse / 7 <= 0.5, shared_rank / 7 <= 0.5)  # below the median?
copies = np.repeat(tried[:, :1], 6, axis=1)
assert evidence.overfitting_probability(copies, 10) == 1

# %% [markdown]
# The first count puts every copy at the top, always, and answers 0: as if choosing among copies
# were skill. With shared ranks each is the median, no choice is better than it, and the answer is 1.
#
# ```{solution-end}
# ```
#
# ## Further reading
#
# Purging and embargo are from {cite:p}`lopezdeprado2018`. The deflated ratio is
# {cite:p}`bailey2014`, the probability of overfitting {cite:p}`bailey2017`, the test for
# superior ability {cite:p}`hansen2005`, the bootstrap {cite:p}`politis1994`.
