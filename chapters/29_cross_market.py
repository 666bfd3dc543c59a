# %% [markdown]
# (ch-cross-market)=
# # Cross-market patterns
#
# **Does a net that was trained on a hundred coins know the next ones?**
#
# ```{admonition} What you will do
# :class: tip
# - split a panel of coins twice, by coin and by time, and say what each of the four cells can show
# - see when coins should share one net, and what it costs to give each coin a vector of its own
# - count how many independent examples a hundred coins of one hour are worth
# - look for leads between BTC, ETH and SOL at 15 minutes, and find a false one where closes are not
#   aligned
# - search other markets for windows like the present one, without asking the present itself
# ```
#
# *You need* {ref}`ch-se-trader` and {ref}`ch-honest-evaluation`. *Runs* in under 60 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from scipy.stats import t as student
from sklearn.linear_model import Ridge
from torch import nn

from setrade import backtest, candles, evidence, panel, results
from setrade.costs import FREE, Costs
from setrade.plots import DOWN, NEUTRAL, UP, use_style
from setrade.training import seed_everything

use_style()

# %% tags=["parameters"]
COINS, TIMES = 40, 400  # of the planted panel
UPDATES = 300  # of the nets of section 2
STALE = 0.2  # chance a minute that a sleepy coin trades

# %% [markdown]
# ## 1 Three coins with a pencil
#
# Most nets of this book learned from one market. Deep learning wants many examples, and one market
# offers few, so it is tempting to put all coins together into a **panel** ({term}`panel data`), a
# table with one row a bar and one column a coin: a hundred coins for a year seem to be a hundred
# years. Whether they are depends on how much one coin knows of another, and we can see that on
# paper first.
#
# Let the whole market move by $f = \pm 2$ and each coin by $e_i = \pm 1$ besides, all signs
# independent. What is common to all coins is called the **{term}`common factor`**. The variance of
# a coin is $4 + 1$, and 4 of it are shared, so any two coins correlate by
# $\rho = \sigma_f^2 / (\sigma_f^2 + \sigma_e^2) = 4/5$.

# %%
# all 16 cases
signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
factor, own = 2 * signs[0], signs[1:]
coins = factor + own
print("correlations:", np.corrcoef(coins).round(2)[0])
assert np.allclose(np.corrcoef(coins)[0], [1, 0.8, 0.8])
agree = (np.sign(coins[0]) == np.sign(coins[1])).mean()

# %%
assert agree == 1  # the market outvotes every coin of its own

# %% [markdown]
# All three coins go up and down together in each of the 16 cases. Now suppose that a net saw the
# first two coins on Monday at noon, and knows by heart that they rose. If we ask it about the third
# coin on Monday at noon, it answers correctly, although it has learned nothing about coins.
# It has learned a date.
#
# ### Four cells
#
# What does it mean, then, that a net *generalises*? There are two directions in which an example
# can be new. Its **coin** may be one that the net never saw, and its **time** may lie after
# everything that the net saw. Together they make four cells, and only the last one asks what a
# trader asks who adds a new coin tomorrow.

# %%
split = panel.leave_out(
    ["BTC", "ETH", "SOL"], 6, folds=3, start=4, gap=1, seed=0
)
new = [fold.new_coins.tolist() for fold in split]
# each coin is new once
assert np.sum(new, axis=0).tolist() == [1, 1, 1]
fold = split[0]
by_hand = np.arange(6)[:, None] >= 4
assert (fold.cell("new", "new") == (by_hand & fold.new_coins)).all()
print(fold.seen_time.astype(int), fold.new_time.astype(int))

# %% [markdown]
# Row 3 belongs to neither time. It is the **gap**: what an example there foretells reaches into the
# new time, as the purge of {ref}`ch-honest-evaluation` has it. With more coins the split looks like
# this:

# %% mystnb={"figure": {"caption": "One fold of a panel of 20 coins: the four cells, and the gap between seen and new time.", "name": "fig-cross-cells"}, "image": {"alt": "A grid of bars by coins in four colours. Most rows are seen coins, four scattered ones are new. A thin white stripe, the gap, separates the seen time on the left from the new time on the right."}}
names = [f"C{i:02}" for i in range(20)]
fold = panel.leave_out(names, 100, folds=5, start=70, gap=4, seed=1)[0]
cells = [(c, t) for t in ("seen", "new") for c in ("seen", "new")]
picture = np.full((100, 20), np.nan)
for number, cell in enumerate(cells):
    picture[fold.cell(*cell)] = number
fig, ax = plt.subplots(figsize=(7.2, 2.8))
image = ax.imshow(
    picture.T, aspect="auto", cmap="viridis", interpolation="nearest"
)
ax.set(xlabel="bar", ylabel="coin", yticks=range(0, 20, 5))
ax.grid(False)
bar = fig.colorbar(image, ticks=range(4))
bar.ax.set_yticklabels([f"{c} coin, {t} time" for c, t in cells])
plt.show()

# %%
counts = [int(fold.cell(*cell).sum()) for cell in cells]
print(dict(zip(cells, counts, strict=True)))
assert counts == [16 * 66, 4 * 66, 16 * 30, 4 * 30]
assert np.isnan(picture).sum() == 4 * 20

# %% [markdown]
# ## 2 Pooled, or each alone?
#
# When do coins help each other? We plant two markets whose answer is known. In both a coin's next
# move is a weighted sum of what was seen, plus noise that is larger. In the first market all
# coins obey the same weights. In the second there are two kinds of coins, and what lifts one kind
# sinks the other.


