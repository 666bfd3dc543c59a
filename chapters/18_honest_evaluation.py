# %% [markdown]
# (ch-honest-evaluation)=
# # Honest evaluation
#
# **How do we tell skill from a leak, from luck, and from a search?**
#
# ```{admonition} What you will do
# :class: tip
# - meet a strategy with a Sharpe ratio above 7, find its leak, and watch it lose
# - split time so that no bar is on both sides, and see which way to split errs least
# - put an interval around every figure, by hand once
# - make the best of many tries pay for the tries
# - say beforehand what a test could see, and find the fee that uses up an edge
# ```
#
# *You need* {ref}`ch-se-trader` and {ref}`ch-backtesting`. *Runs* in under 40 s on two cores.

# %%
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.signal import lfilter
from scipy.stats import norm
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

# %%
from setrade import (
    backtest,
    candles,
    evidence,
    labels,
    metrics,
    results,
    signals,
)
from setrade.plots import use_style

use_style()

# %% tags=["parameters"]
LOOKBACK, HORIZON = 48, 48  # bars of 15 minutes
N_SAMPLES = 500  # bootstrap histories
SEED = 0

# %% [markdown]
# ## 1 A wonderful strategy
#
# We begin with a result that is too good, because finding its error shows what the tools of this
# chapter are for. The idea is old and simple: history repeats. Take the last 48 closes, find the
# most similar stretch that we have seen, and bet that what followed then will follow now. That is a
# classifier with one nearest neighbour, and its label is the sign of the return over the next 48
# bars.


# %%
def shapes(bars):
    """Return windows of log closes, each less its mean: row i ends at
    bar i + 47."""
    price = np.log(bars["close"].to_numpy())
    windows = np.lib.stride_tricks.sliding_window_view(price, LOOKBACK)
    return windows - windows.mean(axis=1, keepdims=True)


def signs(bars):
    """Return +1 or -1 for what follows each window, and which rows have
    a future."""
    ahead = labels.forward_return(bars, HORIZON).to_numpy()[
        LOOKBACK - 1 :
    ]
    return np.where(ahead > 0, 1, -1), np.flatnonzero(
        np.isfinite(ahead)
    )


# %% [markdown]
# We split the windows into a training and a test half, at random, as the textbook says.


# %%
def random_halves(rows):
    """Return two halves of the rows, drawn at random."""
    mixed = np.random.default_rng(SEED).permutation(rows)
    return mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]


def nearest(X, y, train, test):
    """Return the predictions of one nearest neighbour."""
    return (
        KNeighborsClassifier(1).fit(X[train], y[train]).predict(X[test])
    )


# %%
bars = candles.sample()
X, (y, rows) = shapes(bars), signs(bars)
train, test = random_halves(rows)
guess = nearest(X, y, train, test)
accuracy = (guess == y[test]).mean()
print(f"{accuracy:.1%} of {len(test)} test windows right")

# %% [markdown]
# Now we trade it. After each test window the position is the prediction, and in between it is kept.
# The engine of {ref}`ch-backtesting` fills at the next open and charges every cost.

# %%
wanted = pd.Series(np.nan, bars.index)
wanted.iloc[test + LOOKBACK - 1] = guess
wonderful = backtest.run(bars, wanted.ffill().fillna(0.0))
figures = ["sharpe", "max_drawdown", "win_rate", "profit_factor"]
print(wonderful.table().loc[figures].round(2).to_string())

# %% mystnb={"figure": {"caption": "Equity of the nearest-neighbour strategy after costs, with a random split.", "name": "fig-wonderful"}, "image": {"alt": "Equity over eight weeks. The strategy's curve climbs steadily to about twice its start, and holding bitcoin climbs and falls back."}}
fig, ax = plt.subplots(figsize=(7.2, 3))
ax.plot(wonderful.equity, label="nearest neighbour, random split")
ax.plot(
    wonderful.buy_and_hold.equity, color="grey", lw=1,
    label="buy and hold",
)
ax.set_ylabel("equity")
ax.tick_params(axis="x", rotation=20)
ax.legend()
plt.show()

# %%
sharpe = wonderful.metrics()["sharpe"]

# %%
assert accuracy > 0.75
assert sharpe > 7
assert (
    wonderful.equity.iloc[-1] > wonderful.buy_and_hold.equity.iloc[-1]
)

# %% [markdown]
# This is a Sharpe ratio above 7 after costs, with no parameter tuned. It was tested on windows that
# the model never trained on. Would you put money on it?
#
# ## 2 Find the leak
#
# A score that is too good still measures something, so we ask what it measures. The model copies
# the label of its nearest neighbour, which is why we look at *where* the neighbour is.

# %%
model = KNeighborsClassifier(1).fit(X[train], y[train])
nearest_row = train[
    model.kneighbors(X[test], return_distance=False)[:, 0]
]
apart = np.abs(nearest_row - test)
print("median distance in time:", int(np.median(apart)), "bar")
print(f"closer than {LOOKBACK} bars: {(apart < LOOKBACK).mean():.0%}")

# %% mystnb={"figure": {"caption": "How far in time the nearest neighbour lies from the window it predicts.", "name": "fig-neighbours"}, "image": {"alt": "A histogram of the distance in bars between a test window and its nearest training window. Most windows have their neighbour one or two bars away, far less than the window length of 48; most others lie in the last bin, a hundred bars or more away."}}
fig, ax = plt.subplots(figsize=(7.2, 2.6))
ax.hist(apart.clip(max=100), bins=np.arange(0, 102, 2))
ax.axvline(LOOKBACK, color="black", ls=":", label="window length")
ax.set(
    xlabel="distance (bars; 100 and more in the last bin)",
    ylabel="windows",
)
ax.legend()
plt.show()

# %%
assert np.median(apart) <= 2
assert (apart < LOOKBACK).mean() > 0.5

# %% [markdown]
# For most windows the neighbour is the window one bar before or after. It shares 47 of 48 closes
# with the test window, and its label looks at the same 48 bars of future but one. So the model does
# not predict the answer: it looks it up.
#
# The proof is a market in which nothing can be predicted: on a random walk the same recipe does
# just as well.

# %%
walk = candles.synthetic(len(bars), seed=SEED).candles
steps = np.random.default_rng(SEED).normal(0, 0.002, len(bars))
path = 30_000 * np.exp(steps.cumsum())
walk[["open", "high", "low", "close"]] = np.stack([path] * 4, axis=1)
X_walk, (y_walk, _) = shapes(walk), signs(walk)
on_walk = (nearest(X_walk, y_walk, train, test) == y_walk[test]).mean()
print(f"on a random walk: {on_walk:.1%}")

# %%
assert on_walk > 0.7

