# %% [markdown]
# (ch-sizing-by-reinforcement)=
# # Sizing by reinforcement
#
# **Can an agent learn how much to hold, and does it beat the sizes that need no learning?**
#
# ```{admonition} What you will do
# :class: tip
# - work out by hand how much to stake on a coin that is better than fair, and what too much does
# - turn the backtest into an environment that any agent of {term}`reinforcement learning` can act in
# - derive a {term}`policy gradient`, check it against a derivative, and let it find the sizes you
#   know
# - follow the clipping of {term}`PPO` on four numbers, and read what it learned on three perpetuals
# - watch an agent raise its reward and lose money, and mend the reward
# ```
#
# *You need* {ref}`ch-backtesting` and {ref}`ch-honest-evaluation`. *Runs* in under 60 s on two cores.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from setrade import backtest, candles, results, sizing
from setrade.costs import FREE, Costs
from setrade.plots import DOWN, NEUTRAL, UP, use_style
from setrade.toys import two_states
from setrade.training import seed_everything

use_style()
# small tensors: two threads would wait for each other
torch.set_num_threads(1)

# %% tags=["parameters"]
BARS = 20_000  # of the planted markets
ACCOUNTS, LENGTH = 1_024, 64  # that explore at once; bars of an episode
UPDATES = 100  # of the policy

# %% [markdown]
# ## 1 How much?
#
# {ref}`ch-portfolios` divided an account among assets. Here one asset is left, and the question is
# its size. A forecast says which way the price will go, and not **how much** to hold, a question
# that can ruin an account whose forecasts are right. Take a coin that shows heads in 60 % of
# tosses. Whoever bets on heads doubles the stake or loses it. The bet is good, so should we stake
# everything? Then the first tail takes the whole account. If we stake very little, we are safe, and
# leave most of the gain behind.
#
# John Kelly {cite:p}`kelly1956` asked what makes the account grow fastest in the long run. If each
# bet stakes the share $f$, then heads multiply the account by $1 + f$ and tails by $1 - f$. After
# many tosses the account has been multiplied by about $e^{g}$ for each of them, where
#
# $$g(f) = 0.6 \log(1 + f) + 0.4 \log(1 - f), \qquad
#   g'(f) = \frac{0.6}{1 + f} - \frac{0.4}{1 - f} = 0 \;\Rightarrow\; f = 0.6 - 0.4 = 0.2 .$$


# %%
def grows(f):
    """Return the log growth of an account for each toss."""
    return 0.6 * np.log(1 + f) + 0.4 * np.log(1 - f)

# %%
best = sizing.kelly_binary(0.6)
assert np.isclose(best, 0.2)
for f in (0.1, 0.2, 0.4, 0.5):
    print(
        f"stake {f:.0%}: after 200 tosses "
        f"{np.exp(200 * grows(f)):8.3f} times"
    )

# %%
times = {f: np.exp(200 * grows(f)) for f in (0.1, 0.2, 0.4, 0.5)}
assert times[0.2] > times[0.1] > 1 > times[0.4] > times[0.5]
assert times[0.5] < 0.01 and times[0.2] > 50

# %% mystnb={"figure": {"caption": "How fast an account grows for each toss of a coin of 60 %, by the share that is staked.", "name": "fig-sizing-kelly"}, "image": {"alt": "A curve over the share staked. It rises from zero to its top at a share of 0.2, falls back to zero at about 0.39, and dives below zero after that."}}
f = np.linspace(0, 0.6, 200)
fig, ax = plt.subplots(figsize=(7.2, 3.0))
ax.plot(f, grows(f), color=UP)
ax.axvline(best, color=NEUTRAL, ls="--", label="Kelly's share")
ax.fill_between(
    f, grows(f), 0, where=grows(f) < 0, color=DOWN, alpha=0.3
)
ax.axhline(0, color="0.5", lw=0.8)
ax.set(
    xlabel="share of the account that is staked",
    ylabel="log growth a toss",
)
ax.legend()
plt.show()

# %%
assert np.isclose(f[grows(f).argmax()], best, atol=0.01)
# the coin is good, and the account shrinks
assert grows(0.38) > 0 > grows(0.40)

# %% [markdown]
# The curve is flat around its top and falls away to the right. Whoever stakes about twice Kelly's
# share grows no more at all, and whoever stakes half of the account loses nearly everything, with a
# coin that wins. So a size that is too small costs a little, and one that is too large costs the
# account. That is why many who size by this rule, the {term}`Kelly criterion`, stake only **half
# Kelly** {cite:p}`thorp2006`.
#
# For a market with small returns of mean $\mu$ and variance $\sigma^2$ a bar, the same sum becomes
# $g(f) \approx f\mu - f^2\sigma^2/2$ with its top at $f = \mu/\sigma^2$. If a bar of exposure costs
# $c$, the mean shrinks by it. By hand, with $\mu = 0.006$, $\sigma = 0.1$ and $c = 0.002$, the top
# lies at $0.006 / 0.01 = 0.6$ without costs and at $0.004 / 0.01 = 0.4$ with them.