# %%
def market(kinds, n, seed):
    """Return inputs (m, n, 3) and moves (m, n) of coins with the signs
    ``kinds``."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(len(kinds), n, 3))
    rule = np.array([0.4, -0.3, 0.2])
    noise = rng.normal(size=(len(kinds), n))
    return seen, kinds[:, None] * (seen @ rule) + noise


def skill(said, y):
    """Return the share of the variance that a forecast explains."""
    return 1 - ((y - said) ** 2).mean() / (y**2).mean()


# %%
same = np.ones(30)
mixed = np.where(np.arange(30) % 2 == 0, 1.0, -1.0)
found = {}
for name, kinds in (("one rule", same), ("two kinds", mixed)):
    x, y = market(kinds, 20, 0)  # twenty examples a coin
    late_x, late_y = market(kinds, 500, 1)
    pooled = Ridge(1.0).fit(x.reshape(-1, 3), y.ravel())
    said = pooled.predict(late_x.reshape(-1, 3)).reshape(late_y.shape)
    own = [Ridge(3.0).fit(*one) for one in zip(x, y, strict=True)]
    each = np.array(
        [m.predict(z) for m, z in zip(own, late_x, strict=True)]
    )
    found[name] = skill(said, late_y), skill(each, late_y)
    print(
        f"{name}: pooled {found[name][0]:.2f}, each alone "
        f"{found[name][1]:.2f}"
    )

# %%
gain = found["one rule"][0] - found["one rule"][1]
assert found["one rule"][0] > 0.18 and gain > 0.08
assert found["two kinds"][0] < 0.02 and found["two kinds"][1] > 0.05

# %% [markdown]
# The best that anybody could explain is $0.29 / 1.29$, a bit more than a fifth. With one rule the
# pooled fit comes close to that, since it has thirty times the examples. With two kinds its weights
# cancel, and it explains nothing, while thirty small fits find what little they can.
#
# There is a way between the two. The net is shared, as one is for thousands of shares in
# {cite:t}`gu2020`, but each coin also has a short vector that is learned with it, an
# **{term}`asset embedding`**, which tells the net what kind of coin it deals with.


# %%
class Shared(nn.Module):
    """One net for all coins, with one learned number a coin beside what
    is seen."""

    def __init__(self, coins):
        super().__init__()
        self.own = nn.Embedding(coins, 1)
        # all coins are alike until something tells
        nn.init.zeros_(self.own.weight)
        self.body = nn.Sequential(
            nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)
        )

    def forward(self, x, own):
        return self.body(torch.cat([x, own], -1))[..., 0]


# %%
x, y = (torch.from_numpy(v).float() for v in market(mixed, 60, 2))
late_x, late_y = (
    torch.from_numpy(v).float() for v in market(mixed, 500, 3)
)
seed_everything(0)
net = Shared(30)
optimizer = torch.optim.Adam(
    net.parameters(), lr=0.02, weight_decay=1e-3
)
for _ in range(UPDATES):
    optimizer.zero_grad()
    vectors = net.own.weight[:, None].expand(-1, x.shape[1], -1)
    nn.functional.mse_loss(net(x, vectors), y).backward()
    optimizer.step()

# %% tolerance={"decimals": 0.05, "effect": 0.1}
with torch.no_grad():
    own = net.own.weight[:, None].expand(-1, 500, -1)
    mean = own.mean(0, keepdim=True).expand_as(own)
    told = {
        name: float(skill(net(late_x, v), late_y))
        for name, v in (
            ("its own vector", own), ("the mean vector", mean),
        )
    }
print({name: round(value, 2) for name, value in told.items()})

# %%
kind = net.own.weight[:, 0].detach().numpy()
assert told["its own vector"] > 0.1 and told["the mean vector"] < 0.06
apart = (kind > np.median(kind)) == (mixed > 0)
sides = max(apart.sum(), (~apart).sum())
print(f"coins on the side of their kind: {sides} of 30")

# %%
assert sides >= 26

# %% [markdown]
# Nobody told the net which coin is of which kind, and its one number a coin found out. The price is
# paid by a coin that is listed tomorrow. It has no vector yet, and the mean of the others' says
# nothing about its kind: the second figure is what the net is worth there. A vector a coin can help
# only coins that have a past.
#
# ## 3 How many examples are a hundred coins?
#
# Suppose that a net is right in 52 % of $136 \cdot 600$ cases, three times a day for 200 days. If
# all cases were independent, the standard error of that share would be
# $\sqrt{0.25 / 81{,}600} = 0.18$ %, and 52 % would lie eleven errors above a coin toss. But the coins
# of one hour rise and fall together, and so the net's errors do, too.
# <!-- number: 52, 0.18 by example -->
#
# Let $m$ values of one hour have the variance $\sigma^2$ and correlate by $\rho$ in pairs. The
# variance of their mean is
#
# $$\frac{\sigma^2}{m}\,\big(1 + (m - 1)\,\rho\big),$$
#
# and the bracket is called the **{term}`design effect`** {cite:p}`moulton1990`: so many of these
# values count for one. If they are independent, it is 1, and if they are all alike, it is $m$.

# %%
m, rho = 136, 0.4
effect = 1 + (m - 1) * rho
naive = np.sqrt(0.25 / (136 * 600))
print(
    f"design effect {effect:.0f}, so {m / effect:.1f} coins an hour, "
    f"not {m}"
)
print(
    f"error {naive:.2%} if independent, {naive * np.sqrt(effect):.2%} "
    "if not"
)

# %%
assert effect == 55 and 0.02 / naive > 11
assert 0.02 / (naive * np.sqrt(effect)) < 1.96

# %% [markdown]
# The eleven errors have become one and a half, and nothing is left that could be told from luck. In
# practice $\rho$ is not known. **Clustered errors** {cite:p}`cameron2015` do without it: sum the
# deviations within each hour first, and let the hours be the independent ones. For two hours with
# the values 1, 1 and 0, 0 the sums of the deviations from one half are $+1$ and $-1$:

# %%
values, hour = np.array([1.0, 1, 0, 0]), np.array([0, 0, 1, 1])
sums = np.array([0.5 + 0.5, -0.5 - 0.5])
by_hand = np.sqrt(2 / (2 - 1) * (sums**2).sum()) / 4
found = panel.clustered_mean(values, hour)
assert np.isclose(found.error, by_hand)
print(
    f"error {found.error:.2f}, if independent {found.naive_error:.2f}"
)

# %% [markdown]
# Is such an interval any good? We draw 300 panels in which nothing can be known, ask for an
# interval at 95 % in each, and count how often it holds the truth, one half.
# <!-- number: 95 by definition -->

# %%
rng = np.random.default_rng(0)
inside = {"independent": 0, "clustered": 0}
hour = np.repeat(np.arange(60), COINS)
for _ in range(300):
    together = rng.normal(size=(60, 1)) + rng.normal(size=(60, COINS))
    right = (together > 0).astype(float).ravel()
    told = panel.clustered_mean(right, hour)
    low, high = told.interval()
    inside["clustered"] += low < 0.5 < high
    inside["independent"] += (
        abs(told.mean - 0.5) < 1.96 * told.naive_error
    )

# %%
for name, count in inside.items():
    print(f"{name:12} holds the truth in {count / 300:.0%} of panels")
assert inside["clustered"] > 270 and inside["independent"] < 140

# %% [markdown]
# An interval that should miss once in twenty times misses more often than it hits. A study of many
# coins with such intervals will often find what is not there.
#
# ## 4 A hundred coins: the table
#
# Before we read what nets found on real coins, we look at a panel in which **nothing can be found**.
# Its returns are drawn anew at each hour, a common part and an own part, so no window says anything
# about the next move. The forecaster is the simplest one that learns by heart: it looks for the most
# similar window among all it was trained on, and answers with the move that followed there.

# %%
rng = np.random.default_rng(4)
common = rng.normal(size=TIMES * 8 + 24)
r = common[:, None] + 0.8 * rng.normal(size=(len(common), COINS))
ends = 24 + 8 * np.arange(TIMES - 1)
# (times, coins, 24)
windows = np.stack([r[e - 24 : e].T for e in ends])
# what they are asked for
after = np.stack([r[e : e + 8].sum(0) for e in ends])

# %%
names = [f"C{i:02}" for i in range(COINS)]
fold = panel.leave_out(
    names, len(ends), folds=4, start=280, gap=4, seed=0
)[0]
learned = fold.cell("seen", "seen")
hits = {}
for time in ("seen", "new"):
    asked = fold.cell("new", time)
    nearest = cdist(windows[asked], windows[learned]).argmin(1)
    right = np.sign(after[learned][nearest]) == np.sign(after[asked])
    day = np.nonzero(asked)[0]
    told = panel.clustered_mean(right.astype(float), day)
    hits[time] = told.interval()
    print(
        f"new coins, {time:4} time: right in {told.mean:.0%} of "
        f"{len(right)}"
    )

# %%
assert hits["seen"][0] > 0.6
assert hits["new"][0] < 0.5 < hits["new"][1]

# %% [markdown]
# On coins that it never saw the forecaster is right far more often than a coin toss, in a market
# where there is nothing to know. It recognises the *hour*: the most similar window is another
# coin's at the same time, and what followed there is the common move. In new time it finds no such
# window, and is worth what it should be worth. So a test on new coins alone proves nothing, and
# the same holds for stopping the training by new coins.
#
# ### Real coins
#
# <!-- number: 119 from studies/portfolio_real.py -->
# The study `cross_market.json` takes 136 coins of Binance in 2024, hourly: the whole file, of which
# {ref}`ch-portfolios` could use only the 119 that were listed all the time. At every eighth hour it
# asks two questions about the next eight hours. *How much* will the coin move (the log of its
# realised volatility)? Here something is there to be found, since calm and wild days come in
# clusters. And *which way* will it move? Coins are left out in five folds, and time from July on.
# The net is an `SEBlock` over three channels and the `ConvEncoder` of {ref}`ch-se-trader`, with one
# seed a fold.

# %%
# make study STUDY=cross_market
study = results.load("cross_market")["results"]
setting, cells = study["setting"], study["panel"]
order = [
    f"{c} coins, {t} time"
    for t in ("seen", "new")
    for c in ("seen", "new")
]


# %%
def row(name, table, each):
    """Print what one forecaster comes to in the four cells."""
    shown = [
        table[cell] and each(table[cell]["mean"]) for cell in order
    ]
    print(f"{name:24}" + "".join(f"{x or '-':>12}" for x in shown))


# %%
assert setting["plant"] == 0.15 and setting["coins"] == 136
print(f"{setting['coins']} coins, {setting['examples']:,} examples")
print(
    f"two coins correlate by {setting['correlation']:.2f}, on average"
)

# %%
heads = [" ".join(cell.replace(",", "").split()[::2]) for cell in order]
print("share of the variance explained; coin, time")
print(f"{'':24}" + "".join(f"{head:>12}" for head in heads))
kinds = [("SE net", cells["nets"]["volatility"])]
kinds += [(k, cells["plain"][f"volatility: {k}"])
          for k in ("trees", "ridge", "each coin alone", "last day")]
for name, table in kinds:
    row(name, table, "{:.2f}".format)

# %%
gap = cells["gaps"]


def named(pair):
    """Return the stored name of a difference in the words of the
    table."""
    first, second = (
        "SE net"
        if side == "volatility"
        else side[len("volatility: ") :]
        for side in pair.split(" less ")
    )
    return f"{first} less {second}"


# %%
def line(name, cell="new coins, new time"):
    """Print a paired difference in a cell with the interval that counts
    weeks."""
    low, high = gap[name][cell]["interval"]
    print(
        f"{named(name):38} {gap[name][cell]['mean']:+.3f} ({low:+.3f} "
        f"to {high:+.3f})"
    )


for other in ("ridge", "trees", "last day"):
    line(f"volatility less volatility: {other}")
line(
    "volatility: ridge less volatility: each coin alone",
    "seen coins, new time",
)

# %%
net, tree = (table for _, table in kinds[:2])
assert net["new coins, new time"]["interval"][0] > 0.2
both = [net[f"{c} coins, new time"]["mean"] for c in ("seen", "new")]
assert abs(both[0] - both[1]) < 0.01 and 0.3 < both[1] < 0.4
fall = [
    t["new coins, seen time"]["mean"] - t["new coins, new time"]["mean"]
    for t in (net, cells["plain"]["volatility: last day"])
]
assert 0.1 < fall[1] < fall[0] < 0.2
low, high = gap["volatility less volatility: ridge"][
    "new coins, new time"
]["interval"]

# %%
assert low < 0 < high < 0.03
assert (
    tree["seen coins, seen time"]["mean"]
    > tree[order[1]]["mean"] + 0.03
)
assert abs(tree[order[3]]["mean"] - net[order[3]]["mean"]) < 0.015

# %% [markdown]
# The first row is what we hoped for. In
# new time the net explains a third of the variance (of all times together), and it does so for
# coins that it never saw just as well as for those it was trained on. How wild a coin will be
# depends on how wild it has been, and that rule is the same for all. What it took to find it is
# less exciting: ridge regression on twelve numbers of the same window explains as much, and the
# interval of the difference holds zero. (The plain ways are fitted on all of the seen time, while
# the nets leave out its last weeks to know when to stop.) A ridge of its own for each coin comes
# out no better, so here sharing costs nothing.
#
# Trees show what learning by heart looks like. On their own examples they explain clearly more than
# on new coins of the same time, and in new time nothing of it is left. And one more thing can be read
# from the last row, which learns nothing at all: "as wild as the last day" explains less in new time
# as well. So most of the fall from seen to new time is due to the months, not to the nets. Without
# that row we would have called it overfitting.
#
# ### And a vector a coin?

# %%
for name in (
    "volatility, own vector", "volatility, own vector, mean for new",
):
    row(name[12:], cells["nets"][name], "{:.2f}".format)
for name in ("volatility, own vector less volatility",
             "volatility, own vector, mean for new less volatility"):
    line(name)
line("volatility, own vector less volatility", "seen coins, new time")
for cell in order[2:]:
    low, high = gap["volatility, own vector less volatility"][cell][
        "interval"
    ]
    assert -0.01 < low < 0 < high < 0.01
learned_by_heart = gap["volatility, own vector less volatility"][
    order[0]
]

# %%
assert (
    learned_by_heart["interval"][0] > 0
    and 0.003 < learned_by_heart["mean"] < 0.01
)

# %% [markdown]
# The vectors help on the examples they were trained on, by about half a percentage point. In new
# time nothing of that can be told from zero, be the coin known or not. The window already shows how
# wild a coin is, and beside it a name added nothing that could be seen. And for new coins the mean
# of the others' vectors does as well as zeros, because there is little to lose: the cost that
# section 2 planted is a cost only where coins are of different kinds.
#
# ### Which way?
#
# The second question asks for the sign of the next eight hours. The figures are the share of hits less
# one half, in the four cells as above. A net's training is stopped by a validation set, which holds
# later bars (*by time*) or other coins (*by coins*), and *planted* is a control.

# %%
for name in ("way, stopped by time", "way, stopped by coins"):
    row(name, cells["nets"][name], "{:.1%}".format)
for name in ("logistic", "trees", "nearest window"):
    row(name, cells["plain"][f"way: {name}"], "{:.1%}".format)
row("planted, by time", cells["nets"]["way, planted"], "{:.1%}".format)

# %%
rows = {"net, stopped by time": cells["nets"]["way, stopped by time"],
        "net, stopped by coins": cells["nets"]["way, stopped by coins"],
        **{k: cells["plain"][f"way: {k}"]
           for k in ("logistic", "trees", "nearest window")},
        "net, planted": cells["nets"]["way, planted"]}

# %% mystnb={"figure": {"caption": "Hits above one half on coins that were never seen, at times that were seen and later, with 95 % intervals that count weeks.", "name": "fig-cross-leak"}, "image": {"alt": "Six rows with two points each. For the trees, the nearest window and the net that was stopped by coins the point for seen time lies well to the right of zero and the point for new time near zero; for the planted net both lie to the right."}}
fig, ax = plt.subplots(figsize=(7.2, 3.0))
for shift, colour, time in ((-0.15, DOWN, "seen"), (0.15, UP, "new")):
    points = [
        table[f"new coins, {time} time"] for table in rows.values()
    ]
    mean = np.array([p["mean"] for p in points])
    low, high = np.array([p["interval"] for p in points]).T
    ax.errorbar(
        mean, np.arange(len(rows)) + shift,
        xerr=[mean - low, high - mean], fmt="o", color=colour,
        label=f"{time} time",
    )
ax.axvline(0, color=NEUTRAL, lw=0.8)
ax.set_yticks(range(len(rows)), list(rows))
ax.set(xlabel="share of hits, less one half")
ax.legend()
plt.show()

# %%
for name in ("net, stopped by coins", "trees", "nearest window"):
    assert rows[name]["new coins, seen time"]["interval"][0] > 0.04
for name in list(rows)[:-1]:
    low, high = rows[name]["new coins, new time"]["interval"]
    assert low < 0 < high

# %%
assert rows["net, planted"]["new coins, new time"]["interval"][0] > 0.02
assert (
    cells["plain"]["way: nearest window"]["new coins, seen time"][
        "mean"
    ]
    > 0.17
)

# %%
gains = {name: cells["nets"][f"way, {name}"]["gain"]
         for name in ("stopped by time", "stopped by coins", "planted")}
for name, gain in gains.items():
    print(
        f"{name:17} nats won on the class shares: {np.round(gain, 3)}"
    )

# %%
assert np.mean(gains["stopped by time"]) < 0 < min(gains["planted"])
assert max(cells["nets"]["way, stopped by time"]["epoch"]) <= 2

# %% [markdown]
# The nearest window is right in more than two thirds of the cases, on coins that it never saw, and
# the trees and the net that was stopped by coins find several per cent, too. All of that is gone in
# new time. It is the planted picture again: they know the hours.
#
# Where the net's training is stopped by *other coins of the same hours*, it trains to the last
# epoch, since the validation loss falls and falls. Stopped by *later* bars it gives up after one or
# two epochs, with a loss no better than the class shares'. (The printed gains are in nats, the unit
# of a loss with natural logarithms.) By our rule that net has **not learned**, and says nothing.
# The few per cent that it and the logistic regression show in seen time were not there in new time.
#
# The last row is the control. A sign that shifts the next move by 0.15 of its volatility was planted
# in these bars, and the same net finds it: the interval in new time lies above zero.
# <!-- number: 0.15 from studies/cross_market.py -->

# What did those who knew the hours know? For each forecast we ask two questions. Does it have the
# sign of the **market**, the mean move of the other coins? And does it have the sign of the coin's
# **own** part, what it moves beyond the median coin?

# %%
for name in (
    "trees", "nearest window", "logistic", "way, stopped by coins",
):
    row(f"{name[-16:]}: market", cells["common"][name], "{:.1%}".format)
    row(f"{name[-16:]}: own", cells["own"][name], "{:.1%}".format)

# %%
near = [cells[part]["nearest window"]["new coins, seen time"]["mean"]
        for part in ("common", "own")]  # fmt: skip
assert near[0] > 0.2 and near[1] < 0.05

# %%
each = [table["new coins, new time"] for table in cells["own"].values()]
t = [
    x["mean"] / (x["interval"][1] - x["mean"]) * student.ppf(0.975, 9)
    for x in each
]
p = evidence.holm(2 * student.sf(np.abs(t), 9))
print(
    f"own part, new coins, new time: least p after Holm {p.min():.2f}"
)

# %%
assert {x["weeks"] for x in each} == {10} and p.min() > 0.05

# %% [markdown]
# What the nearest window knows of new coins in seen time is the market, nearly all of it. Of the
# coins' *own* parts something may be left in new time, by the intervals two per cent at most.
# Corrected for five forecasters it cannot be told from zero, and whether it would pay was not
# asked.
# <!-- number: two per cent from book/results/cross_market.json -->

# %%
shown = cells["plain"]["way: logistic"]["new coins, new time"]
for unit, effect in shown["design_effect"].items():
    print(f"clusters of one {unit:5} design effect {effect:.0f}")
half = (shown["interval"][1] - shown["interval"][0]) / 2
print(
    f"half width: if independent {shown['naive']:.1%}, by weeks "
    f"{half:.1%}"
)
assert (
    10 < shown["design_effect"]["day"] < 60
    and 4 < half / shown["naive"] < 8
)
print(f"{shown['n']:,} examples, {shown['weeks']} weeks")

# %% [markdown]
# Coins of one hour count for so few that 26,476 examples are worth about a thousand, and the ten
# weeks of new time decide. The interval by weeks is about six times as wide as the naive one. With
# these months, an edge in the way has to be several per cent before the study sees it.
#
# ## 5 Lead and lag
#
# Does bitcoin move first? If so, its return *now* correlates with another coin's return *later*. The
# correlation at lag $k$ pairs the first coin at bar $t$ with the second at bar $t + k$. With a
# pencil: the second row repeats the first, one bar later.

# %%
stamps = pd.date_range(
    "2024-01-01", periods=8, freq="15min", tz="UTC", name="time"
)
first = pd.Series([1.0, 1, -1, -1, 1, 1, -1, -1], stamps)
second = pd.Series([-1.0, 1, 1, -1, -1, 1, 1, -1], stamps)
by_hand = (first.to_numpy()[:-1] * second.to_numpy()[1:]).sum() / 8
found = panel.lead_lag(first, second, 2)
print(found.round(2).to_dict())

# %%
assert np.isclose(found[1], by_hand) and by_hand == 7 / 8

# %% [markdown]
# The function refuses series whose stamps differ, and `panel.aligned` brings candles of several coins
# to the bars that all of them have. Neither can know what a stamp *means*, to which we return below.
#
# Coins that are traded rarely have a trap of their own, even with perfect stamps. If nobody trades a
# coin in the last minutes of a bar, its close is a price of some minutes ago. It then learns the
# market's move one bar late, and seems to be led, though nobody could have bought at that close. In
# the literature this is **non-synchronous trading** {cite:p}`lo1990`, and the loss of correlation in
# short bars is the **{term}`Epps effect`** {cite:p}`epps1979`.

# %%
rng = np.random.default_rng(5)
n = 60 * 24 * 60
news = rng.normal(size=n).cumsum()
busy, sleepy = (
    news + 0.5 * rng.normal(size=n).cumsum() for _ in range(2)
)
traded = rng.random(n) < STALE
last = np.maximum.accumulate(np.where(traded, np.arange(n), 0))
seen = sleepy[last]  # the price of the last trade

# %%
lags = {}
for minutes in (1, 5, 15, 60):
    step = f"{minutes}min"
    index = pd.date_range(
        "2024-01-01", periods=n // minutes, freq=step, tz="UTC"
    )
    pair = [
        pd.Series(np.diff(x[::minutes], prepend=x[0]), index)
        for x in (busy, seen)
    ]
    lags[minutes] = panel.lead_lag(*pair, 2)
    at0, at1 = lags[minutes][0], lags[minutes][1]
    print(
        f"{minutes:>2} minutes: together {at0:.2f}, one bar later "
        f"{at1:.2f}"
    )

# %% mystnb={"figure": {"caption": "A coin that trades in one minute of five: correlation with a busy coin in the same bar, and one bar later.", "name": "fig-cross-epps"}, "image": {"alt": "Two lines over bar lengths from 1 to 60 minutes. The correlation in the same bar climbs from below 0.2 to above 0.7; the correlation one bar later is largest at five minutes and falls towards zero at sixty."}}
fig, ax = plt.subplots(figsize=(7.2, 2.8))
ax.plot(
    list(lags), [x[0] for x in lags.values()], "o-", color=UP,
    label="same bar",
)
ax.plot(
    list(lags), [x[1] for x in lags.values()], "s--", color=DOWN,
    label="one later",
)
ax.set_xscale("log")
ax.set_xticks(list(lags), list(map(str, lags)))
ax.minorticks_off()
ax.set(xlabel="length of a bar in minutes", ylabel="correlation")
ax.legend()
plt.show()

# %%
assert [x[0] for x in lags.values()] == sorted(
    x[0] for x in lags.values()
)
assert lags[60][0] > 0.7 > 0.3 > lags[1][0]
assert lags[1][1] > 0.1 and lags[60][1] < 0.1

# %% [markdown]
# Nothing leads here. The longer the bar, the less the stale minutes weigh, so the true correlation of
# 0.8 comes back and the "lead" fades away. BTC, ETH and SOL trade many times a minute, so this is no
# trap for them. What do a year of their 15-minute bars on Bybit say, at up to 16 bars in both
# directions?

# %%
lead = study["lead"]
print(f"{lead['bars']:,} bars, {lead['tests']} tests; at lag 0:")
print({pair: round(x, 2) for pair, x in lead["zero"].items()})
for x in sorted(lead["rows"], key=lambda x: x["p"])[:3]:
    pair = f"{x['first']} and {x['second']}, lag {x['lag']:+d}"
    half = 1.96 * x["error"]
    p = f"p {x['p']:.3f}, corrected {x['p_corrected']:.2f}"
    print(f"{pair}: {x['value']:+.3f} +- {half:.3f}, {p}")

# %% mystnb={"figure": {"caption": "BTC's return with SOL's some bars later, Bybit, 15 minutes, with 95 % intervals that count days; lag 0, which is 0.72, is left out.", "name": "fig-cross-lags"}, "image": {"alt": "Thirty-two points for lags from minus 16 to plus 16 bars, all within 0.03 of zero. Most of their intervals hold zero."}}
pair = [
    x
    for x in lead["rows"]
    if (x["first"], x["second"]) == ("BTC", "SOL")
]
fig, ax = plt.subplots(figsize=(7.2, 2.6))
at = [x["lag"] for x in pair]
ax.errorbar(
    at, [x["value"] for x in pair], [1.96 * x["error"] for x in pair],
    fmt="o", ms=4, color=UP,
)
ax.axhline(0, color=NEUTRAL, lw=0.8)
ax.set(xlabel="bars by which BTC is earlier", ylabel="correlation")
plt.show()

# %%
assert len(pair) == 32 and max(abs(x["value"]) for x in pair) < 0.04
assert min(x["p_corrected"] for x in lead["rows"]) > 0.05
assert 0.7 < lead["zero"]["BTC-SOL"] < 0.75
assert lead["tests"] == 96
print("planted leads found, of 20:", lead["detectable"])

# %%
assert lead["detectable"]["0.04"] >= 16 > lead["detectable"]["0.03"]

# %% [markdown]
# At lag 0 they correlate strongly, and at every other lag nothing can be told from zero once all
# tests are counted. Could the study have seen a lead? One of 0.04 was found in 19 of 20 tries, and
# one of 0.03 in 13 only. It was planted between BTC, whose sign was redrawn each day so that no
# lead was left, and SOL at the same hours: markets that are wild at the same time have wide errors,
# and to plant in calm ones would have been too kind. A lead of 0.04 would explain less than two
# thousandths of a bar's variance.
#
# These intervals are honest about time, since they sum the products within each day first, as in
# section 3. The best of the 96 could be played, to see what it is worth: hold the second coin by the
# sign of the first, so many bars before.

# %%
played = lead["best"]["rule"]
words = "Sharpe ratio {gross:.1f} before costs, {net:.1f} after".format(
    **played
)
print(f"{words}; turnover {played['turnover']:,.0f} a year")

# %%
assert played["gross"] < 1.5 and played["net"] < -10

# %% [markdown]
# ## 6 Searching other markets
#
# {ref}`ch-many-heads` trained a {term}`Siamese net`, whose distance says how alike two windows are.
# With it one can search: which windows of *other* coins looked like bitcoin's last day, and what
# happened after them? If they were followed by the same move more often than windows at random are,
# patterns recur across markets.
#
# Each neighbour brings its outcome, so the outcome must have been known when we asked. A window that
# ends at hour 20 and foretells 8 hours is known at hour 28:

# %%
# windows of one number
reference = np.array([[0.0], [5.0], [2.0], [1.0]])
known = np.array([3, 7, 5, 28])  # when their outcomes were known
found = panel.neighbours(
    [[1.1]], reference, asked=[20], known=known, k=2
)
print("nearest first:", found[0])

# %%
# the nearest of all, row 3, has no outcome yet
assert found.tolist() == [[2, 0]]

# %% [markdown]
# A control first: into the panel of section 4, in which nothing could be found, we draw in half of
# the windows either of two shapes, and let the move that follows have their sign.

# %%
rng = np.random.default_rng(6)
shape = np.sin(np.linspace(0, 2 * np.pi, 24))
kind = rng.choice([-1, 0, 1], after.shape, p=[0.25, 0.5, 0.25])
noise = 0.7 * rng.normal(size=windows.shape)
drawn = np.where(
    kind[..., None] != 0, kind[..., None] * shape + noise, windows
)
moved = after + 4 * kind


# %%
def agreement(space, moves, ask, wait):
    """Return the share of neighbours whose move has the sign of the
    query's."""
    row, coin = np.nonzero(np.ones_like(kind))
    pool = coin > 0
    found = panel.neighbours(
        space[ask, 0], space[row[pool], coin[pool]], asked=8 * ask,
        known=8 * row[pool] + wait, k=10,
    )
    told = np.sign(moves[row[pool], coin[pool]])[found]
    return (told == np.sign(moves[ask, 0])[:, None]).mean()


