# %% [markdown]
# (ch-evening-5)=
# # An evening: one of two hundred
#
# **Two strategies were found by one search in two markets: which of them is luck?**
#
# ```{admonition} What you will do
# :class: tip
# - search 200 rules in two markets, and find a good one in each
# - make both pay for the search, in three ways that disagree
# - measure on made markets how often each way is wrong
# - open the bars that nobody has looked at
# ```
#
# *You need* {ref}`ch-backtesting` and {ref}`ch-honest-evaluation`.
# *Runs* in under 40 s on two cores; the evening is yours.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import binomtest

from setrade import backtest, candles, evidence, metrics, signals
from setrade.costs import FREE
from setrade.plots import DOWN, NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
# the planted effect, and the bars for which it stands
SIZE, HOLD = 0.08, 16
SEARCHED = 3_600  # bars of 15 minutes that the search may see
# made markets of each kind in step 4, and their first seed
MARKETS, FIRST = 8, 100
REPS = 200  # bootstrap histories
LEVEL = 0.05  # a p-value below it counts as skill

# %% [markdown]
# ## Why it is worth an evening
#
# Whoever looks for a strategy tries many and shows one. {ref}`ch-honest-evaluation` has the tools
# that count the tries, each on an example of its own. They were made for one purpose and still give
# different answers on one table of returns, because each assumes something else about the tries.
# You learn which to trust for *your* search only by running that search on markets whose truth you
# know. That costs an evening once, and each later search can use the answer.

# %% [markdown]
# ## What is given
#
# Both markets are made of the real sample by `evidence.plant`. It draws each bar alone and turns it
# upside down at random, so that no rule can foretell anything. In one of the two markets the volume
# of the last bars, held against what is usual, then foretells the next ones. The cell below says
# which is which, but your tests have to find it without reading it. The two were chosen so that
# their best rules look alike, and therefore step 4 does not use them again.
#
# To work with **your own bars**, put `candles.read("mine.parquet", "15min")` in place of
# `candles.sample()` and leave the rest. The numbers that the checks ask for are then no longer
# yours, while steps 4 and 5 say what your own bars would show.

# %%
SAMPLE = candles.sample()


# %%
def made(size, seed):
    """Return a market of redrawn bars with an effect of that size."""
    return evidence.plant(SAMPLE, size, hold=HOLD, seed=seed, block=1.0)


# %%
bars = {"north": made(0.0, 5), "south": made(SIZE, 2)}

# %% [markdown]
# The search has two families of fifty rules. The first follows a move of the last bars. The second
# is long while volume is above a multiple of its median, and short otherwise. Each rule is tried
# upside down too, because a search does not care which way round it wins. One of the hundred volume
# rules is the planted one.

# %%
LOOKBACKS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
HOLDS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48)


# %%
def usual_volume(frame, hold):
    """Return the volume of ``hold`` bars over the median of 24 such
    sums before it."""
    total = frame["volume"].rolling(hold).sum().iloc[hold - 1 :: hold]
    share = total / total.shift(1).rolling(24).median()
    return share.reindex(frame.index).ffill()


# %%
def rules(frame):
    """Return the positions of 200 rules after each bar, a column a
    rule."""
    out = {}
    for k in LOOKBACKS:
        for z in (0, 0.25, 0.5, 0.75, 1.0):
            momentum = signals.momentum(frame, lookback=k, threshold=z)
            out[f"momentum {k} {z}"] = momentum
    for k in HOLDS:
        share = usual_volume(frame, k)
        for times in (0.8, 0.9, 1.0, 1.1, 1.2):
            out[f"volume {k} {times}"] = np.sign(share - times).fillna(
                0.0
            )
    return pd.DataFrame(
        out | {f"not {name}": -p for name, p in out.items()}
    )


