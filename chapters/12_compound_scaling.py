# %% [markdown]
# (ch-compound-scaling)=
# # Compound scaling
#
# **If a net may cost twice as much, should it become deeper, wider, or see more pixels?**
#
# ```{admonition} What you will do
# :class: tip
# - turn three knobs of a net and count what each one costs
# - check the published law and the published table against each other
# - measure B0 to B7: parameters, multiply-adds, seconds
# - repeat the search for the coefficients on market pictures of your own
# - race depth, width, resolution and all three together at equal cost
# ```
#
# *You need* {ref}`ch-mbconv`. *Runs* in under 60 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import stats

from setrade import charts, results, toys
from setrade import efficientnet as en
from setrade.efficientnet.scaling import candidates
from setrade.plots import DOWN, NEUTRAL, UP, use_style
from setrade.toys import run_trial

use_style()
# the nets of this chapter are too small to share
torch.set_num_threads(1)

# %% tags=["parameters"]
LIVE_SEEDS = 1  # trials repeated here, beside the stored ones
SHOWN = 2  # picture of each class in the figure

# %% [markdown]
# ## 1 Three knobs
#
# B0 is one net, and the family from B1 to B7 grew out of it. A net can grow in three ways.
# **Depth** means more blocks in each stage, **width** more channels
# in each layer, and **resolution** more pixels in the picture. Each has its own price:
#
# - Twice the blocks: twice the work.
# - Twice the channels: a $1 \times 1$ convolution has $C_\text{in} C_\text{out}$ weights, so four
#   times the work.
# - Twice the side: four times the pixels, so four times the work.
#
# All three together make one formula.
#
# ```{prf:proposition} The work of a scaled net
# :label: prop-scaling-work
#
# Let a net consist of ordinary convolutions. If there are $d$ times as many layers of each shape,
# every layer has $w$ times as many channels at its input and at its output, and every map has $r$
# times the side, then the multiply-adds grow by the factor
#
# $$d \cdot w^2 \cdot r^2.$$
# ```
#
# ```{prf:proof}
# A convolution of $k \times k$ pixels takes $k^2 C_\text{in} C_\text{out}$ multiply-adds for each
# pixel of its output. Both channel counts bring a factor $w$, both sides of the map a factor $r$,
# and there are $d$ such layers for each one.
# ```
#
# B0 also has depthwise kernels, gates, a stem and a head, so for B0 it can only be nearly true. We
# can check how nearly with the counter of {ref}`ch-mbconv`, on the `meta` device, where nothing is
# computed.


# %%
def work(width=1.0, depth=1.0, side=224):
    with torch.device("meta"):
        net = en.EfficientNet(en.Variant(width, depth, side, 0.2))
    return en.multiply_adds(net, side)


factors = np.array([1, 1.5, 2, 3, 4])
measured = pd.DataFrame(
    {
        "depth": [work(depth=f) for f in factors],
        "width": [work(width=f) for f in factors],
        "resolution": [work(side=int(224 * f)) for f in factors],
    },
    index=factors,
)
measured = measured / work()
measured.rename_axis("factor").round(2)

# %% mystnb={"figure": {"caption": "Work of B0 against the factor on each knob: counted (points) and the law (lines).", "name": "fig-scaling-knobs"}, "image": {"alt": "A log-log plot. Counted work against the factor for depth, width and resolution. Depth follows the line of slope 1; width and resolution lie on or just below the line of slope 2."}}
fig, ax = plt.subplots(figsize=(5.4, 3.2))
looks = zip(measured, (UP, DOWN, NEUTRAL), ("o", "s", "^"), strict=True)
for name, colour, marker in looks:
    ax.loglog(factors, measured[name], marker, color=colour, label=name)
ax.loglog(factors, factors, color="black", lw=0.8)
ax.loglog(factors, factors**2, color="black", lw=0.8, ls="--")
ax.set_xticks(factors, [f"{f:g}" for f in factors], minor=False)
ax.set_xticks([], minor=True)
ax.set(xlabel="factor on the knob", ylabel="work, in B0s")
ax.legend()
plt.show()

# %%
slopes = np.log(measured.loc[4.0]) / np.log(4)
assert 0.98 < slopes["depth"] < 1.04
assert 1.85 < slopes["width"] < 2
assert 1.99 < slopes["resolution"] < 2.01

