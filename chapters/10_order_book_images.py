# %% [markdown]
# (ch-order-book-images)=
# # Order-book images
#
# **What does a picture of resting orders show, and what hides in it?**
#
# ```{admonition} What you will do
# :class: tip
# - turn a book into a picture and prove that no volume is lost
# - measure which side is heavier, and test whether that predicts the next move
# - find walls and {term}`spoofs <spoof>` in a market where you know who planted them
# - walk the book to see what an order costs, and keep a live one correct
# ```
#
# *You need* {ref}`ch-candles`. *Runs* in under 30 s on two cores. What recorded books know of the
# next minute is asked in the next chapter, {ref}`ch-order-book-day`.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from setrade import orderbook, plots, races, results
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
N_SNAPSHOTS = 6_000  # at 100 ms: ten minutes
N_ORDERS = 40  # planted spoofs, and as many honest large orders

# %% [markdown]
# ## 1 A queue on each side
#
# A candle shows trades that happened, while an order book shows trades that people *offer*. On the
# one side stand the **bids**: buyers, each with a price and a size. Opposite stand the **asks**,
# and the exchange adds up the sizes at each price. The best bid and the best ask are the **touch**,
# the gap between them is the **spread**, and their middle is the **mid** {cite:p}`gould2013`.
#
# In a real book nobody says which orders were honest, so no method that looks for dishonest ones
# can be checked there. We therefore start with a synthetic book of which we know this. Its price is
# in USDT, a coin that is meant to be worth one dollar, and moves by single **ticks**, the smallest
# step that the exchange allows, here 0.1 USDT. Into it go six large resting orders (**walls**), 40
# large orders near the touch that fill, and 40 that vanish just before they could (**spoofs**). A
# hidden pressure tilts the sizes near the touch, and the next move follows that pressure at half
# strength: `signal=0.5`.

# %%
market = orderbook.synthetic(
    N_SNAPSHOTS,
    seed=10,
    signal=0.5,
    walls=6,
    filled=N_ORDERS,
    spoofs=N_ORDERS,
)
books, planted = market.books, market.planted
print(len(books), "snapshots of", books.levels, "levels a side")
print(planted.kind.value_counts().sort_index().to_dict())

# %% mystnb={"figure": {"caption": "The ten best levels of each side in one snapshot of the synthetic book.", "name": "fig-book-ladder"}, "image": {"alt": "A horizontal bar chart of ten bids below ten asks, in which the sizes shrink away from the touch except for one large ask."}}
row = int(planted[planted.kind == "wall"].iloc[0].start)
sides = [x[row, :10] for x in (books.bid_price, books.ask_price)]
sizes = [x[row, :10] for x in (books.bid_size, books.ask_size)]
fig, ax = plt.subplots(figsize=(7.2, 4.4))
plots.draw_ladder(
    ax, np.r_[tuple(sides)], np.r_[tuple(sizes)], np.arange(20) < 10
)
plt.show()

# %%
large = sizes[1].argmax()
moves = np.abs(np.diff(books.mid())) / 0.1  # in ticks
assert set(moves.round(6)) == {0.0, 1.0}
print(
    "largest ask:",
    round(sizes[1][large], 1),
    "BTC at",
    round(sides[1][large], 1),
)

# %%
assert sizes[1][large] > 4 * np.median(sizes[1])

# %% [markdown]
# In {numref}`fig-book-ladder` the sizes fall with the distance from the touch. One ask stands out
# because it is the first wall, in the snapshot in which it appeared.
#
# ## 2 Three levels by hand
#
# Take three bids and three asks, between which the mid is 100.5.

# %%
small = orderbook.Snapshots(
    np.array(["2024-01-01"], "datetime64[ns]"),
    bid_price=[[100, 99, 98]], bid_size=[[3, 2, 1]],
    ask_price=[[101, 102, 103]], ask_size=[[1, 1, 4]],
)  # fmt: skip