# %%
unit = drawn / drawn.std(-1, keepdims=True)
late = np.arange(280, len(ends))
ask = late[kind[late, 0] != 0]
with_shape = agreement(unit, moved, ask, wait=8)
print(f"planted shapes: {with_shape:.0%} of neighbours agree")

# %%
assert with_shape > 0.65

# %% [markdown]
# The planted pattern is found. Now we drop it again and search the panel in which nothing recurs,
# once with the outcomes that were known, and once the way it is easily done: each neighbour only has
# to *end* by now.

# %%
plain = windows / windows.std(-1, keepdims=True)
honest = agreement(plain, after, late, wait=8)
hasty = agreement(plain, after, late, wait=0)
print(
    f"nothing planted: known outcomes {honest:.0%}, same hours allowed "
    f"{hasty:.0%}"
)

# %%
assert 0.38 < honest < 0.62 and hasty > honest + 0.1

# %% [markdown]
# The second search finds other coins *of the same hours*, which move with bitcoin by the common
# factor. Nobody could have used it, because their outcomes lie in the future, as bitcoin's own
# does. It is the trap of section 4 once more.
#
# The study searches ten real coins by the shape of their last day and by a small Siamese net, for
# which windows are alike if like moves followed, and which was trained on pairs from before July. The
# queries are bitcoin's from July on. Chance is what remains when bitcoin's outcomes are turned
# against the queries by a week or more, in every way there is.