# %%
mu, sigma, cost = 0.006, 0.1, 0.002

# %%
assert np.isclose(mu / sigma**2, 0.6)
assert np.isclose((mu - cost) / sigma**2, 0.4)
assert np.isclose(sizing.kelly(mu, sigma**2), 0.6)
assert np.isclose(sizing.kelly(mu, sigma**2, cost=cost), 0.4)

# %%
growth = [f * mu - f**2 * sigma**2 / 2 for f in (0.3, 0.6)]
print(f"half Kelly keeps {growth[0] / growth[1]:.0%} of the growth")
assert np.isclose(growth[0], 0.75 * growth[1])

# %% [markdown]
# The rule is complete if $\mu$ and $\sigma$ are known, and in a market neither is. The volatility can
# at least be estimated, which is why **volatility targeting** {cite:p}`moreira2017` uses it alone;
# the mean is drowned in noise. Reinforcement learning estimates neither of the two: it tries sizes,
# and keeps what grew.
#
# ## 2 The backtest as an environment
#
# In **reinforcement learning** an {term}`agent` acts in an
# {term}`environment <environment of an agent>`, step by step. It *observes*, it *acts*, and it is
# given a *reward*; then the next step begins. What maps observations to actions is its
# {term}`policy`. Gymnasium {cite:p}`towers2024` is the form in which environments are written, so
# that any agent can act in any of them.
#
# Our environment is the account of {ref}`ch-backtesting`. After bar $t$ the agent sees features of
# the market up to that bar, the position that it holds, and the open profit of it. It answers with
# a position, which is filled at the open of $t + 1$ with all costs. Its reward is
#
# $$r = \log \frac{\text{equity at the close of } t + 1}{\text{equity at the close of } t},$$
#
# so that the sum of rewards is the log growth that Kelly asked for. One step with a pencil: a fee of
# 1 %, a bar that opens at 100 and closes at 110, and the wish to hold one half. Half of the account
# buys $0.5 / 101$ units, the fee included.

# %%
time = pd.date_range(
    "2024-01-01", periods=3, freq="1D", tz="UTC", name="time"
)
close = np.array([100.0, 110, 110])
first = np.array([100.0, 100, 110])
bars = pd.DataFrame(
    {
        "open": first, "high": close, "low": first, "close": close,
        "volume": 1.0,
    },
    time,
)

# %%
units = 0.5 / 101
equity = 1 - units * 100 * 0.01 + units * (110 - 100)
print(f"equity {equity:.5f}, reward {np.log(equity):.5f}")

# %%
env = sizing.SizingEnv(
    bars, features=np.zeros(3), costs=Costs(100, 100, 0)
)
seen, told = env.reset(seed=0)
seen, reward, ruined, over, told = env.step(np.array([0.5], np.float32))
assert np.isclose(told["equity"], equity) and np.isclose(
    reward, np.log(equity)
)
assert np.isclose(told["position"], units * 110 / equity)
print(
    "position held", round(told["position"], 4), "open profit",
    seen[2].round(4),
)

# %% [markdown]
# The agent wished for 0.5 and now holds a little more, because the price has risen. It sees that in
# its next observation. The environment uses the very functions of the engine, so that an agent
# cannot earn in training what a backtest would deny it. A walk of random positions shows it:

# %%
bars = candles.synthetic(600, seed=0, interval="8h").candles
env = sizing.SizingEnv(bars)
env.reset(seed=0)
start = env.desk.first  # before it the features are not known
wanted = np.random.default_rng(0).uniform(-1, 1, len(bars) - start - 1)
wanted = wanted.astype(np.float32)
walked = [
    env.step(wanted[t : t + 1])[4]["equity"] for t in range(len(wanted))
]

# %%
positions = np.r_[wanted, 0].astype(float)  # the last is never filled
done = backtest.run(bars.iloc[start:], positions, rebalance=True)
assert np.allclose(walked, done.equity.iloc[1:], rtol=1e-12)
print(
    "the agent sees", list(sizing.observations(bars).columns),
    "+ position, profit",
)

# %% [markdown]
# Nothing of this looks ahead: the tests cut the bars off after $t$, and every observation up to $t$
# stays as it was. An action outside the box is refused, and so is one that is not a number: the
# environment does not guess what was meant. Whoever draws positions must therefore cut them to the
# box, as our own agent does below.

# %%
env.reset(seed=0)
for wrong in (1.5, np.nan):
    try:
        env.step(np.array([wrong], np.float32))
    except ValueError as error:
        print("refused:", error)