# %% [markdown]
# To say which side is heavier, compare the sizes that wait on both.
#
# ```{prf:definition} Imbalance
# :label: def-book-imbalance
#
# Let $V_b(k)$ be the size of the best $k$ bids and $V_a(k)$ that of the best $k$ asks, not both
# zero. The difference of the two as a share of their sum is the
# **{term}`imbalance <book imbalance>`**
#
# $$ I(k) = \frac{V_b(k) - V_a(k)}{V_b(k) + V_a(k)} \in [-1, 1]. $$
# ```
#
# With one level it is $(3-1)/(3+1) = 0.5$, with two, $(5-2)/7 = 0.43$, and with three, $(6-6)/12 = 0$.
# So the answer depends on how deep you look.
#
# The **weighted mid** leans towards the side that is about to run out, because it weights the best
# prices by the *opposite* sizes: $m = (3 \cdot 101 + 1 \cdot 100)/4 = 100.75$. That is above the mid
# of 100.5: since buyers queue and sellers are few, the weighted mid expects a rise. Many call it
# the {term}`microprice`, and so does our function; {cite:t}`stoikov2018` keeps that name for another
# estimate, the mid corrected by what moves followed each imbalance and spread.
#
# ```{prf:proposition} The weighted mid is the imbalance in money
# :label: prop-weighted-mid
#
# Let the best bid and ask have the prices $P_b < P_a$ and the sizes $q_b, q_a > 0$. The weighted
# mid $m = (q_b P_a + q_a P_b) / (q_b + q_a)$ lies between the two, and
#
# $$ m - \frac{P_a + P_b}{2} = I(1)\, \frac{P_a - P_b}{2}. $$
# ```
#
# ```{prf:proof}
# As a mean with positive weights $m$ lies between the prices. Over the common denominator
# $2 (q_b + q_a)$ the left side has the numerator $2 q_b P_a + 2 q_a P_b - (q_b + q_a)(P_a + P_b)$,
# which is $(q_b - q_a)(P_a - P_b)$.
# ```
#
# So at one level both say the same, one as a share and one in money.

# %%
by_hand = [(3 - 1) / (3 + 1), (5 - 2) / 7, (6 - 6) / 12]
assert np.allclose(orderbook.depth_imbalance(small)[0], by_hand)
assert orderbook.microprice(small)[0] == (3 * 101 + 1 * 100) / 4

# %% [markdown]
# ## 3 From the book to a picture
#
# A picture needs a grid. Its rows are price bands, measured in basis points (hundredths of a
# percent) from a reference price, and row 0 is the top, the highest price. Its columns are
# snapshots, oldest first. Each level adds its size to the row of its price:
#
# $$ r = \left\lfloor \frac{s - 10^4\,(p/p_0 - 1)}{2s}\, R \right\rfloor $$
#
# for a price $p$, a reference $p_0$, a span of $\pm s$ basis points and $R$ rows. Bids and asks get
# a channel each. A level beyond the span belongs to no row, so its volume is reported as *outside*,
# because otherwise it would be lost without notice.
#
# ```{prf:proposition} No volume is lost
# :label: prop-heatmap-volume
#
# Let each level of a snapshot add its size to its row $r$ if $0 \le r < R$, and to *outside*
# otherwise. Then all rows and *outside* together hold the volume of the snapshot.
# ```
#
# ```{prf:proof}
# The formula gives each level one whole number, which is either a row or not, so that each size is
# added exactly once.
# ```
#
# Here is the whole idea for one column.

# %%
def column_by_hand(price, size, mid, rows, span):
    column, outside = np.zeros(rows), 0.0
    for p, v in zip(price, size, strict=True):
        r = int(
            np.floor((span - 1e4 * (p / mid - 1)) * rows / (2 * span))
        )
        if 0 <= r < rows:
            column[r] += v
        else:
            outside += v
    return column, outside


# %%
column, outside = column_by_hand(
    [100, 99, 98], [3, 2, 1], 100.5, rows=4, span=200
)
drawn = orderbook.heatmap(small, rows=4, span_bps=200)
print("bids from the top:", column, " outside:", outside)

# %%
assert np.array_equal(drawn.volume[0, 0, :, 0], column)
assert drawn.outside[0, 0, 0] == outside
assert round(1e4 * (100.5 - 98) / 100.5) == 249 > 200

# %% [markdown]
# <div data-move="order_book">
#
# :::{figure-md} fig-diagram-book-heatmap
# ![Left, one snapshot of a book: bars for the sizes that rest at each price, asks above the mid and bids below it. Right, a heat map: each snapshot became one column of cells whose shades are those sizes, the newest column at the right. A large order at one price is a dark row.](_static/diagrams/book_heatmap.svg)
#
# A snapshot of the book becomes one column of the picture.
# :::
#
# Where scripts are on, one minute of the synthetic book follows, with a fader for the time. At the
# left stands the book of that moment; at the right the columns that it and the snapshots before it
# left behind. A planted wall leaves a strong trace, which changes its row whenever the mid moves.
#
# </div>
#
# The bid at 98 is about 249 basis points below the mid, outside a span of 200. The package
# does the same for many windows at once.
#
# The reference is a choice, and each choice shows something else. With `reference="mid"` each column
# is centred on its own mid, so the picture shows the *shape* of the book, and the price path is
# gone. With `reference="fixed"` all columns share the newest mid, so walls become straight lines,
# and the path of the price shows. Neither uses anything that came after the newest column.
#
# <!-- number: 1.2 by example, a row that no whole number of ticks fills -->
# We make a row exactly one tick high, because with rows of 1.2 ticks some would collect two levels
# and some one, and the picture would show stripes that the market does not have.