# %%
searched = study["patterns"]
kept = ("share", "chance", "high", "p")
searches = [
    name for name, x in searched[0].items() if isinstance(x, dict)
]
mean = {name: {k: np.mean([s[name][k] for s in searched]) for k in kept}
        for name in searches}
for name, x in mean.items():
    print(f"{name:28} agree {x['share']:.1%}, chance {x['chance']:.1%}"
          f" (19 of 20 below {x['high']:.1%})")

# %%
for how in ("shape", "siamese"):
    assert mean[f"planted, {how}"]["share"] > 0.65
    assert mean[f"real, {how}"]["share"] < mean[f"real, {how}"]["high"]
assert mean["real, shape, same hours"]["share"] > 0.65

# %%
for kind in ("planted", "real"):
    gain = study["claims"][f"learned_{kind}"]
    print(
        f"{kind}: the net's loss below the best constant's: "
        f"{gain['measured']:+.4f}"
        f" ({gain['low']:+.4f} to {gain['high']:+.4f})"
    )
shape = study["claims"]["real_shape"]

# %%
assert shape["low"] < 0.47 and shape["high"] > 0.51
assert study["claims"]["learned_planted"]["low"] > 0
assert study["claims"]["learned_real"]["high"] < 0

# %% [markdown]
# The planted pattern is found by both. On real bars neither finds more than chance, as long as
# neighbours' outcomes had to be known. The net did **not learn** there: on later pairs it does worse
# than one distance for all. So its row says nothing, and the search by shape is undecided, since its
# interval holds one half and reaches several per cent to both sides. If other coins of the same hours
# may answer, the agreement by shape jumps to seven of ten, and seven of ten of its neighbours are
# then from the query's own hours. Chance does not help against it, since the turned outcomes destroy
# the common factor as well: the permutation says that something is there, and it is right, but it is
# nothing that could have been known.
#
# ## What goes wrong
#
# Here is a strategy on a year of 15-minute bars of two of the world's most liquid markets. It buys
# SOL after BTC rose in the bar before, and sells it after BTC fell.