# %% [markdown]
# The law is nearly exact. With depth, two small effects cancel: stem and head are not repeated,
# but a repeated block costs more than the first of its stage, which starts from fewer channels.
# Blocks are also whole, so that 1.5 times one block is two. Width costs a little less than its
# square, because depthwise kernels grow with the channels only.
#
# ## 2 The law, and what was published
#
# Three knobs leave many ways to spend the same work, so one would like a rule that sets all of
# them.
#
# ```{prf:definition} Compound scaling
# :label: def-compound-scaling
#
# **Compound scaling** {cite:p}`tan2019` ties the factors on depth, width and side to one number
# $\varphi$, with constants $\alpha, \beta, \gamma \ge 1$:
#
# $$d = \alpha^\varphi, \quad w = \beta^\varphi, \quad r = \gamma^\varphi,
#   \qquad \alpha \cdot \beta^2 \cdot \gamma^2 \approx 2.$$
# ```
#
# By {prf:ref}`prop-scaling-work` the work grows by about $(\alpha \beta^2 \gamma^2)^\varphi$, so the
# constraint makes $\varphi$ a count of doublings: raise it by 1, and the work doubles. The
# authors searched a grid at $\varphi = 1$ and report $\alpha = 1.2$, $\beta = 1.1$,
# $\gamma = 1.15$. By pencil:
# $1.2 \cdot 1.1^2 \cdot 1.15^2 = 1.2 \cdot 1.21 \cdot 1.3225 = 1.920$.

# %%
one = en.compound_scale(1)
print(
    f"depth {one.depth}, width {one.width}, resolution {one.resolution}"
)
print(
    f"product {one.flops:.3f}; after seven steps {one.flops**7:.0f}, "
    f"not {2**7}"
)

# %%
assert round(1.2 * 1.1**2 * 1.15**2, 3) == round(one.flops, 3) == 1.92

# %% [markdown]
# So "$\approx 2$" hides four percent, and seven steps of four percent are a quarter.
#
# One would expect the family B1 to B7 to be powers of these three numbers. If they were, one
# $\varphi$ would explain all three factors of a net. To test that, take the published factors and
# solve for $\varphi$ three times, for example $\varphi = \ln d / \ln 1.2$.

# %%
names = [f"b{i}" for i in range(1, 8)]
family = pd.DataFrame({n: vars(en.VARIANTS[n]) for n in names}).T
implied = pd.DataFrame(
    {
        "from depth": np.log(family.depth.astype(float)) / np.log(1.2),
        "from width": np.log(family.width.astype(float)) / np.log(1.1),
        "from resolution": np.log(family.resolution.astype(float) / 224)
        / np.log(1.15),
    }
)
family[["depth", "width", "resolution"]].join(implied.round(1))

# %%
spread = implied.max(axis=1) - implied.min(axis=1)

# %%
assert spread.idxmin() == "b2"
assert implied.loc["b2"].round(1).between(1, 1.1).all()
assert (spread.drop("b2") > 0.2).all()
assert (
    implied.loc["b7", "from width"] - implied.loc["b7", "from depth"]
    > 1
)
assert implied.loc["b1", "from width"] == 0

# %% [markdown]
# Only B2 has one $\varphi$, and it is 1: one step of the law leads to B2 and not to B1, though with
# all that is rounded up B2 does more than twice the work of B0. B1 is half a step deeper and
# sharper, and not wider at all. B7 lies between 6.2 and 7.3, depending on whether depth, width or
# resolution is asked. The family follows the idea, and the table was rounded by hand. A net built
# from exact powers is a different net, and published weights do not fit it. So `VARIANTS` holds the
# table, and `compound_scale` the law.
#
# ## 3 B0 to B7, measured
#
# The study `b0_to_b7.json` (`make study STUDY=b0_to_b7`) measured the family: parameters,
# multiply-adds, and the time of one picture on one core, as in the paper. It counts the
# processor's seconds, not the wall clock's, so that other programs disturb it little.

# %%
record = results.load("b0_to_b7")
rows, published = (
    record["results"]["measured"], record["results"]["published"],
)
print(record["machine"])

# %%
table = pd.DataFrame(
    {
        name: {
            "params, M": rows[name]["parameters"] / 1e6,
            "paper": p["millions"],
            "work, G": rows[name]["multiply_adds"] / 1e9,
            "paper ": p["billions"],
            "seconds": np.median(rows[name]["seconds"]),
            "top-1 claimed, %": p["top1"],
        }
        for name, p in published.items()
    }
).T
table.round(2)

# %% [markdown]
# Two columns can be recomputed on any machine in a second. The last one cannot be tested here,
# because it needs ImageNet and days of training, so it stays the paper's claim.