# %% [markdown]
# ## 3 Split time, not rows
#
# The remedy has three parts {cite:p}`lopezdeprado2018`.
#
# ```{prf:definition} Chronological split, purge and embargo
# :label: def-purge
#
# An example reads the bars of its window and those of its label.
#
# - A split is **chronological** where the test comes after the training.
# - A **purge** drops every training example that reads a bar which a test example reads too.
# - An **embargo** closes a few more bars beside the test, for what fades slowly, and drops every
#   training example that reads one of them.
# ```
#
# `labels.chronological` does all three, and a test of the package checks that no bar is used on
# both sides.
#
# <div data-move="walk_forward">
#
# :::{figure-md} fig-diagram-walk-forward
# ![Three rows on one time axis. In each row a model is trained on the past and tested on the block that follows; the blocks lie side by side. Between training and test some bars are left out: the purge, as their labels reach into the windows of the test, and an embargo in addition.](_static/diagrams/walk_forward.svg)
#
# Train on the past, leave out what would leak, test on what follows.
# :::
#
# Where scripts are on, faders follow for the window, the label and the embargo. The longer the
# first two are, the more the purge takes. K-fold, where each stretch is the test in its turn, pays
# at both sides of a test, and walk-forward at one.
#
# </div>

# %%
split = labels.chronological(
    len(bars), lookback=LOOKBACK, horizon=HORIZON,
    fractions=(0.5, 0.2, 0.3),
)
gap = (
    split.validation[0] - LOOKBACK + 1 - (split.train[-1] + 1 + HORIZON)
)
print("last label bar of training to first bar of validation:", gap)

# %%
assert gap > 0


# %%
def in_time_order(X, y):
    """Return accuracy and predictions on the last 30 % of time."""
    first, last = split.train - LOOKBACK + 1, split.test - LOOKBACK + 1
    guess = nearest(X, y, first, last)
    return (guess == y[last]).mean(), guess


honest_accuracy, honest_guess = in_time_order(X, y)
walk_accuracy, _ = in_time_order(X_walk, y_walk)
print(
    f"in time order: {honest_accuracy:.1%}, random walk: "
    f"{walk_accuracy:.1%}"
)

# %%
later = bars.iloc[split.test[0] :]
position = pd.Series(0.0, later.index)
position.iloc[split.test - split.test[0]] = honest_guess
honest = backtest.run(later, position)
print(honest.table().loc[figures].round(2).to_string())

# %%
assert abs(honest_accuracy - 0.5) < 0.1
assert honest.metrics()["sharpe"] < 0

# %% [markdown]
# In time order the skill is gone, and what remains is a coin that pays fees.
#
# ### Purge and embargo on paper
#
# Testing only the last stretch uses a part of the data once. To use more, let every stretch be the
# test in its turn, and train on what lies before it *and after it*. Then a purge is needed on both
# sides. Take 20 bars, where the example of bar $t$ reads two bars, $t-1$ and $t$, and its label
# looks at $t+1$ and $t+2$. Let the examples 6 to 9 be the test.

# %%
reads = {t: set(range(t - 1, t + 3)) for t in range(1, 18)}
tested = range(6, 10)
seen = set().union(*(reads[t] for t in tested))
purged = [t for t in reads if reads[t] & seen and t not in tested]
closed = {max(seen) + 1, max(seen) + 2}  # an embargo of two bars
embargoed = [
    t for t in reads if reads[t] & closed and not reads[t] & seen
]
kept = [t for t in reads if not reads[t] & (seen | closed)]
print("the test reads bars", min(seen), "to", max(seen))
print("purged", purged, "| embargoed", embargoed, "| kept", kept)

# %%
by_library = labels.combinatorial(
    20, lookback=2, horizon=1, groups=4, tests=1, embargo=2
)[1]

# %%
assert by_library.test.tolist() == list(tested)
assert by_library.train.tolist() == kept
assert purged == [3, 4, 5, 10, 11, 12]
assert embargoed == [13, 14]

# %% mystnb={"figure": {"caption": "What each example reads, and its part in a split that tests examples 6 to 9. The shaded bars are those that the test reads, the hatched ones the embargo.", "name": "fig-purge-embargo"}, "image": {"alt": "Seventeen horizontal bars, one an example, each four time steps long and shifted by one from the one below. Those of the test cover steps 5 to 11, which are shaded. Three examples before and three after overlap the shading and are purged, two more reach into the hatched embargo, and the five at the ends are kept."}}
roles = (("kept", kept, "#0072B2"), ("purged", purged, "#999999"),
         ("embargoed", embargoed, "#E69F00"),
         ("test", tested, "#D55E00"))
fig, ax = plt.subplots(figsize=(7.2, 3.4))
span = min(seen) - 0.5, max(seen) + 0.5
ax.axvspan(*span, color="#D55E00", alpha=0.12)
hatched = {"facecolor": "none", "edgecolor": "#E69F00", "lw": 0}
ax.axvspan(11.5, 13.5, hatch="//", **hatched)
for role, rows_of, colour in roles:
    look = {"color": colour, "label": role}
    ax.barh(list(rows_of), 4, left=np.array(rows_of) - 1.5, **look)
    for t in rows_of:
        ends = [t - 0.4, t + 0.4]
        ax.plot([t + 0.5] * 2, ends, color="white", lw=1.5)
ax.set(xlabel="bar (the white stroke parts window and label)")
ax.set(ylabel="example")
ax.set_xticks(range(0, 20, 2))
ax.set_yticks(range(1, 18, 2))
ax.legend(ncols=2, loc="upper left")
plt.show()

# %%
assert len(kept) + len(purged) + len(embargoed) + len(tested) == 17

# %% [markdown]
# How much a purge takes can be counted before anything is run.
#
# ```{prf:proposition} What a purge takes
# :label: prop-purge
#
# Let the example of bar $t$ read the $L \ge 1$ bars that end at $t$ and the $H \ge 1$ bars that
# follow. Two examples share a bar exactly where they lie fewer than $L + H$ bars apart. So a purge
# takes at most $L + H - 1$ examples on each side of a tested stretch.
# ```
#
# ```{prf:proof}
# Each example reads $L + H$ bars in a row. Two rows of one length that begin $d$ bars apart overlap
# exactly where $d$ is less than that length. Before the stretch these are the $L + H - 1$ examples
# next to its first one, behind it as many next to its last one.
# ```
#
# On paper $L$ and $H$ are 2, and three examples went on each side. A purge removes what shares a
# *bar* with the test. It says nothing about what fades slowly: a feature that remembers a hundred
# bars, or a drift of returns that outlives the label. A training example just behind the test still
# knows some of it, and the **embargo** leaves a few more bars out there. Before the test none is
# needed on that account, because a live model too is trained on the bars just before it trades.
#
# ### Six groups, two tests: fifteen splits, five histories
#
# One stretch at a time, each example tested once, is {term}`purged k-fold`; it gives one prediction
# for every example, and so one history, one Sharpe ratio. **Combinatorial purged
# cross-validation**, CPCV for short, tests *two* stretches at a time {cite:p}`lopezdeprado2018`. Of
# six groups there are $\binom62 = 15$ pairs. Each split predicts two groups, which makes 30
# predictions of groups. Because a whole history needs 6 of them, there are $30 / 6 = 5$ histories,
# called **paths**. The same count holds for any number of groups.
#
# ```{prf:proposition} Splits and paths
# :label: prop-paths
#
# Of $N$ groups let every choice of $k$, with $1 \le k < N$, be the test of one split. Then there
# are $\binom Nk$ splits. The predictions can be joined into $\binom{N-1}{k-1} = \frac kN \binom Nk$
# paths that hold each group once, and none is left over or used twice.
# ```
#
# ```{prf:proof}
# A group is tested in the splits that choose it and $k - 1$ of the other $N - 1$ groups, so that
# each group is predicted $\binom{N-1}{k-1}$ times. Path number $j$ takes of each group its
# prediction number $j$.
# ```