# %%
trap = lead["trap"]
print(
    "Sharpe ratio {gross:.0f} before costs, {net:.0f} after".format(
        **trap["rule"]
    )
)
print({int(k): round(v, 2) for k, v in trap["correlations"].items()})

# %%
assert trap["rule"]["net"] > 50

# %% [markdown]
# A fund that earns a {term}`Sharpe ratio` of 2 is admired. This one pays all costs on each bar and
# still has one of more than 50 (the second of the two printed above). What happened is that BTC's
# file stamps each bar with its *open*, as this book does, and SOL's stamps it with its *close*, as
# many exchanges and vendors do. Both have bars at 12:15, the indexes are equal, no check complains.
# But BTC's bar of 12:15 is the quarter of an hour *after* 12:15, and SOL's the one before. "SOL one
# bar later" is SOL at the same time.
#
# We can build it with the bars that come with this book and a second coin that follows BTC at once,
# with noise of its own:

# %%
btc = candles.sample()
r = np.log(btc["close"]).diff().fillna(0.0)
rng = np.random.default_rng(7)
other = 0.9 * r + rng.normal(0, 0.7 * r.std(), len(r))
# the same bars, stamped by their close
late_stamp = other.shift(1, fill_value=0.0)

# %%
assert np.isclose(panel.lead_lag(r, other, 0)[0], 0.79, atol=0.03)