# %%
for name in published:
    with torch.device("meta"):
        net = en.EfficientNet(name)
    assert en.count_parameters(net) == rows[name]["parameters"]
    counted = en.multiply_adds(net, en.VARIANTS[name].resolution)
    assert counted == rows[name]["multiply_adds"]

# %%
assert (table["params, M"] / table["paper"] - 1).abs().max() < 0.03
assert (table["work, G"] / table["paper "] - 1).abs().max() < 0.06

# %% mystnb={"figure": {"caption": "Seconds of one core for one picture, against work. Each point is the median of the stored rounds, each bar their range.", "name": "fig-scaling-latency"}, "image": {"alt": "A log-log plot of seconds against billion multiply-adds. B0 to B7 lie on a nearly straight line of slope about one. ResNet-50 and ResNet-152 lie clearly below that line: for the same number of multiply-adds they take less time."}}
fig, ax = plt.subplots(figsize=(5.8, 3.4))
for name, row in rows.items():
    ours, gigas = name in published, row["multiply_adds"] / 1e9
    middle, low, high = np.quantile(row["seconds"], [0.5, 0, 1])
    bar = [[middle - low], [high - middle]]
    look = {
        "color": UP if ours else DOWN, "fmt": "o" if ours else "s",
        "capsize": 3,
    }
    ax.errorbar(gigas, middle, yerr=bar, **look)
    label = name.upper() if ours else name.replace("resnet", "ResNet-")
    ax.annotate(
        label,
        (gigas, middle),
        xytext=(-16, 4) if ours else (6, -11),
        textcoords="offset points",
    )
ax.set(xscale="log", yscale="log", ylabel="seconds of one core")
ax.set_xlabel("billion multiply-adds")
plt.show()

# %%
rate = {
    n: r["multiply_adds"] / np.median(r["seconds"]) / 1e9
    for n, r in rows.items()
}
pd.Series(rate, name="billion multiply-adds a second").round(0)

# %%
assert rate["resnet152"] > 1.3 * max(rate[n] for n in published)

# %% [markdown]
# <!-- number: 3.6, 17 by rounding 3.57 and 17.4 of the ledger -->
# Work is not the same as time, since a core gets through far more multiply-adds a second in a
# ResNet than in any EfficientNet. Depthwise kernels, gates and norms do little arithmetic for each
# number that they fetch from memory, which is the likely reason. Keep that in mind when a net is
# recommended for its FLOPs. Held against the times that the EfficientNet chapter gives (2.3, 8.7
# and 21.4 ms on a machine without a name), B3 takes 3.6 times as long as B0, as claimed (3.8), and
# B5 takes 17 times, where 9.3 was claimed.
#
# ### Eight times smaller, six times faster than what?
#
# The EfficientNet chapter says that EfficientNet is "8x smaller" and "6x faster". The paper says
# it of one pair: B7 against GPipe, a net of 557 million parameters and the same accuracy, 8.4
# times and, on a processor, 6.1 times {cite:p}`tan2019`. GPipe cannot be run here, but ResNet-152
# can, and the paper puts it beside B1, as 7.6 times larger and 5.7 times slower {cite:p}`tan2019`.

# %%
claims = record["results"]["claims"]
shown = [
    "smaller_8x", "smaller_than_resnet152", "faster_6x", "product_is_2",
]
pd.DataFrame({n: claims[n] for n in shown}).T[
    ["claimed", "measured", "low", "high"]
]

# %%
ratio = np.divide(rows["resnet152"]["seconds"], rows["b1"]["seconds"])
assert (
    claims["faster_6x"]["low"]
    <= np.median(ratio)
    <= claims["faster_6x"]["high"]
)
# what the paper measured for this pair
assert claims["faster_6x"]["low"] > 5.7
assert 557 / table.loc["b7", "params, M"] > 8
assert (
    16
    < rows["resnet152"]["multiply_adds"] / rows["b1"]["multiply_adds"]
    < 17.5
)
resnet50 = np.median(rows["resnet50"]["seconds"])

# %%
assert (
    table.loc["b2", "seconds"] < resnet50 < table.loc["b4", "seconds"]
)