# %%
pairs = list(combinations(range(6), 2))
testing = {
    g: [k for k, pair in enumerate(pairs) if g in pair]
    for g in range(6)
}
path_table = np.array([testing[g] for g in range(6)]).T
print(
    len(pairs), "splits,", len(path_table),
    "paths; each takes group g from split",
)
print(path_table)

# %%
assert (path_table == labels.paths(6, 2)).all()

# %% [markdown]
# Read the first row: it takes groups 0 and 1 from split 0, which tests both, group 2 from split 1,
# and so on. In this way no prediction is used twice. The five paths are *not* five independent
# histories. They are the same bars, predicted by different models, and so their spread is no error
# bar. What they are good for is averaging, because the accident of which model was asked cancels.

# %%
splits = labels.combinatorial(
    600, lookback=5, horizon=4, groups=6, tests=2
)
tests_of = [set(split.test.tolist()) for split in splits]
first_path = set().union(*(tests_of[k] for k in path_table[0]))

# %%
assert len(splits) == 15
# all that have a window and a label
assert first_path == set(range(4, 595))

# %% [markdown]
# ## 4 Which validation lies least?
#
# Everybody recommends one of these ways. To see which errs least, we need markets whose true skill
# is *known*. `studies/validation.py` draws 400 of each of three kinds, 1,200 daily bars long. Five
# features forget slowly, labels sum the next ten returns and so overlap, and returns hold a slow
# drift that no feature knows: whatever can leak is there.
#
# - **null**: no feature foretells anything; the true skill is zero.
# - **planted**: a fixed mixture of the features does.
# - **drifting**: a mixture does, and it wanders, so that what was learned goes stale.
#
# Two learners are fitted: a linear one (ridge) and a flexible one (the mean of five nearest
# neighbours). The **truth** is how the learner that was fitted on the whole history does
# afterwards, computed from the market's equations. Two figures are estimated: the **correlation**
# of forecast and label, which is simpler here than the rank correlation of an {term}`IC
# <information coefficient>`, and the yearly Sharpe ratio of trading the forecast's sign. The
# **{term}`bias <bias and RMSE>`** is the mean of estimate less truth. The **RMSE**, the root of the
# mean squared error, counts bias and scatter together. A **discovery** is a trading mean above zero
# at 5 %. Where nothing can be found it is a **false discovery**, and there should be 5 % of them.

# %%
study = results.load("validation")["results"]
tables, ways = (
    study["tables"], list(study["tables"]["null"]["ridge"])[1:],
)


def column(world, learner, figure, what):
    """Return one figure of each way to split, from the stored table."""
    one = [tables[world][learner][way][figure][what] for way in ways]
    return [
        next(iter(v.values())) if isinstance(v, dict) else v
        for v in one
    ]

# %%
assert study["draws"] == 400
assert study["setting"]["bars"] == 1_200
print(
    "true correlation:",
    {w: round(tables[w]["ridge"]["truth"]["ic"], 2) for w in tables},
)

# %%
head = {
    ("null", "correlation bias"): ("null", "ic", "bias"),
    ("null", "false disc."): ("null", "discoveries", "value"),
    ("planted", "correlation bias"): ("planted", "ic", "bias"),
    ("planted", "Sharpe RMSE"): ("planted", "sharpe", "rmse"),
    ("planted", "found"): ("planted", "discoveries", "value"),
    ("drifting", "Sharpe RMSE"): ("drifting", "sharpe", "rmse"),
}
for learner in ("ridge", "neighbours"):
    figures_of = {
        k: column(w, learner, *rest) for k, (w, *rest) in head.items()
    }
    figures_of = pd.DataFrame(figures_of, ways).round(2)
    print(f"\n{learner}\n{figures_of.to_string()}")

# %%
panels = [
    ("null", "ic", "bias", "bias of the correlation, null"),
    ("null", "discoveries", None, "false discoveries, null"),
    ("planted", "sharpe", "rmse", "error of Sharpe, planted"),
    ("planted", "discoveries", None, "discoveries, planted"),
]

# %% mystnb={"figure": {"caption": "Six ways to validate, 400 markets of a kind: bias of the correlation and false discoveries where nothing can be found, error of the Sharpe ratio and discoveries where there is something. Lines are 95 % intervals.", "name": "fig-validation"}, "image": {"alt": "Four panels with six rows each, circles for ridge and squares for nearest neighbours. Shuffled k-fold lies far from all others in every panel: its bias is 0.19 and 0.71, and half or all of its discoveries under the null are false. The other five lie close together; CPCV has the least error, and walk-forward the fewest false and the fewest true discoveries."}}
fig, axes = plt.subplots(2, 2, sharey=True, figsize=(7.6, 5))
rows_at = np.arange(6)
marks = ((-0.15, "ridge", "o"), (0.15, "neighbours", "s"))
for ax, panel in zip(axes.flat, panels, strict=True):
    world, figure, what, title = panel
    for shift, learner, mark in marks:
        cells = [tables[world][learner][way][figure] for way in ways]
        cells = [(c[what] if what else c).values() for c in cells]
        at, *ends = np.array([list(c) for c in cells]).T
        look = {"fmt": mark, "ms": 4, "label": learner}
        ax.errorbar(at, rows_at + shift, xerr=np.abs(ends - at), **look)
    ax.axvline(0.05 if "false" in title else 0, color="grey", ls=":")
    ax.set_title(title)
axes[0, 0].set_yticks(range(6), ways)
axes[0, 0].invert_yaxis()
axes[0, 1].legend()
plt.show()

# %%
false = {
    learner: pd.Series(
        column("null", learner, "discoveries", "value"), ways
    )
    for learner in ("ridge", "neighbours")
}
assert false["ridge"]["shuffled k-fold"] > 0.4
assert false["neighbours"]["shuffled k-fold"] == 1
for world in ("null", "planted"):
    for learner in ("ridge", "neighbours"):
        assert (
            max(np.abs(column(world, learner, "ic", "bias")[1:])) < 0.07
        )

# %% [markdown]
# **Shuffling is the one that lies.** With neighbours every single null market is «discovered», at a
# Sharpe ratio near 3; even the linear model is, almost half of the time. The reason is that
# features which change slowly tell the time: a linear model too can read from them to which stretch
# a row belongs, and so the label that overlaps with its neighbours'. The other five ways differ
# from the truth by less than 0.07 of correlation on average, a tenth of the worst.

# %%
errors = pd.DataFrame({
    (w, learner): column(w, learner, "sharpe", "rmse")
    for w in tables for learner in ("ridge", "neighbours")
}, ways)
assert (errors.idxmin() == "CPCV").all()
gaps = [
    tables[w][learner]["purged k-fold"]["sharpe"]["gap"]["low"]
    for w, learner in errors
]
assert min(gaps) > 0
print(
    errors.loc[["purged k-fold", "walk-forward", "CPCV"]]
    .round(2)
    .to_string()
)