# %%
view = books[:1_000]
tick = 1e4 * 0.1 / view.mid()[-1]  # one tick in basis points
by_mid = orderbook.heatmap(view, rows=48, span_bps=24 * tick)
fixed = orderbook.heatmap(
    view, rows=72, span_bps=36 * tick, reference="fixed"
)
for drawn in (by_mid, fixed):
    total = drawn.volume.sum(dtype=float) + drawn.outside.sum()
    assert np.isclose(
        total, view.bid_size.sum() + view.ask_size.sum(), rtol=1e-6
    )
print("outside the fixed span:", f"{fixed.outside.sum() / total:.1%}")

# %% mystnb={"figure": {"caption": "The same 100 seconds drawn twice: around each column's own mid (left) and around the newest mid (right).", "name": "fig-book-two-references"}, "image": {"alt": "Two heat maps of one book: on the left bids and asks meet on a straight middle line, on the right the boundary wanders with the price and a wall is a straight line."}}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.4))
plots.draw_heatmap(axes[0], by_mid.volume[0], 100, 24 * tick)
picture = plots.draw_heatmap(axes[1], fixed.volume[0], 100, 36 * tick)
axes[0].set_title("each column's own mid")
axes[1].set(title="newest mid", ylabel="")
fig.colorbar(picture, ax=axes, label="log(1+bids) − log(1+asks)")
plt.show()

# %%
wall = planted[planted.kind == "wall"].iloc[0]
path = 1e4 * (view.mid() / view.mid()[-1] - 1)
print(f"the mid wanders over {np.ptp(path):.2f} bps")

# %%
# with its own mid, no bid above the middle
assert by_mid.volume[0, 0, :24].sum() == 0
assert fixed.volume[0, 0, :36].sum() > 0  # with a fixed one, there are

# %% [markdown]
# Sizes differ by a factor of ten or more between levels. Drawn as they are, the walls would hide
# the rest, so {numref}`fig-book-two-references` shows logarithms. The functions do that on demand
# with `log=True`, as $\log(1+v)$, which keeps an empty row at zero.
#
# ## 4 Does the heavier side win?
#
# A heavy bid side might mean that buyers are keen, so that the price will rise. That is an old
# idea, and for the next single tick it has been seen in many stocks {cite:p}`gould2016`. In our
# market it is true by construction, at half strength, so we can check whether our measure finds it.
#
# We correlate the imbalance with the move of the mid over the next half second. Moves are
# mostly zero and never normal, so we use rank correlation.

# %%
HORIZON = 5  # snapshots
imbalance = orderbook.depth_imbalance(books)[:-HORIZON]
move = orderbook.next_move(books, HORIZON)[:-HORIZON]
rank = {k: spearmanr(imbalance[:, k - 1], move)[0] for k in (1, 5, 20)}
truth = spearmanr(market.pressure[:-HORIZON], move)[0]
print("hidden pressure:", f"{truth:.2f}")
print(
    pd.Series(rank)
    .rename_axis("levels")
    .map("{:+.2f}".format)
    .to_dict()
)

# %% [markdown]
# <!-- number: 5.7 from studies/book_net.py -->
# A single number needs an interval before it can be believed. Neighbouring snapshots are alike, so
# drawing single rows anew would make the interval too narrow, and a *block bootstrap* therefore
# draws stretches of five seconds. A thousand draws belong in a study, so we read them from
# `real_book.json`, where the same was also done to a real book: 5.7 minutes of the BTCUSDT
# perpetual on Binance, which {ref}`ch-order-book-day` describes. The cell recomputes the synthetic
# estimates and checks that they agree.

# %%
study = results.load("real_book")["results"]
stored = pd.DataFrame(
    study["synthetic"]["imbalance"]["by_depth"]
).set_index("levels")
for k, r in rank.items():
    assert stored.low[k] < r < stored.high[k]
    assert np.isclose(r, stored.rank_correlation[k], atol=0.002)
stored.round(2)

# %% mystnb={"figure": {"caption": "Rank correlation of imbalance with the move of the next half second, with 95 % block-bootstrap intervals.", "name": "fig-book-imbalance"}, "image": {"alt": "Intervals at depths 1, 5 and 20: for the synthetic book only depth 1 lies above zero, for the real book all three do, falling from 0.37 to 0.29."}}
fig, ax = plt.subplots()
for shift, name, marker in (
    (-0.08, "synthetic", "o"),
    (0.08, "real", "s"),
):
    x = pd.DataFrame(study[name]["imbalance"]["by_depth"])
    error = np.abs(
        x[["low", "high"]].T.to_numpy() - x.rank_correlation.to_numpy()
    )
    at = np.arange(3) + shift
    ax.errorbar(
        at, x.rank_correlation, error, fmt=marker, capsize=4, label=name
    )
