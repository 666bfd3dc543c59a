# %% [markdown]
# (ch-chart-patterns)=
# # Chart patterns
#
# **Does a net that knows every chart pattern know anything about the next bar?**
#
# ```{admonition} What you will do
# :class: tip
# - draw eleven chart patterns, and a «nothing» that no cheap cue gives away
# - find patterns by rules and by a net, and check whether its 80 % means 80 %
# - count how often both see patterns in bars that are pure chance
# - label {term}`candlestick patterns <candlestick pattern>` with TA-Lib as teacher, and say how good each one is
# - ask one net for a rule and for the future, on the same pictures
# ```
#
# *You need* {ref}`ch-candlestick-images`, {ref}`ch-mbconv`, {ref}`ch-transfer-learning` and
# {ref}`ch-honest-evaluation`. *Runs* in under 60 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from sklearn.tree import DecisionTreeClassifier

from setrade import candles, patterns, plots, results, training
from setrade.efficientnet import EfficientNet
from setrade.patterns.detect import extrema, smooth
from setrade.pictures import PictureSet, encoder
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()
torch.set_num_threads(1)
# chart_patterns.json
stored = results.load("chart_patterns")["results"]

# %% tags=["parameters"]
N_WINDOWS = 3_000  # drawn windows for the rules and the cheap cues
# drawn windows for the small net, two thirds of them to train on
N_SMALL = 1_800

# %% [markdown]
# ## 1 A pattern is a zigzag
#
# Chart readers have names for shapes. A **head and shoulders** is three tops, the middle one the
# highest. A **double top** is two equal tops. A **triangle** is a zigzag between two lines that
# meet, a **flag** a short counter-move after a steep one. The EfficientNet chapter lists them
# and says that a net detects them. To test that we need charts whose truth is known, and because
# nobody knows it for real charts, we draw them.
#
# Lo, Mamaysky and Wang {cite:p}`lo2000` wrote the names down as sequences of extrema. Each
# shape is a row of knots: a time between 0 and 1, and a level in units of the pattern's
# height. The head and shoulders has seven.

# %%
knots = np.array(patterns.SHAPES["head_and_shoulders"].knots)
pd.DataFrame(knots.T.round(2), ["time", "level"])

# %% [markdown]
# A straight line from knot to knot is the ideal. A real pattern is never ideal, so four
# things happen to it: each leg gets a random length (the **warp**), the levels move a little,
# the whole is tilted (the **trend**), and the price wanders around the line (the **noise**,
# in units of the pattern's height). By hand:


# %%
def by_hand(knots, span, noise, rng):
    legs = np.diff(knots[:, 0]) * np.exp(
        0.25 * rng.standard_normal(len(knots) - 1)
    )
    at = np.r_[0, legs.cumsum() / legs.sum()]
    line = np.interp(np.linspace(0, 1, span), at, knots[:, 1])
    return line + noise * rng.standard_normal(span)


drawn_by_hand = by_hand(knots, 40, 0.03, np.random.default_rng(0))

# %%
assert 12 < drawn_by_hand.argmax() < 28  # the head is in the middle

# %% [markdown]
# `patterns.synthetic` does the same with noise that lasts a few bars, wraps the path in
# candles, and puts a random lead-in before it. It says where the pattern is: first bar, last
# bar, lowest and highest price. Patterns may be cut short (`completeness`), as every pattern
# is while it forms.

# %%
drawn = patterns.synthetic(N_WINDOWS, seed=1, noise=(0.02, 0.25))
clear = patterns.synthetic(300, seed=14, noise=0.04)

# %% mystnb={"figure": {"caption": "One drawn window of each class. The grey box is the known place of the pattern; the last panel is «none».", "name": "fig-patterns-shapes"}, "image": {"alt": "Twelve small candlestick charts. Eleven hold a named chart pattern inside a grey box that ends near the right edge, such as three tops with the middle one highest, or two equal tops; the twelfth, named none, has no box."}}
fig, axes = plt.subplots(4, 3, figsize=(7.4, 7.4))
order = [*range(1, len(patterns.NAMES)), 0]
for ax, k in zip(axes.flat, order, strict=True):
    i = int(np.flatnonzero(clear.kind == k)[0])
    plots.window(ax, clear.windows[i])
    if k:
        place = (
            clear.start[i], clear.end[i], clear.low[i], clear.high[i],
        )
        plots.box(ax, *place)
    ax.set_title(patterns.NAMES[k].replace("_", " "), fontsize=8)
    ax.set(xticks=[], yticks=[])
fig.supxlabel("bar (64 in each window)", fontsize=9)
fig.supylabel("price, each panel its own scale", fontsize=9)
plt.show()

# %%
held = clear.kind > 0
assert (clear.end[held] >= 59).all()  # complete, up to four bars ago
assert (clear.start[~held] == -1).all()

# %% [markdown]
# ## 2 A fair «nothing»
#
# The twelfth class is the hard one, because it must be decided what «no pattern» is. If we drew it
# by another recipe, a net could tell the recipes apart and never look at a shape. So we take a
# window **with** a pattern and shuffle its returns, in blocks of 1, 4, 8 or 12 bars. It then has
# the same bars, the same volatility and the same return from end to end, in another order.

# %%
rng = np.random.default_rng(4)
close = np.log(clear.windows[clear.kind == 1][0, 3])
returns = np.diff(close)
# here blocks of nine
blocks = rng.permutation(np.arange(63).reshape(-1, 9))
shuffled = returns[blocks.ravel()]

# %%
assert np.isclose(shuffled.sum(), returns.sum())
assert np.isclose(shuffled.std(), returns.std())

# %% [markdown]
# Two more cues are taken away, since a net might use them instead of the shape. The volatility of
# a window is drawn without regard to its class, and so is its return: the lead-in drifts just
# enough to make up for the pattern's own rise or fall. To see what is left for a lazy reader, we
# let a decision tree look at four numbers: the last return, the window's return, its volatility,
# its range.


# %%
def cues(windows):
    x = np.log(windows[:, 3])
    r = np.diff(x, axis=1)
    vol = np.sqrt((r**2).mean(1))
    net = x[:, -1] - x[:, 0]
    return np.c_[r[:, -1] / vol, net / vol, vol, np.ptp(x, 1) / vol]