# %% [markdown]
# **CPCV errs least** in the Sharpe ratio, in all six cases, and the interval of its advantage over
# plain purged k-fold leaves zero out each time. (Over walk-forward in five of the six.) Its
# averaging over many paths is the likely reason, which the study does not test by itself. But look
# at the size of what is left: the error of even the best way is 0.5 to 1.1 of a yearly Sharpe
# ratio, as large as what one hopes to find. No way to split makes three years of bars say more than
# they know.

# %%
least = errors.loc["CPCV"]
assert least.between(0.5, 1.1).all()
assert round(study["setting"]["bars"] / 365, 1) == 3.3
found = {
    w: pd.Series(column(w, "ridge", "discoveries", "value"), ways)
    for w in ("null", "planted", "drifting")
}
for world, row in found.items():
    some = ("purged k-fold", "walk-forward", "CPCV")
    print(f"{world:9}", {way: f"{row[way]:.0%}" for way in some})

# %% [markdown]
# **Walk-forward has the fewest false discoveries, and the fewest true ones.** With ridge under the
# null it is the nearest to the 5 % that the test promises. The ways that also train on the future
# come out above; a likely reason, which the study does not test, is that the slow drift makes
# neighbouring stretches alike, while the test takes stretches for independent. The price is paid
# where there is something: walk-forward trains on less and tests on less, so that with ridge it
# finds it in a good third of the markets instead of more than half. (In rank correlation, with
# ridge on the planted markets, all five that do not shuffle are too pessimistic.)
#
# Two results may surprise you. Cutting time into *blocks* does nearly all of the work; the purge
# takes away what is left (for neighbours 0.02 of correlation), and an **embargo** beyond it changes
# nothing that can be seen here. And where the mixture *drifts*, every way is too optimistic about
# the linear learner, since all test it on a time that is over: purged k-fold by 0.22 of Sharpe,
# walk-forward by 0.12, with intervals that overlap (their difference, market by market, was not
# stored).

# %%
bias = pd.Series(column("null", "neighbours", "ic", "bias"), ways)
assert bias["k-fold in blocks"] > 0.01 > abs(bias["purged k-fold"])
apart = errors.loc["purged and embargoed"] - errors.loc["purged k-fold"]
assert apart.abs().max() < 0.025

# %%
assert found["null"].idxmin() == "walk-forward"
assert (
    0.05 < found["null"]["walk-forward"] < 0.1 < found["null"]["CPCV"]
)
assert 1 / 3 < found["planted"]["walk-forward"] < 0.4
assert found["planted"]["purged k-fold"] > 0.5
assert (
    tables["planted"]["ridge"]["walk-forward"]["ic"]["bias"]["high"] < 0
)

# %%
stale = tables["drifting"]["ridge"]
purged_lie, forward_lie = (
    stale[way]["sharpe"]["bias"]
    for way in ("purged k-fold", "walk-forward")
)
print(
    {
        k: [round(d[k], 2) for d in (purged_lie, forward_lie)]
        for k in purged_lie
    }
)

# %%
assert round(purged_lie["value"], 2) == 0.22
assert round(forward_lie["value"], 2) == 0.12
assert forward_lie["low"] > 0
assert purged_lie["low"] < forward_lie["high"]

# %% [markdown]
# So the answer depends on the question. If you ask *how good is it?*, use CPCV, because it errs
# least. If you ask *may I trade it?*, use walk-forward, because it makes the fewest false
# discoveries. It is also the only one that does what you will do: learn from the past alone. Never
# shuffle. These are made markets of one design, with six groups; a study of yours may weigh them
# otherwise, and the file is short enough to change. (Surveys of the matter for forecasts in
# general: {cite:t}`arlot2010`, {cite:t}`bergmeir2012`. For an autoregression whose errors are
# independent even shuffling is right {cite:p}`bergmeir2018`; overlapping labels break that
# assumption.)
#
# We repeat a small part, to see that it is so, with five null markets of the same features:


# %%
def null_market(seed, n=1_200, horizon=10):
    """Return slow features (n, 5) and overlapping labels (n,); nothing
    foretells."""
    rng = np.random.default_rng(seed)
    keep = study["setting"]["memory"]
    drawn = [
        lfilter([np.sqrt(1 - m * m)], [1, -m], rng.normal(size=n))
        for m in keep
    ]
    total = np.r_[0, rng.normal(size=n + horizon).cumsum()]
    return np.stack(drawn, axis=1), total[horizon:-1] - total[
        : -horizon - 1
    ]


# %%
def ic(X, y, splits):
    """Return the correlation of labels with what five neighbours say of
    them."""
    guess = np.zeros(len(y))
    for train, test in splits:
        guess[test] = (
            KNeighborsRegressor(5)
            .fit(X[train], y[train])
            .predict(X[test])
        )
    return np.corrcoef(guess, y)[0, 1]


# %%
by_lot = list(
    KFold(6, shuffle=True, random_state=0).split(np.zeros(1_200))
)
in_order = labels.combinatorial(
    1_210, lookback=1, horizon=9, groups=6, tests=1
)
in_order = [(split.train, split.test) for split in in_order]
markets = [null_market(seed) for seed in range(5)]
shuffled, honest_ic = (
    [ic(*market, splits) for market in markets]
    for splits in (by_lot, in_order)
)
print(
    f"shuffled {np.mean(shuffled):.2f}, purged "
    f"{np.mean(honest_ic):.2f}; truth 0"
)

# %%
assert min(shuffled) > 0.55
assert abs(np.mean(honest_ic)) < 0.12

# %% [markdown]
# ## 5 An interval around every figure
#
# The honest strategy of section 3 was tested on 17 days of bars, and its Sharpe ratio is one draw.
# How far might it have come out elsewhere? The **stationary bootstrap** makes other histories from
# this one: it strings together stretches of random length, so that neighbours stay neighbours
# {cite:p}`politis1994`. Written out, it is short:


# %%
def another_history(n, mean_length, rng):
    """Return n bar numbers: stretches of random length from random
    places."""
    place = np.arange(n)
    # a stretch starts here
    fresh = (rng.random(n) < 1 / mean_length) | (place == 0)
    began = np.maximum.accumulate(np.where(fresh, place, 0))
    # round the end
    return (rng.integers(0, n, n)[began] + place - began) % n


rng = np.random.default_rng(SEED)
print(another_history(10, 4, rng))

# %% [markdown]
# These are ten bars, redrawn in stretches. Apply it 500 times to the honest strategy and look at
# the Sharpe ratios. `evidence.interval` does the same with the `arch` library.

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


theirs = evidence.interval(
    yearly_sharpe, returns, seed=SEED, n_samples=N_SAMPLES
)
assert abs(theirs.low - low) < 0.25 * (high - low)
assert abs(theirs.high - high) < 0.25 * (high - low)
print("evidence.interval:", theirs)

# %% [markdown]
# The interval is wide, because 17 days cannot say more. Two strategies on the same bars are
# compared on the *same* histories, so that what moves both cancels. Here is the mean return of the
# honest strategy less that of holding; it cannot be told from zero:

# %%
held = metrics.returns(honest.buy_and_hold.equity.to_numpy())
paired = evidence.paired_difference(
    np.mean, returns, held, seed=SEED, n_samples=N_SAMPLES
)
print(f"per bar, in basis points: {paired.estimate * 1e4:.2f}", end=" ")
print(f"[{paired.low * 1e4:.2f}, {paired.high * 1e4:.2f}]")

# %% [markdown]
# ## 6 What a search costs
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
print(
    f"one minus its p-value: {evidence.probabilistic_sharpe(best):.3f}"
)

# %% [markdown]
# That number is the **probabilistic Sharpe ratio** of the literature. The name misleads: it is one
# minus the p-value of a test, and says how often a strategy with no skill looks *worse* than this
# one. It is no probability of skill, because how many of those that look so good have skill depends
# on how many of those that were tried have any, and here none has. (The test allows for skewed
# returns and fat tails; it takes the sample's own moments, divided by the number of returns.)
#
# So a coin reaches what one would ask of a strategy, because the test is right for *one* strategy
# chosen beforehand. For the best of $N$ the ratio must be held against what luck alone would show
# {cite:p}`bailey2014`:
#
# $$ \mathrm{SR}_0 = \sqrt{V}\,\Big[(1-\gamma)\,\Phi^{-1}\big(1-\tfrac1N\big)
#    + \gamma\,\Phi^{-1}\big(1-\tfrac1{N e}\big)\Big] $$
#
# <!-- number: 0.577 by definition, Euler's constant -->
# $\mathrm{SR}_0$ is what the best of $N$ tries without skill is expected to show, $V$ the variance
# of the ratios over the tries, $\Phi$ the normal distribution function, $\gamma \approx 0.577$
# Euler's constant, and $e$ the base of the natural logarithm.

# %% mystnb={"figure": {"caption": "Sharpe ratios of 200 coins, and what the best of 200 coins is expected to show.", "name": "fig-coins"}, "image": {"alt": "A histogram of 200 yearly Sharpe ratios, bell-shaped around zero. A dotted line marks what luck gives the best of 200, and the best coin lies close to it."}}
year = np.sqrt(35_040)
luck = evidence.expected_best_sharpe(200, ratios.var(ddof=1))
fig, ax = plt.subplots(figsize=(7.2, 2.8))
ax.hist(ratios * year, bins=30)
ax.axvline(
    luck * year, color="black", ls=":",
    label="expected best of 200 by luck",
)
ax.axvline(ratios.max() * year, color="#D55E00", label="the best coin")
ax.set(xlabel="Sharpe ratio a year", ylabel="coins")
ax.legend()
plt.show()

# %%
deflated = evidence.deflated_sharpe(best, 200, ratios.var(ddof=1))
assert evidence.probabilistic_sharpe(best) > 0.95
assert deflated < 0.9
need = evidence.min_track_record(best, luck)
print(
    f"deflated: {deflated:.2f}; bars it would need against luck: {need}"
)
assert need == np.inf
print(
    f"against zero: {evidence.min_track_record(best):,.0f} of "
    f"{len(best):,}"
)

# %% [markdown]
# It is still one minus a p-value, now of the right question, and coins give about one half. The
# other numbers turn it round: how long a record with the same figures must be to tell the strategy
# from a benchmark at 95 %. Against zero a part of these bars is enough. Against luck no record is,
# since the best of 200 coins is expected to look better still.
#
# ### How many tries were there?
#
# There were two hundred, if each was another bet. But a rule and its sister with one bar more of
# lookback are hardly two. The **effective number of tries** joins those that move together, the
# closest first, as long as the members of two groups correlate by a half or more on average, and
# counts the groups {cite:p}`lopezdeprado2019`. Four tries over sixteen bars, that earn 1 or −1,
# show how:

# %%
A = np.repeat([1, -1], 8)
B, C = A.copy(), np.tile([1, -1], 8)
B[[0, 8]] *= -1  # A with two bars turned round
D = C.copy()
D[[0, 1]] *= -1
four = np.stack([A, B, C, D], axis=1)
alike = four.T @ four / 16  # their means are 0: these are correlations
print(alike)

# %%
assert alike[0, 1] == alike[2, 3] == 0.75
assert alike[1, 3] == 0.25
assert round(alike[:2, 2:].mean(), 2) == 0.06
assert evidence.effective_tries(four) == 2

# %% [markdown]
# Fourteen bars of A and B agree and two do not: $(14 - 2)/16 = 0.75$, so they are joined, and so
# are C and D. Between the two groups stand 0, 0, 0 and 0.25, on average 0.06, and there the joining
# stops. It leaves two different bets. Now we count the coins, and then twenty coins that bring two
# sisters each:

# %%
mixed = np.random.default_rng(2).normal(
    0, 1e-3, (*tried[:, :20].shape, 1)
)
signs = mixed[..., 0, None] * [0, 1, -1]
sisters = (tried[:, :20, None] + signs).reshape(len(tried), -1)
print(
    "coins:", evidence.effective_tries(tried), "different bets of 200"
)
print(
    "twenty coins with two sisters each:",
    evidence.effective_tries(sisters),
)

# %%
assert evidence.effective_tries(tried) == 200
assert evidence.effective_tries(sisters) == 20

# %% [markdown]
# ### Many tests at once
#
# Not every search is for one best. Ask twenty questions at 5 % where nothing is to be found, and on
# average one is answered «yes» by chance. **Bonferroni** multiplies every p-value by the number of
# questions. **{term}`Holm <Holm correction>`** does it step by step {cite:p}`holm1979`: the
# smallest of $m$ is multiplied by $m$, the next by $m - 1$, and so on, and none may come out
# smaller than the one before. Here are five p-values, in the order of their size:
#
# | p | times | gives | Holm |
# |---|---|---|---|
# | 0.004 | 5 | 0.020 | 0.020 |
# | 0.012 | 4 | 0.048 | 0.048 |
# | 0.020 | 3 | 0.060 | 0.060 |
# | 0.030 | 2 | 0.060 | 0.060 |
# | 0.400 | 1 | 0.400 | 0.400 |

# %%
p_values = np.array([0.004, 0.012, 0.020, 0.030, 0.400])
steps = p_values * [5, 4, 3, 2, 1]
by_hand = np.maximum.accumulate(steps).clip(max=1)
print("Bonferroni", (5 * p_values).clip(max=1), "| Holm", by_hand)

# %%
assert np.allclose(by_hand, evidence.holm(p_values))
assert np.allclose(by_hand, [0.020, 0.048, 0.060, 0.060, 0.400])
assert (p_values < 0.05).sum() == 4
assert (by_hand < 0.05).sum() == 2
assert (5 * p_values < 0.05).sum() == 1