# %% [markdown]
# For this pair the size is 7.7 times, which rounds to the claimed 8, and the speed more than holds
# on this core: with today's library the factor is larger than the paper's 5.7. But it is far from
# the ratio of the work, which is 17. And against ResNet-50 the larger nets of the family are no
# faster at all, for B4 takes longer. Both sentences are therefore incomplete without their second
# half: *than which net, at which accuracy, on what machine*.
#
# ## 4 A search of our own
#
# The numbers 1.2, 1.1 and 1.15 are not a law of nature: they come from one search, with one net,
# on photographs, and a market picture is not a photograph. So we repeat the search on a task small
# enough to train hundreds of times, where we know what there is to be seen.
#
# Each picture is a chart of 20 candles: a random walk with one large candle planted in its second
# half. The class has two parts. One is the **form** of the large candle, which has a long lower
# wick, a long upper wick, a long body up, or a long body down. The other is the **trend** before
# it, a fall or a rise, because a hammer and a hanging man are the same candle after different
# trends. So each knob could pay: pixels for wicks, layers for the trend, channels for eight
# classes.

# %%
sides = (80, 34, 24)
pictures = {s: toys.draw_pictures(200, s, seed=5) for s in sides}

# %% mystnb={"figure": {"caption": "Four of the eight classes (columns), drawn at 80 pixels and averaged down to 34 and 24.", "name": "fig-scaling-task"}, "image": {"alt": "A grid of twelve small candlestick charts, four classes by three resolutions. At 80 pixels the wicks are sharp lines; at 24 pixels they are pale smears beside the bodies."}}
fig, axes = plt.subplots(3, 4, figsize=(7.2, 5.6))
for row, (side, (x, y)) in zip(axes, pictures.items(), strict=True):
    for ax, label in zip(row, (0, 3, 4, 7), strict=True):
        place = int((y == label).nonzero()[SHOWN, 0])
        ax.imshow(x[place].permute(1, 2, 0))
        ax.set(xticks=[], yticks=[])
        if side == sides[0]:
            ax.set_title(toys.CLASSES[label], fontsize="x-small")
    row[0].set_ylabel(f"{side} pixels")
plt.show()

# %%
sharp, soft = (pictures[s][0].std((2, 3)).mean() for s in (80, 24))
assert soft < 0.8 * sharp  # detail is lost on the way down
assert torch.equal(pictures[80][1], pictures[24][1])

# %% [markdown]
# The net is a small relative of B0: a stem, five MBConv blocks in two stages, a head. Its knobs
# are fine, since it can be built with any number of channels, any number of blocks and any side.
# The base sees 24 pixels.
#
# Now we double the work, in every way. Write $s_d + s_w + s_r = 1$ for the shares of the doubling
# that go to depth, width and resolution. Then $d = 2^{s_d}$, $w = 2^{s_w/2}$, $r = 2^{s_r/2}$, and
# every split is a point in a triangle. Its corners are "depth only", "width only" and "resolution
# only", and the published coefficients are a point inside.

# %%
shares = toys.shares(one)
print("published shares:", [f"{s:.0%}" for s in shares])
by_hand = np.log([1.2, 1.1**2, 1.15**2])
np.testing.assert_allclose(shares, by_hand / by_hand.sum(), rtol=1e-12)

# %% [markdown]
# Because blocks and pixels are whole numbers, not every split can be met exactly. So `toys.spend`
# turns each knob until the *counted* work has its share, and lets the width, the finest knob,
# settle the rest.

# %%
stored = results.load("compound_scaling")
plans, steps = stored["results"]["plans"], stored["results"]["steps"]
grid = {k: v for k, v in plans.items() if k.startswith("2x")}
knobs = pd.DataFrame({k: v["knobs"] for k, v in grid.items()}).T
knobs.columns = ["blocks", "width", "side"]
knobs.assign(work=[v["cost"] for v in grid.values()])

# %%
# depth alone: twice the five blocks of the base
assert knobs["blocks"].max() == 10
assert all(abs(v["cost"] / 2 - 1) < 0.04 for v in grid.values())
blocks, width, side = toys.spend((1.0, 0.0, 0.0), 2.0)

# %%
assert [blocks, width, side] == grid["2x grid 9"]["knobs"]

# %% [markdown]
# All nets are within four percent of twice the work. The study `compound_scaling.json`
# (`make study STUDY=compound_scaling`) trained each of them several times. A seed decides the
# pictures, their order and the first weights. Every net of a seed sees the same pictures once, so
# nothing can be learned by heart. The learning rate was set by eye in earlier trials,
# on its base and on a net of twice the depth, and left alone since. Five seeds were planned, but
# time ended the run after four.
#
# First we repeat the base, to see whether our machine's answer is the stored one.

# %%
base = plans["base"]["accuracy"]
for seed in range(LIVE_SEEDS):
    live = run_trial(
        *plans["base"]["knobs"], seed=seed, steps=steps
    ).accuracy
    assert min(base) - 0.03 < live < max(base) + 0.03
    assert abs(live - base[seed]) < 0.03

