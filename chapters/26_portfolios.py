# %% [markdown]
# (ch-portfolios)=
# # Portfolios
#
# **Can gates over assets become weights that beat dividing by N?**
#
# ```{admonition} What you will do
# :class: tip
# - turn three gates into weights with a pencil, long only and long-short, and keep their ledger
# - put a squeeze-and-excitation block over assets instead of channels
# - weigh by volatility, by least variance and by a tree, and see why a covariance must be shrunk
# - plant a market in which the gates have something to find, and see which net finds it
# - read what gates brought on 119 coins and on three perpetuals, what it cost and what it can carry
# ```
#
# *You need* {ref}`ch-se-math`, {ref}`ch-backtesting` and {ref}`ch-honest-evaluation`.
# *Runs* in under 60 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.covariance import LedoitWolf
from torch import nn

from setrade import costs, portfolio, results, se
from setrade.costs import FREE, Costs
from setrade.plots import DOWN, NEUTRAL, UP, use_style
from setrade.training import seed_everything

use_style()

# %% tags=["parameters"]
# of the planted market, in bars of eight hours
ASSETS, BARS = 12, 3_000
# by which the half that leads rises a bar, and the other falls
EDGE = 0.003
EPOCHS = 100

# %% [markdown]
# ## 1 Three gates with a pencil
#
# So far gates multiplied channels of one market. Now let each "channel" be an **asset**, and let
# the gates say how much of it to hold. Two recipes lead from gates to holdings, and both begin at
# what we would hold without any net.
#
# ```{prf:definition} Weights from gates
# :label: def-gate-weights
#
# A **weight** $w_i$ is a share of the account. Let each gate $s_i$ lie between 0 and 1, ends
# excluded, and let the base $b$ consist of weights $b_i > 0$ with sum 1. **Long only**: scale the
# base by the gates, as SE scales channels, and make it sum to 1. **Long-short**: hold what a gate
# lies above the mean gate.
#
# $$w_i = \frac{b_i s_i}{\sum_j b_j s_j}, \qquad
#   w_i = 2\, b_i \Big(s_i - \sum_j b_j s_j\Big).$$
# ```
#
# Here $b_i = 1/3$. Take the gates 0.8, 0.5 and 0.2, whose mean is 0.5. Long only they become 0.8 /
# 1.5 and so on; long-short they become $\frac23 \cdot 0.3$, nothing, and $-\frac23 \cdot 0.3$.

# %%
gates = np.array([[0.8, 0.5, 0.2]])
long = gates / gates.sum()
neutral = 2 / 3 * (gates - gates.mean())
print("long only ", long.round(4))
print("long-short", neutral.round(4))

# %%
assert np.isclose(gates.sum(), 1.5)
assert np.allclose(long, [[8 / 15, 5 / 15, 2 / 15]])
assert np.allclose(neutral, [[0.2, 0, -0.2]])

# %%
assert np.allclose(long, portfolio.from_gates(gates))
assert np.allclose(neutral, portfolio.from_gates(gates, short=True))
alike = np.full((1, 3), 0.7)

# %%
assert np.allclose(portfolio.from_gates(alike), 1 / 3)
assert np.allclose(portfolio.from_gates(alike, short=True), 0)

# %% [markdown]
# The last two lines say what gates *without an opinion* do.
#
# ```{prf:proposition} What the two recipes keep
# :label: prop-gate-weights
#
# Long-only weights are positive and sum to 1. Long-short weights sum to 0, and their sizes to at
# most 1. Where all gates are alike, the first recipe holds the base and the second holds nothing.
# ```
#
# ```{prf:proof}
# Let $m = \sum_j b_j s_j > 0$. The first sum is $m / m$, the second $2\,(m - m)$. The sizes sum to
# twice the mean distance of the gates from $m$, weighted by $b$, which is no more than twice their
# standard deviation, and numbers between 0 and 1 have one of at most a half. With $s_i = m$ for all
# $i$ the recipes give $b_i$ and 0.
# ```
#
# So a net whose gates are all alike does no harm, and whatever it does beyond the base is its own
# doing.
#
# ### A ledger of three assets
#
# Let 1,000 dollars follow the long-only weights for one bar, at a fee of 1 %. The assets open at 100,
# 50 and 20 and close at 110, 50 and 18. The purchase costs 10 dollars. The first asset gains a tenth
# of $533.33$, the third loses a tenth of $133.33$: $1000 - 10 + 53.33 - 13.33 = 1030$.

# %%
time = pd.date_range(
    "2024-01-01", periods=3, freq="1D", tz="UTC", name="time"
)
opens = pd.DataFrame(
    [[100.0, 50, 20], [100, 50, 20], [110, 50, 18]], time
)
closes = pd.DataFrame(
    [[100.0, 50, 20], [110, 50, 18], [110, 50, 18]], time
)
wanted = pd.DataFrame(np.repeat(long, 3, axis=0), time)
account = portfolio.run(
    wanted, opens, closes, costs=Costs(100, 0, 0), equity=1000.0
)
print(account.equity.round(2).tolist())
bought = 1000 * long[0]
print(bought.round(2))