ax.axhline(0, color=NEUTRAL, linewidth=0.8)
ax.set_xticks(range(3), ["1", "5", "20"])
ax.set(
    xlabel="levels a side in the imbalance", ylabel="rank correlation"
)
ax.legend()
plt.show()

# %%
real = pd.DataFrame(study["real"]["imbalance"]["by_depth"]).set_index(
    "levels"
)
print(real.round(2))

# %%
assert (real.low > 0).all()
assert stored.low[1] > 0 > stored.low[5]

# %% [markdown]
# {numref}`fig-book-imbalance` shows two things. In the synthetic book one level finds the signal,
# while five and twenty lose it. The reason is the large orders that we planted, of which one can
# decide the sign of a sum: the walls lie deeper down, and the short-lived ones a few ticks from the
# touch. In a book without them five and twenty levels find the signal as well as one does:

# %%
bare = orderbook.synthetic(
    6_000, seed=1, signal=0.5, walls=0, filled=0, spoofs=0
).books
gap = orderbook.depth_imbalance(bare)[:-HORIZON]
moved = orderbook.next_move(bare, HORIZON)[:-HORIZON]
alone = {k: spearmanr(gap[:, k - 1], moved)[0] for k in (1, 5, 20)}
print({k: f"{r:+.2f}" for k, r in alone.items()})
assert min(alone.values()) > 0.1

# %% [markdown]
# The real book says more, not less, because its imbalance goes with the next half second at every
# depth. Whether that can be traded depends on the size of the move.

# %%
down, up = study["real"]["imbalance"]["decile_move_bps"]
print(
    "after the lowest and highest tenth of imbalance: "
    f"{down:+.2f} and {up:+.2f} bps"
)

# %%
assert max(-down, up) < 5.5 / 5  # far below one taker fee

# %% [markdown]
# The mean move after the strongest imbalances is a fraction of a basis point, while the fee of one
# taker trade is 5.5 basis points. So the signal is there in this recording, but it is far too small
# to pay for a market order.
#
# ## 5 Walls
#
# A wall is a large size that stays at its price, so in the picture it is a line. We therefore look
# for large levels that lie close together in time *and* in distance from the mid. DBSCAN
# {cite:p}`ester1996` does that: a point with enough neighbours within a radius is a core, and cores
# within reach of each other form a cluster, with all that they reach. Our radius is one second by
# 0.05 basis points, enough is ten points with the point itself, and what no core reaches counts as
# noise.

# %%
found = orderbook.clusters(books, min_size=10, seconds=1.0, bps=0.05)
walls = found[found.points >= 100]
print(len(found), "clusters,", len(walls), "of at least ten seconds")
print(walls[["side", "price", "start", "end"]].to_string(index=False))

# %% mystnb={"figure": {"caption": "Planted walls (thick grey) and the long clusters found (thin, coloured), over ten minutes.", "name": "fig-book-walls"}, "image": {"alt": "Six thick grey horizontal lines mark the planted walls, and thin coloured lines lie on parts of each while it was within the visible book."}}
fig, ax = plt.subplots()
for w in planted[planted.kind == "wall"].itertuples():
    x = [w.start / 10, w.end / 10]
    ax.plot(x, [w.price] * 2, color="0.8", linewidth=8)
for c in walls.itertuples():
    colour, dash = (UP, "-") if c.side == 1 else (DOWN, "--")
    x = [c.start / 10, c.end / 10]
    ax.plot(x, [c.price] * 2, color=colour, linestyle=dash)
x = np.arange(len(books)) / 10
ax.plot(x, books.mid(), color=NEUTRAL, linewidth=0.7)
ax.ticklabel_format(useOffset=False)
ax.set(xlabel="time (s)", ylabel="price (USDT)")
plt.show()

# %%
true_walls = planted[planted.kind == "wall"]
missed = [w.price for w in true_walls.itertuples()
          if not (np.abs(walls.price - w.price) < 0.05).any()]

# %%
assert not missed
assert all(
    (np.abs(true_walls.price - p) < 0.05).any() for p in walls.price
)

# %% [markdown]
# Every planted wall is found, and no long cluster is anything else. A wall that leaves the visible
# twenty levels breaks into pieces, because what happens beyond them is not recorded. Clustering
# looks at the whole recording, so it describes the past and is no input to a forecast.
#
# ## 6 Spoofs
#
# A spoofer shows a large order that he does not want filled, to make others move. Many regulated
# markets forbid it, and the EfficientNet chapter lists «identify spoofing patterns» among the things
# a picture can do. The intention cannot be seen, only the behaviour: the order is large, near the
# touch, short, and gone without a trade. We multiply these into a score between 0 and 1:
#
# $$ \text{score} = \Big(1 - \min\big(1, \tfrac{\text{traded}}{\text{size}}\big)\Big)
#    \cdot e^{-\text{ticks away}/5} \cdot e^{-\text{seconds}/2}. $$
#
# An order of 10 BTC, one tick from the touch, gone after a second, of which 5 BTC traded, has
# $0.5 \cdot e^{-0.2} \cdot e^{-0.5} = 0.25$.