# %% [markdown]
# ## 3 A policy gradient by hand
#
# A market in which the best size is known will show whether an agent learns at all. Each bar of it
# moves by 10 % up or down, around a mean that depends on a **state**, 0 or 1, which can be seen. So a
# policy needs two numbers, the position to hold in each state, and Kelly knows both.

# %%
made = two_states(BARS, seed=0, mean=(-0.004, 0.006), spread=0.1)
known = made.best()
print("best positions", known.round(3))
assert np.allclose(known, [-0.4, 0.6], atol=0.005)

# %% [markdown]
# How can a policy be improved without a formula for the market? It can be done by trying. Let it
# draw its position $a$ from a normal curve around $\theta$, its present opinion, with the spread
# $s$; let $\pi$ be the density of that curve. A draw whose reward $r$ is more than the usual one,
# $b$, pulls $\theta$ towards it. In a formula, this is the **policy gradient**
# {cite:p}`williams1992`:
#
# $$\frac{\partial}{\partial\theta} \mathbb E[r] = \mathbb E\Big[(r - b)\,
#   \frac{\partial \log \pi(a)}{\partial\theta}\Big], \qquad
#   \frac{\partial \log \pi(a)}{\partial\theta} = \frac{a - \theta}{s^2} .$$
#
# Where does it come from? The mean reward is $\int r(a)\, \pi(a)\, da$, and only $\pi$ depends on
# $\theta$. Since $\partial \pi = \pi\, \partial \log \pi$, the slope is
# $\int r\, \pi\, \partial \log \pi\, da$, which is the mean of $r\, \partial \log \pi$. And since
# $\int \pi\, da$ is always 1, the mean of $\partial \log \pi$ alone is zero. So the **baseline** $b$
# may be anything that does not depend on the action. With $\theta = 0.2$ and $s = 0.2$ the draw
# $a = 0.4$ has the factor $0.2 / 0.04 = 5$. Had it earned 0.01 more than usual, it would add 0.05 to
# the gradient.

# %%
theta, s, a = 0.2, 0.2, 0.4
assert np.isclose((a - theta) / s**2, 5)
assert np.isclose(0.01 * (a - theta) / s**2, 0.05)

# %% [markdown]
# Does the formula hold on numbers? In state 1 the expected log growth is a plain sum over up and
# down, and its derivative can be had by moving $\theta$ a little. Against it stand a million random
# draws:

# %%
rng = np.random.default_rng(0)
z, sides = rng.standard_normal((2, 1_000_000))
moves = 0.006 + 0.1 * np.sign(sides)

# %%
nodes, weights = np.polynomial.hermite_e.hermegauss(40)


def expected(theta):
    """Return the mean log growth over all draws around theta."""
    a = theta + 0.2 * nodes
    up, down = np.log1p(a * 0.106), np.log1p(-a * 0.094)
    return weights @ (up + down) / 2 / weights.sum()


# %%
exact = (expected(0.2 + 1e-5) - expected(0.2 - 1e-5)) / 2e-5
reward = np.log1p((0.2 + 0.2 * z) * moves)
estimates = (reward - reward.mean()) * z / 0.2
error = estimates.std() / np.sqrt(len(z))
print(
    f"derivative {exact:.4f}, policy gradient {estimates.mean():.4f} ± "
    f"{error:.4f}"
)

# %%
assert abs(estimates.mean() - exact) < 5 * error
assert estimates.std() > 20 * exact

# %% [markdown]
# It holds, and it shows the price: a single draw scatters by more than twenty times what it is to
# measure. Policy gradients need very many draws, and so an environment that is fast. Ours moves a
# thousand accounts in one compiled loop.
#
# The whole of **REINFORCE** is now short: play, compare with the baseline, pull.

# %%
SPREAD = 0.2  # of the positions that are tried
env = sizing.SizingVectorEnv(
    ACCOUNTS, made.candles, features=made.state, costs=FREE,
    length=LENGTH,
)


def play(theta):
    """Return states, positions tried and rewards of one episode of all
    accounts."""
    seen, rows = env.reset()[0], []
    for _ in range(LENGTH):
        state = torch.from_numpy(seen[:, 0]).long()
        a = theta[state] + SPREAD * torch.randn(ACCOUNTS)
        seen, r, *_ = env.step(a.clamp(-1, 1).numpy())
        rows.append((state, a, torch.from_numpy(r).float()))
    return [torch.cat(x) for x in zip(*rows, strict=True)]


# %%
seed_everything(0)
env.reset(seed=0)
theta = torch.zeros(2, requires_grad=True)
optimizer, path = torch.optim.Adam([theta], lr=0.03), []
for _ in range(UPDATES):
    state, a, r = play(theta.detach())
    b = torch.stack([r[state == k].mean() for k in (0, 1)])
    log_pi = -(((a - theta[state]) / SPREAD) ** 2) / 2
    optimizer.zero_grad()
    (-(r - b[state]) * log_pi).mean().backward()
    optimizer.step()
    path.append(theta.detach().numpy().copy())