# %%
assert np.allclose(bought[[0, 2]], [533.33, 133.33], atol=0.01)
assert np.isclose(account.equity.iloc[1], 1030)

# %% [markdown]
# On the next bar nothing was decided anew, and yet something is traded, because the first asset has
# grown and is now more than 8/15 of the account. Weights **drift**, and to hold them still costs
# trades. The value traded over the equity is the **turnover**.
#
# <!-- number: 15 by arithmetic, the first weight of the pencil -->

# %%
drifted = long * np.array([1.1, 1.0, 0.9])  # values, over 1,000
drifted = drifted / 1.03  # what is left is 1,030
trade = np.abs(long - drifted).sum()
print(f"turnover of the second bar {account.turnover.iloc[2]:.4f}")

# %%
assert np.isclose(account.turnover.iloc[2], trade)

# %% [markdown]
# ## 2 Squeeze and excitation over assets
#
# :::{figure-md} fig-diagram-asset-gates
# ![A window holds the returns of four assets. Each is squeezed to its mean. Two small layers turn the four means into four gates. The gates scale base weights into portfolio weights, which are set against the returns that follow, less what trading costs.](_static/diagrams/asset_gates.svg)
#
# Gates over assets: the block of {ref}`ch-se-math`, whose channels are assets and whose gates
# become weights.
# :::
#
# Nothing in the block changes. Its window $X$ has one row an asset: returns, divided by the asset's
# volatility so that a coin that moves much does not drown one that moves little. The squeeze is the
# mean of each row. The excitation consists of two layers, through which the gate of each asset can
# depend on every other asset. By hand, with $z = (1, 0.2, -0.6)$ and one hidden unit that subtracts
# the third from the first:

# %%
z = np.array([1.0, 0.2, -0.6])
hidden = max(z[0] - z[2], 0)  # 1.6
logits = hidden * np.array([1.0, 0, -1])
by_hand = 1 / (1 + np.exp(-logits))
print(by_hand.round(3))

# %%
block = se.SEBlock(3, reduction=3)
block.excite.reduce.weight.data = torch.tensor([[1.0, 0, -1]])
block.excite.expand.weight.data = torch.tensor([[1.0], [0], [-1]])
window = torch.tensor(z, dtype=torch.float32)[None, :, None].expand(
    1, 3, 5
)
with torch.no_grad():
    found = block.gates(window)[0].numpy()

# %%
assert np.allclose(found, by_hand, atol=1e-6)

# %% [markdown]
# The gate of the first asset depends on what the third did. That is what this block has to offer,
# and nothing else, since a rule for each asset alone needs no SE.
#
# ## 3 The plain ways
#
# Four ways need no net and no forecast of returns. **1/N** divides equally, and **inverse
# volatility** gives each asset $1/\sigma_i$. **Minimum variance** {cite:p}`markowitz1952` solves
# for the weights whose sum moves least. **Hierarchical risk parity** {cite:p}`lopezdeprado2016`
# sorts assets into a tree of alike ones and splits the account from the top, each side by the
# inverse of its variance. Where the covariance is known, least variance has a formula.
#
# ```{prf:proposition} Weights of least variance
# :label: prop-least-variance
#
# Let the covariance $C$ be positive definite. Of all weights with sum 1, short ones allowed, only
# $w = C^{-1} \mathbf 1 / (\mathbf 1^\top C^{-1} \mathbf 1)$ has the least variance $w^\top C w$.
# ```
#
# ```{prf:proof}
# Let $w$ sum to 1. By the inequality of Cauchy and Schwarz,
# $1 = (w^\top \mathbf 1)^2 \le (w^\top C w)\,(\mathbf 1^\top C^{-1} \mathbf 1)$, with equality
# where $C w$ is a multiple of $\mathbf 1$ and nowhere else. The sum of 1 fixes the multiple.
# ```
#
# Three assets that do not move together, with volatilities of 10, 20 and 40 %: inverse volatility
# gives 4 : 2 : 1, least variance gives $1/\sigma^2$, so 16 : 4 : 1.

# %%
sigma = np.array([0.1, 0.2, 0.4])
C = np.diag(sigma**2)

# %%
assert np.allclose(
    portfolio.inverse_volatility(C), np.array([4, 2, 1]) / 7
)
assert np.allclose(
    portfolio.minimum_variance(C), np.array([16, 4, 1]) / 21
)
assert np.allclose(
    portfolio.hierarchical_risk_parity(C), np.array([16, 4, 1]) / 21
)

# %% [markdown]
# With equal volatilities of 20 % and the first two moving together (correlation 0.8) the first way
# sees no difference. The other two do see it, and what moves alike shares one part.