# %%
assert round(0.5 * np.exp(-0.2) * np.exp(-0.5), 2) == 0.25  # by hand
episodes = orderbook.spoofing(
    books, market.trades, min_size=6, tick=0.1
)
one = episodes.iloc[0]
print(one.round(2).to_dict())
unfilled = 1 - min(1, one.traded / one["size"])

# %%
assert np.isclose(
    one.score, unfilled * np.exp(-one.ticks_away / 5 - one.seconds / 2)
)

# %% [markdown]
# Each episode is the growth of one price level by 6 BTC or more, until half of it is gone. We
# know what we planted, so we can ask what each episode really was. Two shares say how good a rule
# is that flags episodes: its **precision** is the share of the flags that are spoofs, its **recall**
# the share of the planted spoofs that are flagged.

# %%
key = ["side", "price", "start"]
named = episodes.round({"price": 6}).merge(
    planted.round({"price": 6})[[*key, "kind"]], on=key, how="left"
)
named["kind"] = named.kind.fillna("nothing planted")
print(
    named.groupby("kind").score.agg(["size", "median", "max"]).round(2)
)

# %% mystnb={"figure": {"caption": "Scores of all episodes by what was really there; the line is the threshold 0.2, fixed beforehand.", "name": "fig-book-spoofs"}, "image": {"alt": "A strip chart of scores: filled orders and walls lie at zero, spoofs lie between 0.3 and about 0.7, and many episodes with nothing planted score as high as spoofs."}}
fig, ax = plt.subplots(figsize=(7.2, 3))
kinds = ["wall", "filled", "spoof", "nothing planted"]
jitter = np.random.default_rng(0).uniform(-0.25, 0.25, len(named))
at = named.kind.map(kinds.index).to_numpy() + jitter
touch = (named.ticks_away == 0).to_numpy()
ax.plot(named.score[~touch], at[~touch], "o", color=UP, ms=4,
        label="behind the touch")
ax.plot(named.score[touch], at[touch], "x", color=DOWN, ms=5,
        label="at the best price")
ax.axvline(0.2, color=NEUTRAL, linestyle="--")
ax.set_yticks(range(4), kinds)
ax.set(xlabel="score")
ax.legend(loc="lower right")
plt.show()

# %%
flagged = named[named.score >= 0.2]
hits, false = (
    (flagged.kind == "spoof").sum(),
    flagged[flagged.kind != "spoof"],
)
print(
    f"precision {hits / len(flagged):.2f}, recall {hits / N_ORDERS:.2f}"
)

# %%
assert hits / N_ORDERS > 0.9
assert (false.ticks_away == 0).all()
assert not (flagged.kind == "filled").any()

# %% [markdown]
# The score finds the planted spoofs and never takes a filled order for one, but half of what it
# flags was not planted at all. {numref}`fig-book-spoofs` shows why: every false alarm began *at* the
# best price, where sizes jump by themselves when the price moves. Leaving those out would give a
# precision of 1. But it would be cheating, because we only know from our own generator that no
# spoof is planted there. For a real market nobody gives us that guarantee.
#
# One book is only one draw, so `books_real.json` has the score alone, without such a filter, over
# twenty planted books. They differ from this one in that their sizes foretell nothing, which may
# make them easier: the score finds nearly every spoof, and two flags in three are one. That is what
# the ledger of {ref}`claims` judges. What it asks for there, nine of ten flags right, is our
# choice.

# %%
score = results.load("books_real")["results"]["claims"]["spoofing"]
for name in ("precision", "recall"):
    x = score[name]
    print(
        f"{name} {x['estimate']:.2f} [{x['low']:.2f}, {x['high']:.2f}]"
    )

# %%
assert score["seeds"] == 20
assert 0.6 < score["precision"]["estimate"] < 0.75
assert score["recall"]["estimate"] > 0.95

# %% [markdown]
#
# ## 7 What an order costs
#
# A market order larger than the best level fills the rest at the next one, at a worse price. In our
# small book, buying 4 BTC takes 1 at 101, 1 at 102 and 2 at 103: on average 102.25. That is
# $10^4\,(102.25/100.5 - 1) = 174$ basis points worse than the mid.

# %%
paid = orderbook.walk(small, np.array([4.0]), "buy")[0, 0]
cost = orderbook.slippage_bps(small, np.array([4.0]), "buy")[0, 0]
print(paid, round(cost))