# %% [markdown]
# Four of five looked significant alone, of which Holm leaves two and Bonferroni one. That Holm is
# never the stricter of the two, and promises as much, takes a few lines.
#
# ```{prf:theorem} Holm's correction
# :label: thm-holm
#
# Let each p-value that belongs to a true null hypothesis be at most $u$ with a chance of at most
# $u$, for every $u$ between 0 and 1. Reject where Holm's value is at most $\alpha < 1$. Then the
# chance of even one false rejection is at most $\alpha$, however the tests depend on each other,
# and whatever Bonferroni rejects at $\alpha$ is rejected.
# ```
#
# ```{prf:proof}
# Let $m_0$ of the $m$ hypotheses be true; with none there is nothing to reject falsely. Take the
# true one with the smallest p-value, and let it be number $i$ in order of size. Only false ones
# stand before it, so that $i - 1 \le m - m_0$, and its factor $m - i + 1$ is at least $m_0$. Holm's
# values never fall along the order. So if any true hypothesis is rejected, this one is, and its
# p-value is at most $\alpha / m_0$. The chance that one of $m_0$ such p-values is so small is at
# most $m_0 \cdot \alpha / m_0 = \alpha$. And no factor exceeds $m$, so that no Holm value exceeds
# Bonferroni's.
# ```
#
# ### Does the best of the past stay the best?
#
# The **{term}`probability of overfitting <probability of backtest overfitting>`** cuts time into blocks, chooses the best strategy on half of
# them, and sees how it ranks on the other half {cite:p}`bailey2017`. If the choice is worth
# nothing, the chosen one is below the median half of the time. By hand: four strategies, four
# blocks, and what each earned in each block.

# %%
earned = pd.DataFrame(
    [[-1, 1, 3, 4], [3, -1, 3, 1], [-2, -2, -3, -3], [4, -3, -3, 4]],
    index=list("ABCD"), columns=[1, 2, 3, 4],
)
bad = []
for past in combinations(earned, 2):
    future = [block for block in earned if block not in past]
    best_then = earned[list(past)].sum(axis=1).idxmax()
    rank = earned[future].sum(axis=1).rank()[best_then]
    bad.append(rank <= 2)
    print(
        f"blocks {past}: {best_then} is best; later its rank is "
        f"{rank:.0f} of 4"
    )
print(
    f"{sum(bad)} of {len(bad)} choices are in the worse half: "
    f"{np.mean(bad):.2f}"
)

# %% [markdown]
# Check the first line: over blocks 1 and 2 the four earned 0, 2, −4 and 1, so B is chosen. Over
# blocks 3 and 4 they earned 7, 4, −6 and 1: B has rank 3, counted from the worst. `evidence` ranks
# by Sharpe ratio instead of sums. With two returns a block, each twenty up and twenty down from
# these values, all have nearly one risk, and it gives the same.

# %%
noisy = np.repeat(earned.T.to_numpy(), 2, axis=0) + np.tile(
    [[20], [-20]], (4, 1)
)

# %%
assert sum(bad) == 4
assert np.isclose(
    np.mean(bad), evidence.overfitting_probability(noisy / 1000, 4)
)

# %% [markdown]
# Six choices are few, so the share could have come out almost anywhere. Ranks are shared where
# strategies tie, and a tie for the best is chosen in equal parts. Otherwise a strategy that never
# trades, tied with others like it, would count as a winner.
#
# Now we take all two hundred. One sample of coins does not give one half; it scatters around it,
# since the halves overlap. `evidence.overfitting` shows by how much: it takes each strategy's mean
# away, so that none has skill, and redraws the history in stretches.

# %%
overfit = evidence.overfitting(tried, 10, seed=SEED, n_samples=30)
print(f"probability of overfitting {overfit.probability:.2f}")
print(
    f"without any skill {overfit.luck:.2f} ± {overfit.scatter:.2f},",
    end=" ",
)
print(f"95 % within [{overfit.low:.2f}, {overfit.high:.2f}]")

# %%
assert overfit.low < overfit.probability < overfit.high
assert abs(overfit.luck - 0.5) < 0.15
assert 0.08 < overfit.scatter < 0.3

# %% [markdown]
# Alone the first number looks like a finding, but beside the scatter it is no more than what coins
# do.
#
# ### Does the best beat a benchmark?
#
# Hansen's **{term}`SPA <superior predictive ability>`** test asks whether the best of many models
# beats a benchmark once all are counted {cite:p}`hansen2005`. It has three steps. *Studentise*:
# divide each model's mean advantage by its own standard error, because the largest mean tends to
# belong to the most volatile model. *Take the largest*, and zero if all are worse. *Compare* it
# with the same on histories in which no model is better: redraw, and take away the mean that was
# found. On paper, with three models over 1,000 days:
#
# | model | mean advantage | standard error | studentised |
# |---|---|---|---|
# | quiet | 0.4 | 0.1 | 4 |
# | volatile | 0.5 | 0.5 | 1 |
# | bad | −0.2 | 0.1 | −2 |
#
# By the mean the volatile model is best, but its advantage is one standard error, which is nothing.
# Divided, the quiet one is best with 4, and 4 is what has to be explained by luck. The bad model
# stays where it is, since it is worse by more than $\sqrt{2 \log\log 1000} = 1.97$ standard errors;
# the reason follows below.

# %%
advantage, error = np.array([0.4, 0.5, -0.2]), np.array([0.1, 0.5, 0.1])
studentised = advantage / error
print(
    "largest mean: model", advantage.argmax(), "| studentised:",
    studentised.argmax(),
)

# %%
assert studentised.max() == 4
assert round(np.sqrt(2 * np.log(np.log(1_000))), 2) == 1.97
assert studentised[2] < -1.97

# %% [markdown]
# Now with drawn returns: a quiet series with skill, and two volatile ones without.

# %%
rng = np.random.default_rng(8)
three = rng.normal([0.0004, 0, 0], [0.003, 0.03, 0.03], (1_000, 3))
redrawn = np.array(
    [
        three[another_history(1_000, 5, rng)].mean(axis=0)
        for _ in range(N_SAMPLES)
    ]
)
centred = redrawn - three.mean(axis=0)
for name, unit in (("plain", 1), ("studentised", redrawn.std(axis=0))):
    found = max((three.mean(axis=0) / unit).max(), 0)
    by_luck = (centred / unit).max(axis=1).clip(min=0)
    print(f"{name:12} p = {(by_luck >= found).mean():.3f}")

# %%
spa = evidence.superior_ability(
    np.zeros(1_000), three, seed=0, block=5.0
)
print(
    f"evidence.superior_ability: p = {spa.consistent:.3f}, best is "
    f"series {spa.best}"
)

# %%
assert spa.best == 0
assert spa.consistent < 0.01
assert abs((by_luck >= found).mean() - spa.consistent) < 0.01

# %% [markdown]
# Without the division the noise of the volatile series hides the skilled one. (Where 0.000 is
# printed, none of the redrawn histories reached what was found.) Hansen's test has one step more: a
# model that is clearly worse than the benchmark, by more than $\sqrt{2 \log\log T}$ standard errors
# over $T$ returns, is left where it is in the redrawn histories, since it stands no chance to be
# the best there. If it were lifted to the benchmark like the others, its noise would count as luck,
# and anyone could hide a good model among many bad ones. How often the test errs and how often it
# finds skill was counted on 600 markets of each kind (`spa_size_power.json`); `arch` is the test of
# that library, which does not divide by the standard error:

# %%
counted = results.load("spa_size_power")["results"]
for kind, row in counted["size"].items():
    print(
        f"no skill, {kind:10} rejected "
        f"{row['studentised']['measured']:.1%}"
    )
for name, row in counted["power"].items():
    print(
        f"a quiet skilled model, {name:12} found {row['measured']:.0%}"
    )