# %% [markdown]
# ## Step 1: search
#
# ```{exercise} The table of returns
# :label: ex-evening-5-1
# Run the 200 rules in each market without costs, and keep the return of every rule in every bar.
# Take the rule with the highest {term}`Sharpe ratio` in the first `SEARCHED` bars. What is its
# ratio a year, and what is one minus its p-value if it is treated as the only rule that was tried?
# Call the tables `past`, by market, and the rules `found`.
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `backtest.run_many` takes positions as rows of scores, a table with the column `series`, and
# `curves=True`. `metrics.returns` makes returns of its curves. `evidence.probabilistic_sharpe` gives
# the one minus.
# ```


# %%
def check_1(past, found):
    """Hold the result of step 1 against what the given bars give."""
    assert {
        name: table.shape[1] for name, table in past.items()
    } == dict.fromkeys(bars, 200)
    for name, ratio in (("north", 9.8), ("south", 11.6)):
        best = past[name][found[name]].to_numpy()
        assert abs(evidence.sharpe(best) * YEAR - ratio) < 0.1, (
            f"{name}: another rule"
        )
        assert evidence.probabilistic_sharpe(best) > 0.99


# %%
YEAR = np.sqrt(365 * 96)  # from a ratio per bar to one a year

# %% [markdown]
# ```{solution-start} ex-evening-5-1
# :class: dropdown
# ```


# %%
def tries(frame):
    """Return what each rule earned in each bar, free of costs: (bars -
    1, rules)."""
    positions = rules(frame)
    sets = pd.DataFrame({"series": range(positions.shape[1])})
    scores = positions.to_numpy().T
    _, curves = backtest.run_many(
        frame, scores, sets, costs=FREE, curves=True
    )
    return pd.DataFrame(
        metrics.returns(curves).T, frame.index[1:], positions.columns
    )


# %%
def ratios(table):
    """Return the Sharpe ratio per bar of each column."""
    return table.mean() / table.std()


# %%
returns = {name: tries(frame) for name, frame in bars.items()}
past = {name: table.iloc[:SEARCHED] for name, table in returns.items()}
found = {name: ratios(table).idxmax() for name, table in past.items()}

# %%
for name, rule in found.items():
    best = past[name][rule].to_numpy()
    alone = evidence.probabilistic_sharpe(best)
    print(
        f"{name}: {rule:20} {evidence.sharpe(best) * YEAR:5.1f} a "
        f"year, {alone:.3f}"
    )

# %%
check_1(past, found)

# %% [markdown]
# Both happen to be volume rules of 16 bars, so that the name tells you nothing. Alone, either would
# pass: there is less than one chance in a hundred that a rule without
# skill looks so good. Both markets say so, and one of them is wrong.
#
# ```{solution-end}
# ```
#
# ## Step 2: deflate
#
# ```{exercise} Which variance?
# :label: ex-evening-5-2
# Deflate both ratios for 200 tries, where the formula wants $V$, the variance of the ratios of tries that
# have *no* skill. Do so twice: with the variance that the 200 ratios show, and with the variance
# that theory gives for a ratio of no skill over $T$ bars, which is $1/(T-1)$. Call the results
# `shown` and `theory`, by market. Why do they differ, and in which market?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `evidence.deflated_sharpe(returns, 200, variance)` does the work. Then print $V (T-1)$ for both
# markets, which would be near 1 if no try had skill.
# ```


# %%
def check_2(shown, theory):
    """Hold the result of step 2 against what the given bars give."""
    assert abs(shown["north"] - 0.45) < 0.02
    assert abs(shown["south"] - 0.43) < 0.02
    assert abs(theory["north"] - 0.65) < 0.02
    assert abs(theory["south"] - 0.83) < 0.02


# %% [markdown]
# ```{solution-start} ex-evening-5-2
# :class: dropdown
# ```

# %%
shown, theory, wide = {}, {}, {}
for name, rule in found.items():
    best, spread = (
        past[name][rule].to_numpy(), ratios(past[name]).var(ddof=1),
    )
    wide[name] = spread * (SEARCHED - 1)
    shown[name] = evidence.deflated_sharpe(best, 200, spread)
    theory[name] = evidence.deflated_sharpe(
        best, 200, 1 / (SEARCHED - 1)
    )
    print(f"{name}: V (T - 1) = {wide[name]:.2f}", end="; ")
    print(
        f"deflated {shown[name]:.2f} with V as shown, "
        f"{theory[name]:.2f} by theory"
    )

