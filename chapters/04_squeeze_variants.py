# %% [markdown]
# (ch-squeeze-variants)=
# # Five squeezes, several scales, two axes
#
# **What must a squeeze keep of a window, and what does it forget?**
#
# ```{admonition} What you will do
# :class: tip
# - write five squeezes as weighted sums of bars, and compare what they see
# - plant a switch in a market and find out which squeeze can find it
# - gate on several time scales at once, and read which scale the block chose
# - gate bars as well as channels, with scSE and CBAM
# - keep gates for a while to save time, and meet the bug that this invites
# ```
#
# *You need* {ref}`ch-se-math`. *Runs* in under 30 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.stats import binomtest
from torch import nn

from setrade import candles, plots, races, results, se
from setrade.plots import use_style
from setrade.toys import PLANTED_HALFLIFE, SWITCHES, draw_switch

use_style()
# the nets of this chapter are too small to share
torch.set_num_threads(1)

# %% tags=["parameters"]
LENGTH = 40  # bars in the window on show
N_STEPS = 400  # training steps of a small net
LIVE_SEEDS = 2  # seeds recomputed here, beside the 20 stored

# %% [markdown]
# ## 1 Every squeeze is a weighted sum
#
# <!-- number: 15 from setrade/candles/files.py -->
# The mean squeeze of {ref}`ch-se-math` treats the newest bar and the oldest alike. For a picture
# that is right, because a cat is a cat in any corner. A market window has a direction, however, and
# its newest bar is the one we act on, so it matters which bars a squeeze looks at. The SE chapter
# lists five ways to squeeze: mean, maximum, last value, exponential weights, learned attention.
#
# All five have one form: a channel $x_c$ becomes $z_c = \sum_t w_{ct}\, x_{ct}$ with weights that
# are at least 0 and sum to 1. They differ only in who sets the weights. In the table $\propto$ means
# «proportional to», the age of bar $t$ is the number of bars since then, 0 for the newest, the
# half-life $h$ is the age at which the weight has fallen to a half, and $x_{\cdot t}$ holds all
# channels of bar $t$.
#
# | squeeze | weight of bar $t$ | who decides |
# |---|---|---|
# | mean | $1/T$ | nobody |
# | max | 1 at the largest bar, else 0 | the data |
# | last | 1 at the newest bar, else 0 | the clock |
# | ewm | $\propto 2^{-\text{age}_t / h}$ with half-life $h$ | the clock, and training sets $h$ |
# | attention | $\propto \exp(v^\top x_{\cdot t})$ with a vector $v$ | the data, and training sets $v$ |
#
# :::{figure-md} fig-diagram-squeezes
# ![Five rows of twelve cells, oldest bar left. The mean weighs all bars alike, the maximum takes the single largest bar, last takes the newest, the exponential squeeze lets weights grow towards the newest bar, and attention learns where to look.](_static/diagrams/squeezes.svg)
#
# Five squeezes as weights: the stronger the colour of a bar, the more it counts.
# :::
#
# Attention looks at all channels of a bar to decide how much the bar counts
# {cite:p}`cao2019`. Here is one real channel: returns of Bitcoin over 15 minutes, in units
# of their standard deviation over the earlier bars.

# %%
returns = np.log(candles.sample().close).diff().dropna().to_numpy()
x = returns[-LENGTH:] / returns[:-LENGTH].std()
age = np.arange(LENGTH)[::-1]  # 0 is the newest bar

# %%
v, h = 0.5, 10.0
weights = {
    "mean": np.ones(LENGTH),
    "max": (x == x.max()).astype(float),
    "last": (age == 0).astype(float),
    "ewm": 0.5 ** (age / h),
    "attention": np.exp(v * x),
}
weights = {name: w / w.sum() for name, w in weights.items()}

# %% [markdown]
# The package has them under the same names in `se.SQUEEZES`, each with a method `weights`.
# With the same $h$ and $v$ they agree.

# %%
X = torch.tensor(x, dtype=torch.float32)[None, None]  # (1, 1, T)
for name, make in se.SQUEEZES.items():
    squeeze = make(1)
    if name == "attention":
        squeeze.score.weight.data.fill_(v)
    w = squeeze.weights(X)[0, 0].detach()
    np.testing.assert_allclose(w, weights[name], atol=1e-6)
    np.testing.assert_allclose(
        squeeze(X)[0, 0].detach(), x @ weights[name], atol=1e-5
    )