# %%
sizes = {
    kind: row["studentised"] for kind, row in counted["size"].items()
}
after = sizes.pop("dependent")

# %%
assert counted["draws"] == 600
assert all(0.025 <= row["measured"] <= 0.08 for row in sizes.values())
assert after["low"] < 0.08 < after["measured"] < 0.09
assert counted["power"]["studentised"]["low"] > 0.5
assert counted["power"]["arch"]["high"] < 0.15

# %% [markdown]
# It errs about as often as it says, and a little more often where returns depend on those before,
# probably because the standard error is then an estimate from few stretches. The same test can now
# judge the coins. A copy of the benchmark among them would be refused by name, because it has no
# standard error.

# %%
on_coins = evidence.superior_ability(
    np.zeros(len(tried)), tried, seed=0, reps=300
)
print(f"SPA p-value of 200 coins: {on_coins.consistent:.2f}")

# %%
assert on_coins.consistent > 0.05

# %% [markdown]
# ## 7 What could the test have seen?
#
# A test that finds nothing has said something only if it would have found something. The **power**
# of a test is the chance that it finds an effect of a stated size. For a Sharpe ratio it can be
# worked out on paper. Over $Y$ years, the estimate of a yearly ratio $S$ has a standard error of
# about $1/\sqrt{Y}$ {cite:p}`lo2002`. So its t-value is near $S\sqrt{Y}$, give or take one, and it
# exceeds 1.645, the limit of a one-sided test at 5 %, with a chance of
#
# $$ \text{power} = \Phi\big(S\sqrt{Y} - 1.645\big) $$
#
# For a ratio of 1 and three years, $\sqrt3 - 1.645 = 0.087$, and $\Phi(0.087) = 0.53$. A good
# strategy is therefore missed every other time. Turned round, 80 % power needs
# $Y = \big((1.645 + 0.842)/S\big)^2$ years, where $0.842$ is the point below which the normal
# distribution has 80 %.

# %%
need_of = {
    s: ((norm.ppf(0.95) + norm.ppf(0.8)) / s) ** 2 for s in (0.5, 1, 2)
}
print({s: f"{years:.1f} years" for s, years in need_of.items()})

# %%
rng = np.random.default_rng(5)
# a yearly ratio of 1
days = rng.normal(1 / np.sqrt(365), 1, (2_000, 3 * 365))
t_values = days.mean(1) / days.std(1) * np.sqrt(days.shape[1])
print(
    f"found in {(t_values > 1.645).mean():.0%} of 2,000 histories of "
    "three years"
)

# %%
assert round(np.sqrt(3) - 1.645, 3) == 0.087
assert round(norm.cdf(0.087), 2) == 0.53
assert abs((t_values > 1.645).mean() - 0.53) < 0.04
assert [round(years, 1) for years in need_of.values()] == [
    24.7, 6.2, 1.5,
]
assert [round(norm.ppf(x), 3) for x in (0.95, 0.8)] == [1.645, 0.842]

# %% [markdown]
# It takes six years for a ratio of 1, and twenty-five for 0.5. With that power the eight weeks of
# our sample are fairly sure to show a yearly ratio of about 6 or more; a smaller one they miss more
# often than one would like. That is why the ledger of {ref}`ch-verdict` names, beside a verdict and
# where it was measured, the smallest effect that the study would have found, and says «undecided»
# where the claim is smaller. Later studies plant effects of growing size and try each several
# times, with other draws: a size counts as **seen** if it is found in four of five of the tries,
# which are twenty, ten or five; where one try takes long there are only two, and both must find it.
# The tries end as soon as that is decided (of ten after eight hits or three misses), which is why
# their numbers differ from row to row.

# %%
weeks = len(bars) / 96 / 7
visible = (norm.ppf(0.95) + norm.ppf(0.8)) / np.sqrt(weeks / 52)
print(
    f"{weeks:.0f} weeks: a ratio of {visible:.1f} is found four times "
    "in five"
)

# %%
assert round(weeks) == 8
assert 6 < visible < 6.6

# %% [markdown]
# ## 8 The fee that uses up an edge
#
# The last thing to measure is costs. Take momentum over a day again, but let it act only on a move
# of more than one standard deviation, so that it trades half as often as the rule of
# {ref}`ch-backtesting`. What fee could it bear?

# %%
rule = signals.momentum(bars, lookback=96, threshold=1.0)
by_fee = evidence.cost_sensitivity(bars, rule, [0, 1, 2, 4, 5.5, 8, 12])
dies = evidence.break_even_fee(bars, rule)
print(by_fee[["sharpe", "turnover", "fees"]].round(2).to_string())
print(
    f"earns nothing at {dies:.1f} basis points per side, slippage "
    "included"
)

# %% mystnb={"figure": {"caption": "Sharpe ratio of the momentum rule by taker fee.", "name": "fig-fees"}, "image": {"alt": "A line of Sharpe ratio against fee that falls from left to right; a dotted line marks the taker fee of five and a half basis points."}}
fig, ax = plt.subplots(figsize=(7.2, 2.6))
ax.plot(by_fee["sharpe"], marker="o")
ax.axhline(0, color="black", lw=0.8)
ax.axvline(5.5, color="grey", ls=":", label="taker fee")
ax.set(
    xlabel="fee (basis points per side)", ylabel="Sharpe ratio a year"
)
ax.legend()
plt.show()

# %%
assert by_fee["sharpe"].is_monotonic_decreasing
assert by_fee.loc[0.0, "sharpe"] < 0
assert dies == 0

# %% [markdown]
# It loses even where trading is free of fees and only slippage is paid, so nothing that is done
# about fees can save it: unlike the rule of {ref}`ch-backtesting`, which gained a little before
# costs, this one has no edge that a fee could use up.
#
# Here is the rule at the usual costs, with an interval on every figure:

# %%
at_cost = backtest.run(bars, rule)
table = evidence.metric_intervals(
    at_cost, seed=SEED, n_samples=N_SAMPLES
)
print(table.loc[["sharpe", *figures[1:]]].round(1).to_string())

# %%
assert table.loc["sharpe", "low"] < 0 < table.loc["sharpe", "high"]

# %% [markdown]
# Zero lies inside the interval, so eight weeks cannot tell this rule from chance, in either
# direction.
#
# ## What goes wrong
#
# The bootstrap itself has a trap. If bars are drawn one by one, dependence is destroyed, and where
# profits come in runs the interval comes out too narrow (where they alternate, too wide). Here is a
# strategy with such runs: each return keeps eight tenths of the one before.

# %%
runs = lfilter(
    [1], [1, -0.8], np.random.default_rng(3).normal(0, 1e-3, 4000)
)
single = evidence.interval(
    np.mean, runs, seed=0, block=1.0, n_samples=N_SAMPLES
)
blocks = evidence.interval(np.mean, runs, seed=0, n_samples=N_SAMPLES)
ratio = (blocks.high - blocks.low) / (single.high - single.low)
print(f"blocks give an interval {ratio:.1f} times as wide")

# %% [markdown]
# Theory says how wide it should be: with $\phi = 0.8$ the standard deviation of the mean is
# $\sqrt{(1+\phi)/(1-\phi)} = 3$ times what independent bars would give. The blocks come close,
# whereas drawing bars one by one would declare a mean of zero significant far too often.