path = np.array(path)

# %% tolerance={"decimals": 0.1, "effect": 0.35}
found = path[UPDATES // 2 :].mean(0)
print(f"learned {found[0]:.1f} and {found[1]:.1f}")

# %%
assert np.abs(found - known).max() < 0.2
assert found[1] - found[0] > 0.7

# %% mystnb={"figure": {"caption": "What the policy holds in each state while it learns, and Kelly's position.", "name": "fig-sizing-reinforce"}, "image": {"alt": "Two lines that start at zero. One falls to about minus 0.4 and one rises to about 0.6 within a third of the updates; both then jitter around dashed lines at these values."}}
fig, ax = plt.subplots(figsize=(7.2, 3.0))
for k, colour in ((0, DOWN), (1, UP)):
    ax.plot(path[:, k], color=colour, label=f"state {k}")
    ax.axhline(known[k], color=colour, ls="--", lw=1)
ax.set(xlabel="update", ylabel="position")
ax.legend(loc="center right")
plt.show()

# %% [markdown]
# The policy was told neither mean nor variance, and found about what Kelly holds, in both signs. It
# took a hundred updates of 65,536 draws: millions of tries on 20,000 bars, of a market that never
# changes and that moves 10 % a bar, neither of which can be said of real bars.
#
# ## 4 PPO in words and numbers
#
# Throwing all draws away after one step is wasteful. But a second step with the same draws is
# taken by a policy that did not draw them, and a large step can ruin a policy for good. **Proximal
# policy optimisation**, PPO {cite:p}`schulman2017`, reuses draws, and limits what may be gained from
# them. Let $\rho$ be how much more probable the action has become since it was drawn, and $A$ its
# {term}`advantage`, what it earned beyond the baseline. PPO maximises
#
# $$\min\big(\rho A,\; \mathrm{clip}(\rho,\, 0.8,\, 1.2)\, A\big).$$
#
# Four cases with $A = \pm 2$ show how the smaller of the two is chosen:


# %%
def clipped(ratio, advantage):
    """Return PPO's objective of one action."""
    kept = np.clip(ratio, 0.8, 1.2)
    return np.minimum(ratio * advantage, kept * advantage)


for ratio, advantage in ((1.5, 2), (0.5, 2), (1.5, -2), (0.5, -2)):
    print(
        f"ratio {ratio}, advantage {advantage:+d}: "
        f"{clipped(ratio, advantage):+.1f}"
    )

# %%
cases = [
    clipped(*case)
    for case in ((1.5, 2), (0.5, 2), (1.5, -2), (0.5, -2))
]

# %%
assert np.allclose(cases, [2.4, 1.0, -3.0, -1.6])

# %% mystnb={"figure": {"caption": "PPO's objective of one action, for an advantage of 1 and of −1, by how much more probable it has become.", "name": "fig-sizing-clip"}, "image": {"alt": "Two broken lines. The one for a good action rises and turns flat at a ratio of 1.2. The one for a bad action is flat up to a ratio of 0.8 and falls after it."}}
ratio = np.linspace(0, 2, 201)
fig, ax = plt.subplots(figsize=(7.2, 2.8))
ax.plot(ratio, clipped(ratio, 1.0), color=UP, label="good action")
ax.plot(ratio, clipped(ratio, -1.0), color=DOWN, label="bad action")
ax.axvline(1, color="0.5", lw=0.8)
ax.set(
    xlabel="probability now over probability then", ylabel="objective"
)
ax.legend(loc="lower left")
plt.show()

# %%
assert np.isclose(clipped(2.0, 1.0), 1.2) and np.isclose(
    clipped(0.0, -1.0), -0.8
)
assert np.isclose(clipped(2.0, -1.0), -2.0)

# %% [markdown]
# A good action gains nothing more once it is a fifth more probable, and a bad one nothing more once
# it is a fifth less so, because the lines are flat there and a flat line has no slope to climb. An
# action that turned out *worse* after it became more probable keeps its slope, so that mistakes can
# be undone.
#
# We take PPO from stable-baselines3 {cite:p}`raffin2021`, with two layers of 64 units for the
# policy and for the baseline. It runs on our environment without a change, since that passes the
# checkers of both projects.
#
# What does it learn where the answer is known? The study (`sizing_real.json`) trained it on a market
# of two states like ours, with somewhat other means and with a taker's costs.

# %%
# make study STUDY=sizing_real
study = results.load("sizing_real")["results"]
planted = study["planted"]
held = np.array(planted["held"])
print("best without costs", np.round(planted["best"], 2))
for pair in held:
    print("an agent holds    ", pair.round(2))
growth = planted["growth"]
for name in ("Kelly", "half Kelly", "fixed"):
    print(f"{name:10} grows {growth[name]:.5f} a bar")
print(
    f"PPO        grows {np.mean(growth['PPO']):.5f} a bar, mean of "
    f"{len(held)}"
)

# %%
assert (held[:, 0] < 0).all() and (held[:, 1] > 0.2).all()
assert growth["Kelly"] > max(growth["PPO"])
assert min(growth["PPO"]) > growth["half Kelly"]
assert growth["half Kelly"] > 5 * growth["fixed"]
assert planted["learned"]["word"] == "learned"

# %% [markdown]
# Growth here is that of a bar *before* costs, worked out from the market's known means, so that
# nothing can grow faster than Kelly; the agents were paid after costs. Every agent found the sign
# of both positions, and in the better state most of the size. All grow faster than half Kelly, and
# far faster than the one position that ignores the state. None comes up to Kelly, who knew the
# market.
#
# These agents were trained for 393,216 steps. On the real bars of the next section they get a sixth
# of that, because there are many of them to train. So the control was run once more with as few
# steps:

# %%
briefly = study["briefly"]
for name, told in (("as above", planted), ("as briefly", briefly)):
    x = told["share"]
    steps = study["setting"][
        "longer" if name == "as above" else "steps"
    ]
    print(
        f"{steps:7,} steps: {x['estimate']:.2f} of Kelly's growth "
        f"[{x['low']:.2f}, {x['high']:.2f}], {told['learned']['word']}"
    )
few = np.array(briefly["held"])

# %%
assert (few[:, 0] < 0).all() and (few[:, 1] > 0.2).all()
assert briefly["learned"]["word"] == "learned"
assert (
    study["setting"]["longer"]
    == 6 * study["setting"]["steps"]
    == 393_216
)

# %% [markdown]
# After a sixth of the steps they have the signs and about half of Kelly's growth. So the agent
# **can** learn a size from this environment, and need not be trained for long to begin. That is the
# control, without which a zero on real bars would mean nothing. It has one limit: the seeds are
# three, and all saw one and the same drawn market, so the intervals are for other seeds alone.
#
# ## 5 Real bars
#
# Now BTC, ETH and SOL on Bybit, in bars of eight hours, with a taker's fee, slippage and funding. The
# agent sees moves over four scales, the volatility and the volume (`sizing.observations`) and may
# hold from −1 to 1. It trains on the bars before, keeps the weights that grew most on validation, and
# is tested on 2023 and on 2024. (It is trained for 65,536 steps on about 1,600 bars, and the planted
# market has 40,000.) Ten seeds, because in reinforcement learning the seed alone can decide what
# looks like success {cite:p}`henderson2018`. Beside it stand sizes that need no agent.

# %%
rows = study["rows"]
assert study["setting"]["seeds"] == 10
ORDER = (
    "nothing", "buy and hold", "volatility", "Kelly", "half Kelly",
    "fixed", "linear", "trees", "PPO",
)
print("a third in each of the three        growth  gross  held  Sharpe")
for name in ORDER:
    row = rows["all"][name]
    print(f"{name:34} {row['growth']:7.0%} {row['gross']:6.0%} "
          f"{row['held']:5.2f} {row['sharpe']:7.2f}")

# %% [markdown]
# "Growth" is log growth a year after all costs, "gross" before them, "held" the mean size of the
# position. In 2023 and 2024 all three coins rose, so that whoever was long did well. Against
# volatility targeting, which needs nothing but the last weeks' moves, the differences are:

# %%
for title in ("btc", "eth", "sol", "all"):
    gap = rows[title]["PPO"]["gap"]
    low, high = gap["growth"]["low"], gap["growth"]["high"]
    print(
        f"{title}: PPO less volatility targeting "
        f"{gap['growth']['estimate']:+.2f} "
        f"[{low:+.2f}, {high:+.2f}], corrected p "
        f"{gap['p_corrected']:.2f}"
    )

# %% mystnb={"figure": {"caption": "Log growth a year of ten agents that differ in their seed alone, by market, and of volatility targeting and of holding nothing.", "name": "fig-sizing-seeds"}, "image": {"alt": "Three columns of dots, one a coin. The ten agents of BTC and ETH lie close to zero, those of SOL below it; all lie far below the short lines that mark volatility targeting."}}
fig, ax = plt.subplots(figsize=(7.2, 3.2))
for at, coin in enumerate(("btc", "eth", "sol")):
    grown = rows[coin]["PPO"]["growth_by_seed"]
    ax.scatter(
        at + np.linspace(-0.15, 0.15, len(grown)), grown, color=UP,
        s=18, label="PPO, a dot a seed" if at == 0 else None,
    )
    ax.hlines(
        rows[coin]["volatility"]["growth"], at - 0.25, at + 0.25,
        color=DOWN, label="volatility targeting" if at == 0 else None,
    )
ax.axhline(0, color="0.5", lw=0.8)
ax.set_xticks(range(3), ["BTC", "ETH", "SOL"])
ax.set(ylabel="log growth a year")
ax.legend(loc="lower left")
plt.show()

# %%
for coin in ("btc", "eth", "sol"):
    grown = np.array(rows[coin]["PPO"]["growth_by_seed"])
    print(
        f"{coin}: seeds from {grown.min():+.2f} to {grown.max():+.2f}"
    )
    assert grown.max() < rows[coin]["volatility"]["growth"] - 0.2

# %%
assert rows["all"]["PPO"]["held"] < 0.2

# %% [markdown]
# The agents hold little, and on BTC and ETH they end near nothing, where whoever held nothing ended
# too; on SOL they lost, while the coin rose. In years in which everything rises, a small position
# cannot keep up with a long one, and two such years cannot tell a careful agent from one that knows
# nothing. Kelly's rule earned less than buying and holding too, as is to be expected where the mean
# of the last 90 days says little about the next bar. The fixed size, the linear model and the trees
# lost in the mean of the three: the fixed size was short, as paid before, when prices fell, and of
# what the trees lost costs took half.
#
# <!-- number: 90 from studies/sizing_real.py -->
#
# ### Did it learn?
#
# An agent that learned nothing decides nothing. So we ask what it grew on validation beyond
# constant positions (the one that was best in training, or nothing, whichever did better there).
# And we ask the same of agents that were trained and validated on the same bars **in random
# order**, where nothing can be known.

# %%
for coin in ("btc", "eth", "sol"):
    for year, told, null in zip((2023, 2024), study["learned"][coin],
                                study["chance"][coin], strict=True):
        print(
            f"{coin} {year}: {told['word']:11} gain "
            f"{told['gain']:+.2f}, scatter "
            f"{told['scatter']:.2f}; in random order "
            f"{null['gain']:+.2f}"
        )

# %%
words = [
    told["word"]
    for folds in study["learned"].values()
    for told in folds
]
print(
    words.count("learned"), "of", len(words),
    "folds learned by this rule",
)
assert words.count("learned") == 1
for key, name in (
    ("learned", "over all folds"), ("chance", "in random order"),
):
    whole = study["together"][key]
    print(f"{name}: {whole['word']}, gain {whole['gain']:+.2f}")
    assert whole["word"] == "not learned" and whole["gain"] < 0

# %% [markdown]
# One fold of six passes the rule, by a gain of a few per cent a year. But the question is whether
# *this agent* learns from such bars, and for that the gains of all folds are averaged seed by seed:
# the mean lies below zero, so that holding the better constant position would have earned more. By
# our rule the agent did **not learn**. On shuffled bars, with three seeds, it looks much the same.
#
# Could such agents have found anything here? The study plants an effect in redrawn bars of BTC: high
# volume foretells a rise of the next bar, and low volume a fall, with a correlation of known size.

# %%
seen = study["seen"]
for size in sorted(seen["runs"], key=float):
    hits, runs = seen["hits"][size], seen["runs"][size]
    print(f"planted correlation {size}: found {hits} of {runs}")

# %%
assert seen["size"] == 0.2 and seen["grew"]["0.2"]["growth"] > 1

# %% [markdown]
# A correlation of 0.2 is found in four of five tries. It lets the agent's account more than double
# in a year, far more than anybody should expect. Half of it was missed in both tries. So the
# verdict on real bars is **not learned**, and what the agent held there says nothing about sizing.
# Too few bars, too few steps, or nothing there to be found would all look like this, and the study
# cannot tell them apart. That a rule of one line did better in two rising years is no proof either,
# since after the correction for all rows the difference is not clear of luck.

# %% [markdown]
# ## What goes wrong
#
# An agent does what is rewarded, which is not always what was meant. Take a reward that many a
# trader uses: **profit that has been realised**. It counts when a position is closed, as a
# statement of closed trades does, and a loss that is not closed is not counted. The market sinks a
# little, has nothing to find, and is dear to trade in, so that the right size is zero.

# %%
rng = np.random.default_rng(0)
steps = rng.normal(0, 0.01, BARS)
steps -= steps.mean() + 0.00005  # it sinks by half a basis point a bar
time = pd.date_range(
    "2000-01-01", periods=BARS, freq="8h", tz="UTC", name="time"
)
close = 100 * np.exp(steps.cumsum())
first = np.r_[100.0, close[:-1]]
edges = {
    "high": np.maximum(first, close), "low": np.minimum(first, close),
}
sinking = pd.DataFrame(
    {"open": first, **edges, "close": close, "volume": 1.0}, time
)

# %%
env = sizing.SizingVectorEnv(
    ACCOUNTS, sinking, features=np.zeros(BARS), short=False,
    costs=Costs(20, 20, 5), length=LENGTH,
)


def situation(seen):
    """Return 0 for an account that holds nothing, 1 for one that is
    winning, else 2."""
    where = np.where(seen[:, 2] > 0, 1, 2)
    return torch.from_numpy(np.where(seen[:, 1] < 1e-6, 0, where))


# %% [markdown]
# The policy has three numbers: the chance to hold (rather than be flat) for an account that holds
# nothing, for one that is winning, and for one that is losing. It is trained by REINFORCE as in
# section 3, with one difference. A position pays off later, so each action is credited with all
# rewards that follow it in its episode. The reward is the change of `cash`, or of `equity`.


# %%
def episode(logits, reward):
    """Return situations, actions and what followed, each (LENGTH,
    ACCOUNTS)."""
    (seen, told), rows = env.reset(), []
    for _ in range(LENGTH):
        where, before = situation(seen), told[reward]
        act = torch.bernoulli(torch.sigmoid(logits[where]))
        seen, _, _, _, told = env.step(act.numpy())
        rows.append(
            (
                where, act,
                torch.from_numpy(told[reward] - before).float(),
            )
        )
    where, act, r = (torch.stack(x) for x in zip(*rows, strict=True))
    return where, act, r.flip(0).cumsum(0).flip(0)


# %%
def learn(reward):
    """Train a policy for a reward; return its three logits."""
    seed_everything(0)
    env.reset(seed=0)
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(120):
        where, act, after = episode(logits.detach(), reward)
        # the baseline of each bar
        better = after - after.mean(1, keepdim=True)
        cost = F.binary_cross_entropy_with_logits(
            logits[where], act, reduction="none"
        )
        optimizer.zero_grad()
        (better / better.std() * cost).mean().backward()
        optimizer.step()
    return logits.detach()


# %%
def tried(logits):
    """Return cash, equity and the share of trades that won, on fresh
    episodes."""
    seen, _ = env.reset(seed=9)
    for _ in range(LENGTH - 1):
        act = torch.bernoulli(torch.sigmoid(logits[situation(seen)]))
        seen, _, _, _, told = env.step(act.numpy())
    won, closed = (
        env.desk.accounts[name].sum() for name in ("wins", "trades")
    )
    return (
        told["cash"].mean(), told["equity"].mean(),
        won / max(closed, 1),
    )


# %% tolerance={"decimals": 0.1, "effect": 0.3}
found = {reward: learn(reward) for reward in ("cash", "equity")}
seen = {reward: tried(logits) for reward, logits in found.items()}
for reward, logits in found.items():
    chances = torch.sigmoid(logits).numpy()
    print(
        f"paid by {reward:6}: chance to hold when flat "
        f"{chances[0]:.1f}, "
        f"winning {chances[1]:.1f}, losing {chances[2]:.1f}"
    )

# %% tolerance={"decimals": 1.5, "relative": 0.2, "effect": 3.0}
for reward, (cash, equity, _) in seen.items():
    print(f"paid by {reward:6}: realised {100 * (cash - 1):+.1f} %, "
          f"account {100 * (equity - 1):+.1f} %")  # fmt: skip

# %% tolerance={"decimals": 0.1, "effect": 0.3}
print(
    "trades won by the agent that is paid by cash: "
    f"{seen['cash'][2]:.1f}"
)

# %%
hacked, mended = found["cash"].sigmoid(), found["equity"].sigmoid()

# %%
# it opens, and never closes a loss
assert hacked[2] > 0.95 and hacked[0] > 0.3
assert mended[0] < 0.1  # it does not open
assert seen["cash"][0] > 1.015 and seen["cash"][1] < 0.995
assert seen["cash"][2] > 0.65 and seen["equity"][1] > 0.995

# %% [markdown]
# The first agent found out how its reward is made. It opens positions, closes some that win, and
# **never closes one that loses**. Most of its closed trades win, the realised profit is positive,
# and the account loses money, since each round trip costs and the market sinks. It needed no bug
# for that, and did exactly what it was paid for, which is called {term}`reward hacking`
# {cite:p}`amodei2016`. People who are paid by realised profit have the same reason to do so. The
# mended reward marks open positions to market, and the agent that is paid by it does the one right
# thing in a market that sinks: it stays out.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* An agent is like somebody who tries, is paid, and tries again. It helps to remember
# that it raises what is paid, and knows nothing of what was meant.
#
# *Proved.* Where returns are small, the formula for growth is a parabola, whose top is Kelly's size
# and which is back at zero at twice that size. The slope of the expected reward is the mean of the
# reward times the slope of the logarithm of the policy, and a baseline changes nothing in it, as
# section 3 derives.
#
# *Measured here.* On planted markets of two states agents found the signs and much of the best sizes.
# On three perpetuals they did not learn, and that volatility targeting did better in two years
# that rose is no proof. An agent that is paid by realised profit kept its losing trades open.
#
# *Open.* Whether an agent with more bars, or with other observations, learns to size a position on a
# real market is not known. The study could see only effects larger than anybody should expect.
# ```
#
# ## Summary
#
# - A forecast does not say how much. Kelly's size makes the logarithm grow fastest; twice that size
#   grows no more, and more than that ruins a winning coin.
# - An environment made of the backtest's own steps pays an agent what the backtest would have paid.
# - A policy gradient weighs each try by what it earned beyond a baseline. It needs no formula for the
#   market, and very many draws.
# - PPO uses each draw several times and stops where a good action has become a fifth more probable,
#   or a bad one a fifth less.
# - On planted markets the agents find the known sizes, or a part of them. On three perpetuals they
#   did not learn, and nothing says that they beat volatility targeting.
# - Agents that differ in their seed alone hold different sizes even where the best is known, so one
#   seed proves nothing.
# - An agent raises whatever is rewarded: mark open positions to market.
#
# ## Exercises
#
# ```{exercise} Odds ★
# :label: ex-sizing-odds
# A bet wins with a chance of one third and then pays four times the stake. How much do you stake, and
# what would you stake if it paid twice?
# ```
#
# ```{solution-start} ex-sizing-odds
# :class: dropdown
# ```
# $f = \frac13 - \frac23 / 4 = \frac16$. If it paid twice, $f = \frac13 - \frac23/2 = 0$: the bet is
# fair, and a fair bet is left alone.

# %%
assert np.isclose(sizing.kelly_binary(1 / 3, 4.0), 1 / 6)
assert np.isclose(sizing.kelly_binary(1 / 3, 2.0), 0)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} A better baseline ★★
# :label: ex-sizing-baseline
# Our orders do not move the price, so what the policy's *mean* position would have earned on the
# same bar does not depend on the action either. Use it as the baseline at $\theta = 0.6$, and
# compare how the estimates scatter.
# ```
#
# ```{solution-start} ex-sizing-baseline
# :class: dropdown
# ```
# The luck of the bar now cancels. The estimates scatter about half as much, so that a quarter of the
# draws is enough.