# %%
assert paid == (1 * 101 + 1 * 102 + 2 * 103) / 4
assert np.isnan(
    orderbook.walk(small, np.array([7.0]), "buy")
).all()  # only 6 are there

# %% mystnb={"figure": {"caption": "Mean cost of a market order against its size, buys and sells, over the snapshots that could fill it.", "name": "fig-book-impact"}, "image": {"alt": "Cost against size on logarithmic axes: the synthetic curve is flat up to two bitcoin and then rises steeply; the real curve rises from the beginning, with a slope near 0.6, and flattens at the largest sizes."}}
fig, ax = plt.subplots()
for name, colour in (("synthetic", UP), ("real", DOWN)):
    x = study[name]["impact"]
    ax.loglog(
        x["size"], x["buy"], "o-", color=colour, label=f"{name}, buy"
    )
    ax.loglog(
        x["size"], x["sell"], "s--", color=colour, label=f"{name}, sell"
    )
ax.set(xlabel="order size (BTC)", ylabel="cost against the mid (bps)")
ax.legend()
plt.show()

# %%
x = study["synthetic"]["impact"]
again = orderbook.slippage_bps(books, np.array(x["size"]), "buy")
assert np.allclose(np.nanmean(again, 0), x["buy"], rtol=1e-3)
for name in ("synthetic", "real"):
    law = study[name]["impact"]["law"]
    interval = f"{law['low']:.2f} to {law['high']:.2f}"
    print(f"{name}: exponent {law['exponent']:.2f}, {interval}")
    assert not law["low"] < 0.5 < law["high"]

# %% [markdown]
# Traders speak of a **square-root law**: cost grows like $\sqrt{\text{size}}$ {cite:p}`toth2011`. We
# fitted the exponent instead of assuming it, and neither interval holds 0.5. In the synthetic book
# a power is the wrong shape anyway, because up to the size of the best level every order pays half
# a tick, and {numref}`fig-book-impact` shows the bend. In the real book 0.62 fits the sizes that
# nine snapshots in ten can fill. The law itself is about large orders that are *split over time*.
# Walking one snapshot is a different thing, and therefore does not refute it.
#
# For larger sizes the real curve shows too low a cost, because a snapshot that cannot fill the
# order drops out of the mean, and only the deep ones are left.

# %%
lost = dict(zip(study["real"]["impact"]["size"],
                study["real"]["impact"]["buy_unfillable"],
                strict=True))
print(
    {size: f"{share:.0%}" for size, share in lost.items() if size >= 3}
)

# %%
assert lost[10] > 0.5

# %% [markdown]
# ## What goes wrong
#
# An exchange does not send whole books ten times a second. It sends one **snapshot**, then
# **deltas**: only the levels that changed, size `"0"` for a level that is gone. Each message carries
# an update number `u`. Two mistakes are common. One is to take a delta for a full book. The other
# is to apply whatever arrives, and not to notice that a message is missing.
#
# Let us write our book as such a stream and lose one message in fifty.

# %%
feed = list(orderbook.messages(books[:2_000]))
rng = np.random.default_rng(2)
lost = rng.random(len(feed)) < 0.02
lost[0] = False
print("lost:", lost.sum(), "of", len(feed))
print("bids of the first delta:", feed[1]["data"]["b"])


# %%
def careless(levels, data, side):
    """Applies what comes. No check of u, no idea of a gap."""
    for price, size in data[side]:
        levels[float(price)] = float(size)
    return {p: s for p, s in levels.items() if s > 0}


# %% [markdown]
# To measure how wrong a reader is, we count the levels that are missing, invented or of the wrong
# size, each time a message arrives.

# %%
received = np.flatnonzero(~lost)
columns = ["as book", "gaps", "ours"]
errors = pd.DataFrame(
    np.nan, index=np.arange(len(feed)), columns=columns
)


def wrong_levels(book, row):
    count = 0
    bids, asks = (
        (books.bid_price, books.bid_size),
        (books.ask_price, books.ask_size),
    )
    for side, (price, size) in {"b": bids, "a": asks}.items():
        true = dict(zip(price[row], size[row], strict=True))
        count += sum(
            true.get(p) != book[side].get(p) for p in true | book[side]
        )
    return count


# %%
kept, crossed = {"b": {}, "a": {}}, []
for row in received:
    data = feed[row]["data"]
    alone = {side: careless({}, data, side) for side in "ba"}
    kept = {side: careless(kept[side], data, side) for side in "ba"}
    errors.loc[row, "as book"] = wrong_levels(alone, row)
    errors.loc[row, "gaps"] = wrong_levels(kept, row)
    crossed.append(max(kept["b"]) >= min(kept["a"]))