# %%
n_seeds = len(base)
half = stats.sem(base) * stats.t.ppf(0.975, n_seeds - 1)
print(
    f"{n_seeds} seeds; base {np.mean(base):.1%} ± {half:.1%}, chance "
    "12.5%"
)

# %% mystnb={"figure": {"caption": "Twice the work, spent in eleven ways: mean share of fresh pictures classed right, in percent. The star is the published split.", "name": "fig-scaling-simplex"}, "image": {"alt": "A triangle with corners depth, width and resolution. Ten grid points and a star inside carry their mean accuracy."}}
corners = np.array([[0, 0], [1, 0], [0.5, 0.87]])
fig, ax = plt.subplots(figsize=(5.6, 4.2))
ax.fill(*corners.T, fill=False, color=NEUTRAL)
at = np.array([v["shares"] for v in grid.values()]) @ corners
mean = np.array([100 * np.mean(v["accuracy"]) for v in grid.values()])
marks = ["*" if "published" in k else "o" for k in grid]
for (u, v), m, mark in zip(at, mean, marks, strict=True):
    shade = plt.cm.cividis((m - mean.min()) / np.ptp(mean))
    ax.plot(
        u, v, mark, ms=16 if mark == "*" else 11, color=shade,
        mec="black",
    )
    ax.annotate(
        f"{m:.1f}", (u, v), xytext=(9, 5), textcoords="offset points"
    )
for name, (u, v) in zip(toys.KNOBS, corners, strict=True):
    ax.text(u, v - 0.09 if v == 0 else v + 0.06, name, ha="center")
ax.set(xlim=(-0.15, 1.2), ylim=(-0.15, 1))
ax.axis("off")
plt.show()

# %%
assert len(at) == 11
assert np.isfinite(mean).all()
assert mean.min() > 100 * np.mean(base)  # every way of growing pays
weight = pd.DataFrame(
    [v["shares"] for v in grid.values()], columns=toys.KNOBS
)
pays = weight.corrwith(pd.Series(mean))
pays.round(1) + 0.0

# %%
assert pays["width"] > 0.2 > 0 > pays["depth"]

# %% [markdown]
# On average every way of growing did better than the base, for the poorest of the eleven is above it.
# But they do not do equally well: the correlation of accuracy with the share of width is positive,
# with the share of depth negative. Whether that is more than chance, differences with intervals say.
#
# Differences say more than levels, because all nets of a seed saw the same pictures, so what is
# easy or hard about them cancels. For each split, take its accuracy minus that of the published
# split, seed by seed, and put an interval from Student's $t$ around the mean.


# %%
def paired(first, second):
    points = 100 * np.subtract(first["accuracy"], second["accuracy"])
    half = stats.sem(points) * stats.t.ppf(0.975, len(points) - 1)
    return points.mean(), half


rivals = {k: v for k, v in grid.items() if "grid" in k}
gains = [paired(v, grid["2x published"]) for v in rivals.values()]
labels = [
    " ".join(f"{s:.2f}" for s in v["shares"]) for v in rivals.values()
]

# %% mystnb={"figure": {"caption": "Accuracy of each grid point minus that of the published split, in points: mean and 95 % interval over seeds.", "name": "fig-scaling-paired"}, "image": {"alt": "Ten horizontal intervals, one a split of the doubling into depth, width and resolution, around a line at zero."}}
fig, ax = plt.subplots(figsize=(6.4, 3.6))
gain, half = np.array(gains).T
ax.errorbar(gain, range(10), xerr=half, fmt="o", color=UP, capsize=3)
ax.axvline(0, color=NEUTRAL, ls="--", lw=1)
ax.set_yticks(range(10), labels)
ax.set_ylabel("shares: depth, width, resolution")
ax.set_xlabel("accuracy over the published split, points")
plt.show()

# %%
beats, loses = (
    int((gain - half > 0).sum()), int((gain + half < 0).sum()),
)
print(
    f"{beats} of 10 intervals above zero, {loses} below, "
    f"{10 - beats - loses} across"
)

# %%
assert beats == loses == 0

# %% [markdown]
# <!-- number: 0.05 from setrade/efficientnet/scaling.py -->
# To name coefficients we must smooth first, because the grid has many more points than we have
# trained. A quadratic surface over the triangle has six numbers, and the eleven points determine
# them. `search_coefficients` then walks a grid of ours (the paper does not print its own), steps of
# 0.05 under $\alpha \beta^2 \gamma^2 \approx 2$, and asks the surface instead of training 111 nets.
# We do it for all seeds together, and for each seed alone.