# %%
reward = np.log1p((0.6 + 0.2 * z) * moves)
plainly = (reward - reward.mean()) * z / 0.2
same_bar = (reward - np.log1p(0.6 * moves)) * z / 0.2
print(
    f"scatter {plainly.std():.2f} (mean), {same_bar.std():.2f} (same "
    "bar)"
)

# %%
assert same_bar.std() < 0.6 * plainly.std()
assert abs(same_bar.mean() - plainly.mean()) < 0.001

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} What costs do to the best sizes ★★★
# :label: ex-sizing-costs
# With a fee of 1 % a side, which pair of positions grows fastest in the market of section 3? Search a
# grid by `backtest.run`, and say why both move as they do.
# ```
#
# ```{solution-start} ex-sizing-costs
# :class: dropdown
# ```

# %%
state, dear = made.state.to_numpy(), Costs(100, 100, 0)
grid = np.linspace(-0.8, 0.8, 9)


def ends(low, high, costs):
    """Return the log growth of a pair of positions."""
    wanted = np.where(state == 1, high, low)
    done = backtest.run(
        made.candles, wanted, costs=costs, rebalance=True
    )
    return np.log(done.equity.iloc[-1])

# %%
best = {}
for costs in (FREE, dear):
    pairs = [(low, high) for low in grid for high in grid]
    best[costs] = max(pairs, key=lambda pair: ends(*pair, costs))
    print(np.round(best[costs], 1))