# %%
def lazy(windows, kind, half=N_WINDOWS // 2):
    tree = DecisionTreeClassifier(
        max_depth=6, min_samples_leaf=20, random_state=0
    )
    tree.fit(cues(windows)[:half], kind[:half])
    p = tree.predict_proba(cues(windows)[half:])
    none = roc_auc_score(kind[half:] == 0, p[:, 0])
    return (p.argmax(1) == kind[half:]).mean(), none


right, none = lazy(drawn.windows, drawn.kind)
chance = 1 / len(patterns.NAMES)
print(
    f"right {right:.2f}, chance {chance:.2f}; area for «none» "
    f"{none:.2f}"
)

# %%
assert right < 0.25
assert none < 0.68  # 0.5 is a coin, 1 is certain

# %% [markdown]
# The area is the {term}`AUC` of telling «none» from the rest, and here the tree does no better than a
# coin. In naming the patterns it is better than chance, as a shape that ends in a fall does end in a
# fall. But it is far from good enough, so what a reader gets right beyond that has to come from the
# shape.
#
# ## 3 Rules
#
# Before any net, we build a reader made of rules {cite:p}`lo2000`: smooth the log closes with a
# kernel, take the alternating extrema, compare their levels. Smoothing is a weighted mean over
# neighbours. An extremum counts if the path turns back by 6 % of the window's range, so that small
# wiggles do not count as turns.


# %%
def smooth_by_hand(x, bandwidth):
    bar = np.arange(len(x))
    w = np.exp(-0.5 * ((bar[:, None] - bar) / bandwidth) ** 2)
    return (w * x).sum(1) / w.sum(1)


def extrema_by_hand(path, threshold):
    found, top, bottom, way = [], 0, 0, 0
    for t in range(1, len(path)):
        top = t if path[t] > path[top] else top
        bottom = t if path[t] < path[bottom] else bottom
        if way >= 0 and path[top] - path[t] > threshold:
            found, way, bottom = [*found, top], -1, t
        elif way <= 0 and path[t] - path[bottom] > threshold:
            found, way, top = [*found, bottom], 1, t
    return [*found, top if way > 0 else bottom]


# %%
path = smooth_by_hand(close, 0.7)
turns = extrema_by_hand(path, 0.06 * np.ptp(path))
np.testing.assert_allclose(path, smooth(close, 0.7), atol=1e-4)
assert extrema(path, 0.06 * np.ptp(path)).tolist() == turns

# %% [markdown]
# For a head and shoulders the last six extrema must be shoulder, neck, head, neck, shoulder,
# and a fall. The shoulders must be level to within a tolerance, and so must the necks; the
# head must stand out; the fall must come near the neck. `patterns.find` asks all eleven
# questions of many windows at once.

# %%
one = clear.windows[clear.kind == 1][:1]
found = patterns.find(one)
assert patterns.NAMES[found.kind[0]] == "head_and_shoulders"

# %% mystnb={"figure": {"caption": "What the rules see: the smoothed path and its extrema. The box is where the rules place the pattern.", "name": "fig-patterns-rules"}, "image": {"alt": "A candlestick chart of 64 bars with a smooth line and diamonds at its turning points. The last six diamonds are a left shoulder, a neck, a higher head, a neck, a right shoulder and a fall; a grey box encloses them."}}
fig, ax = plt.subplots(figsize=(7.2, 3.4))
plots.window(ax, one[0])
ax.plot(np.exp(path), color="black", lw=1, label="smoothed close")
ax.plot(
    turns, np.exp(path)[turns], "D", ms=5, color="black",
    label="extrema",
)
first, last = int(found.start[0, 0]), int(found.end[0, 0])
part = one[0][:, first : last + 1]
plots.box(ax, first, last, part[2].min(), part[1].max())
ax.set(xlabel="bar", ylabel="price, no unit")
ax.legend()
plt.show()

# %%
truth = int(clear.start[clear.kind == 1][0])
assert abs(first - truth) < 16  # the rules begin at the left shoulder
assert last >= 54

# %% [markdown]
# To see how often the rules are right, the cell asks them on freshly drawn windows, and compares
# with the stored study (`chart_patterns.json`, made by `make study STUDY=chart_patterns`).

# %%
fresh = patterns.synthetic(N_WINDOWS, seed=99, noise=(0.02, 0.25))
rules_right = float(
    (patterns.find(fresh.windows).kind == fresh.kind).mean()
)
band = stored["drawn"]["rules"]["accuracy"]
assert band["low"] - 0.03 < rules_right < band["high"] + 0.03
print(f"rules right on {rules_right:.2f} of fresh windows")

# %% [markdown]
# ## 4 A net that looks
#
# <!-- number: 64 from setrade/efficientnet/net.py -->
# The net is an EfficientNet shrunk for 64-pixel pictures (`"micro"`, {ref}`ch-mbconv`). It sees
# candlestick pictures without volume, from {ref}`ch-candlestick-images`. A window that was drawn
# once is enough: training windows, validation windows and test windows come from different seeds,
# so no bar is shared.
#
# Training takes minutes, so the study did it and stored the result. It is one net from one seed,
# and the intervals are those of the test windows, so they do not say how much another seed would
# change.

# %%
rows = {}
for who in ("net", "rules"):
    got = stored["drawn"][who]["accuracy"]
    rows[who] = [got["share"], got["low"], got["high"]]
pd.DataFrame(rows, ["right", "low", "high"]).T.round(2)

# %% mystnb={"figure": {"caption": "What the net answers, in percent of each true class, on drawn test windows with noise from 0.02 to 0.25.", "name": "fig-patterns-confusion"}, "image": {"alt": "A twelve by twelve matrix of percentages. Large numbers stand on the diagonal; answers off the diagonal are mistakes."}}
fig, ax = plt.subplots(figsize=(6.4, 5.6))
counts = np.array(stored["drawn"]["net"]["counts"])
plots.confusion(ax, counts, patterns.NAMES)
plt.show()

# %%
net_right, rules_stored = (
    stored["drawn"][w]["accuracy"] for w in ("net", "rules")
)

# %%
assert net_right["low"] > 3 * chance
assert rules_stored["low"] > 3 * chance

# %% [markdown]
# Recall is the share of a class that is found, precision the share of an answer that is
# right. With their 95 % intervals (Wilson's), in percent:

# %%
net_stored = stored["drawn"]["net"]
table = pd.DataFrame(
    index=[name.replace("_", " ") for name in patterns.NAMES]
)
for what in ("recall", "precision"):
    low, high = 100 * np.array(net_stored[f"{what}_interval"]).T
    table[what] = (100 * np.array(net_stored[what])).round().astype(int)
    spans = zip(low, high, strict=True)
    table[f"{what}, interval"] = [
        f"{a:.0f} to {b:.0f}" for a, b in spans
    ]
table

# %% [markdown]
# Now we train a small part of it here, on five classes, windows of 32 bars and pictures of 32
# pixels, in four passes. The study trained the same small net from two seeds, with which we
# compare.

# %%
SMALL = (
    "none", "head_and_shoulders", "double_top", "double_bottom",
    "bull_flag",
)
seen = patterns.synthetic(
    N_SMALL, seed=0, kinds=SMALL, length=32, span=(16, 26),
    noise=(0.02, 0.15),
)
kind = np.searchsorted(
    [patterns.NAMES.index(name) for name in SMALL], seen.kind
)
cut = 2 * N_SMALL // 3
parts = (slice(None, cut), slice(cut, None))
draw = encoder("candles", 32, volume=False)
sets = [PictureSet(seen.windows[s], kind[s], draw) for s in parts]

# %%
training.seed_everything(0)
net = EfficientNet("micro", len(SMALL), drop_connect=0.0)
plan = training.Plan(num_epochs=4, lr=3e-3, batch_size=64, seed=0)
training.fit(net, sets[0], plan=plan, progress=False)
answers = (
    training.predict(net, sets[1], batch_size=256).argmax(1).numpy()
)
small_right = float((answers == kind[cut:]).mean())
known = stored["small"]["accuracy"]

# %%
assert min(known) - 0.08 < small_right < max(known) + 0.08

# %% [markdown]
# ## 5 How much noise, how much pattern?
#
# An accuracy belongs to a noise level, which the left panel changes. The right panel asks for
# patterns of which only a part has happened, which is the case that would matter, because by the
# time a pattern is complete the move that it announces may have begun without us.

# %%
by_noise = pd.DataFrame(stored["drawn"]["by_noise"])
by_share = pd.DataFrame(stored["drawn"]["by_share"])
by_noise["accuracy"] = by_noise["net"].map(lambda v: v["share"])
by_share["accuracy"] = by_share["net"].map(lambda v: v["share"])

# %% mystnb={"figure": {"caption": "Accuracy of net and rules against the noise (left) and the share of the pattern that has happened (right). Bars: 95 % intervals; dashed: chance.", "name": "fig-patterns-noise"}, "image": {"alt": "Two panels of two falling lines. With growing noise net and rules fall towards chance. With less of the pattern visible both fall as well."}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
frames = ((by_noise, "noise"), (by_share, "completeness"))
for ax, (frame, x) in zip(axes, frames, strict=True):
    for who, colour, mark in (("net", UP, "D"), ("rules", DOWN, "o")):
        v = pd.DataFrame(frame[who].tolist())
        err = [v["share"] - v["low"], v["high"] - v["share"]]
        style = {
            "fmt": mark + "-", "ms": 4, "capsize": 2, "color": colour,
        }
        ax.errorbar(frame[x], v["share"], yerr=err, label=who, **style)
    ax.axhline(chance, color=NEUTRAL, ls="--", lw=1)
axes[0].set(
    xlabel="noise, pattern heights", ylabel="share right", ylim=(0, 1)
)
axes[1].set_xlabel("share of the pattern visible")
axes[0].legend()
plt.show()

# %%
assert (
    by_noise["accuracy"].iloc[0] > by_noise["accuracy"].iloc[-1] + 0.1
)
assert (
    by_share["accuracy"].iloc[-1] > by_share["accuracy"].iloc[0] + 0.1
)

# %% [markdown]
# ## 6 Does 80 % mean 80 %?
#
# <!-- number: 80 by example, a probability that a net may give -->
# A net gives each class a probability. Collect the windows where it said about 80 %: was it right
# in 80 % of them?
#
# ```{prf:definition} Reliability and calibration error
# :label: def-calibration
#
# Sort windows into bins by the probability of the class that the net names. In each bin take the
# mean of that probability and the share of windows in which the class was right. The **reliability
# curve** is the curve of the share against the mean. The **expected calibration error** is the mean
# distance between the two, each bin counted by its windows.
# ```
#
# **Temperature scaling** {cite:p}`guo2017` divides all outputs by one number, fitted on the
# validation windows, before they become probabilities.
#
# ```{prf:proposition} Temperature keeps the answers
# :label: prop-temperature
#
# Divide all outputs of a net by a number $T > 0$. The order of its classes, and with it the
# accuracy, stays the same for every window.
# ```
#
# ```{prf:proof}
# Where $a > b$, also $a / T > b / T$, and the softmax keeps the order of its inputs.
# ```

# %%
cal = stored["drawn"]["calibration"]
pd.DataFrame(
    {
        name: [cal[name]["error"], cal[name]["log_loss"]]
        for name in ("raw", "scaled")
    },
    ["calibration error", "log loss"],
).round(3)

# %% mystnb={"figure": {"caption": "Reliability of the net's most likely class on drawn test windows, before and after temperature scaling.", "name": "fig-patterns-reliability"}, "image": {"alt": "Two lines with error bars near the diagonal of a square: share of right answers against forecast probability, before and after temperature scaling. Both rise with the forecast."}}
fig, ax = plt.subplots(figsize=(4.4, 4.0))
plots.reliability(
    ax, {name: cal[name]["table"] for name in ("raw", "scaled")}
)
plt.show()

# %%
assert cal["scaled"]["log_loss"] <= cal["raw"]["log_loss"] + 0.01
worst = max(
    row["calibration_error"] for row in stored["drawn"]["by_noise"]
)

# %%
assert worst > cal["scaled"]["error"]

# %% [markdown]
# The temperature was fitted on windows of the same noise as the test windows, and it holds only
# there. On noisier charts the same net with the same temperature is much more confident than
# right:

# %%
by_noise[["noise", "accuracy", "calibration_error"]].round(2)

# %% [markdown]
# ## 7 Real bars, and no bars at all
#
# Nobody knows which real windows «truly» hold a pattern, so we ask two other questions: whether
# net and rules agree, and how often both see patterns where there is nothing to see.
#
# For the second we make twins of the real bars of 2024 (hourly Bybit BTCUSDT): the same bars in
# random order, and a Gaussian random walk as volatile as they are. Whatever is seen there is
# chance. The share of windows with a pattern, with 95 % block-bootstrap intervals:

# %%
real = stored["real"]
rows = [
    (name, who, *(real[name][who][k] for k in ("mean", "low", "high")))
    for who in ("net", "rules")
    for name in ("real", "shuffled", "gaussian")
]
seen_in = pd.DataFrame(
    rows, columns=["bars", "who", "share", "low", "high"]
)
seen_in.round(2)

# %% mystnb={"figure": {"caption": "Share of 64-bar windows in which a pattern is seen: real bars of 2024, the same bars shuffled, a random walk. Bars: 95 % intervals.", "name": "fig-patterns-random"}, "image": {"alt": "For the net and for the rules, three points each with intervals: the share of windows with a pattern in real bars, in shuffled bars and in a Gaussian random walk. All of them lie clearly above zero."}}
fig, ax = plt.subplots(figsize=(7.2, 3.0))
marks = {
    "real": (UP, "D"), "shuffled": (DOWN, "o"),
    "gaussian": (NEUTRAL, "s"),
}
for i, (colour, mark) in enumerate(marks.values()):
    part = seen_in[seen_in["bars"] == list(marks)[i]]
    err = [part["share"] - part["low"], part["high"] - part["share"]]
    at = np.arange(2) + 0.15 * (i - 1)
    ax.errorbar(
        at, part["share"], yerr=err, fmt=mark, capsize=3, color=colour
    )
ax.set(ylabel="share of windows", ylim=(0, 1), xlim=(-0.5, 1.5))
ax.set_xticks([0, 1], ["net", "rules"])
ax.legend(list(marks))
plt.show()

# %%
for who in ("net", "rules"):
    gap = abs(real["real"][who]["mean"] - real["gaussian"][who]["mean"])
    assert gap < 0.05  # chance holds as many patterns as the market
assert real["real"]["net"]["mean"] > 0.6

# %% [markdown]
# The net sees a pattern in two of three real windows, and in at least as many of a random walk.
# Seeing a head and shoulders is therefore no evidence that something happened.
#
# To find out how much of that is the market, and how much the net's readiness to say yes, we ask
# it about drawn windows that hold nothing.

# %%
drawn_net = stored["drawn"]["net"]
false_alarms = 1 - drawn_net["recall"][0]  # class 0 is none
print(
    "drawn windows of «none» that the net calls a pattern: "
    f"{false_alarms:.2f}"
)

# %%
assert false_alarms > real["real"]["net"]["mean"]

# %% [markdown]
# So the share on real bars says little by itself: this net sees patterns in even more of the
# windows that were drawn without one. Only the comparison of real bars with their shuffled twins,
# made by the same net, carries information, and it shows none that these intervals could tell from
# chance.
#
# The same can be done with the book's own bars, which need no study: we put the rules on the
# sample of {ref}`ch-candles`, and on the sample with its returns shuffled.

# %%
sample = candles.sample()
share_real = (
    patterns.find(candles.windows(sample, 64)).mask.any(1).mean()
)
steps = np.random.default_rng(0).permutation(
    np.diff(np.log(sample["close"]))
)
walk = np.exp(np.r_[0, steps.cumsum()])
walk = np.lib.stride_tricks.sliding_window_view(
    np.tile(walk, (5, 1)), 64, axis=1
)
share_walk = patterns.find(walk.swapaxes(0, 1)).mask.any(1).mean()
print(f"sample {share_real:.2f}, shuffled {share_walk:.2f}")

# %%
assert abs(share_real - share_walk) < 0.15
assert share_walk > 0.2

# %% [markdown]
# Here the sample has somewhat more of them than its shuffled twin. It is one shuffle without an
# interval, so the cell asks only that chance bars hold patterns too, and many.
#
# There remains the question whether the two readers agree. **Cohen's kappa** {cite:p}`cohen1960`
# is agreement beyond chance: 0 is none, 1 is complete. `any` asks only whether there is a pattern
# at all.

# %%
pd.DataFrame(
    {
        name: [real[name]["agree"], real[name]["kappa"]["value"],
               real[name]["kappa_any"]["value"]]
        for name in ("real", "shuffled", "gaussian")
    },
    ["same answer", "kappa", "kappa, any"],
).round(2)  # fmt: skip

# %%
k = real["real"]["kappa"]
low, high = k["low"], k["high"]
print(
    f"kappa on real bars {k['value']:.2f}, interval {low:.2f} to "
    f"{high:.2f}"
)

# %%
assert 0 < k["low"] < k["high"] < 0.1  # hardly more than chance

# %% [markdown]
# ## 8 The next bar
#
# Textbooks give each pattern a direction: a head and shoulders falls, a bull flag rises. So we
# take every first sighting in 2024, enter at the next open in the textbook's direction, and leave
# 1, 8 or 24 bars later. Before costs, in basis points (hundredths of a percent):

# %%
rows = [
    (who, int(h), v["n"], v["mean"], v["low"], v["high"])
    for who, by_horizon in real["forward_bps"].items()
    for h, v in by_horizon.items()
]
columns = ["who", "bars held", "sightings", "mean bps", "low", "high"]
ahead = pd.DataFrame(rows, columns=columns)
ahead.round(1)

# %%
covers = (ahead["low"] < 0) & (ahead["high"] > 0)
print(f"{covers.sum()} of {len(ahead)} intervals cover zero")
assert covers.all()

# %% [markdown]
# <!-- number: 11 by twice 5.5, a taker's fee on each side -->
# A round trip as a taker costs 11 basis points in fees alone ({ref}`ch-backtesting`).
#
# The net deserves a second test, because perhaps the textbooks have the directions wrong and its
# twelve outputs hold something else. A logistic regression on them, fitted on the bars before
# 2024, forecasts the sign of the next bar in 2024:

# %%
nb = real["next_bar"]
print(
    f"right {nb['mean']:.3f}, interval {nb['low']:.3f} to "
    f"{nb['high']:.3f}"
)
print(f"always «up» {nb['up_share']:.3f}")

# %%
assert nb["low"] < nb["up_share"] < nb["high"]

# %% [markdown]
# ## 9 Candlestick patterns
#
# Candlestick patterns are shorter, one to three bars, and for them a teacher exists. TA-Lib
# defines them by code, so a label is a fact about the bars. Several may hold at once, so each bar
# gets a row of twelve zeros and ones.

# %%
said = patterns.candlestick_labels(sample)
both = said[(said["hammer"] == 1) & (said["doji"] == 1)]
assert said.iloc[:13].isna().all().all() and patterns.WARM_UP == 13
print(
    "bars with one pattern or more: "
    f"{(said.sum(axis=1) > 0).mean():.2f}"
)
print(f"bars with two or more: {(said.sum(axis=1) > 1).mean():.2f}")

# %% [markdown]
# The first 13 rows are missing, because TA-Lib compares a body with the mean of the ten before,
# and where it has no ten it answers 0, which would read as «no pattern».
#
# A label is yes or no, while a chart reader says more: a fine hammer, or hardly one. The
# **quality** of a pattern is a number between 0 and 1, the smallest of its conditions, each of
# which is a ramp. For a doji there is one: no body is 1, a body of a tenth of the mean range of
# the ten bars before is 0.

# %%
body = (sample["close"] - sample["open"]).abs()
reach = (sample["high"] - sample["low"]).shift().rolling(10).mean()
doji = (1 - body / (0.1 * reach)).clip(0, 1).iloc[patterns.WARM_UP :]
quality = patterns.candlestick_quality(sample)
ours = quality["doji"].iloc[patterns.WARM_UP :]
np.testing.assert_allclose(ours, doji, atol=1e-6)

# %% mystnb={"figure": {"caption": "Three hammers of the sample that the teacher accepts, by quality: the worst, the middle, the best. The last candle is the hammer.", "name": "fig-patterns-quality"}, "image": {"alt": "Three short candlestick charts that end in a hammer. From left to right the lower wick of the last candle grows longer against its body and the upper wick disappears, and the quality in the title rises."}}
hammers = quality["hammer"][said["hammer"] == 1].sort_values()
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.8))
for ax, stamp in zip(
    axes, hammers.index[[0, len(hammers) // 2, -1]], strict=True
):
    row = int(sample.index.get_loc(stamp))
    plots.window(ax, sample.iloc[row - 9 : row + 1, :5].to_numpy().T)
    ax.set_title(f"quality {hammers[stamp]:.2f}", fontsize=9)
    ax.set(xlabel="bar", xticks=[0, 9])
    ax.ticklabel_format(axis="y", useOffset=False)
axes[0].set_ylabel("price in USD")
plt.show()

# %%
assert hammers.iloc[0] < 0.2 < 0.8 < hammers.iloc[-1]

# %% [markdown]
# TA-Lib's hammer and hanging man are one shape, and which of the two it is depends on the bar
# before alone: near its low a hammer, near its high a hanging man. That is all the trend it looks
# at.
#
# The stars show how much a pattern depends on its market. A morning star wants its middle body to
# **gap** away from the first. A share that closes overnight can do that, but a market that never
# closes opens where it closed. In four years of hourly Bybit bars:

# %%
past = stored["candlesticks"]["past"]
names = [
    "morning_star", "evening_star", "three_white_soldiers", "hammer",
]
pd.DataFrame({name: past[name] for name in names}).T

# %%
assert (
    past["morning_star"]["labels"] + past["evening_star"]["labels"] < 10
)
assert past["morning_star"]["quality"] > 100

# %% [markdown]
# By the teacher's definition a star hardly ever occurs here. The score, which measures the shape
# without asking for a gap, finds hundreds (`quality` counts bars above 0.5). Neither is wrong,
# because they answer different questions.
#
# A net can learn twelve labels and twelve qualities from pictures of 12 candles. It was trained on
# bars drawn with gaps, so that each pattern occurs, and on real bars before 2024. On the real bars
# of 2024 it gives:

# %%
judged = stored["candlesticks"]["real"]["labels"]
keys = [
    "n", "precision", "recall", "average_precision",
    "quality_correlation",
]
report = pd.DataFrame(judged).T.reindex(columns=keys).astype(float)
report.rename(columns=lambda c: c.replace("_", " ")).round(2)

# %%
assert report["recall"].max() > 0.5
assert report["n"].min() < 5  # some patterns hardly exist here

# %% [markdown]
# Where `n` is 0 there is nothing to judge, and elsewhere it is not size that decides.
# <!-- number: 64 from studies/chart_patterns.py -->
# A doji is a body below a tenth of a range, which in a picture of 64 rows is about one pixel, and
# the picture itself loses part of that truth. Yet more of the doji are found than of the engulfing
# patterns, which are large shapes. Hammer and hanging man, and the two doji with one long shadow,
# are hardly ever named although each occurs more than a hundred times. A hammer and a hanging man
# are one shape, near the low or near the high of the bar before, and a shadow that is a pixel
# longer makes a doji another one; that this is what the net cannot tell apart is a guess, which the
# study does not test.
#
# The training set was **balanced**: rare patterns were shown far more often than they occur. A net
# trained so overstates them, and its curve lies below the diagonal. A line fitted to each output
# on unbalanced validation bars (Platt's scaling) makes the calibration error smaller, and lifts the
# middle of the curve above the diagonal.

# %% mystnb={"figure": {"caption": "Reliability of all twelve labels on real bars of 2024: raw, and after a line fitted to each output on validation bars.", "name": "fig-patterns-labels"}, "image": {"alt": "Two reliability curves in a square: the raw forecasts and those after the fitted lines. The raw curve lies below the diagonal, where forecasts are larger than what happened; the fitted one lies above it in the middle, nearer to it than the raw one."}}
fig, ax = plt.subplots(figsize=(4.4, 4.0))
kept = stored["candlesticks"]["real"]["calibration"]
plots.reliability(
    ax, {name: kept[name]["table"] for name in ("raw", "platt")}
)
plt.show()

# %%
assert kept["platt"]["error"] < kept["raw"]["error"] + 0.01
errors = {
    name: round(kept[name]["error"], 3) for name in ("raw", "platt")
}
print(errors)

# %% [markdown]
# ## 10 Learn the rule, or learn the future?
#
# <!-- number: 14, 70 from studies/picture_folds.py -->
# Nets learn labels that are a fact about the picture. Whether they also learn labels that are not
# in it is a question of its own. {cite:t}`cohen2020` drew candlestick charts of shares and asked
# nets for the charts at whose end an indicator's rule says «buy». The nets found them, and the
# paper claims no more than that. But a net that reads a rule off a chart is easily taken for one
# that reads the future off it. Those are two questions, and one experiment can ask both: **the
# same net, the same pictures, two kinds of target**.
#
# Lite0 with ImageNet's weights ({ref}`ch-transfer-learning`) is fine-tuned on candlestick
# pictures of 48 hourly Bybit bars. Three targets are rules on past bars: is the RSI of 14 bars above
# 70, does the mean close of 8 bars lie above that of 24, does the last bar engulf the one before?
# (The RSI never quite forgets; of its weight all but a few hundredths lie on the bars that are
# shown.) Two are the future: is the next bar up, are the next 12? Nothing else differs. Training
# ends with September 2022, the rest of 2022 stops it, and two years are the test
# (`rule_or_future.json`). Beside each net stand boosted trees, which get the same bars of the same
# windows, not as a picture but as numbers. Where they find an answer, the window holds one; where
# they do not, nothing follows.

# %%
rule = results.load("rule_or_future")["results"]
settings = rule["setting"]
assert settings["lookback"] == 48
assert 0.03 < (13 / 14) ** 47 < 0.04  # the RSI's weight before them
assert settings["span"][1:] == [
    "2022-10-01", "2023-01-01", "2025-01-01",
]
short_names = {
    "rsi": "RSI above 70", "averages": "short mean above long",
    "engulfing": "engulfs the bar before", "next_1": "next bar up",
    "next_12": "next 12 bars up",
}
targets = {
    name: rule["targets"][key] for key, name in short_names.items()
}
tested, by_trees = (
    {name: target[row]["all"] for name, target in targets.items()}
    for row in ("row", "trees")
)

# %%
scores = pd.DataFrame(
    {
        name: {
            "commonest class": row["majority"],
            "net": row["accuracy"]["estimate"],
            "trees": by_trees[name]["accuracy"]["estimate"],
            "recall, net": row["balanced"],
            "recall, trees": by_trees[name]["balanced"],
        }
        for name, row in tested.items()
    }
).T
scores.round(2)

# %% [markdown]
# <!-- number: 70 from studies/picture_folds.py -->
# Accuracy misleads here: bars with an RSI above 70 are rare, so «never» is right most of the time.
# The last two columns have the **macro recall**, which is the mean of two shares: of the yes-bars
# that were found and of the no-bars that were. Always to say «no» scores one half, as a coin does.
#
# A second measure counts in nats. To give each class its share in the training bars is a forecast
# too, and if that share is the true chance, nobody who sees no picture can do better.
#
# ```{prf:proposition} The best forecast without a picture
# :label: prop-entropy
#
# Let the answer be yes with a chance of $q$, where $0 < q < 1$. Of all forecasts that say the same
# chance $p$ each time, with $0 < p < 1$, only $p = q$ has the least expected log loss. That loss is
# the **entropy** of the classes,
#
# $$H(q) = -q \ln q - (1 - q) \ln(1 - q).$$
# ```
#
# ```{prf:proof}
# The expected loss of $p$ is $-q \ln p - (1 - q) \ln(1 - p)$. Its derivative
# $-q / p + (1 - q) / (1 - p)$ rises with $p$ and is zero at $p = q$ alone. There the loss is
# $H(q)$.
# ```
#
# By hand for an even question and for one where one answer in ten is yes:


# %%
def entropy(q):
    """Return the uncertainty of a yes with chance q, in nats."""
    return -q * np.log(q) - (1 - q) * np.log(1 - q)


print(f"{entropy(0.5):.3f} nats and {entropy(0.1):.3f} nats")

# %%
assert np.isclose(entropy(0.5), np.log(2))

# %% [markdown]
# Divide the nats that the net saves by the entropy, and targets of all kinds stand on one scale: 1
# knows everything, 0 knows no more than the class shares, and a net that is sure of what is wrong
# lies below 0.

# %%
def share_known(rows):
    """Return the nats saved over the entropy, with their interval."""
    ends = (("mean", "estimate"), ("low", "low"), ("high", "high"))
    return pd.DataFrame(
        {
            name: {
                end: row["gain"][key] / entropy(row["share"])
                for end, key in ends
            }
            for name, row in rows.items()
        }
    ).T


known, known_by_trees = share_known(tested), share_known(by_trees)
pd.concat({"net": known, "trees": known_by_trees}, axis=1).round(2)

# %%
middle = known_by_trees["mean"]
reach = known_by_trees[["low", "high"]].sub(middle, axis=0).abs()
place = np.arange(len(known))[::-1] - 0.25

# %% mystnb={"figure": {"caption": "The same net on the same pictures. Left, losses by epoch for a rule and for the next bar, each over the entropy of its classes: solid on training windows, dashed on validation windows. Right, the share of what there is to know that was known on two years of test bars, with 95 % intervals: by the net from pictures (dots), and by trees from the same bars as numbers (open squares).", "name": "fig-rule-or-future"}, "image": {"alt": "Left, four curves over epochs. For the crossing averages both the training and the validation loss fall far below one. For the next bar the training loss falls from about one to 0.4, and the validation loss, a little above one from the start, rises to 1.6. Right, two estimates for each of five targets. For the three rules both lie well above zero: alike for the RSI, the trees ahead for the averages, the net ahead for the bar that engulfs the one before. For the two futures the net lies below zero and the trees a hair above it, for the next 12 bars with zero inside the interval."}}
fig, (losses, knew) = plt.subplots(1, 2, figsize=(7.2, 2.9))
for name, colour, mark in zip(
    list(targets)[1::2], (UP, DOWN), "os", strict=True
):
    curve, unit = (
        targets[name]["curves"][0], entropy(tested[name]["share"]),
    )
    style = {"color": colour, "marker": mark, "ms": 4}
    for part, dash in (("train", "-"), ("val", "--")):
        loss = np.array(curve[f"{part}_loss"]) / unit
        losses.plot(np.arange(1, len(loss) + 1), loss, dash, **style)
    losses.plot([], [], **style, label=name)
losses.axhline(1, color=NEUTRAL, lw=1)
losses.set(xlabel="epoch", ylabel="loss over entropy", ylim=(0, 2))
losses.legend()
plots.interval_rows(knew, known)
knew.errorbar(middle, place, xerr=reach.T, fmt="s", mfc="none")
knew.set_xlabel("share of what there is to know")
plt.show()

# %%
of_rules, futures = list(targets)[:3], list(targets)[3:]
assert (known.loc[of_rules, "low"] > 0.2).all()
assert (known.loc[futures, "high"] < 0).all()
lows = known_by_trees["low"]
assert lows["next 12 bars up"] < 0 < lows["next bar up"]
memory = targets["next bar up"]["curves"][0]

# %%
assert memory["best_epoch"] == 1
assert memory["train_loss"][-1] < memory["train_loss"][0] - 0.3
assert memory["val_loss"][-1] > memory["val_loss"][0] + 0.1

# %% [markdown]
# {numref}`fig-rule-or-future` shows both kinds of target side by side. On the left the *training*
# loss falls for both: on the windows that it trains on, the net comes to know much of the answer,
# be it a rule or a future. What differs is the dashed line, which is the loss on the validation
# windows. What the net found out about the averages holds for windows that it never saw. What it
# found out about the next bar holds for the training windows alone, and the more sure it grows,
# the more it loses. Early stopping then keeps the first epoch, because no later one did better.
#
# <!-- number: 54, 100 by rounding the claimed 54.2 % -->
# Three excuses can therefore be ruled out for anything as plain as a rule: the pictures are sharp
# enough, since one bar that engulfs another can be read off them, and because the same net learned
# the rules, it is large enough and, for these rules, trains long enough. For something as weak as
# being right in 54 of 100 the rules alone do not rule them out. The EfficientNet chapter says that
# B0 is right in 54.2 %.

# %%
for name, row in tested.items():
    for who, one in (("net", row), ("trees", by_trees[name])):
        hit = "{estimate:.3f} [{low:.3f}, {high:.3f}]".format(
            **one["accuracy"]
        )
        word = "learned" if one["learned"] else "not learned"
        print(f"{name:24} {who:6}", hit, word)

# %%
guessed = targets["next bar up"]["trees"]
sharpes = {
    when: guessed[when]["money"]["net"]["sharpe"]
    for when in ("all", "2024")
}
print("trees on the next bar, after fees and funding")
for when, sharpe in sharpes.items():
    print(
        f"{when:5} Sharpe ratio {sharpe['estimate']:.1f} "
        f"[{sharpe['low']:.1f}, {sharpe['high']:.1f}]"
    )

# %%
assert all(tested[name]["learned"] for name in of_rules)
assert not any(tested[name]["learned"] for name in futures)
assert all(tested[name]["accuracy"]["high"] < 0.542 for name in futures)
assert [by_trees[name]["learned"] for name in targets] == [
    True, True, True, True, False,
]

# %%
bar, engulfs = "next bar up", "engulfs the bar before"
hits, hits_by_trees = (
    {name: row["accuracy"] for name, row in rows.items()}
    for rows in (tested, by_trees)
)
assert hits[bar]["high"] < hits_by_trees[bar]["low"]
assert hits_by_trees[engulfs]["high"] < hits[engulfs]["low"]
averages = "short mean above long"
assert hits[averages]["high"] < hits_by_trees[averages]["low"]
low, high = known_by_trees.loc[bar, ["low", "high"]]
assert 0.005 < low < 0.01 < high < 0.015
assert sharpes["all"]["high"] < 0 < sharpes["2024"]["high"]

# %% [markdown]
# For both futures the net's interval ends below the claim. Did the hours hold nothing, then, or did
# the net not find it? The trees answer for one of the two. Given the same bars of the same windows
# as numbers, they are right about the next bar in 0.546, and their gain lies above zero with its
# whole interval. (Section 5 of {ref}`ch-transfer-learning` finds nearly the same share with other
# windows, on the same two years, so that it is no second witness.) So there was something to be
# found, if little: about a hundredth of what there is to know. Traded where the forecast is among
# the strongest fifth, it loses after fees and funding over both years together, and for 2024 alone
# not even that is shown. From the pictures this net did not get it. That does not make numbers the
# better form of everything. On the averages the trees are ahead, 0.957 to 0.938, but the bar that
# engulfs the one before is read far better by the net (0.914) than by the trees (0.803). A tree
# asks about one number at a time and needs many questions to compare four of them with each other,
# while to a net that looks at neighbouring pixels two bars side by side are one shape; this reason
# is a hunch, which nothing here has tested. About the next 12 bars it is not shown of either that
# it learned.
#
# This judges the small net of this page only; B0 itself, from scratch and at its own 224 pixels, is
# asked the same two kinds of question in {ref}`ch-verdict`, section 6. What the page does show is
# that a net which recognises patterns, or copies the signals of an indicator, says nothing yet
# about what comes after them, and a claim about that takes a test of its own.

# %% [markdown]
# ## What goes wrong
#
# **A score that is too good.** Here is the generator that one writes first. The pattern fills the
# window, and «none» comes from somewhere else, here from the daily bars of a synthetic market. We
# draw it, and give the lazy tree of section 2 its four numbers.


# %%
def naive(n, seed):
    pure = patterns.synthetic(
        n, seed=seed, span=(62, 63), after=0, noise=0.03, trend=0.0,
        kinds=patterns.NAMES[1:],
    )
    windows, kind = pure.windows.copy(), pure.kind.copy()
    rows = np.flatnonzero(
        np.random.default_rng(seed + 1).random(n) < chance
    )
    walk = candles.synthetic(64 * len(rows), seed=seed, interval="1D")
    walk = walk.candles.to_numpy()
    windows[rows], kind[rows] = (
        walk.reshape(-1, 64, 5).swapaxes(1, 2), 0,
    )
    return windows, kind


naive_right, naive_none = lazy(*naive(N_WINDOWS, seed=7))
print(f"right {naive_right:.2f}; area for «none» {naive_none:.2f}")

# %% [markdown]
# From four numbers, without one look at the shape, «none» is found almost surely. Any net will
# find that way too. The study trained one on these windows and then showed it the fair ones:

# %%
short = stored["drawn"]["shortcut"]
on_naive, on_fair = (
    short["naive_net_on_naive"], short["naive_net_on_ours"],
)
print(
    f"on naive windows {on_naive['share']:.2f}, on fair ones "
    f"{on_fair['share']:.2f}"
)

# %%
assert naive_none > 0.9 > 0.68 > none
assert naive_right > right + 0.1
assert on_naive["share"] > on_fair["share"] + 0.1

# %% [markdown]
# Nothing in training or testing was wrong in itself: train and test were drawn apart, the picture
# was honest, and the score was real. But the question that it answered was «which recipe made
# this?», and not which shape was drawn.
#
# The fix is section 2: make «none» from the same material, draw what should not matter without
# regard to the class, and ask a lazy reader before believing a clever one.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A chart reader sees shapes as one sees animals in clouds: the shape is in the
# picture, and says nothing of where the cloud goes. That is a picture of the risk, and no
# measurement.
#
# *Proved.* A temperature changes no answer ({prf:ref}`prop-temperature`), and
# {prf:ref}`prop-entropy` says what somebody without a picture can reach at best. Candlestick labels
# are definitions, so that each is a fact about its bars.
#
# *Measured here.* On drawn windows with known truth, a net and rules recognised patterns far more
# often than chance, which holds. On one year of real bars both saw patterns about as often as in
# chance bars. Whether they foretell the next bar is undecided. One kind of net, trained anew for
# each target, learned three rules from real bars and was not shown to learn two futures. Trees on
# the same bars as numbers learned the three and the nearer future, and what they knew of it did not
# pay for its trades.
#
# *Open.* Nobody knows which real windows hold a pattern. One or two seeds of small nets, one market
# and one or two years leave room for effects that are smaller than their intervals.
# ```
#
# ## Summary
#
# - A chart pattern can be written as a row of knots, drawn with known place, and found again
#   by rules or by a net.
# - On drawn windows net and rules are right far more often than chance. Accuracy
#   falls with noise, and with every part of the pattern that has not happened yet.
# - Its probabilities can be calibrated, for the noise it was calibrated on.
# - Both readers see patterns in bars that are pure chance, about as often as in real ones. A
#   sighting is no evidence.
# - Net and rules hardly agree on real bars: kappa is near zero.
# - Nothing followed the patterns of 2024 that could be told from zero, and the next bar's sign
#   was forecast no better than by always saying «up».
# - Candlestick labels are code. A score between 0 and 1 says how good one is; a market without
#   gaps has almost no stars.
# - The same net on the same pictures learns an indicator's rule, and gets better at the next bar only
#   on the windows that it trains on. That a net recognises something does not mean that it can
#   forecast. Trees on the same bars as numbers do learn the next bar, too little to pay for trades.
#
# ## Exercises

# %% [markdown]
# ```{exercise} A pattern of your own ★★
# :label: ex-patterns-1
# Lo, Mamaysky and Wang define a **rectangle**: tops all level, bottoms all level. Write
# five extrema of one by hand. Which of our eleven rules say yes to it?
# ```
#
# ```{solution-start} ex-patterns-1
# :class: dropdown
# ```


# %%
def straight(levels, leg=8):
    at = np.arange(len(levels)) * leg
    close = np.exp(0.05 * np.interp(np.arange(at[-1] + 1), at, levels))
    return np.tile(close, (5, 1))[None]


box = patterns.find(straight([0, 1, 0, 1, 0, 1, 0.5]))
yes = [
    n
    for n, hit in zip(patterns.NAMES[1:], box.mask[0], strict=True)
    if hit
]
print(yes)

# %%
assert "symmetric_triangle" not in yes

# %% [markdown]
# A triangle wants at least one side to slope, so the rectangle is no triangle. What other names
# fit is a matter of tolerance, because the rectangle itself is missing from our list.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} Chance alone ★
# :label: ex-patterns-2
# Section 7 says in what share of random-walk windows the rules see a pattern. You look at 24 such
# windows, which do not overlap. How likely is it to see no pattern in any of them?
# ```
#
# ```{solution-start} ex-patterns-2
# :class: dropdown
# ```

# %%
p = stored["real"]["gaussian"]["rules"]["mean"]
nothing = (1 - p) ** 24
assert nothing < 0.01

# %% [markdown]
# With $p$ the share, $(1-p)^{24}$ is the chance to see none, and it is less than one percent.
# Someone who watches 24 random charts will see a pattern almost surely.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} The teacher's zeros ★★
# :label: ex-patterns-3
# Feed TA-Lib's doji function twelve bars that are all perfect dojis. What does it answer, and
# what would a net learn from it?
# ```
#
# ```{solution-start} ex-patterns-3
# :class: dropdown
# ```

# %%
import talib

flat, top, bottom = (
    np.full(12, 100.0), np.full(12, 101.0), np.full(12, 99.0),
)
answer = talib.CDLDOJI(flat, top, bottom, flat)
print(answer.tolist())

# %%
assert not answer[:10].any()
assert answer[10:].all()

# %% [markdown]
# It answers ten zeros before the first right answer. Zero here means «I do not know yet», and a
# net would learn that perfect dojis are none. `candlestick_labels` gives NaN there, so that no net
# is taught a wrong zero.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} A pattern that you believe in ★★★
# :label: ex-patterns-own
# Define a pattern of your own so exactly that a program can find it. Count it on bars of your own
# and on the same bars with their returns shuffled. Does it come more often than by chance, and does
# what follows differ from what follows any bar?
# ```
#
# ```{solution} ex-patterns-own
# :class: dropdown
# Write the definition down before you count, with every tolerance in it. The shuffled bars show how
# often the shape arises where nothing can mean anything. What follows wants the same share over all
# bars beside it, and an interval that knows that patterns overlap, which means blocks. Count how
# many definitions you tried.
# ```
#
# ## Further reading
#
# - {cite:t}`lo2000` turn the chart reader's words into extrema of a smoothed path and test
#   them on decades of shares.
# - {cite:t}`guo2017` on why modern nets are too sure, and the one number that corrects most of it.
# - {cite:t}`cohen1960` on agreement between two judges.
# - {cite:t}`cohen2020` teach nets the rules of indicators from charts.