# %%
def terms(shares):
    a, b, _ = np.transpose(shares)
    return np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], -1)


def found(accuracy):
    X = terms([v["shares"] for v in grid.values()])
    surface, *_ = np.linalg.lstsq(X, accuracy, rcond=None)

    def score(scale):
        return float(
            terms([toys.shares(scale)])[0] @ surface
        )

    return en.search_coefficients(score)


assert len(candidates()) == 111
points = np.array([v["shares"] for v in grid.values()])

# %%
scores = np.array([v["accuracy"] for v in grid.values()])  # (11, seeds)
search = {"paper": (1.2, 1.1, 1.15), "all seeds": found(scores.mean(1))}
for seed in range(n_seeds):
    search[f"seed {seed}"] = found(scores[:, seed])
pd.DataFrame(search, index=["alpha", "beta", "gamma"]).T.round(2)

# %%
for seed in range(n_seeds):
    assert (
        toys.smooth_coefficients(points, scores[:, seed])
        == search[f"seed {seed}"]
    )
assert (
    stored["results"]["claims"]["alpha"]["measured"]
    == search["all seeds"][0]
)
every = np.array(list(search.values())[1:])
assert (every.min(0) <= search["paper"]).all()
assert (every.max(0) >= search["paper"]).all()
assert search["all seeds"][1] > 1.1
product = every[:, 0] * every[:, 1] ** 2 * every[:, 2] ** 2

# %%
assert ((product > 1.9 - 1e-9) & (product < 2.1 + 1e-9)).all()

# %% [markdown]
# The seeds do not agree with each other. Together they spend on width and leave depth at 1, but
# each of the published numbers lies between the extremes of single seeds. A surface always has a
# top somewhere, and its place moves with the draw. {numref}`fig-scaling-paired` says the same,
# since no interval leaves zero. On our task, with this many seeds, the coefficients are **within
# the noise**: neither found nor refuted.
#
# If width is better here, one reason may be the base, which we have not tested. It has 8 to 24
# channels for eight classes, so width may be what it lacks, and it trains on a few thousand pictures,
# where deep nets need more. The authors' base, in contrast, had itself been found by a search.
# Coefficients belong to a base, a task and a budget, and they can be measured before the money is
# spent.
#
# ## 5 One knob or three, at equal cost
#
# The paper's stronger claim is about larger steps. At about 4.6 times the work of B0, it scales
# depth alone, width alone, resolution alone, and all three; compound wins by 2.0 to 2.2 points
# of ImageNet accuracy {cite:p}`tan2019`. Our race is at 4 times the base, and every net's work is counted.

# %%
race = {
    k.removeprefix("4x "): v
    for k, v in plans.items()
    if k.startswith("4x")
}
knobs = pd.DataFrame({k: v["knobs"] for k, v in race.items()}).T
knobs.columns = ["blocks", "width", "side"]
knobs["work"] = [v["cost"] for v in race.values()]
knobs["accuracy, %"] = [
    round(100 * np.mean(v["accuracy"]), 1) for v in race.values()
]
knobs

# %% mystnb={"figure": {"caption": "Four times the base's work: compound minus each single knob, in points, paired by seed, with 95 % intervals; crosses: the paper's differences on ImageNet.", "name": "fig-scaling-race"}, "image": {"alt": "Three intervals for compound minus depth, minus width and minus resolution, with a line at zero and crosses near two, the published differences."}}
fig, ax = plt.subplots(figsize=(6.4, 2.6))
for row, name in enumerate(toys.KNOBS):
    gain_4x, half_4x = paired(race["published"], race[name])
    ax.errorbar(
        gain_4x, row, xerr=half_4x, fmt="o", color=UP, capsize=4
    )
    claim = stored["results"]["claims"][f"compound_over_{name}"][
        "claimed"
    ]
    ax.plot(claim, row, "x", color=DOWN, ms=8)
ax.axvline(0, color=NEUTRAL, ls="--", lw=1)
ax.set_yticks(range(3), [f"minus {name} only" for name in toys.KNOBS])
ax.set(xlabel="accuracy of compound, points", ylim=(-0.5, 2.5))
plt.show()

# %%
claimed = pd.DataFrame(stored["results"]["claims"]).T.filter(
    like="over", axis=0
)
for name in toys.KNOBS:
    middle, half = paired(race["published"], race[name])
    row = claimed.loc[f"compound_over_{name}"]
    np.testing.assert_allclose(
        [row.low, row.high], middle + half * np.array([-1, 1]),
        atol=0.01,
    )