# %%
assert np.ptp(best[dear]) < np.ptp(best[FREE])

# %% [markdown]
# Each change of state trades the distance between the two positions, so that costs pull them
# together. A position that is kept costs little, which is why they do not both go to zero.
#
# ```{solution-end}
# ```
#
# ```{exercise} An agent on bars of your own ★★★
# :label: ex-sizing-own
# Put `sizing.SizingEnv` on bars of your own, and train PPO from stable-baselines3 with five seeds on
# the first two thirds. Then shuffle these bars and train again. What do you look at before you look
# at the test?
# ```
#
# ```{solution} ex-sizing-own
# :class: dropdown
# At the gain on validation over the best constant position, beside its scatter over seeds and
# beside the gain on shuffled bars. If it does not stand out from both, the agent has not learned,
# and whatever the test says is luck. If it does, hold the test against volatility targeting on the
# same bars, by an interval of the paired difference with all costs; and look at the positions,
# since an agent that is always long is not an agent.
# ```
#
# ## Further reading
#
# The size of a bet {cite:p}`kelly1956,thorp2006`; volatility as the only forecast
# {cite:p}`moreira2017`; a policy that learns to trade from its own figure of merit
# {cite:p}`moody2001`; the score function {cite:p}`williams1992` and PPO {cite:p}`schulman2017`; the
# tools {cite:p}`towers2024,raffin2021`; why seeds must be counted {cite:p}`henderson2018`; and
# rewards that are taken at their word {cite:p}`amodei2016`.