# %%
def played(first, second, costs):
    """Return the Sharpe ratio of holding the second by the sign of the
    first."""
    close = 100 * np.exp(second.cumsum())
    opened = close.shift(1, fill_value=100.0)
    bars = pd.DataFrame({"open": opened, "close": close})
    bars["high"], bars["low"] = (
        bars.max(axis=1), bars[["open", "close"]].min(axis=1),
    )
    bars = bars[["open", "high", "low", "close"]].assign(volume=1.0)
    return backtest.run(bars, np.sign(first), costs=costs).metrics()[
        "sharpe"
    ]


# %%
for name, second in (
    ("stamped by close", late_stamp), ("aligned", other),
):
    found = panel.lead_lag(r, second, 1).round(2).to_dict()
    before, after_costs = (
        played(r, second, c) for c in (FREE, Costs())
    )
    print(
        f"{name:17} {found}, Sharpe {before:.0f}, after costs "
        f"{after_costs:.0f}"
    )
    if name == "stamped by close":
        assert before > 100 and after_costs > 50

# %%
assert abs(before) < 8 and after_costs < -20

# %% mystnb={"figure": {"caption": "Correlation of BTC with the second coin by lag: with stamps of two kinds the peak of lag 0 sits at lag 1.", "name": "fig-cross-unaligned"}, "image": {"alt": "Two rows of thin bars over lags from minus 4 to 4. Aligned closes have one tall bar at lag 0; unaligned ones have the same tall bar at lag 1 and nothing at lag 0."}}
both = {"aligned": other, "stamped by close": late_stamp}
peaks = {
    name: panel.lead_lag(r, second, 4) for name, second in both.items()
}
fig, axes = plt.subplots(
    2, 1, figsize=(7.2, 3.2), sharex=True, sharey=True
)
for ax, (name, found), colour in zip(
    axes, peaks.items(), (UP, DOWN), strict=True
):
    ax.bar(found.index, found, 0.3, color=colour)
    ax.set(title=name, ylabel="correlation")