# %%
check_2(shown, theory)
assert wide["north"] < 1.5 < 1.9 < wide["south"]
assert (
    shown["south"]
    < shown["north"]
    < theory["north"]
    < theory["south"]
    < 0.95
)

# %% [markdown]
# Neither reaches 0.95, so either way both rules are refused. But look at the variance as shown. In
# the south it is twice what luck gives, because there a whole family of rules has a part of the
# skill, and its mirror images have the opposite. The spread that skill made is then charged to luck.
# **A real effect that many of the tries share hides itself from a deflation by their own variance**,
# which here even ranks the north above the south. With the variance by theory the order is right,
# but 200 is too many tries, since rules that resemble each other count in full.
#
# ```{solution-end}
# ```
#
# ## Step 3: a reality check
#
# ```{exercise} Redraw the whole table
# :label: ex-evening-5-3
# Nothing needs to be assumed about the tries if they are redrawn together. White's **reality
# check** {cite:p}`white2000` takes the largest mean return among the rules. It then redraws the
# bars in stretches, takes each rule's own mean away, and counts how often the largest mean of such a
# history without skill reaches the one that was found. Write it with `evidence.resample`, with
# stretches of 16 bars and 200 histories, and put `evidence.superior_ability` beside it. Call the
# p-values `white` and `hansen`. What does the second do that the first does not?
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `evidence.resample(lambda x: x.mean(axis=0), table, ...)` gives one row of means a history. A rule
# that is flat most of the time has a small mean *and* a small deviation.
# ```


# %%
def check_3(white, hansen):
    """Hold the result of step 3 against what the given bars give,
    whatever the seed."""
    for p in (white, hansen):
        assert p["south"] < LEVEL < p["north"] < 0.25


# %% [markdown]
# ```{solution-start} ex-evening-5-3
# :class: dropdown
# ```


# %%
def reality_check(table):
    """Return White's p-value of the best mean among the columns."""
    x, options = (
        table.to_numpy(), {"seed": 0, "n_samples": REPS, "block": 16.0},
    )
    drawn = evidence.resample(
        lambda rows: rows.mean(axis=0), x, **options
    )
    return float(
        (
            (drawn - x.mean(axis=0)).max(axis=1) >= x.mean(axis=0).max()
        ).mean()
    )


# %%
def superior(table):
    """Return the p-value of Hansen's test against doing nothing."""
    nothing = np.zeros(len(table))
    options = {"seed": 0, "reps": REPS, "block": 16.0}
    return evidence.superior_ability(
        nothing, table, **options
    ).consistent


# %%
white = {name: reality_check(table) for name, table in past.items()}
hansen = {name: superior(table) for name, table in past.items()}
for name in bars:
    print(f"{name}: White {white[name]:.2f}, Hansen {hansen[name]:.2f}")

# %%
check_3(white, hansen)

# %% [markdown]
# Both tests part the two markets: the south passes at `LEVEL`, the north does not. Neither had to be
# told how many tries there were, or how alike they are, because rules that move together move
# together in the redrawn histories too. Hansen's test divides each rule's mean by its own standard
# error first. So a rule that is flat most of the time can win it, while White's compares the rules
# as they are and the loud ones decide.
#
# ```{solution-end}
# ```
#
# ## Step 4: judge the judges
#
# ```{exercise} Error and power of four tests
# :label: ex-evening-5-4
# Two markets prove nothing about a test, and these two were chosen. Draw eight markets without an
# effect and eight with it, from seed `FIRST` on, and run the same search in each. Count how often
# each of four judges says «skill»: the rule alone above 0.95, deflated above 0.95 with either
# variance, and Hansen's p-value below `LEVEL`. Put an exact interval around each share. Keep the chosen rule's ratio
# in the searched bars and in the bars after them for step 5. Call the counts `said`, with a row for
# each size.
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# Write one function that takes a size and a seed and returns a dict, and do not keep the tables.
# `scipy.stats.binomtest(k, n).proportion_ci()` gives the interval. A market takes less than a second.
# ```