# %%
C = 0.04 * np.array([[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1]])
for way in (
    portfolio.inverse_volatility, portfolio.hierarchical_risk_parity,
):
    print(way(C).round(3))

# %%
assert np.allclose(
    portfolio.minimum_variance(C), np.array([5, 5, 9]) / 19
)

# %% [markdown]
# ### A covariance must be shrunk
#
# All of this takes $C$ as known, but it is estimated, and 119 assets have 7,140 variances and
# covariances. From 90 bars, 119 assets even seem to have combinations that never move, and a solver
# would put everything there, so our function refuses:

# %%
rng = np.random.default_rng(1)
truth = 0.0004 * (0.5 + 0.5 * np.eye(119))  # all correlate by one half
# By default NumPy turns 118 axes of one length, on each processor in
# another way.
seen = rng.multivariate_normal(
    np.zeros(119), truth, 90, method="cholesky"
)
assert 119 * 120 // 2 == 7_140
try:
    portfolio.minimum_variance(np.cov(seen.T))
except ValueError as error:
    print("refused:", str(error).split("allowed: ")[1])

# %% [markdown]
# **Shrinkage** {cite:p}`ledoit2004` mixes the estimate with a simple matrix, so much of it as makes
# the expected error least. Of 60 of these assets (which 90 bars *can* solve), how much does the
# portfolio of least variance really move, at the true covariance?

# %%
fewer, true = seen[:, :60], truth[:60, :60]
estimates = {
    "as estimated": np.cov(fewer.T),
    "shrunk": LedoitWolf().fit(fewer).covariance_,
    "known": true,
}
real = {}
for name, matrix in estimates.items():
    w = portfolio.minimum_variance(matrix)
    believed, real[name] = (
        np.sqrt(w @ matrix @ w), np.sqrt(w @ true @ w),
    )
    print(f"{name:12} believes {believed:.2%}, moves {real[name]:.2%}")
excess = {name: moved - real["known"] for name, moved in real.items()}

# %%
assert real["as estimated"] > 1.7 * real["known"]
assert excess["shrunk"] < 0.5 * excess["as estimated"]

# %% [markdown]
# The portfolio that is estimated from few bars is believed to be calm, and moves almost twice as
# much as the best that can be had. Shrinkage takes more than half of that excess away, so every
# covariance below is shrunk.
#
# ## 4 A market with something to find
#
# Now we plant something for the gates to find: twelve assets in two halves, and a **lead** that
# changes hands once in 60 bars on average. The half that leads rises a little each bar, while the
# other falls. On one asset the drift drowns in noise, but over six and six it shows. The assets'
# names do not say to which half they belong, so the net must find out.