axes[1].set(xlabel="bars by which BTC is earlier")
plt.show()

# %%
assert (
    peaks["aligned"].idxmax() == 0
    and peaks["stamped by close"].idxmax() == 1
)
assert abs(peaks["stamped by close"][0]) < 0.1

# %% [markdown]
# The figure shows the way out. Liquid coins move together *within* the bar, so the tallest bar
# belongs at lag 0. If it stands at lag 1 or −1, a clock is wrong, and no strategy has to be run to
# know it. `candles.read` asks for the meaning of stamps (`stamp="close"` moves them back to the
# open), and this is the remedy:

# %%
mended = late_stamp.shift(-1).iloc[:-1]  # back to the open of the bar
found = panel.lead_lag(r.iloc[:-1], mended, 1)
assert found.idxmax() == 0
real = trap["aligned"]
told = "BTC and SOL, aligned: Sharpe {gross:.1f}, after costs {net:.0f}"
print(told.format(**real))

# %%
assert real["gross"] < 1 and real["net"] < -10

# %% [markdown]
# Aligned, the real strategy earns nothing before costs and loses heavily after them. Whenever a
# lead looks too good, draw the correlations by lag first.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* Coins are like pupils of one class: what one of them understood may help the next,
# and what all copied from the same board helps nobody tomorrow. The picture does not say how much
# was copied.
#
# *Proved.* The variance of a mean of values that correlate in pairs grows by the design effect,
# which follows from the variance of a sum. That one of two series which move together seems to
# lead, when one is stamped by its open and the other by its close, follows from the stamps alone.
#
# *Measured here.* On planted panels sharing helped where coins obey one rule, and learning the
# hours by heart looked like skill. On real coins the volatility of new coins in new time could be
# foretold, by ridge regression as well as by the net, while no forecast of the way held in new
# time. Neither a lead between markets nor a shape that recurs was found in a year of bars.
#
# *Open.* The coins are those that were still listed at the end, so nothing is known of those that
# were not. Leads shorter than a bar cannot be seen in bars.
# ```
#
# ## Summary
#
# - An example can be new by its coin or by its time, so a panel has four cells. Only new coins in new
#   time say what a coin that is listed tomorrow may expect.
# - Coins that follow one rule should share a net. A vector a coin tells kinds apart, and is of no use
#   to a coin without a past.
# - Coins of one hour move together: values count for one by the design effect $1 + (m - 1)\rho$,
#   and an interval that ignores it misses the truth far too often.
# - A forecaster that learned the hours by heart looks skilled on new coins, by the common factor
#   alone.
# - On 136 coins a net foretells volatility of new coins in new time as well as that of known ones,
#   and no better than ridge regression. Of the way it learned nothing that lasts.
# - BTC, ETH and SOL lead each other at no lag that a year of 15-minute bars could show. Unaligned
#   stamps make an absurd Sharpe ratio of nothing.
# - Neighbours must have had their outcome before the query: then windows of other coins agree no more
#   often than chance.
#
# ## Exercises
#
# ```{exercise} The market, and what is left ★
# :label: ex-cross-own
# In section 1, subtract from each coin the mean of the three. How do two coins correlate now, and why
# is it not zero?
# ```
#
# ```{solution-start} ex-cross-own
# :class: dropdown
# ```
# The factor is gone, but the three remainders sum to zero in each case. If one lies above the mean,
# the others must lie below it in sum, so $m$ remainders correlate by $-1/(m - 1)$, here by one half.