# %%
JUDGES = ["alone", "V as shown", "V by theory", "Hansen"]


# %%
def check_4(said):
    """Hold the counts against what must be so on any seeds."""
    assert (said[JUDGES] <= MARKETS).all(axis=None)
    # A search always finds something.
    assert said.loc[0.0, "alone"] >= 6
    assert said.loc[0.0, ["V as shown", "V by theory"]].max() <= 2
    assert said.loc[SIZE, "V as shown"] <= 2
    assert said.loc[SIZE, "Hansen"] >= 5


# %% [markdown]
# ```{solution-start} ex-evening-5-4
# :class: dropdown
# ```


# %%
def searched(size, seed):
    """Search a new market; return what each judge says."""
    table = tries(made(size, seed))
    first, later = table.iloc[:SEARCHED], table.iloc[SEARCHED:]
    every = ratios(first)
    rule, best = every.idxmax(), first[every.idxmax()].to_numpy()
    deflated = (
        evidence.deflated_sharpe(best, 200, v)
        for v in (every.var(ddof=1), 1 / (SEARCHED - 1))
    )
    alone = evidence.probabilistic_sharpe(best)
    ones = np.array([alone, *deflated, 1 - superior(first)])
    after = evidence.sharpe(later[rule].to_numpy()) * YEAR
    row = {"size": size, "rule": rule, "after": after}
    row["before"] = every.max() * YEAR
    return row | dict(zip(JUDGES, ones > 1 - LEVEL, strict=True))


# %%
runs = pd.DataFrame(
    [
        searched(size, FIRST + k)
        for size in (0.0, SIZE)
        for k in range(MARKETS)
    ]
)

# %%
said = runs.groupby("size")[JUDGES].sum().astype(int)
for size, row in said.iterrows():
    print("nothing planted:" if size == 0 else "planted:")
    for judge, k in row.items():
        sure = binomtest(int(k), MARKETS).proportion_ci()
        print(
            f"  {judge:12} {k:2} of {MARKETS}, share {sure.low:.2f} to "
            f"{sure.high:.2f}"
        )

# %%
check_4(said)

# %% [markdown]
# The rule alone says «skill» in every market, so that its word tells you nothing. Deflation with the
# variance as shown never says it: no mistake, and no discovery either. With the variance by theory
# half of the effects are found, and Hansen's test finds most. Eight markets bound an error only
# loosely, which is why the interval is printed. Whether Hansen's test errs more often
# here than the `LEVEL` that it promises cannot be told from them.
#
# ```{solution-end}
# ```
#
# ## Step 5: open the sealed bars, and pay
#
# ```{exercise} After the search
# :label: ex-evening-5-5
# Now look at the bars after `SEARCHED`, once. Draw the chosen rule's ratio after the search against
# its ratio before, for the markets of step 4. How much of the ratio is left on average, where
# nothing is planted and where something is? Call the two shares `left`. Then take the two rules
# of step 1 on their sealed bars: put an interval around the ratio a year, and find the fee at which
# the rule dies. Call them `sure` and `dies`.
# ```
#
# ```{admonition} Hint
# :class: hint dropdown
# `evidence.break_even_fee(frame, position)` charges slippage too. A position may be computed on all
# bars and cut afterwards, because no rule looks ahead.
# ```


# %%
def check_5(left, sure, dies):
    """Hold the result against what the planted truth asks for, with
    slack."""
    assert abs(left[0.0]) < 0.5 < 0.8 < left[SIZE] < 1.3
    assert sure["north"].low < 0 < sure["south"].low
    assert dies["north"] < dies["south"]


# %% [markdown]
# ```{solution-start} ex-evening-5-5
# :class: dropdown
# ```