# %%
rng = np.random.default_rng(0)
lead = np.cumprod(np.where(rng.random(BARS) < 1 / 60, -1.0, 1.0))
half = np.where(np.arange(ASSETS) < ASSETS // 2, 1.0, -1.0)
noise = rng.normal(0, 0.02, (BARS, ASSETS))
market = rng.normal(0, 0.01, (BARS, 1))
moves = market + EDGE * lead[:, None] * half + noise

# %%
time = pd.date_range(
    "2022-01-01", periods=BARS, freq="8h", tz="UTC", name="time"
)
closes = pd.DataFrame(100 * np.exp(moves.cumsum(0)), time)
opens = closes.shift(1).fillna(100.0)
ahead = np.zeros_like(moves)  # from the open of t + 1 to that of t + 2
ahead[:-2] = (opens.shift(-2) / opens.shift(-1) - 1).to_numpy()[:-2]
train, test = slice(21, BARS // 2 - 2), slice(BARS // 2, BARS)

# %%
# a week of eight-hour bars
windows = np.zeros((BARS, ASSETS, 21), np.float32)
shown = np.lib.stride_tricks.sliding_window_view(moves, 21, axis=0)
# so that their means spread by 1
windows[20:] = shown / 0.022 * np.sqrt(21)
x, y = torch.from_numpy(windows), torch.from_numpy(ahead).float()

# %% [markdown]
# A net should maximise the **utility** of the account: the mean return after costs, less a charge
# for variance. Costs need the drifted weights of the bar before, so the loss takes bars in their
# order. (The exchange's `RATE` is a taker's fee and 1 bp of slippage.)

# %%
RATE = 6.5e-4
assert np.isclose(RATE, sum(Costs().rates()[:2]))


def loss(weights, returns, rate):
    """Return minus the utility a year: mean after costs, less variance.
    """
    moved = weights[:-1] * (1 + returns[:-1])
    grown = 1 + (weights[:-1] * returns[:-1]).sum(1, keepdim=True)
    traded = (weights[1:] - moved / grown).abs().sum(1)
    net = (weights * returns).sum(1)[1:] - rate * traded
    return -3 * 365 * (net.mean() - net.var())


# %% [markdown]
# The net on trial is an `SEBlock` over the twelve assets. Its opponent has no view across the
# assets: it is one small net, shared by all of them, that sees an asset's own mean. Both are
# trained on the first half.


# %%
class Own(nn.Module):
    """One excitation for all assets, each of its own mean alone."""

    def __init__(self):
        super().__init__()
        self.reduce, self.expand = nn.Linear(1, 16), nn.Linear(16, 1)

    def gates(self, x):
        """Return gates (B, assets)."""
        hidden = self.reduce(x.mean(-1, keepdim=True)).relu()
        return self.expand(hidden).squeeze(-1).sigmoid()


# %%
def long_short(gates):
    """Return weights (B, assets), as in section 1, for torch."""
    return 2 / ASSETS * (gates - gates.mean(1, keepdim=True))


def trained(net):
    """Train a net on the first half of the bars."""
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss(long_short(net.gates(x[train])), y[train], RATE).backward()
        optimizer.step()
    return net


# %%
seed_everything(0)
block = se.SEBlock(ASSETS, reduction=2)
nets = {"SE over assets": trained(block), "each alone": trained(Own())}
with torch.no_grad():
    told = {
        name: net.gates(x).double().numpy()
        for name, net in nets.items()
    }
    same = long_short(torch.from_numpy(told["each alone"])).numpy()
assert np.allclose(
    same, portfolio.from_gates(told["each alone"], short=True)
)
ranks = pd.DataFrame(windows.mean(-1)).rank(axis=1, pct=True)
told["ranks of the week"] = ranks.to_numpy()
told["who knows the lead"] = (
    1 + np.r_[lead[1:], 1][:, None] * half
) / 2

# %% tolerance={"decimals": 1.0, "relative": 0.05, "effect": 1.5}
sharpe = {}
for name, gate in told.items():
    w = pd.DataFrame(portfolio.from_gates(gate, short=True), time)
    figures = portfolio.run(
        w[test], opens[test], closes[test]
    ).metrics()
    sharpe[name] = figures["sharpe"]
    print(
        f"{name:18} Sharpe {sharpe[name]:5.1f}, costs "
        f"{figures['fees']:.1f} a year"
    )

# %%
assert sharpe["SE over assets"] > sharpe["each alone"] + 1.5
assert sharpe["SE over assets"] > sharpe["ranks of the week"] + 1
assert sharpe["who knows the lead"] > sharpe["SE over assets"]

# %% mystnb={"figure": {"caption": "Mean gate of the first half of the assets less that of the second, on bars that the net did not see, and which half leads.", "name": "fig-portfolios-lead"}, "image": {"alt": "A line that swings nearly between plus and minus one over 500 bars, and a stepped one at plus or minus one half that shows which half leads. The first follows the second with a delay of some bars each time the lead changes hands."}}
s = told["SE over assets"]
tilt = s[:, half > 0].mean(1) - s[:, half < 0].mean(1)
fig, ax = plt.subplots(figsize=(7.2, 2.8))
part = slice(BARS // 2, BARS // 2 + 500)
ax.plot(tilt[part], color=UP, label="gates: first half less second")
ax.step(
    np.arange(500), lead[part] / 2, color=NEUTRAL, lw=1, label="lead"
)
ax.set(xlabel="bar of eight hours", ylabel="difference of gates")
ax.legend(loc="upper right")
plt.show()

# %% tolerance={"decimals": 0.1, "effect": 0.3}
follows = np.corrcoef(tilt[BARS // 2 : -1], lead[BARS // 2 + 1 :])[0, 1]
print(
    "correlation of the tilt with the lead of the next bar: "
    f"{follows:.1f}"
)

# %%
assert follows > 0.4

# %% [markdown]
# The net was told neither the halves nor the lead, and found both. It earns more than the net that
# looks at each asset alone, and less than a trader who knows the lead, since a change of hands can
# be seen only some bars later. So the method works where there is something to find, although costs
# take a part of what it earns. This is the **control**, without which a zero on real bars would say
# nothing.
#
# ## 5 Real bars
#
# Two markets (`portfolio_real.json`). The **panel**: the 119 coins against the dollar that Binance
# listed on 1 January 2024 and still in September, tested from May on. The **perpetuals**: BTC, ETH
# and SOL on Bybit, tested from July 2022 on, with funding. The bars are of eight hours, walked
# forward, and gates start at one half, so that training starts at the base (inverse volatility),
# and a validation stretch may keep it there. Two nets are trained with five seeds: *joint*, SE over
# all assets, and *shared*, one excitation for all that sees an asset and the mean of all.

# %%
# make study STUDY=portfolio_real
study = results.load("portfolio_real")["results"]
panel, perps = study["markets"]["panel"], study["markets"]["perpetuals"]
assert panel["assets"] == 119 and perps["assets"] == 3
assert study["setting"]["seeds"] == 5


def row(market, name):
    """Return one line of the table."""
    found = market["rows"][name]
    gap = found["gap"] or {"low": 0, "high": 0}
    return (
        f"{name:23} mean {found['mean']:7.1%}, Sharpe "
        f"{found['sharpe']:5.2f}"
        f", gap {gap['low']:+.2f} to {gap['high']:+.2f}"
    )


# %%
LONG = (
    "1/N", "inverse volatility", "minimum variance, long",
    "risk parity by tree", "joint, long", "shared, long",
)
for title, market in (("panel", panel), ("perpetuals", perps)):
    print(f"{title}, {market['first'][:10]} to {market['last'][:10]}")
    for name in LONG:
        print(" ", row(market, name))

# %%
for market in (panel, perps):
    for name in LONG[1:]:
        gap = market["rows"][name]["gap"]
        assert gap["low"] < 0 < gap["high"] and gap["p_corrected"] > 0.5

# %% [markdown]
# "Mean" is the mean return a year after costs. "Gap" is the 95 % interval of the difference in
# Sharpe ratio to 1/N, from redrawn histories and seeds. **Every one of them holds zero**: those of
# the nets, and those of the ways from theory. Dividing by N has been hard to beat before: of
# fourteen plain models on shares none did so reliably {cite:p}`demiguel2009`. The widest gap
# belongs to least variance, long only: while 1/N fell by half from its peak, it moved a bit more
# than half as much, and even earned. But four months with one fall in them are no proof. Without
# the bound, least variance goes short and pays for it:

# %%
short = panel["rows"]["minimum variance"]
bound = panel["rows"]["minimum variance, long"]
print(
    f"turnover {short['turnover']:.0f} against {bound['turnover']:.0f} "
    "a year"
)
print(f"before costs {short['gross']:.0%}, costs {short['fees']:.0%}")
assert (
    short["turnover"] > 5 * bound["turnover"] and short["fees"] > 0.15
)
equally = panel["rows"]["1/N"]

# %%
assert (
    bound["volatility"] < 0.6 * equally["volatility"]
    and bound["mean"] > 0
)
assert -0.55 < equally["max_drawdown"] < -0.45

# %% [markdown]
# Long-short the opponent is cash. Here stand the nets beside two rules (momentum buys what has
# risen, reversal what has fallen) and two fits to the same numbers. A rule or a fit may move its
# weights slowly, or hold nothing, whichever does best in the same validation.

# %%
BOTH = ("momentum", "reversal", "linear", "trees",
        "joint, long-short", "shared, long-short")  # fmt: skip
for title, market in (("panel", panel), ("perpetuals", perps)):
    print(title)
    for name in BOTH:
        print(" ", row(market, name))

# %%
ratios = [
    m["rows"][n]["gap"]["p_corrected"]
    for m in (panel, perps)
    for n in BOTH
]

# %%
assert min(ratios) > 0.5  # corrected for all rows of both tables

# %% [markdown]
# Nothing can be told from cash. One interval (trees on the perpetuals) lies above zero by itself,
# but among so many rows one may do so by luck, and corrected for their number it does not.
#
# ### Did the nets learn?
#
# On the planted market all did. On real bars the question is harder, because each net keeps its
# best epoch *on validation*, and the best of a hundred epochs looks good by luck alone. So the same
# nets were also trained where what followed was shuffled in time, and what they "gain" there is
# chance.

# %% mystnb={"figure": {"caption": "Gain on validation over equal gates, in utility a year, of nets on real bars and of the same nets where what followed was shuffled.", "name": "fig-portfolios-learned"}, "image": {"alt": "Eight pairs of bars. In most pairs the gain on real bars is about as large as by chance or smaller; for the joint net, long only, on the panel chance gains several times as much."}}
pairs = [(f"{title}: {name}", told["gain"], told["chance"])
         for title, market in (("panel", panel), ("perpetuals", perps))
         for name, told in market["learned"].items()]
fig, ax = plt.subplots(figsize=(7.2, 3.2))
at = np.arange(len(pairs))
ax.barh(
    at - 0.2, [p[1] for p in pairs], 0.4, color=UP, label="real bars"
)
ax.barh(
    at + 0.2, [p[2] for p in pairs], 0.4, color=DOWN, hatch="//",
    label="shuffled",
)
ax.set_yticks(at, [p[0] for p in pairs])
ax.set(xlabel="gain on validation, in utility a year")
ax.legend()
plt.show()

# %%
above = [name for name, gain, chance in pairs if gain > 2 * chance]
print("more than twice what chance gains:", "; ".join(above))
planted = study["markets"]["planted"]["learned"].values()
words = [fold["word"] for told in planted for fold in told["folds"]]
assert set(words) == {"learned"}
assert above == ["panel: shared, long-short"]
found = {
    title: [[f["word"] == "learned" for f in told["folds"]]
            for told in market["learned"].values()]
    for title, market in (("panel", panel), ("perpetuals", perps))
}
for title, folds in found.items():
    print(title, "folds learned:", np.sum(folds), "of", np.size(folds))
lost = panel["rows"]["shared, long-short"]

# %%
assert lost["mean"] < 0 < lost["gross"]
assert not any(all(folds) for of in found.values() for folds in of)
assert all(folds == [True] + [False] * 3 for folds in found["panel"])
assert sum(chance >= gain for _, gain, chance in pairs) >= 4

# %% [markdown]
# One of eight gained more than twice what chance gains. It earned a little before costs, and costs
# took more than that. Fold by fold, the rule of {ref}`ch-verdict` (a gain above the scatter of the
# seeds) finds that nets learned in 4 of 16 folds of the panel, always the first, and in 13 of 20 of
# the perpetuals, and that none did so in all its folds. That rule alone cannot say how much of it
# was luck; the shuffled bars gain as much or more in four cases of eight. So we count none of the
# eight as having **learned**, whatever their Sharpe ratios say.
#
# Could they have? The study planted effects of known size in redrawn histories of the panel: each
# coin's next move is shifted by a share of its volatility, as its own week says (*own*), or its
# half's (*rotation*).

# %%
for kind, effect in study["seen"].items():
    for size in sorted(effect["runs"], key=float):
        found, tried = effect["hits"][size], effect["runs"][size]
        best = effect["sharpe"][size]["oracle"]
        print(
            f"{kind:8} {size:>5}: found {found} of {tried}; who knows "
            f"it: {best:.0f}"
        )
    assert effect["size"] == 0.05

# %% [markdown]
# An effect that both nets find in eight of ten tries would have earned a trader who knew it a
# Sharpe ratio above 10. Half of that size was mostly missed, although it is still enormous. Four
# months of 119 coins can therefore show only an effect far larger than anybody should expect. So
# the word for gates over assets on these bars is **undecided**, and the same would hold for
# anything else that is said of such portfolios on four months of data. For the perpetuals no such
# search was made.
#
# ### Turnover, and who pays for it
#
# The nets' loss charges what trading costs, but what happens if it charges nothing, or five times
# as much?

# %%
for title, market in (("panel", panel), ("perpetuals", perps)):
    for factor in (", costs x 0", "", ", costs x 5"):
        found = market["rows"][f"joint, long{factor}"]
        figures = [found[k] for k in ("turnover", "fees", "sharpe")]
        words = (
            "turnover {:4.0f}, costs {:6.1%}, Sharpe {:5.2f}".format(
                *figures
            )
        )
        print(f"{title:10} joint, long{factor:11} {words}")

# %%
for market in (panel, perps):
    free, once, five = (
        market["rows"][f"joint, long{k}"]
        for k in (", costs x 0", "", ", costs x 5")
    )
    assert free["turnover"] > once["turnover"] > 2 * five["turnover"]

# %%
assert panel["rows"]["joint, long, costs x 0"]["fees"] > 0.7

# %% [markdown]
# On the panel, without a charge, the joint net trades twice the account's value each day and would
# pay most of the account in a year. The penalty does what it should: at five times the costs the
# net trades hardly more than inverse volatility on the panel, though still more than twice as much
# on the perpetuals.
#
# ## 6 How much money it can carry
#
# Each of our orders moves the price, by the square-root law of {ref}`ch-backtesting`, an
# **assumption** here too. A coin of 119 may trade a thousandth of what bitcoin trades. If the
# account is four times as large, each order is, and the impact a coin doubles: impact takes the
# share $k \sqrt{\text{account}}$ of the account a year, where $k$ depends on what is traded. By
# hand, for one order:

# %%
once = costs.impact(1e4, 1e7, 0.05)
assert np.isclose(once, 0.05 * np.sqrt(1e4 / 1e7))
assert np.isclose(costs.impact(4e4, 1e7, 0.05), 2 * once)
for name in (
    "1/N", "minimum variance, long", "minimum variance", "joint, long",
):
    account = panel["rows"][name]["point_at"]
    print(
        f"{name:23} impact takes 1 % a year of {account:>11,.0f} "
        "dollars"
    )

# %%
carried = {
    name: found.get("point_at") for name, found in panel["rows"].items()
}
assert carried["1/N"] > 1e6 > 1e5 > carried["minimum variance, long"]
assert carried["joint, long"] < 100
ratio = panel["rows"]["1/N"]["impact"]

# %%
assert np.isclose(ratio["10000000"] / ratio["100000"], 10, rtol=1e-4)

# %% [markdown]
# 1/N carries millions, since it hardly trades. Least variance puts much into few calm coins and
# carries much less. The joint net, as trained on the panel, carries next to nothing.
#
# ## What goes wrong
#
# Here is a portfolio that more than triples in two years. It is 1/N, rebalanced daily, with no net
# and no rule. The market is planted so that **no coin has a drift**, which means that each coin's
# expected return is zero at every bar. When a coin has lost 80 %, the exchange announces that it
# will be delisted; it trades for two more days.

# %%
n, m, spread = 730, 200, 0.06
rng = np.random.default_rng(3)
# the mean price stands still
steps = rng.normal(-(spread**2) / 2, spread, (n, m))
prices = 10 * np.exp(np.vstack([np.zeros(m), steps]).cumsum(0))
time = pd.date_range(
    "2022-01-01", periods=n + 1, freq="1D", tz="UTC", name="time"
)
# days since it lost 80 %, and counting
fallen = np.cumsum(prices < 2, axis=0)
fallen = np.maximum.accumulate(fallen > 0, axis=0)
# two days after
gone = np.vstack([np.zeros((3, m), bool), fallen[:-3]])
lived = ~fallen.any(0)
print(f"{lived.sum()} of {m} coins are still listed at the end")

# %%
closes = pd.DataFrame(np.where(gone, np.nan, prices), time)
opens = closes.shift(1).fillna(closes)


def equal(listed):
    """Return what 1/N of the coins listed at each bar comes to, without
    costs."""
    w = pd.DataFrame(listed / listed.sum(1, keepdims=True), time)
    return portfolio.run(w, opens, closes, costs=FREE).equity


with_hindsight = equal(
    np.broadcast_to(lived, fallen.shape).astype(float)
)
# sold at the open after the announcement
honest = equal((~fallen).astype(float))

# %% mystnb={"figure": {"caption": "1/N over coins without drift: those that are still listed today, and all that were listed at each day. The scale is logarithmic.", "name": "fig-portfolios-survivors"}, "image": {"alt": "Two equity curves over two years on a logarithmic scale. The curve of the survivors climbs steadily to several times its start; that of all listed coins wanders around one."}}
fig, ax = plt.subplots(figsize=(7.2, 3.0))
ax.semilogy(with_hindsight, "--", color=DOWN, label="listed today")
ax.semilogy(honest, color=UP, label="listed at each day")
ax.axhline(1, color="0.5", lw=0.8)
ax.set(xlabel="date, UTC", ylabel="equity, start = 1")
ax.legend()
plt.show()

# %%
ends = with_hindsight.iloc[-1], honest.iloc[-1]
print(f"listed today {ends[0]:.2f}, listed at each day {ends[1]:.2f}")
assert ends[0] > 3 and 0.8 < ends[1] < 1.2 and lived.sum() < m / 2

# %% [markdown]
# The first curve asked today's exchange for its list of coins and went back two years with it, so
# coins that had been delisted since were not on it. That is **survivorship bias**, and our own
# panel has it, because its coins are those that were still listed in September 2024. We cannot
# repair that, we can only say it. Within the panel one more step can be measured, if we choose 20
# coins by what was traded, and hold 1/N:

# %%
late = study["hindsight"]
for name in ("traded before", "traded at the end", "risen since"):
    print(f"{name:18} mean {late[name]['mean']:7.1%} a year")
low, high = (
    late["traded at the end"]["gap"][k] for k in ("low", "high")
)
print(f"Sharpe ratio, end less before: {low:.2f} to {high:.2f}")

# %%
assert low > 0 > late["traded before"]["mean"]

# %% [markdown]
# "The 20 most traded coins" sounds harmless. Counted at the end of the test rather than before it,
# it turns a loss into a gain, by an interval that keeps clear of zero, as no net's did. Whenever a
# portfolio looks wonderful, ask on which day its list was written.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* Gates over assets are a mixing desk for an account, and a list of coins that is
# written later is a class photograph of those who passed. Both are pictures, and the second names a
# mistake rather than its size.
#
# *Proved.* What weights from gates sum to is {prf:ref}`prop-gate-weights`, and
# {prf:ref}`prop-least-variance` holds for a covariance that is known. It says nothing of one that
# is estimated.
#
# *Measured here.* On a planted market SE over assets found the lead, and earned more than a net
# that sees each asset alone. On real bars of many coins and of three perpetuals no way could be
# told from dividing by N, or from cash. None of these nets counts as having learned in all its
# folds, and the word for gates over assets is undecided.
#
# *Open.* Only an effect far above what anybody should expect could have been seen in a few months
# of coins. Delisted coins are missing, and impact follows an assumed law.
# ```
#
# ## Summary
#
# - Gates become weights: base times gate, scaled to 1; or the excess over the mean gate, 0 in sum.
# - Gates that are all alike give the base, or nothing, so what a net adds is what it moves from
#   there.
# - A covariance from few bars makes some combinations look far too calm, so shrink it before it is
#   inverted.
# - On a planted market SE over assets finds who leads; a net that sees each asset alone earns less.
# - On 119 coins and on three perpetuals no way, plain or learned, can be told from 1/N, or from cash.
# - Validation picks a lucky epoch, so hold its gain against the same nets on shuffled bars.
# - A net that trades more than the account's value each day can carry next to nothing.
# - A list of coins that is written later knows which of them survived, so write it on the first
#   day.
#
# ## Exercises
#
# ```{exercise} At most one ★
# :label: ex-portfolios-gross
# Show that the long-short recipe never holds more than 1 in absolute sum, for equal bases and an
# even number of assets. Which gates reach it, if 0 and 1 are allowed?
# ```
#
# ```{solution-start} ex-portfolios-gross
# :class: dropdown
# ```
# The sum is twice the mean distance of the gates from their mean. Numbers in $[0, 1]$ are farthest
# from their mean, one half, if half of them are 0 and half are 1.

# %%
extreme = np.array([[0, 0, 0, 1, 1, 1.0]])
draws = np.random.default_rng(0).random((10_000, 6))
held = np.abs(portfolio.from_gates(draws, short=True)).sum(1)
assert np.isclose(
    np.abs(portfolio.from_gates(extreme, short=True)).sum(), 1
)
assert held.max() < 1
print(f"the most among random gates: {held.max():.2f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} What standing still costs ★★
# :label: ex-portfolios-drift
# 1/N trades although it decides nothing. Two assets without drift move independently by $\sigma$ a
# bar. Show that the turnover of a bar is about $0.5\,|r_1 - r_2|$, in the mean $\sigma/\sqrt{\pi}$,
# and check it.
# ```
#
# ```{solution-start} ex-portfolios-drift
# :class: dropdown
# ```
# After a bar the first weight is $0.5 (1 + r_1) / (1 + (r_1 + r_2)/2)$, which is
# $0.5 + (r_1 - r_2)/4$ nearly. Both have to be moved back by that. The difference spreads by
# $\sqrt2\,\sigma$, and the mean of a normal's size is $\sqrt{2/\pi}$ times its spread.

# %%
r = np.random.default_rng(1).normal(0, 0.02, (5_000, 2))
time = pd.date_range(
    "2020-01-01", periods=5_000, freq="8h", tz="UTC", name="time"
)
two = pd.DataFrame(100 * np.exp(r.cumsum(0)), time)
half_each = pd.DataFrame(0.5, time, two.columns)
still = portfolio.run(
    half_each, two.shift(1).fillna(100.0), two, costs=FREE
)
ratio = still.turnover.iloc[2:].mean() / (0.02 / np.sqrt(np.pi))
print(f"measured over predicted: {ratio:.2f}")

# %%
assert abs(ratio - 1) < 0.05

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} Names and places ★★★
# :label: ex-portfolios-order
# Shuffle the columns of the assets *after* training. What happens to the gates of `Own`, and what
# to those of the SE block? Say what this means for a coin that is listed tomorrow.
# ```
#
# ```{solution-start} ex-portfolios-order
# :class: dropdown
# ```

# %%
order = np.random.default_rng(2).permutation(ASSETS)
with torch.no_grad():
    alone = nets["each alone"].gates(x[test][:, order]).double().numpy()
    across = (
        nets["SE over assets"].gates(x[test][:, order]).double().numpy()
    )

# %%
assert np.allclose(alone, told["each alone"][test][:, order], atol=1e-5)
assert (
    np.abs(across - told["SE over assets"][test][:, order]).mean() > 0.1
)

# %% [markdown]
# The shared net does not care for places: its gates move with the coins, and a coin that is new
# gets a gate at once. The SE block has learned places by heart, so it has to be trained anew when a
# coin is added, and in the study its coins had to be listed on the first day.
#
# ```{solution-end}
# ```
#
# ```{exercise} Weights for coins of your own ★★★
# :label: ex-portfolios-own
# Take five coins that you would hold, over bars of your own, and compare equal weights, inverse
# volatility and minimum variance, rebalanced once a week, after costs. Then add the coins of the same
# size that were delisted in these years, as far as you can find them. What becomes of the ranking?
# ```
#
# ```{solution} ex-portfolios-own
# :class: dropdown
# Compare the three on the same days and give an interval of their differences in returns, paired by
# day; with five coins that move together it will be wide. The second half of the exercise matters
# most, because a list made today holds the survivors, and all three methods profit from that, the
# one that buys what fell most. Without prices of delisted coins, say so beside the result, as this
# chapter does.
# ```
#
# ## Further reading
#
# The mean and the variance of a portfolio {cite:p}`markowitz1952`, and how hard it is to beat 1/N
# {cite:p}`demiguel2009`; shrinkage {cite:p}`ledoit2004`; the tree {cite:p}`lopezdeprado2016`; weights
# learned from the account's own figure of merit {cite:p}`moody2001`; and what a list of survivors
# does to returns {cite:p}`brown1992`.