# %% mystnb={"figure": {"caption": "One window of real returns and the weight that each squeeze gives to its bars.", "name": "fig-squeeze-weights"}, "image": {"alt": "Above, forty returns of Bitcoin. Below, five rows of bars: equal weights for the mean, a single bar for the maximum, one bar at the right end for last, weights growing to the right for the exponential squeeze, and weights that are higher where the return is higher for attention."}}
plots.squeeze_weights(x, weights)
plt.show()

# %%
assert weights["ewm"][age == h] / weights["ewm"][age == 0] == 0.5
assert np.corrcoef(np.log(weights["attention"]), x)[0, 1] > 0.999
z = {name: float(x @ w) for name, w in weights.items()}
assert max(z, key=z.get) == "max"

# %% [markdown]
# These are five summaries of the same forty bars, and since each of them weighs other bars, they
# need not even agree on the sign. The vector $v$ was chosen for the picture; an untrained attention
# squeeze draws it at random.

# %% [markdown]
# ## 2 What each one cannot see
#
# A summary forgets something, and what it forgets no layer behind it can bring back into the gates.
# To find out what that is, we change the window in four ways and ask which summaries notice.

# %%
order = np.random.default_rng(0).permutation(LENGTH)
changes = {
    "bars shuffled": x[order],
    "oldest bar + 1": x + (age == LENGTH - 1),
    "newest bar + 1": x + (age == 0),
    "lowest bar - 1": x - (x == x.min()),
}


# %%
def squeezed(name, window):
    squeeze = se.SQUEEZES[name](1)
    if name == "attention":
        squeeze.score.weight.data.fill_(v)
    return squeeze(
        torch.tensor(window, dtype=torch.float32)[None, None]
    ).item()


def notices(name, change):
    return (
        abs(squeezed(name, changes[change]) - squeezed(name, x)) > 1e-4
    )


seen = pd.DataFrame(
    {c: {n: notices(n, c) for n in se.SQUEEZES} for c in changes}
)
seen.replace({True: "sees it", False: "blind"})

# %%
assert not seen.loc[["mean", "max", "attention"], "bars shuffled"].any()
assert seen.loc["last"].tolist() == [True, False, True, False]
assert seen.loc["ewm"].all()

# %% [markdown]
# Mean, max and attention do not know the order of the bars, so nothing changes when they are
# shuffled. Last knows one bar and is blind to all others. Max sees only new highs, and therefore a
# crash leaves no trace in it. The exponential squeeze notices every change, but a change in an old
# bar moves it little, because the weight of a bar falls with its age.
#
# Max has one more property to know about. On a channel with mean 0 and deviation 1, its value is
# practically never near 0, because the largest of 16 normal numbers is about 1.77 on average. The
# layers behind it therefore start with an input that is off centre.

# %%
draws = np.random.default_rng(1).normal(size=(20_000, 16))
print(f"mean of the largest of 16: {draws.max(1).mean():.1f}")
assert abs(draws.max(1).mean() - 1.766) < 0.02

# %% [markdown]
# ## 3 A planted switch
#
# Which squeeze is best depends on where a market hides what matters, so we make markets in which we
# know where that is. Each window has 16 bars and four channels of noise. The target is the newest
# value of channel 0, the **signal**, while a switch is on, and 0 while it is off. A gate that opens
# and closes channel 0 with the switch solves the task. Channel 1, the **context**, tells in one of
# five ways whether the switch is on.
#
# | task | the switch is on when |
# |---|---|
# | level | the context is shifted up, not down, over the whole window |
# | spike | one context bar jumps up and six sink, so that the mean stays; off: one sinks, six rise |
# | now | the newest context bar is positive |
# | recent | the sum of the context, weighted with a half-life of 2 bars, is positive |
# | marked | the context is positive at the one bar where channel 2 is 1 |
#
# For "recent", written out by hand, the truth is this:

# %%
X, y = draw_switch("recent", 1000, seed=0)
planted = 0.5 ** (torch.arange(15, -1, -1) / 2.0)  # newest bar last
on = (X[:, 1] * planted).sum(-1) > 0

# %%
assert torch.equal(y, torch.where(on, X[:, 0, -1], 0.0))
assert 0.4 < on.float().mean() < 0.6

# %% [markdown]
# The net is an SE block and one linear layer that reads the newest bar. It sees new windows
# at every step, so it cannot learn any by heart.


# %%
class Gated(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block, self.head = block, nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.block(x)[:, :, -1])[:, 0]


def train(make_block, draw, seed):
    torch.manual_seed(seed)
    net = Gated(make_block())
    optimizer = torch.optim.Adam(net.parameters(), lr=0.015)
    for step in range(N_STEPS):
        X, y = draw(128, seed * 100_000 + step)
        loss = (net(X) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


# %% [markdown]
# The score is the share of a constant gate's error that the net removes, on windows it has
# never seen. It is 0 for a gate stuck at one half, and 1 for a gate that follows the switch.


# %%
@torch.no_grad()
def score(net, draw):
    X, y = draw(4096, 10**9)
    constant = (0.5 * X[:, 0, -1] - y).square().mean()
    return 1 - ((net(X) - y).square().mean() / constant).item()


# %% [markdown]
# All 25 pairs with 20 seeds each are 500 nets, which were trained beforehand by
# `make study STUDY=squeeze_tasks` and stored in `squeeze_tasks.json`. Here we repeat a few of them
# and check that they land where the stored ones did.

# %%
stored = results.load("squeeze_tasks")["results"]
scores = stored["scores"]
live = [
    ("recent", "ewm"), ("recent", "mean"), ("now", "last"),
    ("spike", "mean"),
]
trained = [
    len(seeds) for task in scores.values() for seeds in task.values()
]

# %%
assert trained == [20] * 25 and sum(trained) == 500

# %%
nets = {}
for task, name in live:
    def draw(n, seed, task=task):
        return draw_switch(task, n, seed=seed)

    for seed in range(LIVE_SEEDS):
        net = train(
            lambda name=name: se.SEBlock(4, 1, name), draw, seed
        )
        nets[task, name, seed] = net
        assert abs(score(net, draw) - scores[task][name][seed]) < 0.03

# %% mystnb={"figure": {"caption": "Which squeeze finds which planted switch: each dot is one of 20 nets.", "name": "fig-squeeze-tasks"}, "image": {"alt": "Five panels, one a task, each with five columns of dots. Level is solved by mean, exponential and attention; spike by max and attention in most draws; now by last and exponential; recent by exponential alone; marked by attention alone in most draws. Some dots of max and attention lie at zero or below, where training failed."}}
fig, axes = plt.subplots(1, 5, figsize=(7.2, 3.2), sharey=True)
jitter = np.random.default_rng(2).uniform(-0.25, 0.25, 20)
for ax, task in zip(axes, SWITCHES, strict=True):
    for column, name in enumerate(se.SQUEEZES):
        ax.plot(
            column + jitter, scores[task][name], "o", ms=3, alpha=0.7
        )
    ax.set_title(task)
    ax.set_xticks(range(5), list(se.SQUEEZES), rotation=90)
axes[0].set(ylabel="score", ylim=(-1.2, 1.1))
plt.show()

# %%
best = {}
for task, by_squeeze in scores.items():
    best[task] = [
        name for name, s in by_squeeze.items() if np.median(s) > 0.85
    ]
pd.Series(best, name="solved by").str.join(", ")

# %%
assert best["recent"] == ["ewm"]
assert best["marked"] == ["attention"]
assert best["now"] == ["last", "ewm"]

# %% [markdown]
# A squeeze counts as solving a task if the median score of its nets is above 0.85. None wins
# everywhere, and where all nets of a squeeze miss a task, what it asks is not in that summary, or
# not plainly enough. The mean cannot see a spike that leaves the mean alone. Nothing but attention
# can find a marked bar, because only attention looks at another channel to weigh the bar. The
# exponential squeeze solves three tasks of five, because its half-life is *learned*: it became
# short where one bar mattered and long where all did.

# %%
half = pd.DataFrame(stored["context_halflife"])[
    ["now", "recent", "level"]
]
half.agg(["min", "median", "max"]).round(1)

# %%
assert half["now"].max() < 0.5
assert (
    half["recent"]
    .between(PLANTED_HALFLIFE - 0.3, PLANTED_HALFLIFE + 0.3)
    .all()
)
# longer than the window: in effect the mean
assert half["level"].min() > 16
learned = nets["recent", "ewm", 0].block.squeeze.halflife[1].item()

# %%
assert abs(learned - PLANTED_HALFLIFE) < 0.3

# %% [markdown]
# A half-life of 2 bars was planted, and all 20 nets found it within 0.3.
#
# The dots at the bottom deserve a look too, because max and attention *can* solve the spike task,
# and still did not in every draw. Two failed nets of the max squeeze show the two reasons, and
# {ref}`ch-se-math` named both: hidden units that are all silent, and a gate that has shut.


# %% tolerance={"decimals": 0.2, "effect": 0.4}
def draw_spike(n, seed):
    return draw_switch("spike", n, seed=seed)


for seed in (2, 4):
    net = train(lambda: se.SEBlock(4, 1, "max"), draw_spike, seed)
    X, _ = draw_spike(1000, 0)
    # (B, hidden)
    active = net.block.excite.reduce(net.block.squeeze(X)) > 0
    gate, share = (
        net.block.gates(X)[:, 0].mean().item(),
        active.float().mean().item(),
    )
    print(
        f"seed {seed}: {share:.2f} of hidden units speak, mean gate "
        f"{gate:.2f}"
    )
    assert share < 0.01 if seed == 2 else gate < 0.05

# %% [markdown]
# In the first net no unit speaks, so the gate is a constant and the score 0. In the second
# the gate has shut, and $s(1-s)$ lets hardly any gradient through to open it. It practically
# always answers 0, which is worse than the constant gate of one half: a score of −1.
#
# How often does training succeed? With only 20 draws the answer has to be an interval.

# %%
rows = {}
for task, name in (
    ("spike", "max"), ("spike", "attention"), ("marked", "attention"),
):
    won = int((np.array(scores[task][name]) > 0.85).sum())
    low, high = binomtest(won, 20).proportion_ci(method="wilson")
    rows[f"{task}, {name}"] = {
        "solved": won, "of": 20, "from": low, "to": high,
    }
pd.DataFrame(rows).T.round(2)

# %% [markdown]
# The last two columns bound the rate of success at 95 % confidence. A seed is part of the result,
# because one lucky or unlucky draw says little about a squeeze.

# %% [markdown]
# ## 4 Several scales at once
#
# <!-- number: 15 by example, a scale in bars -->
# Traders look at the last few minutes and at the whole session, and a multi-scale block can do the
# same, since it has one SE block for each scale. The one with scale 15 squeezes the newest 15 bars
# and no others. A learned fusion turns their gates $s^{(k)}$ into one, with a learned number $q_{kc}$
# for each scale $k$ and channel $c$:
#
# $$s_c = \sum_k a_{kc}\, s^{(k)}_c, \qquad a_{kc} = \frac{e^{q_{kc}}}{\sum_j e^{q_{jc}}}.$$
#
# :::{figure-md} fig-diagram-multi-scale
# ![One window of 60 bars. Three SE blocks squeeze its newest 5, its newest 15 and all 60 bars. Learned weights that sum to one mix their gates into one gate for each channel, which multiplies the window.](_static/diagrams/multi_scale.svg)
#
# A multi-scale block: each scale squeezes its newest bars, and learned weights mix the gates.
# :::
#
# The $q$ start at 0, so every scale counts alike at first and none is dropped. Since the
# $a$ sum to 1, you can read them: they say how much the block listens to each scale. By hand,
# for windows of 16 bars and the scales 1, 4 and 16:

# %%
torch.manual_seed(0)
multi = se.MultiScaleSE(4, scales=(1, 4, 16), reduction=1)
X, _ = draw_switch("level", 8, seed=0)
parts = []
for block, scale in zip(multi.blocks, (1, 4, 16), strict=True):
    z = X[:, :, -scale:].mean(-1)  # the newest bars only
    parts.append(block.excite(z).sigmoid())
by_hand = torch.stack(parts).mean(0)  # equal weights at the start
torch.testing.assert_close(multi.gates(X), by_hand)

# %% [markdown]
# To see whether the block picks the right scale, we plant a truth again: the switch is on when the
# mean of the newest 1, 4 or 16 context bars is positive.


# %%
def draw_scale(truth):
    def draw(n, seed):
        X = torch.randn(
            n, 4, 16, generator=torch.Generator().manual_seed(seed)
        )
        return X, X[:, 0, -1] * (X[:, 1, -truth:].mean(-1) > 0)

    return draw


shares = pd.DataFrame(index=["scale 1", "scale 4", "scale 16"])
for truth in (1, 4, 16):
    net = train(
        lambda: se.MultiScaleSE(4, (1, 4, 16), 1), draw_scale(truth),
        seed=0,
    )
    shares[f"truth {truth}"] = (
        net.block.fusion_weights()[:, 0].detach().numpy()
    )
    assert score(net, draw_scale(truth)) > 0.85

# %% mystnb={"figure": {"caption": "How much a trained multi-scale block listens to each scale, for three planted truths.", "name": "fig-squeeze-scales"}, "image": {"alt": "A 3 by 3 table of fusion weights as shades. The diagonal is dark, above 0.8: for each planted scale, the block listens to that scale and hardly to the other two."}}
fig, ax = plt.subplots(figsize=(4.2, 2.6))
ax.imshow(shares, cmap="cividis_r", vmin=0, vmax=1)
for (row, column), value in np.ndenumerate(shares.to_numpy()):
    colour = "white" if value > 0.5 else "black"
    ax.text(
        column, row, f"{value:.1f}", ha="center", va="center",
        color=colour,
    )
ax.set_xticks(range(3), shares.columns)
ax.set_yticks(range(3), shares.index)
ax.grid(False)
plt.show()

# %%
assert (np.diag(shares) > 0.8).all()

# %% [markdown]
# For each planted truth, with one net each, the block listens to the scale that carries it. A scale
# that is longer than the window is an error and not a shorter scale, because bars that are not there
# cannot be squeezed.

# %%
try:
    se.MultiScaleSE(4, scales=(5, 15, 60))(X)
except ValueError as error:
    print(error)

# %% [markdown]
# ## 5 Gates for bars
#
# An SE block gives one number to a channel, for the whole window, so it cannot say that some bars
# count more than others. Two relatives also give one number to each bar. In their names SE stands for
# squeeze and excitation, sc for «spatial and channel», and CBAM for «convolutional block attention
# module»; they were made for pictures, where a place is what a bar is here.
#
# **scSE** {cite:p}`roy2018` gates the window twice, side by side: by channel, with the gates $s_c$
# above, and by bar, with $g_t = \sigma(u^\top x_{\cdot t} + b)$, where the vector $u$ and the
# number $b$ are learned. It adds the two, so the factor on a value is $s_c + g_t$.
#
# **CBAM** {cite:p}`woo2018` gates one after the other, channels first. Its channel gates come from
# the mean *and* the max through one shared net. Then, at each bar, the mean and the max of the gated
# channels are taken, and a convolution of length 7 runs along time over these two rows: at each bar
# it is a sum of 7 neighbouring bars with learned weights. Its sigmoid is the gate of the bar.

# %%
torch.manual_seed(1)
scse, cbam = se.ConcurrentSE(4, reduction=2), se.CBAM(4, reduction=2)
X, _ = draw_switch("level", 1, time=24, seed=8)
factor = scse.gates(X)[:, :, None] + scse.time_gates(X)[:, None, :]
torch.testing.assert_close(scse(X), X * factor)

# %%
gated = X * cbam.gates(X)[:, :, None]
torch.testing.assert_close(
    cbam(X), gated * cbam.time_gates(gated)[:, None, :]
)

# %% mystnb={"figure": {"caption": "The factor by which three untrained blocks multiply each value of one window.", "name": "fig-squeeze-factors"}, "image": {"alt": "Three strips of four channels by 24 bars. In the first, SE, each row has one shade. In the second, scSE, and the third, CBAM, the shade also changes from bar to bar, in step for all channels."}}
blocks = {"SE": se.SEBlock(4, 2), "scSE": scse, "CBAM": cbam}
factors = {
    name: (b(X) / X)[0].detach().numpy() for name, b in blocks.items()
}
fig, axes = plt.subplots(3, 1, figsize=(7.2, 4), sharex=True)
for ax, (name, table) in zip(axes, factors.items(), strict=True):
    picture = ax.imshow(table, aspect="auto", vmin=0, vmax=1.6)
    ax.set(title=name, ylabel="channel", yticks=range(4))
    ax.grid(False)
axes[-1].set_xlabel("bar, newest at the right")
fig.colorbar(picture, ax=axes, label="factor")
plt.show()

# %%
assert np.nanstd(factors["SE"], 1).max() < 1e-5  # one number a channel
assert (
    min(np.nanstd(factors[name], 1).max() for name in ("scSE", "CBAM"))
    > 1e-2
)

# %% [markdown]
# Which bars does the gate of a bar know? In scSE it is that bar alone. In CBAM, whose channel gates
# know the whole window anyway, the convolution decides what the gate of a bar knows besides, and
# here our block departs from the paper, where three zeros are padded to each end. In a picture the
# border is a detail. In a market window the right border is *now*, so the newest bar would be
# judged by four real bars and three zeros. `se.CBAM` therefore puts all padding on the old side.
# `causal=False` is the paper's form, and the tests compare it with that of the library timm.

# %%
later = X.clone()
later[..., 12:] += 1.0  # change only the second half
for causal in (True, False):
    block = se.CBAM(4, causal=causal)
    change = (block.time_gates(later) - block.time_gates(X))[0].abs()
    first = (change > 1e-6).nonzero()[0].item()
    print(
        f"causal={causal}: the first gate that moves is that of bar "
        f"{first}"
    )
    assert first == (12 if causal else 9)

# %% [markdown]
# ## 6 Gates that are kept
#
# <!-- number: 32, 60 from tests/benchmarks/bench_se.py -->
# Gates move slowly, since most bars of a window are the same from step to step. The SE chapter
# proposes to compute them only every $N$ steps when trading live, and to use the old ones in
# between. What does that save, and what does it cost?
#
# The saving is measured in `bench.json`, on one window of 32 channels and 60 bars, with kept gates
# against computed ones.

# %%
saved = races.least("test_se_cached", "computed")
print("using kept gates is faster than computing them,", saved)
assert saved.ratio > 2

# %% [markdown]
# The cost is a gate that lags behind the window. To see how far, on real bars, with four channels
# made of returns and an untrained block, we compare kept with fresh gates.

# %%
frame = (
    np.log(candles.sample()[["open", "high", "low", "close"]])
    .diff()
    .dropna()
)
values = torch.tensor(frame.to_numpy(), dtype=torch.float32)
values /= values[:4000].std(0)
values = values.unfold(0, LENGTH, 1)[-1000:, None]  # (N, 1, C, T)

# %%
torch.manual_seed(2)
block = se.SEBlock(4, reduction=1)
with torch.no_grad():
    fresh = torch.cat([block.gates(w) for w in values])
lag = {}
for every in (1, 2, 5, 10, 20, 40):
    cached = se.CachedSE(block, every)
    kept = torch.cat(
        [cached.gates(w, step) for step, w in enumerate(values)]
    )
    lag[every] = (kept - fresh).abs().mean().item()

# %% mystnb={"figure": {"caption": "How far kept gates lag behind, in units of how far gates move at all.", "name": "fig-squeeze-cache"}, "image": {"alt": "A rising curve: the mean error of kept gates, relative to the standard deviation of fresh gates, against the number of steps they are kept. It is zero at one step, rises steeply at first, and is about one half when the gates are kept for as long as the window."}}
relative = pd.Series(lag) / fresh.std(0).mean().item()
fig, ax = plt.subplots()
ax.plot(relative.index, relative, marker="o")
ax.set(
    xlabel="steps that gates are kept",
    ylabel="mean error / spread of gates",
)
ax.set_ylim(0)
plt.show()

# %%
assert relative[1] == 0
assert relative.is_monotonic_increasing
assert relative[40] > 0.4

# %% [markdown]
# Gates that are kept for as long as the window are off by about half of their spread. The saving is
# real and small: microseconds, in a loop that waits for bars of minutes. It can still matter when
# thousands of symbols share a processor, and {ref}`ch-fast-inference` measures the whole net.

# %% [markdown]
# ## What goes wrong
#
# The cache in the SE chapter, written in Python below, looks at one thing only: whether enough
# steps have passed.


# %%
class NaiveCache:
    def __init__(self, block, every):
        self.block, self.every, self.kept, self.last = (
            block, every, None, 0,
        )

    def __call__(self, x, step):
        if self.kept is None or step - self.last >= self.every:
            self.kept, self.last = self.block.gates(x), step
        return x * self.kept[:, :, None]


# %% [markdown]
# It does not know whose window it holds. Show it one market at step 10, and another at step 11: one
# step has passed, so the second market is multiplied by the gates of the first, and nothing
# complains, because the shapes agree.

# %%
# the other: made up, four times as wild
bitcoin, other = values[0], 4 * values[500]
naive, careful = NaiveCache(block, every=5), se.CachedSE(block, every=5)
naive(bitcoin, 10), careful(bitcoin, 10, "BTCUSDT")
right = block(other)
print(
    "off by up to",
    round((naive(other, 11) - right).abs().max().item(), 1),
)

# %%
assert (naive(other, 11) - right).abs().max() > 0.1
assert torch.equal(careful(other, 11, "ETHUSDT"), right)
assert torch.equal(
    careful(other, 11, "ETHUSDT"), careful(other, 12, "ETHUSDT")
)

# %% [markdown]
# The change of symbol is wrong in any language. A second run that starts over makes it worse: after
# step 1,000 of one market, begin another at step 0. The difference `0 - 1000` is below 5, and it
# stays below 5 until step 1,005, so that many steps are gated with what the first market last
# looked like.

# %%
naive(bitcoin, 1000), careful(bitcoin, 1000, "BTCUSDT")
stale = [
    step
    for step in range(1100)
    if (naive(other, step) - right).abs().max() > 0.1
]
print("wrong from step", stale[0], "to step", stale[-1])

# %%
assert stale == list(range(1005))
assert torch.equal(careful(other, 0, "ETHUSDT"), right)

# %% [markdown]
# `CachedSE` forgets its gates on a new symbol, when the step goes back, when the batch has
# another size, and on `reset()`. (The original was written in Rust, with unsigned numbers:
# there `0 - 1000` stops a debug build, and in a release build it wraps to a huge number, so
# that the gates are recomputed by luck. The change of symbol stays wrong in both.)

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* A squeeze is pictured as the summary that is read in place of the window. Whoever
# reads only that cannot ask about what it left out.
#
# *Proved.* From the weights of the squeezes it follows that mean, max and attention do not know the
# order of the bars, and that last knows one bar only. A fused gate is a weighted mean of the gates
# at its scales and lies between them. A cache that counts nothing but steps can hand one market the
# gates of another.
#
# *Measured here.* On synthetic windows with a planted switch each task was solved by squeezes whose
# summary holds the answer plainly, though by max and attention not from every start. Half-life and
# scale came out as they were planted. On real bars kept gates lagged, and in the stored race using
# them was several times faster than computing them.
#
# *Open.* Nobody knows in what a real market would show its switch, so that this chapter cannot say
# which squeeze suits one. What a block adds to a net with layers before it was not asked.
# ```
#
# ## Summary
#
# - Every squeeze is a weighted sum of bars. Nobody, the data, the clock or the training sets
#   the weights.
# - What a squeeze cannot see, the gate cannot follow. Mean, max and attention do not know the
#   order of bars; last knows one bar.
# - On planted switches each task was solved by squeezes whose summary holds the answer plainly. The
#   exponential one found the planted half-life; max and attention failed from some starts.
# - A multi-scale block listens to the scale that carries the switch, and its weights say so.
# - Here the block stands alone. Whether it adds anything to an encoder, which is layers that look
#   for shapes in a window, depends on how well a window shows the switch and on how strong the
#   encoder is: {numref}`fig-trader-where` in {ref}`ch-se-trader` maps both.
# - scSE and CBAM gate bars too. Pad on the old side.
# - Kept gates need a rule for forgetting: new symbol, step back, reset.
#
# ## Exercises
#
# ```{exercise} A half-life by hand ★
# :label: ex-squeeze-1
# A channel has the bars 1, 4, 2, the newest last. What is its exponential squeeze with a half-life
# of one bar, and what is it with a very long one?
# ```
#
# ```{solution-start} ex-squeeze-1
# :class: dropdown
# ```
# The weights are proportional to 1/4, 1/2 and 1, that is 1/7, 2/7 and 4/7, so
# $z = (1 + 8 + 8)/7 = 17/7$. With a very long half-life it is the mean, 7/3.

# %%
bars = torch.tensor([[[1.0, 4.0, 2.0]]])
for halflife, z in ((1.0, 17 / 7), (1e6, 7 / 3)):
    squeeze = se.SQUEEZES["ewm"](1, halflife=halflife)
    assert abs(squeeze(bars).item() - z) < 1e-5

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Minutes are not bars ★
# :label: ex-squeeze-2
# The SE chapter gives the scales of its multi-scale block as 5, 15, 60 and 240
# *minutes*. Somebody passes `scales=(5, 15, 60, 240)` for bars of 15 minutes. How much time
# does each scale cover in truth? Which scales of the list make sense on these bars?
# ```
#
# ```{solution-start} ex-squeeze-2
# :class: dropdown
# ```
# <!-- number: 75 by 5 · 15 -->
# <!-- number: 2.5 by 240 · 15 over the minutes of a day -->
# Scales are counted in bars, so they cover 75 minutes, 3.75 hours, 15 hours and 2.5 days. On
# 15-minute bars, 240 minutes are 16 bars, 60 minutes are 4 and 15 minutes are 1. Five minutes
# are a third of a bar: no scale can see that.

# %%
minutes = pd.Series([5, 15, 60, 240]) / 15

# %%
assert minutes[minutes >= 1].tolist() == [1, 4, 16]
assert (pd.Series([5, 15, 60, 240]) * 15 / 60).tolist() == [
    1.25, 3.75, 15, 60,
]

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A squeeze that sees crashes ★★
# :label: ex-squeeze-3
# Max is blind to lows, but it need not stay so. Without writing a new squeeze, build a block that
# gates on the *smallest* value of each channel.
# ```
#
# ```{solution-start} ex-squeeze-3
# :class: dropdown
# ```
# The smallest value of $x$ is minus the largest of $-x$. Take the gates of $-x$ with the max
# squeeze, and scale $x$ with them.

# %%
block = se.SEBlock(4, squeeze="max")
crash = X.clone()
crash[0, 1, 5] = -9.0

# %%
# blind
assert torch.equal(block.squeeze(crash)[0, 1], block.squeeze(X)[0, 1])
assert block.squeeze(-crash)[0, 1] == 9.0  # sees the low
assert (block.gates(-crash) != block.gates(crash)).any()

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A squeeze for your own question ★★★
# :label: ex-squeezes-own
# Take a question of your own about a window («did the volume spike lately?», «how far below its
# high is the price?»). Say on paper which of the five squeezes could answer it from one channel,
# plant the answer in random windows, and train as section 3 does.
# ```
#
# ```{solution} ex-squeezes-own
# :class: dropdown
# Write the question as a function of the window. If it asks for an average, the mean answers it; if
# for an extreme, only the maximum does, and attention after some training; if for now, the last
# bar. A question about an order of events, such as «first up, then down», is poorly served by all of
# them: mean, maximum and attention forget which bar came before which, and the other two know only
# that new bars weigh more than old ones. The error of the net is then hardly smaller than the spread
# of the answer, and that is the finding.
# ```
#
# ## Further reading
#
# Gates over places and channels are those of {cite:t}`roy2018` and {cite:t}`woo2018`. The attention
# squeeze is the global pooling of {cite:t}`cao2019`, who compare it with plain SE on pictures.
# {ref}`ch-se-trader` puts the block between an encoder and a decision, and asks what it adds there.