# %% mystnb={"figure": {"caption": "Sharpe ratio a year of the rule that each search chose, in the searched bars and in those after them.", "name": "fig-evening-five"}, "image": {"alt": "Sixteen points on two axes, the ratio before and after. Circles, where nothing is planted, lie between 6 and 11 before and spread from -11 to 6 after, all below the dotted line on which before equals after. Squares, where an effect is planted, lie further right and mostly on the line or above it."}}
fig, ax = plt.subplots(figsize=(6.4, 3.6))
for size, mark, colour in ((0.0, "o", DOWN), (SIZE, "s", UP)):
    part = runs[runs["size"] == size]
    name = f"planted: {size:g}"
    ax.plot(
        part["before"], part["after"], mark, color=colour, label=name
    )
ax.axline((8, 8), slope=1, color=NEUTRAL, ls=":", label="as before")
ax.axhline(0, color="black", lw=0.8)
ax.set(xlabel="ratio in the searched bars", ylabel="ratio after them")
ax.legend()
plt.show()

# %%
means = runs.groupby("size")[["before", "after"]].mean()
left = (means["after"] / means["before"]).to_dict()
print(
    "left of the ratio:",
    {size: f"{round(100 * share)} %" for size, share in left.items()},
)


# %%
def yearly(x):
    """Return the Sharpe ratio a year of returns."""
    return evidence.sharpe(x) * YEAR


# %%
sure, dies = {}, {}
for name, rule in found.items():
    later = returns[name][rule].iloc[SEARCHED:].to_numpy()
    sure[name] = evidence.interval(yearly, later, seed=0, block=16.0)
    position = rules(bars[name])[rule].iloc[SEARCHED:]
    dies[name] = evidence.break_even_fee(
        bars[name].iloc[SEARCHED:], position
    )
    print(
        f"{name}: {sure[name]}, dies at a fee of {dies[name]:.1f} bps"
    )

# %%
check_5(left, sure, dies)
# basis points of a taker
assert dies["south"] > 2 * dies["north"] > 2 * 5.5

# %%
days = (len(SAMPLE) - SEARCHED) / 96
assert round(days) == 20
# 24 sums of volume, and the one that is held against them
assert 25 * HOLD == 400

# %% [markdown]
# The south was skill: its ratio is above zero on bars that no search has seen, and it bears several
# times the taker fee. The north was luck, but **its sealed bars do not show it**: its ratio there is
# above zero, and it too bears the fee. Only the interval says that 20 days cannot tell. One look at
# fresh bars is therefore no proof either way, and the test of step 3 was the stronger evidence.
#
# Over the eight markets of a kind luck nearly cancels. Where nothing is planted, nearly nothing of
# the ratio is left on average. Where something is planted all is left, because a large effect needs
# little luck to be chosen. It even comes out a little above what it was. Chance may do that with
# eight markets, and one cause is known: the planted rule knows no usual volume for its first 400
# bars and stands aside there.
#
# ```{solution-end}
# ```

# %% [markdown]
# ## What to conclude, and what not
#
# You may conclude that for *this* search, on bars like these, a deflation by the tries' own
# variance loses its power once many of them share the effect, and that a test that redraws all
# tries together keeps it. Whether that test also beats the deflation by theory, or errs as seldom
# as it promises, eight markets do not say: take more. You may also conclude which of the two
# strategies to keep, because that test accepts one and not the other.
#
# You may not conclude that the south would earn money in a real market, because its effect was put
# there. Nor is deflation useless in general: where tries are different bets, one of which has skill,
# their variance is nearly that of luck. And the made markets have no clusters of volatility, because
# each bar was drawn alone. A test that keeps its promise here may break it on bars that depend on
# those before.
#
# ## Go on
#
# 1. **Give the markets their memory back.** Leave out `block=1.0`, so that stretches of a week are
#    drawn whole. Then look at which rules are chosen where nothing is planted, and whether their
#    sealed bars are really sealed: a stretch of the sample may stand on both sides of the cut.
# 2. **Search your own way.** Replace `rules` by the settings that you tried last month, all of
#    them, and `SAMPLE` by your bars. Step 4 then says which effects your search could have found at
#    all, and `evidence.detectable` finds the smallest.