# %%
left = coins - coins.mean(0)
print(np.corrcoef(left).round(2)[0])
assert np.allclose(np.corrcoef(left)[0, 1:], -1 / 2)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A hundred more coins ★★
# :label: ex-cross-more
# Coins correlate by $\rho = 0.4$. How much narrower does the interval become if we go from 100 coins
# to 200, and how much if we go from 100 days to 200 days? What is the most that any number of coins
# can give?
# ```
#
# ```{solution-start} ex-cross-more
# :class: dropdown
# ```
# The variance of an hour's mean is $\sigma^2 (1 + (m - 1)\rho)/m$, which falls towards
# $\rho\,\sigma^2$ and no further. No number of coins is worth more than $1/\rho = 2.5$ independent
# ones. Days are (nearly) independent, so twice as many make the interval narrower by $\sqrt 2$.

# %%
worth = {m: m / (1 + (m - 1) * 0.4) for m in (1, 10, 100, 200)}
print({m: round(x, 2) for m, x in worth.items()})
assert worth[200] / worth[100] < 1.01 and worth[200] < 2.5

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Half a bar ★★★
# :label: ex-cross-half
# In section 5, build 15-minute bars of `busy` and of `sleepy` (which trades all the time), but cut
# the second one five minutes late. Which correlations do you expect at the lags −1, 0 and 1, and who
# seems to lead?
# ```
#
# ```{solution-start} ex-cross-half
# :class: dropdown
# ```
# Ten of fifteen minutes are common to bars of the same number, and five are common to a bar of the
# second coin and the *next* bar of the first. So two thirds of the true 0.8 stay at lag 0, and one
# third moves to lag −1: the second coin, whose bars end later, seems to lead. A misaligned clock
# needs not be off by a whole bar to do harm.

# %%
ends_at = np.arange(15, n - 15, 15)
index = pd.date_range(
    "2024-01-01", periods=len(ends_at), freq="15min", tz="UTC"
)
on_time = pd.Series(busy[ends_at] - busy[ends_at - 15], index)
five_late = pd.Series(sleepy[ends_at + 5] - sleepy[ends_at - 10], index)
found = panel.lead_lag(on_time, five_late, 1)
print(found.round(2).to_dict())

# %%
assert np.allclose(found, [0.8 / 3, 0.8 * 2 / 3, 0], atol=0.06)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Markets of your own ★★★
# :label: ex-cross-own-data
# Take two markets of your own at one interval, align them by `panel.aligned`, and draw their
# correlations by lag. Before you believe a lead: do the stamps mean the same, is the peak at lag 0,
# does the interval count days, how many lags did you look at, and could you have traded at that
# close?
# ```
#
# ```{solution} ex-cross-own-data
# :class: dropdown
# Read both files by `candles.read`, which asks what the stamps mean. If the peak is not at lag 0,
# look for the clock that is off, or for the coin that trades rarely; longer bars make the second kind
# fade, as in section 5. Correct for all lags and pairs you looked at by `evidence.holm`. What
# survives must be played at the *next open* and with costs, because a stale close is a price that
# nobody offers.
# ```
#
# ## Further reading
#
# Correlations that vanish in short intervals {cite:p}`epps1979`, and leads that come from prices
# which are not of the same moment {cite:p}`lo1990`; why values of one group count for fewer
# {cite:p}`moulton1990`, and a guide to clustered errors {cite:p}`cameron2015`; one net for thousands
# of shares {cite:p}`gu2020`; Siamese nets {cite:p}`bromley1993` and their loss
# {cite:p}`hadsell2006`.
#
# This is the last chapter. {ref}`ch-evening-7` is an evening with five coins and four leads, two of
# which are made by the record, and {ref}`ch-bring-your-own` shows how to ask the questions of this
# book of candles of your own.