# %%
print(
    "delta taken as a book: levels wrong, median",
    int(errors["as book"].median()),
)
print(
    "gaps ignored: wrong in "
    f"{(errors.gaps.dropna() > 0).mean():.0%} of messages,"
)
print(
    f"  its best bid at or above its best ask in {np.mean(crossed):.0%}"
)

# %%
assert errors["as book"].median() > 20
assert (errors.gaps.dropna() > 0).mean() > 0.2
assert np.mean(crossed) > 0.05

# %% [markdown]
# The book of the careless reader becomes right again now and then, because busy levels are soon
# sent again. But a lost `"0"` leaves a level that does not exist. When the price moves on, that
# ghost becomes the best price, so that the bid is above the ask, and an order may be sent to a price
# at which nobody trades.

# %% [markdown]
# The third reader is `orderbook.OrderBook`, which checks that `u` rises by one. When it does not,
# `is_valid` is False, and the best prices are None, so that nobody trades on them by mistake. We
# then do what a client does and subscribe anew. The exchange answers with a snapshot, and we let
# that take ten messages.

# %%
def snapshot_of(row):
    first = {"first_update": int(row) + 2}
    return next(orderbook.messages(books[row : row + 1], **first))


# %%
book, again = orderbook.OrderBook(), 0
for row in received:
    before = book.is_valid
    book.apply(
        snapshot_of(row) if not before and row >= again else feed[row]
    )
    if before and not book.is_valid:
        again = row + 10
    if book.is_valid:
        both = {"b": book.levels("bid"), "a": book.levels("ask")}
        mine = {
            s: {float(p): float(v) for p, v in x}
            for s, x in both.items()
        }
        errors.loc[row, "ours"] = wrong_levels(mine, row)

# %% mystnb={"figure": {"caption": "Wrong levels over 200 seconds, when about one message in fifty is lost.", "name": "fig-book-gaps"}, "image": {"alt": "Wrong levels against time: deltas taken as books are wrong all the time, the careless reader is wrong for a while after a gap, and OrderBook stays at zero with short breaks."}}
fig, ax = plt.subplots()
names = ("delta taken as a book", "gaps ignored",
         "OrderBook (breaks: not valid)")
styles = ("-", "--", "-")
widths = (0.5, 1.4, 1.8)
colours = ("0.6", DOWN, UP)
for c, name, style, w, rgb in zip(
    columns, names, styles, widths, colours, strict=True
):
    ax.plot(errors.index / 10, errors[c], style, linewidth=w,
            color=rgb, label=name)
ax.set(xlabel="time (s)", ylabel="wrong levels (of 40)")
ax.legend()
plt.show()

# %%
ours = errors.ours.dropna()
print(
    "faults:",
    dict(book.faults),
    " valid:",
    f"{len(ours) / len(received):.0%}",
)

# %%
assert (ours == 0).all()
assert book.faults["gap"] > 0

# %% [markdown]
# A reader that checks the sequence is right whenever it answers, and pays for it with some seconds
# in which it has no answer at all, because it has given up the book and waits for the next
# snapshot. No reader can notice a loss before the next message arrives, because only the number of
# that message shows that one is missing. If nothing arrives at all, only a clock can tell;
# {ref}`ch-streams-and-orders` has a watchdog for that.
#
# <!-- number: 20,000, 200 from tests/benchmarks/bench_orderbook.py -->
# To see whether it is fast enough, `make bench BENCH=orderbook` plays 20,000 deltas of one and of
# four levels into a book of 200 levels a side, on one core. It stores the rates in `bench.json`, and
# the least of all processors counts.

# %%
for levels in (1, 4):
    rate = races.least(
        f"test_local_book_at_depth_200[{levels}]", "messages_a_second"
    )
    print(f"{levels} levels a delta:", rate.say("deltas a second"))
    assert rate.ratio > 100_000

# %% [markdown]
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* To the eye a heat map of the book is a landscape, in which a wall looks like a
# barrier and the heavier side like the one that wins.
#
# *Proved.* The picture loses no volume ({prf:ref}`prop-heatmap-volume`), and at one level the
# weighted mid leans just as the imbalance does ({prf:ref}`prop-weighted-mid`).
#
# *Measured here.* In one short real recording imbalance went with the moves of the next half second,
# by far less than a fee. Measured by a share of right flags that we chose, telling spoofs fails in
# synthetic books. A reader of deltas that ignores gaps was wrong in a good part of the messages.
#
# *Open.* Which of the large orders in a real book are honest cannot be seen from the book. Whether
# pictures hold more than the numbers that they are made of is not shown here.
# ```
#
# ## Summary
#
# - A heat map adds each level to one row, and volume inside plus volume outside is the book.
# - Centred on its own mid, a column shows shape; on a fixed price, the picture shows moves.
# - Imbalance at the touch found the planted signal, while in deeper sums large orders outweighed
#   it. In the real recording it went with the next half second, by far less than a fee.
# - Walls are clusters in time and in distance from the mid. Spoofs can be told only by behaviour,
#   and in the first planted book half of what looked like one was none.
# - What a market order costs follows the shape of the book; a power law with a fixed 0.5 fits
#   neither book.
# - A local book that ignores a lost message may be wrong from there on, and does not say so.
#
# ## Exercises
#
# ```{exercise} Nothing planted, nothing found ★
# :label: ex-book-1
# Make a book with `signal=0`, no walls and no spoofs. What should the rank correlation of section 4
# be? Check it on four seeds, and say how much it scatters.
# ```
#
# ```{solution-start} ex-book-1
# :class: dropdown
# ```
# It should be zero, up to chance. Snapshots overlap, so the scatter is larger than the $1/\sqrt{n}$
# of independent rows, which is why section 4 draws blocks.