against = claimed.loc[
    [f"compound_over_{k}" for k in ("depth", "resolution")]
]
assert (against.low > 0).all()
wide = claimed.loc["compound_over_width"]
assert wide.low < 0 < wide.high
claimed[["claimed", "measured", "low", "high"]]

# %% [markdown]
# <!-- number: 200 from studies/compound_scaling.py -->
# Against depth alone and resolution alone the *direction* of the paper's claim **holds** here:
# compound is better, the intervals stay above zero, and the gains are rather larger than the
# published two points. Since every net took the same 200 steps at one rate, this says which of them
# learns faster, and not which is better in the end. Against width alone it is **undecided**,
# because the interval reaches far to either side. "Balance all three" may be a good rule for a base
# that is balanced, whereas ours may lack channels, which width alone gives it.
#
# Note how wide that last interval is, with a handful of seeds. A table with one run a row, as is
# usual, would have shown either sign, depending on the seed.
#
# ## What goes wrong
#
# **Powers instead of the table.** Somebody reads the law, takes the family for its powers, and
# builds B7 as $\varphi = 7$.

# %%
law = en.compound_scale(7)
with torch.device("meta"):
    wrong = en.EfficientNet(en.Variant(law.width, law.depth, 224, 0.5))
    right = en.EfficientNet("b7")
millions = [en.count_parameters(net) / 1e6 for net in (wrong, right)]
print(
    f"depth {law.depth:.2f}, width {law.width:.2f}, side "
    f"{224 * law.resolution:.0f}"
)
print(
    f"{millions[0]:.0f} million parameters by the law, "
    f"{millions[1]:.0f} in the table"
)

# %%
assert 1.5 < millions[0] - millions[1] < 5
assert len(wrong.blocks) > len(right.blocks)
# the side is the only factor that fits
assert abs(224 * law.resolution - 600) < 5

# %% [markdown]
# **Rounding up.** Channels are rounded to multiples of 8, and to the *nearest*, unless that is
# more than a tenth too few. B2's stem is where rounding up goes wrong: $32 \cdot 1.1 = 35.2$.