# %%
assert np.isclose(np.sqrt((1 + 0.8) / (1 - 0.8)), 3)
assert 2.2 < ratio < 3.8

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A random split is an examination in which the pupil has seen the neighbour's answers,
# and a search over many rules is a lottery with many tickets. The pictures say why a high score may
# mean little, but not how much of it is luck.
#
# *Proved.* How many examples a purge takes is {prf:ref}`prop-purge`, how many paths there are
# {prf:ref}`prop-paths`, and {prf:ref}`thm-holm` holds for any dependence. The formulas for power
# and for the best of many tries are approximations, for large samples and independent tries.
#
# *Measured here.* On synthetic markets whose truth is known, shuffling was far off, combinatorial
# validation erred least about the Sharpe ratio, and walk-forward made the fewest false discoveries.
# A random walk seemed predictable under a random split. On one short real sample momentum could not
# be told from chance.
#
# *Open.* Why combinatorial validation errs least was not tested by itself. Other designs of markets
# may rank the ways otherwise, and nobody has a real market whose true skill is known.
# ```
#
# ## Summary
#
# - A random split of overlapping windows lets the model look labels up, so that it finds skill in a
#   random walk.
# - Split in time, purge, and leave an embargo. Then prove that no bar is on both sides.
# - Of six ways to validate only shuffling is far off. CPCV errs least about how good a strategy is;
#   walk-forward gives the fewest false discoveries, and the fewest true ones.
# - A figure needs an interval, from a bootstrap that keeps neighbours together.
# - The best of many tries must be measured against the best of many coins, because luck had as many
#   tries.
# - One minus a p-value is no probability of skill, whatever it is called.
# - A test that found nothing means something only if it says how much it could have seen.
# - For many questions at once, Holm's correction keeps the chance of even one false «yes» small.
#   Tied strategies share one rank. Noise is divided out before models are compared.
# - An edge is worth what is left of it after costs, and often that is nothing.
#
# ## Exercises
#
# ```{exercise} How much is shared ★
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
# ```{exercise} The price of trying ★
# :label: ex-honest-2
# By what factor does the expected best Sharpe ratio of luck grow when you try 1,000 strategies
# instead of 10?
# ```
#
# ```{solution-start} ex-honest-2
# :class: dropdown
# ```

# %%
ten, thousand = (
    evidence.expected_best_sharpe(n, 1.0) for n in (10, 1000)
)
print(round(ten, 2), round(thousand, 2), round(thousand / ten, 1))

# %%
assert 2 < thousand / ten < 2.2

# %% [markdown]
# A hundred times as many tries give luck twice the ratio, so that a search has to be counted, but a
# large one costs little more than a small one.
#
# ```{solution-end}
# ```
#
# ```{exercise} Six names for one strategy ★★
# :label: ex-honest-3
# One coin is entered six times as if it were six strategies. Take its rank among the six, counted
# as the number of strategies that it is *not worse than*, and then as a shared rank: what is the
# probability of overfitting either way?
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
# The first count puts every copy at the top, always, and answers 0, as if choosing among copies
# were skill. With shared ranks each is the median, no choice is better than it, and the answer
# is 1.
#
# ```{solution-end}
# ```
#
# ```{exercise} What a split costs ★★
# :label: ex-honest-4
# With windows of $L$ bars, labels that read up to bar $t+1+h$, and an embargo of $e$ bars: how many
# training examples does a tested stretch in the middle of a history cost, beside its own? Derive a
# formula, and check it with `labels.combinatorial`.
# ```
#
# ```{solution-start} ex-honest-4
# :class: dropdown
# ```

# %%
for L, h, e in ((2, 1, 2), (48, 16, 0), (24, 8, 30)):
    cut = labels.combinatorial(
        2_000, lookback=L, horizon=h, groups=5, tests=1, embargo=e
    )[2]
    examples = 2_000 - (L - 1) - (1 + h)
    lost = examples - len(cut.test) - len(cut.train)
    print(L, h, e, "->", lost)
    assert lost == 2 * (L + h) + e

# %%
assert 2 * (48 + 16) == 128

# %% [markdown]
# The test of examples $a$ to $b$ reads bars $a-L+1$ to $b+1+h$. Before it, an example $t$ is lost
# when its label reaches bar $a-L+1$, which holds for the last $L+h$ of them. After it, an example
# is lost when its window begins at $b+1+h+e$ or before, which holds for $L+h+e$. Together that
# makes $2(L+h)+e$ lost examples. With windows of 48 and labels of 16 bars that is 128 examples a
# tested stretch, so many short groups cost more than a few long ones.
#
# ```{solution-end}
# ```
#
# ```{exercise} A leak detector ★★★
# :label: ex-honest-5
# Write a function that takes *any* way to split and says whether it leaks, without knowing how it
# works. Try it on shuffled k-fold, on blocks without a purge, and on purged blocks.
# ```
#
# ```{solution-start} ex-honest-5
# :class: dropdown
# ```


# %%
def leak(splits, n_markets=12):
    """Return the mean IC on markets without skill, and its standard
    error."""
    found = [
        ic(*null_market(100 + seed), splits)
        for seed in range(n_markets)
    ]
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(n_markets)


in_blocks = list(KFold(6).split(np.zeros(1_200)))
verdicts = {}
ways_to_split = {
    "shuffled": by_lot, "blocks": in_blocks, "purged": in_order,
}
for name, splits in ways_to_split.items():
    mean, error = leak(splits)
    verdicts[name] = mean / error
    print(f"{name:9} {mean:+.3f} ± {error:.3f}")

# %%
assert verdicts["shuffled"] > 10
assert verdicts["purged"] < 3

# %% [markdown]
# Where nothing can be foretold, a right validation gives zero on average, or a little less. More
# than three standard errors above it is a leak, in the split or in a feature that sees the future;
# the detector does not have to know which. It needs markets like yours: with the labels' overlap,
# and features as slow. Twelve markets find the shuffling and miss the small leak of blocks without
# a purge; the study's 400 find that too. The power of a leak detector counts like that of any test.
#
# ```{solution-end}
# ```
#
# ```{exercise} Your own claim, judged ★★★
# :label: ex-evaluation-own
# Write down one claim about your own market that you believe, with the bars, the statistic, the
# number of settings you have already tried, and the result that would change your mind. Only then
# compute it: the interval, the smallest effect that this many bars could have shown, and the verdict.
# ```
#
# ```{solution} ex-evaluation-own
# :class: dropdown
# The order is the exercise: what is written before the number is known cannot be fitted to it. Count
# every setting that you ever looked at, also those of last month, for the search in your head is a
# search. If the smallest effect that could have been seen is larger than what you claim, the honest
# verdict is «undecided», and the useful result is how many more bars you would need.
# ```
#
# ## Further reading
#
# Purging, embargo and CPCV are from {cite:p}`lopezdeprado2018`. The deflated ratio is
# {cite:p}`bailey2014`, the probability of overfitting {cite:p}`bailey2017`, the test for superior
# ability {cite:p}`hansen2005`, and the bootstrap {cite:p}`politis1994`.