# %%
ranks = []
for seed in range(4):
    options = {"seed": seed, "walls": 0, "filled": 0, "spoofs": 0}
    quiet = orderbook.synthetic(N_SNAPSHOTS, **options).books
    y = orderbook.next_move(quiet, HORIZON)[:-HORIZON]
    ranks.append(spearmanr(quiet.imbalance(1)[:-HORIZON], y)[0])
print("largest of four:", f"{np.abs(ranks).max():.2f}")

# %%
assert np.abs(ranks).max() < 0.08

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} What counts as large ★★
# :label: ex-book-2
# Section 6 called 6 BTC large. Try 4, 6, 8 and 10, and say what happens to precision and recall.
# Which would you choose for a market whose spoofs you do not know?
# ```
#
# ```{solution-start} ex-book-2
# :class: dropdown
# ```
# With 8 the score is nearly perfect, but only because the smallest planted spoof has 8 BTC, which
# we know. With 10 the small spoofs are gone, and with 4 most flags are false. On a real market you
# cannot tune this, for nobody tells you which orders were spoofs. The study fixes the threshold on
# the first tenth of the recording, from the sizes alone, and then leaves it.

# %%
spoofs = planted[planted.kind == "spoof"].round({"price": 6})
table = []
for size in (4, 6, 8, 10):
    e = orderbook.spoofing(
        books, market.trades, min_size=size, tick=0.1
    )
    e = e[e.score >= 0.2].round({"price": 6})
    hit = len(e.merge(spoofs, on=key))
    table.append((size, hit / len(e), hit / len(spoofs)))
table = pd.DataFrame(table, columns=["min_size", "precision", "recall"])
table = table.set_index("min_size")
print(table.round(2))

# %%
assert table.precision.is_monotonic_increasing
assert table.recall[10] < table.recall[8]

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A heat map for a net ★★★
# :label: ex-book-3
# A net that runs live needs one picture per snapshot, without new memory each time. Draw
# pictures of 64 snapshots, ending at every tenth one, into a buffer that you keep. Show that
# changing the future changes none of the earlier pictures.
# ```
#
# ```{solution-start} ex-book-3
# :class: dropdown
# ```
# `ends` says which snapshots are newest, `out` is the buffer. For each picture in turn, cutting the
# book off after its own end leaves the picture as it was.

# %%
ends = np.arange(63, 1_000, 10)
buffer = np.empty((len(ends), 2, 32, 64), np.float32)
options = {
    "rows": 32,
    "span_bps": 0.4,
    "window": 64,
    "ends": ends,
    "log": True,
}
drawn = orderbook.heatmap(books, **options, out=buffer)
assert drawn.volume is buffer

# %%
for k, end in enumerate(ends):
    alone = options | {"ends": ends[k : k + 1]}
    cut = orderbook.heatmap(books[: end + 1], **alone)
    assert np.array_equal(cut.volume[0], buffer[k])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A picture of your own book ★★★
# :label: ex-book-picture
# Record ten minutes of the book of a pair that you follow ({ref}`ch-streams-and-orders` has the
# stream). Draw them with both references of section 3, and look for walls as section 5 does. For
# each line in the picture, say whether it stays at a price or follows the mid.
# ```
#
# ```{solution} ex-book-picture
# :class: dropdown
# Check that volume inside and outside adds up to the book, and make a row one tick high, or a whole
# number of ticks. A line that is straight with the fixed reference stays at its price, and one that
# is straight around the mid follows it, so its owner moves it with the market. Choose the size that
# counts as large on the first tenth of the recording, and leave it afterwards.
# ```
#
# ## Further reading
#
# - {cite:t}`gould2013` survey how order books work and what is known about them.
# - {cite:t}`gould2016` test queue imbalance on ten stocks, one tick ahead.
# - {cite:t}`stoikov2018` sets the weighted mid beside a better estimate, his microprice.
# - {cite:t}`toth2011` explain why impact grows like a square root.