# %%
up = int(-(-32 * 1.1 // 8) * 8)
nearest = en.round_channels(32, 1.1)
print(f"rounded up {up}, as published {nearest}")
assert (up, nearest) == (40, 32)
with torch.device("meta"):
    stem = en.EfficientNet("b2").stem[0]

# %%
assert stem.out_channels == 32

# %% [markdown]
# The net with 40 runs and trains, so only loading weights, or counting 9,109,994 parameters, shows
# the fault.

# %%
assert rows["b2"]["parameters"] == 9_109_994

# %% [markdown]
# **A grid on a grid.** A photograph has no pixels of its own, but a chart has, namely its candles.
# If the side is a multiple of the number of candles, every candle falls on whole columns, and with
# one pixel more all of them are smeared. A first run of the study drew 24 candles, and the
# base's 24 pixels were such a lucky side: in its first seed most nets with *more* pixels did
# worse, and resolution looked harmful. What it measured was the luck of the base. Here is the
# smear, as contrast between neighbouring columns.

# %%
windows, _ = toys.draw_formations(200, seed=0)
# 20 candles of 4 columns
chart = charts.candlesticks(windows, 80, 80, volume=False)
contrast = {}
for side in (20, 21, 24, 27, 33, 40):
    small_chart = toys.averaged(chart, side)
    contrast[side] = float(
        small_chart.diff(dim=3).abs().mean() * side / 20
    )
pd.Series(contrast, name="contrast a candle").rename_axis("side").round(
    3
)

# %%
assert contrast[20] > contrast[21]
assert contrast[40] > contrast[33]

# %% [markdown]
# The fix was to draw 20 candles, so that neither the base nor any of its rivals below 40 pixels
# is aligned. When you compare sides of a chart, compare multiples of its candles, or none.

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* Depth, width and side are three knobs, and one would turn them together. That balance
# is best is a rule of thumb for a net that is balanced already.
#
# *Proved.* How the work grows with each knob ({prf:ref}`prop-scaling-work`). Parameters and work of
# the family are counted and agree with the paper up to a few percent; after rounding, the
# parameters of B2 and the work of B1, B4, B5 and B7 are not the paper's.
#
# *Measured here.* On one core time grows with work within the family, though by less than in
# proportion, and a ResNet of the same work takes less. «Smaller» and «faster» hold for stated pairs
# of nets. On planted charts, with a small net and a short training, compound scaling beat depth
# alone and side alone, and against width alone it is undecided, as are the published coefficients.
#
# *Open.* The accuracies on photographs are quoted. Whether any split of the work is better on real
# market pictures, or after a longer training, this chapter could not see.
# ```
#
# ## Summary
#
# - Work grows with depth, and with the squares of width and side. The published coefficients
#   multiply to 1.920, and B1 to B7 are a table, not powers. Only B2 is one step of the law.
# - Parameters and work of B0 to B7 agree with the paper to within a few per cent, and in most
#   figures to the last digit. On one core time grows with work within the family, by less than in
#   proportion; in a ResNet a core gets through more multiply-adds a second.
# - "8x smaller" and "6x faster" are true of stated pairs of nets. Ask for the pair.
# - On our planted charts, the search prefers width to the published split, by less than the
#   noise. At four times the work, compound beats depth alone and resolution alone; against width
#   alone it is undecided. Coefficients belong to a base and a task.
# - Compare at counted cost, on the same pictures, with several seeds and an interval.
#
# ## Exercises

# %% [markdown]
# ```{exercise} Half the work ★
# :label: ex-scaling-1
# Run the law backwards: what are depth, width and side for $\varphi = -1$, starting from 224
# pixels? Count the work of that net, and say whether it is half of B0's.
# ```
#
# ```{solution-start} ex-scaling-1
# :class: dropdown
# ```

# %%
less = en.compound_scale(-1)
side = round(224 * less.resolution)
share = work(less.width, less.depth, side) / work()
print(
    f"{less.depth:.2f}, {less.width:.2f}, {side} pixels: {share:.2f} "
    "of the work"
)

# %%
assert 0.6 < share < 0.9

# %% [markdown]
# It is more than half, because repeats are rounded up, so that no stage loses a block and depth
# saves nothing; because the sides of maps are rounded up too, so that from 195 pixels the last maps
# are as large as from 224; and because channels go to multiples of 8. Small nets feel the rounding
# most, which is why the experiment above used whole channels and counted.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} What the grid leaves out ★★
# :label: ex-scaling-2
# How many points has this grid (steps of 0.05, product within 0.1 of 2), and how far from 2 is the
# published point? Would a tolerance of 0.05 have found it?
# ```
#
# ```{solution-start} ex-scaling-2
# :class: dropdown
# ```

# %%
wide, narrow = candidates(tolerance=0.1), candidates(tolerance=0.05)
print(len(wide), "points, or", len(narrow))
assert (1.2, 1.1, 1.15) in wide
assert (1.2, 1.1, 1.15) not in narrow

# %% [markdown]
# The narrower tolerance would not have found it, because a search reports the best of the points
# that it was allowed to see.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} The best of ten ★★
# :label: ex-scaling-3
# Suppose all ten splits were equally good, and each measured difference had a standard error of
# one point. How large would the best difference be on average, and how does that compare with what
# you saw?
# ```
#
# ```{solution-start} ex-scaling-3
# :class: dropdown
# ```

# %%
rng = np.random.default_rng(0)
error = rng.normal(size=(20_000, 11)) / 2**0.5  # the last is subtracted
draws = (error[:, :10] - error[:, 10:]).max(1)
print(f"{draws.mean():.1f} points")
assert 1 < draws.mean() < 1.2

# %% [markdown]
# On average the best of ten gains about one point although none is better. (All ten share the
# published split that is subtracted, and so rise and fall together; ten independent ones would give
# one and a half.) The best of section 4 gained one and a half, with a standard error as large. The
# winner of a search must therefore be measured again, on seeds that did not choose it.
# {ref}`ch-honest-evaluation` makes a habit of that.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} Where does your budget go? ★★★
# :label: ex-scaling-own
# Fix how many multiply-adds you can pay for a picture. Choose three nets of about this cost, one
# deep, one wide, one with a large input, and train each on a task of your own with three seeds. Is
# the spread between the nets larger than the spread between the seeds?
# ```
#
# ```{solution} ex-scaling-own
# :class: dropdown
# Report the validation loss of all nine, and the cheapest baseline beside them. On small tasks the
# spread between seeds is often the larger one, and then nothing has been learned about scaling;
# more seeds or a larger task are needed before one of the shapes may be called better.
# ```
#
# ## Further reading
#
# - {cite:t}`tan2019`: section 3 has the law, table 2 the family, table 4 the latency, table 7 the
#   race at equal work.
# - {ref}`ch-transfer-learning` uses weights that somebody else paid for.
