# %% [markdown]
# (ch-verdict)=
# # The verdict
#
# **Which claims of the SE chapter and the EfficientNet chapter survive being measured?**
#
# ```{admonition} What you will do
# :class: tip
# - turn a sentence into a claim that can fail
# - hold a claim against an interval, and measure how far to trust the interval
# - compare SE with no SE on three years of hourly bars, walked forward over eight folds
# - ask what searching cost, and which fee uses up the edge
# - read the ledger: every claim, its evidence, its verdict
# ```
#
# *You need* {ref}`ch-se-trader`, {ref}`ch-backtesting` *and* {ref}`ch-honest-evaluation`; section 5
# goes on from {ref}`ch-attention-by-regime`, and section 6 shows pictures (parts III and IV), whose
# nets you may take as given. *Runs* in under 40 s on two cores.

# %%
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import norm
from scipy.stats import t as student

from setrade import candles, evidence, plots, results
from setrade.evidence import claims
from setrade.evidence.claims import Measured, verdict
from setrade.plots import DOWN, NEUTRAL, UP, use_style, waterfall
from setrade.study import Data
from setrade.study.experiment import Setting, run_config

use_style()

# %% tags=["parameters"]
NUM_EPOCHS = 3  # of the small recomputation

# %% [markdown]
# ## 1 From a sentence to a claim
#
# The last chapters gave us an account with costs, and tools that tell skill from luck. Here they meet
# the claims. The SE chapter and the EfficientNet chapter both make theirs in tables. This one is from
# the EfficientNet chapter, on Bybit's BTCUSDT perpetual, 2022 to 2024; the SE chapter names neither
# bars nor years, so we hold it against the same:
#
# | strategy | annual return | Sharpe | maximum drawdown |
# |---|---|---|---|
# | EfficientNet-B3 | 41.7 % | 1.68 | −15.7 % |
# | buy and hold | 18.4 % | 0.73 | −42.1 % |
#
# Nobody can check the first row, because no weights, no code that ran and no fees are given. The
# second row can be checked by anybody, since buying needs no model.
#
# So we begin with the second row, where two prices are enough for the return. The bar of 2022-01-01
# 00:00 opened at 46,200.5, the last one of 2024 closed at 93,530.

# %%
by_hand = (93_530 / 46_200.5) ** (1 / 3) - 1
# se_real.json: make study STUDY=se_real
stored = results.load("se_real")["results"]
hold = stored["buy_and_hold"]
print(f"a year, from two prices    {by_hand:.1%}")
print(f"a year, from hourly closes {hold['annual_return']:.1%}")
print(f"drawdown on hourly closes  {hold['max_drawdown']:.1%}")

# %%
assert abs(by_hand - hold["annual_return"]) < 0.01

# %% [markdown]
# The return is not the 18.4 % that is claimed, and the drawdown is not −42.1 %: buying and holding
# meant a fall of two thirds. Its Sharpe ratio, 0.70 on hourly closes, is near the claimed 0.73.
# (Section 3 prints a lower one, of eight accounts, one a fold, that pay costs and funding;
# {ref}`ch-backtesting` has another, for one account with its costs.) A table whose simplest row is
# wrong deserves to be measured row by row.
#
# ## 2 What makes a verdict
#
# A claim is a number, or a direction. What we measure is a number with an interval. When one is
# held against the other, there are three possible answers, and it takes four lines to write them
# down.

# %%
def judge(claimed, low, high, precise):
    if not low <= claimed <= high:
        return "fails"
    return "holds" if high - low <= precise else "undecided"


print(judge(1.84, -0.9, 1.1, 0.4), "|", judge(0.1, -0.9, 1.1, 0.4))

# %% [markdown]
# The third answer matters, because an interval from −0.9 to 1.1 contains almost everything one
# could claim. To call that «holds» would prove nothing, so an interval must also be narrow enough
# to say something.
#
# ```{prf:definition} Verdict by the interval alone
# :label: def-verdict
#
# A claimed *number* fails where it lies outside the interval of what was measured. Inside, it holds
# where the interval is no wider than a stated width. Otherwise the verdict is **undecided**, which
# means that the data do not tell.
#
# A claimed *direction* («SE is better») holds where the whole interval of the difference lies above
# zero, fails where it lies below, and is undecided where zero is inside.
# ```

# %%
wide, narrow = Measured(0.1, -0.9, 1.1), Measured(0.1, 0.0, 0.2)
assert judge(1.84, -0.9, 1.1, 0.4) == verdict(
    "interval", 1.84, wide, 0.4
)
assert judge(0.1, -0.9, 1.1, 0.4) == verdict("interval", 0.1, wide, 0.4)
assert judge(0.1, 0.0, 0.2, 0.4) == verdict(
    "interval", 0.1, narrow, 0.4
)
print("better than zero?", verdict("above", 0.0, wide))

# %% [markdown]
# ## 3 Three years, walked forward
#
# The SE trader of chapter {ref}`ch-se-trader` meets real Bybit bars here: hourly BTCUSDT from March
# 2020 to December 2024. Eight folds test the three years of the claims side by side. Each fold
# trains on everything before, stops early on the quarter of a year before its test, and leaves a
# gap so that no label reaches across ({ref}`ch-honest-evaluation`).

# %% mystnb={"figure": {"caption": "The eight folds. Each trains on all the past, and its test is the next fold's past.", "name": "fig-folds"}, "image": {"alt": "Eight rows of bars over the years 2020 to 2025; the training part grows from row to row, a short validation part follows it, and the test parts form a staircase from 2022 to the end of 2024."}}
edges = pd.date_range("2022-01-01", "2025-01-01", periods=9)
start, quarter = pd.Timestamp("2020-03-25"), pd.Timedelta("91D")
fig, ax = plt.subplots(figsize=(7, 2.8))
for k in range(8):
    for left, right, colour in (
        (start, edges[k] - quarter, NEUTRAL),
        (edges[k] - quarter, edges[k], DOWN),
        (edges[k], edges[k + 1], UP),
    ):
        ax.barh(
            k, right - left, left=left, color=colour, edgecolor="white"
        )
for colour, name in (
    (NEUTRAL, "train"), (DOWN, "validation"), (UP, "test"),
):
    ax.barh(0, pd.Timedelta(0), left=start, color=colour, label=name)
ax.set(ylabel="fold", yticks=range(8))
ax.invert_yaxis()
ax.legend(loc="upper right")
plt.show()

# %%
assert stored["setting"]["n_folds"] == 8
assert (
    sum(len(net["gain"]) for net in stored["learned"].values()) == 480
)
assert (edges[1:] - edges[:-1]).max() < pd.Timedelta("138D")

# %% [markdown]
# <!-- number: 5.5, 1 from setrade/costs.py -->
# <!-- number: 2,000 from setrade/study/summary.py -->
# Six nets, ten seeds and eight folds make 480 trainings; the other runs of the study are the plain
# tools that stand beside the nets further down. The nets differ in the SE block only: none, or one
# of five squeezes. All settings were fixed on synthetic markets, in chapter {ref}`ch-se-trader`;
# nothing was tuned on these bars. Fees are a taker's 5.5 basis points a side, slippage is 1, and
# each position pays or earns the funding of its hours.
#
# An interval has to hold two kinds of luck, because another seed would have drawn other weights,
# and other days would have been another market. So 2,000 histories are redrawn, each with seeds
# taken with replacement, the same for all nets. The days are redrawn in one of two ways.
#
# - Return, Sharpe ratio and drawdown follow from daily returns. They redraw stretches of days, ten
#   on average.
# - Accuracy, precision, recall, F1, rank correlation, win rate and profit factor are known fold by
#   fold. They redraw whole folds, eight of them. (Precision and recall are explained in
#   {ref}`ch-order-book-images`, F1 in {ref}`ch-order-book-day`, and rank correlation in section 3.)
#
# ### Few folds
#
# The second way is the weaker one, because eight folds, redrawn, spread less than eight new folds
# would, and the interval comes out too narrow. To see by how much, make worlds in which the truth
# is zero, and in which folds, and seeds within a fold, differ as the accuracies of this study do.
# Then count how often the interval holds the zero.

# %%
spread = stored["accuracy_spread"]  # standard deviations
print(
    f"between folds {spread['folds']:.3f} | between seeds "
    f"{spread['seeds']:.3f}"
)


# %%
def coverage(n_seeds, n_folds, n_worlds=1_500, n_draws=800):
    inside, rng = 0, np.random.default_rng(6)
    for _ in range(n_worlds):
        cells = rng.normal(0, spread["folds"], n_folds)
        cells = cells + rng.normal(
            0, spread["seeds"], (n_seeds, n_folds)
        )
        seeds = rng.integers(0, n_seeds, (n_draws, n_seeds, 1))
        folds = rng.integers(0, n_folds, (n_draws, 1, n_folds))
        drawn = cells[seeds, folds].mean(axis=(1, 2))
        low, high = np.quantile(drawn, [0.025, 0.975])
        inside += low < 0 < high
    return inside / n_worlds


eight, three = coverage(10, 8), coverage(2, 3)
print(f"8 folds, 10 seeds: {eight:.0%} | 3 folds, 2 seeds: {three:.0%}")

# %%
assert 0.88 < eight < 0.93
assert 0.77 < three < 0.84

# %% [markdown]
# <!-- number: 95 by the level of the intervals -->
# An interval that is called 95 % holds the truth in nine worlds of ten with eight folds, and with
# three folds and two seeds, as for the pictures of section 6, in four of five. Keep that in mind
# where a claim lies just outside such an interval.
#
# ### The table

# %%
def inside(row, digits, of_ends):
    """An estimate and its 95 % interval, to so many decimals."""
    low, high = (f"{row[k]:+.{of_ends}f}" for k in ("low", "high"))
    return f"{row['estimate']:+.{digits}f} [{low}, {high}]"


# %%
table = stored["table"]
print(
    stored["machinery"]["runs"], "runs,", stored["machinery"]["failed"],
    "failed",
)
for name in (
    "annual_return", "sharpe", "max_drawdown", "win_rate",
    "profit_factor",
):
    for model in ("none", "mean"):
        row = table[name][model]
        print(f"{name:14} {model:5} {inside(row, 2, 2)}")

# %%
claimed = {
    "annual_return": (0.312, 0.473), "sharpe": (1.21, 1.84),
    "max_drawdown": (-0.264, -0.187), "win_rate": (0.521, 0.582),
    "profit_factor": (1.34, 1.67),
}

# %% mystnb={"figure": {"caption": "What was claimed for SE and for its baseline (crosses), and what was measured (dots with 95 % intervals).", "name": "fig-verdict-se"}, "image": {"alt": "Five small panels, one for each figure; in each, the measured intervals with SE and without nearly coincide. The crosses of the Sharpe ratio, the drawdown and the profit factor lie outside them, as does that of the annual return with SE; the other three lie inside."}}
fig, axes = plt.subplots(1, 5, figsize=(8, 2.6), layout="constrained")
for ax, (name, values) in zip(axes, claimed.items(), strict=True):
    for x, model, value in zip(
        (0, 1), ("none", "mean"), values, strict=True
    ):
        row = table[name][model]
        ax.plot(
            [x, x], [row["low"], row["high"]], color=(NEUTRAL, UP)[x]
        )
        ax.plot(x, row["estimate"], "o", color=(NEUTRAL, UP)[x])
        ax.plot(x, value, "x", color=DOWN)
    ax.set(
        title=name.replace("_", " "), xticks=[0, 1], xlim=(-0.6, 1.6)
    )
    ax.set_xticklabels(["none", "SE"])
    ax.title.set_fontsize(9)
plt.show()

# %%
for name in claimed:
    none, se = (table[name][model] for model in ("none", "mean"))
    assert se["low"] < none["estimate"] < se["high"]
assert table["sharpe"]["mean"]["high"] < 1.84

# %% [markdown]
# The dots nearly coincide, but the claim is about the difference. Here it is, paired, which means
# over the same seeds and the same days.

# %%
margin = {}
for name, (without, with_se) in claimed.items():
    gap, said = table[name]["mean"]["difference"], with_se - without
    reach = gap["high"] - gap["estimate"]
    margin[name] = (said - gap["estimate"]) / reach
    found = inside(gap, 3, 3)
    print(f"{name:14} {found}  claimed {said:.2f}: {margin[name]:.2f}")
    assert gap["low"] < 0 < gap["high"]

# %%
assert max(margin, key=margin.get) == "sharpe"

# %% [markdown]
# All five intervals contain zero, so whether SE is better at all stays undecided. The last number
# compares two distances from our estimate: to the claimed gain, and to the upper end of the
# interval. Beyond 1 the claim lies outside, and our four lines of code say «fails». The Sharpe
# ratio lies outside by far, while the other four lie near the end. Before that decides anything,
# three questions have to be asked about the *measurement* itself.
#
# ### Is the interval as wide as it should be?
#
# **Few folds.** The win rate and the profit factor have intervals from eight folds.
#
# ```{prf:proposition} Redrawing few numbers
# :label: prop-few-folds
#
# Let $x_1, \dots, x_n$ with $n \ge 2$ be independent draws from one distribution with variance
# $\sigma^2 < \infty$, and let $n$ of them be redrawn with replacement. Given the numbers, the
# variance of the redrawn mean is on average $\frac{n-1}{n}$ of $\sigma^2 / n$, the variance that it
# should have.
# ```
#
# ```{prf:proof}
# Given the numbers, one redrawn number has the variance $\frac1n \sum_i (x_i - \bar x)^2$, and the
# mean of $n$ of them has an $n$-th of that. The sum $\sum_i (x_i - \bar x)^2$ is
# $(n - 1)\,\sigma^2$ on average.
# ```
#
# For a mean of eight numbers, redrawing them spreads $\sqrt{7/8}$ as widely as it should. Besides,
# an interval takes not 1.96 standard errors to each side but $t_7$ of them, from Student's $t$ with
# seven degrees of freedom.
#
# **Many questions.** This table is asked twenty of them: five figures without SE, with SE, the gain,
# and whether there is one. If all twenty claims were true, one false «fails» would be expected,
# because each interval leaves out its truth once in twenty times. So the rows of one table share the
# five per cent among them, and every interval becomes wider. Holm's rule lets the clearest row pay
# for all twenty, the next for nineteen, and so on until one is not rejected.

# %%
t_7 = student.ppf(0.975, 7)
short = t_7 / 1.96 * np.sqrt(8 / 7)
print(
    f"t_7 is {t_7:.2f}: eight folds deserve {short:.2f} times the width"
)
for tests in (1, 20):
    z = norm.ppf(1 - 0.05 / 2 / tests)
    print(
        f"{tests:2} questions: {z:.2f} errors to each side, "
        f"{z / 1.96:.2f} times"
    )

# %%
ledger = {row.id: row for row in claims.ledger()}
for name in claimed:
    row = ledger["se-gains-" + name.replace("_", "-")]
    low, high = row.checked("corrected")
    word = verdict(
        "interval", row.claimed, Measured(row.measured, low, high)
    )
    wide = f"corrected [{low:+.3f}, {high:+.3f}]"
    print(f"{name:14} {wide}  claimed {row.claimed:.2f}: {word}")
    assert (word == "fails") == (name == "sharpe")

# %% [markdown]
# One of the five can still be called «fails»: a gain of 0.63 in the Sharpe ratio lies outside even
# the wider interval.
#
# ### Could we have seen it?
#
# <!-- number: 16, 48 from studies/se_seen.py -->
# «Nothing was found» tells us something only where an effect would have been found if it had been
# there. So plant what was claimed, in the *real* bars, and let the same pipeline look for it. What
# is planted is a signal that every net can read: whether volume over the last 16 bars lies above
# that of the last 48. It foretells each next bar, as weakly as it takes for somebody who always
# follows it to earn just the claimed figure, after all costs. Volatility, tails and volume stay
# those of the real bars (`evidence.plant`). Then come eight folds and two seeds, each judged alone
# (`se_seen.json`). A seed has found it where its interval lies above what no skill earns, and
# **seen** means that both have. (No skill has no drawdown of its own, so there *found* means a
# smaller one than the same net's on the real bars. A gain is that of the net with SE, where its
# claim is planted, over the net without it, where its own is.)

# %%
planted = results.load("se_seen")["results"]
named = {"none": "without SE", "mean": "with SE", "gain": "gain"}
for name, found in planted["detectable"].items():
    for key, words in named.items():
        tries = [
            f"{one['estimate']:+.2f}" for one in found[key]["tries"]
        ]
        hits = sum(one["found"] for one in found[key]["tries"])
        said = f"{found[key]['claimed']:+.2f} planted, found "
        said += " ".join(tries)
        print(f"{name:14} {words:10} {said}  in {hits} of {len(tries)}")

# %%
sharpes = planted["detectable"]["sharpe"]

# %%
assert all(
    one["estimate"] < 1.84 / 2 for one in sharpes["mean"]["tries"]
)
assert not any(one["found"] for one in sharpes["mean"]["tries"])
assert sum(one["found"] for one in sharpes["gain"]["tries"]) == 1
assert all(
    row["word"] == "learned" for row in planted["learned"].values()
)

# %% [markdown]
# In a market where a Sharpe ratio of 1.84 could be had, nets with SE took less than half of it, and
# neither seed can be told from no skill. They did learn, since on validation each set lost less
# than the class shares, but an effect as weak as that drowns in three years of this market's noise.
#
# Mind what this shows. The 1.84 could be *had* in these markets, by somebody who knew the signal,
# and the nets did not take it; a net that did earn 1.84 would have been seen, because the intervals
# of the table reach about one to either side, and a half more after the corrections of this
# section. And each try here is one seed, where the table is the mean of ten, so that this search
# sees less than the table does: of the gain in the Sharpe ratio one of the two seeds found it. We
# take the careful side all the same, because a better net might have taken what ours missed.
#
# So our own result has to shrink. What the table cannot say is that no edge of that size was in
# these bars. Where the claimed size was not seen, the ledger turns «fails» into **undecided**:

# %%
table_rows = [
    r for r in ledger.values() if r.evidence.startswith("se_real#table")
]
verdicts = Counter(row.verdict for row in table_rows)
print(len(table_rows), "rows of the table:", dict(verdicts))

# %%
falls_seen = planted["detectable"]["max_drawdown"]["mean"]
for one in falls_seen["tries"]:
    print(
        "drawdown of -0.187 planted, interval "
        f"[{one['low']:.2f}, {one['high']:.2f}], found: {one['found']}"
    )

# %%
assert set(verdicts) == {"undecided"}
assert all(one["found"] for one in falls_seen["tries"])
assert all(one["high"] < -0.187 for one in falls_seen["tries"])
assert not ledger["se-max-drawdown"].allows()

# %% [markdown]
# The drawdown wants a word of its own. The claimed one, −0.187, lies outside the interval of the
# table, and both seeds did better on the planted bars than on the real ones. Yet both of their
# intervals leave −0.187 out as well, although it could be had there. Whoever does not reach a
# figure where it can be had cannot say, from not reaching it elsewhere, that it cannot be had
# there, so this row is undecided too. (It also depends on how much is held: section 4 shows nets
# trained for the SE chapter's own split, with its rules.)
#
# That is less than the figure above seems to promise, and it is what three years of one market can
# carry. The claims are not confirmed by it either, since no row of this table holds.
#
# Of the other four squeezes none can be told from no SE either:

# %%
for model in stored["models"]:
    row, ic = table["sharpe"][model], table["ic"][model]
    sharpe, rank = inside(row, 2, 1), inside(ic, 3, 3)
    print(f"{model:9}  Sharpe {sharpe}  rank corr. {rank}")

# %%
gaps = {
    (figure, model): row["difference"]
    for figure, by_model in table.items()
    for model, row in by_model.items()
    if model != "none"
}

# %%
clear = [
    name
    for name, gap in gaps.items()
    if not gap["low"] < 0 < gap["high"]
]
print(len(gaps), "differences to no SE, told from zero:", len(clear))

# %%
assert not clear

# %% [markdown]
# <!-- number: 16 from book/results/se_real.json -->
# The last column suggests why. The **rank correlation** asks whether a higher score of the net goes
# with a higher return over the next 16 hours, and money and costs play no part in it. It is 0.015
# or so at this rate, with zero inside. If the channels held no more than that, a block that
# reweights them could not bring it out.
#
# ### Did the nets learn?
#
# A net that learned nothing says nothing about what it could have found. The least it must do is to
# beat a **constant forecast**: the shares of the three classes among the training bars, said of
# every bar. So each run stored its best loss on validation beside that of the constant. A gain
# above zero is something learned. It is given in thousandths of a nat, and the interval is over all
# seeds and folds of a net.

# %%
for model, row in stored["learned"].items():
    mean, low, high = row["interval"]
    better = np.mean(np.array(row["gain"]) > 0)
    gain = f"{1e3 * mean:+.1f} [{1e3 * low:+.1f}, {1e3 * high:+.1f}]"
    print(
        f"{model:9} gain {gain} thousandths, above zero in {better:.0%}"
    )
    assert len(row["gain"]) == 8 * 10

# %%
for model, row in stored["learned"].items():
    over = row["over_seeds"]
    kept = over["order_kept"]
    words = (
        ""
        if kept is None
        else f", order of gates kept {kept:.2f}: {over['gates']}"
    )
    print(f"{model:9} {over['word']}{words}")
    assert over["word"] == "learned"
    assert over["gates"] in ("", "not moved")

# %% [markdown]
# <!-- number: 0.0005 from setrade/study/experiment.py -->
# They learned a little. Of the direction it was hardly anything, as the rank correlation above
# says, so what they learned may be how *much* the price will move, which tells «hold» from the
# rest. That is a guess, which we did not test. Two things make this result look better than it is:
# the best epoch was chosen on the very bars that judge it here, so the gain is a little too large,
# and the runs share bars, so the interval is too narrow. And a third weakness will be met in
# section 6: where the shares of the classes move from year to year, the shares of training are easy
# to beat. Another yardstick was not tried for these nets.
#
# The **gates** are another matter, for they hardly moved. Each run stored its mean gates before
# training and after it, and their order is the one they were drawn in: the rank correlation of
# start and end is about 0.95 or more. At 0.0005, the learning rate that lost least on planted
# markets, the gates stay near the random values that they began with. So the table compares a net
# without the block with one whose block was hardly trained, and a referee would send it back.
#
# ### The same two nets, at ten times the rate
#
# <!-- number: 0.005 from book/results/gates_real.json -->
# In section 5 a rate of 0.005, ten times as large, loses less on validation and moves the gates, in
# nets of fourteen channels that are trained on bars before 2024. So we take that rate and train both
# nets of the table again, with its folds, seeds, costs and funding (`se_moved.json`). They train on
# the real bars; and then on planted bars, the net without SE where following the signal earns a
# Sharpe ratio of 1.21, the net with SE where it earns 1.84. This time the ten seeds are judged
# together, as in the table. Did they learn on the real bars, and did the gates move?

# %%
again = results.load("se_moved")["results"]
for name, row in again["learned"].items():
    over, gain = row["over_seeds"], 1e3 * row["interval"][0]
    print(f"{name:5} {over['word']}, gain {gain:+.1f} thousandths")
over = again["learned"]["mean"]["over_seeds"]
print(f"gates {over['gates']}, order kept {over['order_kept']:.2f}")
assert over["word"] == "learned" and over["gates"] == "moved"

# %% [markdown]
# <!-- number: 0.9 from setrade/evidence/power.py -->
# «Moved» is a word with a threshold: of the order less than 0.9 was kept, as the median over seeds.
# So the gates did move here, but not by much. Now the differences:

# %%
for name, (without, with_se) in claimed.items():
    gap = again["real"][name]["mean"]["difference"]
    said = f"claimed {with_se - without:+.2f}"
    print(f"{name:14} SE less none {inside(gap, 2, 2)}  {said}")
    assert gap["low"] < 0 < gap["high"]

# %%
gap = again["real"]["sharpe"]["mean"]["difference"]
for name in ("none", "mean"):
    first = table["sharpe"][name]["estimate"]
    now = again["real"]["sharpe"][name]["estimate"]
    print(f"Sharpe ratio, {name:5} {first:+.2f}, now {now:+.2f}")

# %%
assert gap["low"] < 1.84 - 1.21 < gap["high"]
assert again["real"]["sharpe"]["none"]["estimate"] < (
    table["sharpe"]["none"]["estimate"]
)

# %% [markdown]
# Still no difference can be told from zero. But the interval of the Sharpe ratio is wider than in
# the first table, and its middle is higher, so that it reaches beyond 0.63: the one gain that was
# called «fails» above is undecided at this rate. Not all of the shift is the block's, because the
# net without it, which has no gates, earned less than before. What would these ten seeds have seen,
# had the claimed gain been there? For each net, what it has on planted bars, and how much more that
# is than the same net has on the real ones:

# %%
for m, digits in (("ic", 3), ("sharpe", 2)):
    for name in ("none", "mean"):
        row = again["planted_less_real"][name][m]
        more = inside(row["difference"], digits, digits)
        print(f"{m:6} {name:5} {row['estimate']:+.3f}, more {more}")
    gap = again["planted"][m]["mean"]["difference"]
    print(f"{m:6} SE less none    {inside(gap, digits, digits)}")

# %%
for name in ("none", "mean"):
    more = again["planted_less_real"][name]
    assert more["ic"]["difference"]["low"] > 0
    assert more["sharpe"]["difference"]["low"] < 0
real_gap = again["real"]["sharpe"]["mean"]["difference"]
assert gap["estimate"] < real_gap["estimate"]
assert again["planted"]["sharpe"]["mean"]["high"] < 1.84
assert not again["found"] and gap["high"] > 1.84 - 1.21

# %% [markdown]
# The nets do read the planted signal: their rank correlation (`ic`) with what comes is higher than
# on the real bars, with an interval well above zero for either net. (The last line of `ic` says
# nothing about the block, because more was planted for the net with SE.) Their *money* does not
# show it. The gain in the Sharpe ratio is no larger than on the real bars, where nothing was
# planted, and both zero and the claim lie inside its interval.
#
# So moving gates and ten seeds together are not enough to see such a gain in money. What ten seeds
# would have seen at the first rate was not measured; there one seed of two found it. The claimed
# gain stays **undecided**, at the first rate by the search above, at this one by its interval. Why
# ranks show what money does not, we can only guess. A rank correlation counts the score of every
# hour. An account follows the sign of the strong scores alone, keeps its position until one points
# the other way, and carries the noise of the price all the while.
#
# Is there something in the *real* bars, then, if one asks for the rank? Of the six nets of the
# table and these two, the net with SE at the higher rate is the only one whose interval leaves zero
# out. Such an interval comes from eight folds and is too narrow, as we saw, so its standard error
# is widened by $\sqrt{8/7}$, and the estimate held against $t_7$. And eight nets are eight looks,
# for which Holm's rule corrects:

# %%
ranks = [*table["ic"].values(), *again["real"]["ic"].values()]
errors = [(r["high"] - r["low"]) / 3.92 for r in ranks]
p_values = [
    2 * student.sf(abs(r["estimate"]) / (e * np.sqrt(8 / 7)), 7)
    for r, e in zip(ranks, errors, strict=True)
]
holms = evidence.holm(p_values)
print("rank correlation with SE:", inside(ranks[-1], 3, 3))
print(f"p {p_values[-1]:.3f}, corrected {holms[-1]:.2f}")

# %%
assert [r["low"] > 0 for r in ranks] == [False] * 7 + [True]
assert p_values[-1] == min(p_values) and holms[-1] > 0.2

# %%
edges = pd.date_range("2022-01-01", "2025-01-01", periods=9)
first, last = edges[:-1], edges[1:]  # of what each fold tests
assert sum(last <= "2023-10-01") == 4
assert sum(first >= "2024-01-01") == 2

# %% [markdown]
# That is no finding, and hardly a hint. Eight looks are too few besides, because other nets of this
# chapter were run on these years as well. Moreover the rate was chosen on the last quarter of 2023.
# Two of the eight folds test bars of that quarter, and four test bars before it, so that their rate
# comes from their future; only the last two are clean. That is also why the ledger's rows stay with
# the first table, whose rate no real bar has chosen. The registered test ({ref}`registered`) does
# not settle this, because its questions on what SE earns keep the first rate.
#
# ### Against something strong
#
# What would plain tools have found in the same windows? Each of them gets the newest value, the
# mean and the spread of every channel over the window of the nets; the same folds; the same
# threshold and costs. What these tools have to choose, they choose on validation. Two rules bet
# with the last move and against it, one holds all the time, and the class shares never trade.

# %%
beside = stored["baselines"]
strong = {
    figure: {**table[figure], **beside["table"][figure]}
    for figure in ("accuracy", "ic", "sharpe")
}
for model in ("none", "mean", *beside["models"]):
    acc, ic, sharpe = (strong[name][model] for name in strong)
    ratio = sharpe["estimate"]
    ratio = "none" if ratio is None else f"{ratio:+.2f}"
    rank = (
        f"{ic['estimate']:+.3f} [{ic['low']:+.3f}, {ic['high']:+.3f}]"
    )
    print(
        f"{model:9} acc. {acc['estimate']:.3f}  rank {rank}  Sharpe "
        f"{ratio}"
    )

# %%
assert beside["table"]["annual_return"]["shares"]["estimate"] == 0
best_net = max(row["estimate"] for row in ranks)
trees = strong["ic"]["boosted"]
assert trees["high"] > best_net and trees["estimate"] > 0
for model in ("ridge", "logistic", "boosted"):
    assert (
        strong["sharpe"][model]["estimate"]
        < strong["sharpe"]["hold"]["estimate"]
    )

# %% [markdown]
# A linear model and trees are simpler than nets, and no net ranks the next hours better than the
# trees' interval allows. So nothing shows that a net is needed to find what these nets found in the
# channels. And none of the forecasts is shown to pay: the Sharpe ratio of each model printed here is
# below zero, while that of holding is above.
#
# Chapter {ref}`ch-transfer-learning` has a stronger row: on the bars of 2024, trees on plain
# numbers ranked the next twelve hours with a correlation well above zero, and pictures with
# features from ImageNet did worse than those numbers. So **numbers beat pictures** there. To see
# whether this is a discovery, ask the same kind of model, on the same symbol, in other years:

# %%
moved = results.load("transfer")["results"]["real"]["candles"]
then = moved["arms"]["numbers"]["ic"]
worse = moved["differences"]["ImageNet + XGBoost - numbers"]
ends = f"[{then['low']:+.3f}, {then['high']:+.3f}]"
print(f"2024, numbers: {then['estimate']:+.3f} {ends}")
print(f"pictures less numbers, accuracy: {worse['estimate']:+.3f}")
for model in ("ridge", "logistic", "boosted"):
    years = beside["rank_correlation_by_year"][model]
    print(
        f"{model:9}", {year: f"{x:+.3f}" for year, x in years.items()}
    )

# %%
assert then["low"] > 0 > worse["high"]
others = beside["rank_correlation_by_year"]["boosted"]
assert max(others.values()) < then["estimate"] / 2

# %% [markdown]
# In no year do trees on this chapter's channels come near that figure, 2024 included. The window,
# the horizon and the years of training differ, so the two are not quite the same question. But an
# edge that shrinks as soon as one of them changes is not established. One year of one market,
# looked at by many studies, can bring out such a figure by luck.
#
# ### A small part, again
#
# A stored result asks for trust, so here is one run of the same experiment, by the same functions,
# on the embedded sample: the net without SE and with it, one fold.

# %%
import tempfile
from pathlib import Path

path = Path(tempfile.mkdtemp()) / "sample.parquet"
candles.sample().to_parquet(path)
data = {"sample": Data.of(path)}
small = Setting(
    n_folds=1, validation=480, num_epochs=NUM_EPOCHS, batch_size=128,
    span=("2021-11-10", "2021-11-23"),
)  # fmt: skip

# %%
config = {
    "data": "sample", "view": "channels", "seed": 0, "fold": 0,
    "fee_bps": 5.5,
}
found = {
    m: run_config(config | {"model": m}, data=data, setting=small)
    for m in ("none", "mean")
}
gap = found["mean"]["accuracy"] - found["none"]["accuracy"]
pairs = stored["pairs"]
print(f"accuracy, SE less none: {gap:+.2f} in this fold")
print(
    f"stored, 80 pairs of runs: {pairs['least']:+.2f} to "
    f"{pairs['largest']:+.2f}"
)

# %%
assert pairs["least"] - 0.02 <= gap <= pairs["largest"] + 0.02

# %% [markdown]
# ## 4 The price of having searched
#
# Six nets and ten seeds are sixty tries. Two more studies looked at the same three years: three
# reduction ratios, and the pictures of section 6. The best of so many looks good by chance alone,
# and two tools of chapter {ref}`ch-honest-evaluation` take that into account. The
# {term}`deflated Sharpe ratio` asks whether the best run beats what the best of so many coins would
# show. It takes one pool of tries; a run that two studies share counts once (`se_real.json`,
# `reductions_real.json`, `pictures_real.json`).

# %%
def deflate(names):
    searched = [
        results.load(name)["results"]["tries"] for name in names
    ]
    sharpes = {
        run: x
        for tries in searched
        for run, x in tries["sharpes"].items()
    }
    best_runs = [tries["best"] for tries in searched]
    best = max(best_runs, key=lambda run: sharpes[run["name"]])
    spread = np.var(list(sharpes.values()), ddof=1)
    skill = evidence.deflated_sharpe(
        np.array(best["daily"]), len(sharpes), spread
    )
    return sharpes, best["name"], skill


# %%
every = ("se_real", "reductions_real", "pictures_real")
for names in (every[:1], every):
    sharpes, best, skill = deflate(names)
    print(
        f"{len(sharpes)} tries, best {best}: "
        f"{sharpes[best] * 365**0.5:.2f} a year"
    )
    print(f"   one minus its p-value, deflated: {skill:.2f}")
    assert sharpes[best] == max(sharpes.values())
    assert skill < 0.95

# %%
found = {
    name: results.load(name)["results"]["tries"]["sharpes"]
    for name in every
}
scatter = {
    name: np.std(list(sharpes.values()))
    for name, sharpes in found.items()
}

# %%
assert scatter["pictures_real"] > scatter["se_real"]

# %% [markdown]
# This Sharpe ratio looks good, and yet the best of so many runs without skill is expected to look
# about as good, or better. Neither pool comes near the 0.95 that one would ask for, while coins
# give about one half. (The number is one minus a p-value, not a probability that the run has
# skill.) The second is the lower one for two reasons: there are more tries, and the nets on
# pictures scatter more widely than those on channels.
#
# The count is still too low, because the two nets at ten times the rate and the chapters' own
# protocol (below) looked at these years as well, and chapters 13 to 16 at 2024, and their nets are
# not in the pool.
#
# The run that is judged is a single one, as the tries are. An average over seeds must not be judged
# in this way, because it was not among the tries, and there are far fewer averages than runs.
# Below, **What goes wrong** shows the harm.
#
# Hansen's test asks whether any of the nets beats a benchmark: cash, or the net without SE. Each net's
# advantage is divided by its own standard error, so that a quiet net with some skill does not hide
# behind a volatile one ({ref}`ch-honest-evaluation`):

# %%
spa = stored["superior_ability"]
print(f"p, some net beats cash       {spa['cash']['consistent']:.2f}")
print(f"p, some squeeze beats no SE  {spa['none']['consistent']:.2f}")
assert min(test["consistent"] for test in spa.values()) > 0.3

# %% [markdown]
# ### The fee that uses up the edge
#
# Leave all costs out, and see what a net earned for each time its position turned over. That is
# what a side may cost before nothing is left.

# %% mystnb={"figure": {"caption": "What a side of a trade may cost, in basis points, before the mean gross return is eaten up. The line is what a taker pays with slippage.", "name": "fig-break-even"}, "image": {"alt": "Six horizontal bars, one a net, with the break-even cost in basis points, and a vertical line at 6.5 basis points that two of them reach beyond."}}
even = stored["break_even_bps"]
fig, ax = plt.subplots(figsize=(6, 2.6))
ax.barh(list(even), list(even.values()), color=NEUTRAL)
ax.axvline(6.5, color=DOWN, label="fee and slippage")
ax.set(xlabel="basis points a side")
ax.legend()
plt.show()

# %%
before_costs = stored["gross_annual_return"]
for name, cost in even.items():
    print(
        f"{name:9} {cost:+.1f} bp   {before_costs[name]:+.1%} a year "
        "before costs"
    )

# %%
assert max(before_costs.values()) < 0

# %% [markdown]
# Two of the bars end beyond the line, but that is of no use. The bars add up daily returns, while
# an account compounds them, and it lost money with every net *before* any cost. Returns that swing
# widely compound to less than they add up to (chapter {ref}`ch-backtesting`).

# %% [markdown]
# ### Gross first, then each cost
#
# All money before the last figure is after fees, slippage and **funding**, each settlement at the
# rate that Bybit published ({ref}`ch-backtesting`). How much did each of them take? The answer is
# given in means of daily returns, times 365, over seeds and days. Buying and holding pays more
# funding here than it did there, because each of the eight tests begins with a new account, so that
# what was paid in one does not make the position larger than the equity in the next:

# %% mystnb={"figure": {"caption": "From gross to net: the mean return a year without SE, with SE, and of momentum and buy and hold, and what fees, slippage and funding took.", "name": "fig-verdict-waterfall"}, "image": {"alt": "Four panels of hanging bars, each from a gross to a net return. Fees and funding take like parts from both nets and leave less than nothing; from buy and hold it is funding that takes most."}}
falls = stored["baselines"]["waterfall"]
shown = {
    "none": "no SE", "mean": "SE", "momentum": "momentum",
    "hold": "buy and hold",
}
fig, axes = plt.subplots(1, 4, figsize=(9, 3), layout="constrained")
for ax, (name, title) in zip(axes, shown.items(), strict=True):
    waterfall(ax, falls[name], unit="")
    ax.set_title(title, fontsize=9)
    ax.tick_params(axis="x", rotation=60)
axes[0].set_ylabel("% a year")
plt.show()

# %%
for fall in falls.values():
    *steps, net = fall.values()
    assert np.isclose(sum(steps), net, atol=1e-5)
    assert fall["fees"] <= 0 and fall["slippage"] <= 0
assert falls["hold"]["funding"] < falls["hold"]["fees"]
for name in ("none", "mean"):
    assert falls[name]["gross"] > 0 > falls[name]["net"]

# %% [markdown]
# To see whether this matters for the verdicts, take the twelve money rows of the table: what was
# claimed without SE and with it, the gain, and whether SE is better at all, for return, Sharpe
# ratio and drawdown. Judge them four times, by the plain rule of section 2:

# %%
charged = stored["after_each_cost"]
words = pd.DataFrame(charged["verdicts"]).T
print(words.to_string())
for step in ("gross", "fees", "slippage"):
    print(f"after {step}: {charged['changed'][step]} differ from net")

# %%
assert charged["rows"] == len(words) == 12
assert charged["changed"]["net"] == 0

# %% [markdown]
# A verdict can only change where a claim lies near the end of an interval, and these intervals are
# wide. Costs must not be left out for that reason, because they decide whether a *strategy* earns
# anything, while this table decides only whether a *sentence* holds.
#
# ### The chapters' own protocol
#
# <!-- number: 70, 15 from setrade/labels.py -->
# One may object that we tested another strategy. Both chapters split their years 70/15/15. The SE
# chapter keeps a **neutral zone** in which nothing is held, and sizes positions by confidence; it
# names an LSTM (a recurrent net), a tanh output and several scales. So here is that protocol beside
# ours: bars of 2022 to 2024, five seeds, and after all costs (`se_protocol.json`). `kept` is our
# own rule, which keeps a position until the next strong score, `neutral` holds nothing where the
# score is weak, and `confidence` holds more where it is stronger. The test is the last 15 %, under
# half a year.

# %%
own = results.load("se_protocol")["results"]
for family, models in own["families"].items():
    for rule in own["rules"]:
        sharpe = own[family][rule]["table"]["sharpe"]
        gap = sharpe[models[1]]["difference"]
        found = Measured(gap["estimate"], gap["low"], gap["high"])
        word = verdict("interval", 0.63, found, 0.4)
        told = f"{family:11} {rule:10} {inside(gap, 2, 1)}"
        print(f"{told}  gain of 0.63: {word}")

# %%
assert set(own["families"]) == {"convolution", "lstm", "tanh"}
wide = [
    own[family][rule]["table"]["sharpe"][models[1]]["difference"]
    for family, models in own["families"].items()
    for rule in own["rules"]
]

# %%
assert len(wide) == 9

# %% [markdown]
# These are nine ways to run the same idea on one half-year, so a report of the best of them has to
# say that there were nine. How far do the accounts of the nets with SE fall, where −0.187 is
# claimed?

# %%
fallen = {
    (family, rule): own[family][rule]["table"]["max_drawdown"][nets[1]]
    for family, nets in own["families"].items()
    for rule in own["rules"]
}
for (family, rule), row in fallen.items():
    print(f"{family:11} {rule:10} {inside(row, 2, 2)}")

# %%
for (_, rule), row in fallen.items():
    assert rule == "kept" or row["high"] > -0.187
    assert rule != "confidence" or row["low"] > -0.187
    assert rule != "neutral" or row["low"] < -0.187

# %%
for family, nets in own["families"].items():
    earned = own[family]["confidence"]["table"]["sharpe"][nets[1]]
    assert earned["low"] < 0 < earned["high"]

# %% [markdown]
# A drawdown says how much was held at least as loudly as what was known. With the neutral zone the
# intervals of all three hold the claim; sized by confidence, which holds little, all three fall
# less than claimed, and the Sharpe ratio of none of them can be told from zero. Half a year is
# shorter than the claim's test too, and a shorter test falls less on average.

# %% [markdown]
# ## 5 The gates
#
# The SE chapter also says *what* the gates look at: three features in each of four regimes,
# with weights such as 0.89 for RSI in an uptrend. Nets that were trained on hourly bars before 2024 are
# read on 2024 (`gates_real.json`). Before any gate may be read, it has to have moved. So ten seeds are
# trained at each of two rates, and mean gates are stored before and after:

# %%
gates = results.load("gates_real")["results"]
for rate, found in gates["rates"].items():
    over = found["over_seeds"]
    below = f"{1e3 * over['gain']:.1f} thousandths below constant"
    print(f"rate {rate:6} {over['word']}, {below}")
    print(
        f"            gates {over['gates']}, order kept "
        f"{over['order_kept']:.2f}"
    )
print("read:", gates["rate"])

# %%
assert [found["read"] for found in gates["rates"].values()] == [
    False, True,
]
assert gates["rate"] == 0.005

# %% [markdown]
# At the lower rate the order of the gates is still the one they were drawn in; to read them would
# be to read a random number generator. At ten times the rate validation loss falls further, and the
# gates move, so these are the gates that we read:

# %%
chance = gates["chance_top3"]
for regime, row in gates["ranking"].items():
    top = row["top3_found"]
    among = (
        f"{top['estimate']:.0%} [{top['low']:.0%}, {top['high']:.0%}]"
    )
    print(f"{regime:15} named features among the top three: {among}")
print(f"by chance: {chance:.0%}")

# %%
agree = np.mean(
    [row["agreement_of_seeds"] for row in gates["ranking"].values()]
)
print(f"two seeds agree on the order: {agree:+.2f}")

# %%
assert abs(agree) < 0.1

# %% [markdown]
# Two nets that differ in their seed only, which learned and whose gates moved, put the fourteen
# channels in orders that have nothing to do with each other. A table of weights from one net
# therefore shows mostly which seed that net was given.
#
# Do the rows on gates fail, then? By our own rule they do not, because
# {ref}`ch-attention-by-regime` plants an effect as strong as the claimed Sharpe ratio in these
# bars, and neither the gate nor its rank shows it:

# %%
of_gates = [
    row
    for row in ledger.values()
    if "gates_real#ranking" in row.evidence
]
found = results.load("gates_seen")["results"]["detectable"]
print(
    len(of_gates), "rows on gates:",
    dict(Counter(row.verdict for row in of_gates)),
)

# %%
assert all(row.verdict == "undecided" for row in of_gates)
assert all(
    planted_there["size"] is None for planted_there in found.values()
)

# %% [markdown]
# <!-- number: 16 from studies/gates_real.py -->
# The *reason* given for SE blocks is another matter. It says that features matter more in some
# regimes than in others, and that can be tested without a net: take the rank correlation of a
# channel with the next 16 hours, inside a regime and outside.

# %%
said = {
    "momentum_difference": "momentum, trending less ranging",
    "reversion_difference": "reversion, ranging less trending",
    "strength_difference": "any of them, wild less calm",
}
for name, words in said.items():
    row = gates["relevance"][name]
    found = Measured(row["estimate"], *row["corrected"])
    word = verdict("above", 0, found)
    print(f"{words:33} {inside(row, 3, 3)}  {word}")
    assert word == "undecided"
print(
    "inside ranges alone "
    f"{gates['relevance']['reversion_ranging']['estimate']:+.3f}"
)
null = gates["relevance"]["strength_null"]
print(f"wild less calm, where regimes are shifted {null:+.3f}")

# %% [markdown]
# The intervals printed are those of single questions, and the words are those of three questions that
# share five per cent. A look at what the numbers are made of helps as well. The difference in the
# second row comes from *momentum in trends*: inside ranges alone, reversion cannot be told from
# zero. And the third compares absolute values on few bars with absolute values on many, which differ
# even where regimes are moved along the bars and so mean nothing; that much has been taken off. So the
# premise is plausible, and these bars do not decide it.
#
# ## 6 Pictures
#
# <!-- number: 224, 64, 12, 70, 15, 24 from studies/b0_real.py -->
# <!-- number: 300, 456 from setrade/efficientnet/net.py -->
# <!-- number: 17 from book/results/b0_to_b7.json -->
# The EfficientNet chapter puts EfficientNets in front of candlestick pictures. B5 at 456 pixels was
# not trained: by the times of {ref}`ch-compound-scaling` it takes 17 times as long as B0, so that
# one net on B0's windows would take most of a day of a core, and no GPU was at hand. B0 at 224
# pixels takes hours of two cores, and B3 at 300 more; we come to it below. So we trained B0 from
# scratch on Bybit's hourly bars of 2022 to 2024, cut as that chapter cuts them, 70/15/15: the first
# part to learn from, the second to say when to stop, the last as the test (`b0_real.json`). A
# picture shows 64 bars, every fourth window is one to learn from, and the target has two classes,
# up or down after the next 12 bars. The settings were fixed before a net saw these bars.
#
# A net that finds nothing may just have been trained badly. So the same loop first asks the same
# pictures a question that they do answer, one of the rules of {ref}`ch-chart-patterns`: does the
# mean close of the last 8 bars lie above that of the last 24? One seed learns the rule, two the
# future.

# %%
b0 = results.load("b0_real")["results"]["parts"]
asked = {"rule": b0["rule"], "future": b0["split"]}

# %%
for target, part in asked.items():
    for seed, curve in enumerate(part["curves"].values()):
        print(
            f"{target:8} seed {seed}, {curve['sizes'][0]} pictures: "
            f"validation loss {min(curve['val_loss']):.3f} nats after "
            f"epoch {curve['best_epoch']} of {len(curve['val_loss'])}"
        )

# %%
print(f"one half for each side, whatever the picture: {np.log(2):.3f}")
begin, end = (day[:10] for day in b0["split"]["tested"])
print(f"tested from {begin} to {end}")

# %%
judged = {
    "rule": b0["rule"]["rows"]["averages"],
    "future": b0["split"]["rows"]["next_12"],
}
models = {
    "b0": "B0", "numbers/trees": "trees on numbers",
    "numbers/linear": "linear on numbers", "momentum": "momentum",
    "reversal": "reversal", "class shares": "training's side",
}

# %%
known = {
    f"{target}: {name}": rows_of[row]["all"]
    for target, rows_of in judged.items()
    for row, name in models.items()
    if row in rows_of
}

# %%
hits = pd.DataFrame({k: row["accuracy"] for k, row in known.items()}).T
hits["best constant"] = [row["majority"] for row in known.values()]
print(hits.round(3).to_string())

# %% [markdown]
# The table has the share of test windows that were right, with its interval. «Training's side» is
# the forecast of the class shares: it always names the side that was commoner in training. «Best
# constant» is the better of the two fixed answers, known only afterwards.


# %%
def draw_losses(ax, part, label, **look):
    """Draw training (solid) and validation losses; seed 1 thin."""
    curves = part["curves"].values()
    for size, curve in zip((4, 2), curves, strict=False):
        for which, dash in (("train", "-"), ("val", "--")):
            loss = curve[f"{which}_loss"]
            style = look | {"ms": size, "lw": size / 3}
            ax.plot(range(1, len(loss) + 1), loss, dash, **style)
    ax.plot([], [], label=label, **look)


# %% mystnb={"figure": {"caption": "B0 from scratch on pictures of 224 pixels. Left, losses by epoch, solid on the training windows and dashed on the validation windows, for the rule and for the side of the next 12 bars (second seed thin); the line is the loss of «one half for each side». Right, the share of test windows that were right, with 95 % intervals; the dashed line is the claimed 54.2 %, and a tick marks the better of the two fixed answers, which is known only afterwards.", "name": "fig-b0"}, "image": {"alt": "Left, for the rule both losses fall far below the line. For the future the validation loss of the first seed stays near the line and then rises to 0.8, while its training loss falls below it; both losses of the second seed stay near it. Right, for the rule B0, trees and the linear model are right in about 95 of 100 windows; for the future all are near one half, and the intervals of B0 and of the linear model hold the dashed line."}}
fig, (losses, right) = plt.subplots(1, 2, figsize=(7.6, 3.0))
draw_losses(losses, b0["rule"], color=UP, marker="o", label="rule")
draw_losses(losses, b0["split"], color=DOWN, marker="s", label="future")
losses.axhline(np.log(2), color=NEUTRAL, lw=1)
losses.set(xlabel="epoch", ylabel="loss, nats")
losses.legend()
rows = hits.rename(columns={"estimate": "mean"})
plots.interval_rows(right, rows, zero=0.542)
place = np.arange(len(hits))[::-1]
right.plot(hits["best constant"], place, "|", color="black", ms=12)
right.set_xlabel("right, share of windows")
plt.show()

# %% [markdown]
# Section 3 asked on validation bars whether a net had learned. Here we ask on the test, on which
# nothing was chosen. The gain is the loss of the constant forecast, the class shares of the
# training bars, less that of the net. The net has learned if the whole interval of the gain lies
# above zero and, where there are two seeds, above their standard deviation.

# %%
rule_row = judged["rule"]["b0"]["all"]
future_row = judged["future"]["b0"]["all"]
for name, row in (("rule", rule_row), ("future", future_row)):
    gain = row["gain"]
    print(
        f"{name:7} gain {gain['estimate']:+.4f} nats "
        f"[{gain['low']:+.4f}, {gain['high']:+.4f}]"
    )

# %%
by_seed = future_row["gain_by_seed"]
print("future, by seed:", ", ".join(f"{x:+.5f}" for x in by_seed))

# %%
b0_hits, always = future_row["accuracy"], future_row["majority"]
assert rule_row["learned"] and not future_row["learned"]
assert b0_hits["low"] < always < 0.542 < b0_hits["high"]
assert min(np.abs(by_seed)) < 1e-4  # always "up"

# %%
first, second = b0["split"]["curves"].values()
assert min(first["val_loss"]) > np.log(2) > min(second["val_loss"])

# %%
assert first["train_loss"][5] > np.log(2) > first["train_loss"][6]

# %% [markdown]
# The rule is learned: B0 reads it off 0.959 of the test pictures, as often as trees on the plain
# numbers do. So picture, net, rate and patience are enough for a question of that kind. About the
# future the validation loss of the first seed never falls below that of a coin. From the seventh epoch
# its training loss does, and the validation loss rises: the net begins to know its windows by heart.
# (The weights tested are those of the best epoch, the fourth.) The second dips below the coin once, by
# two thousandths of a nat. The mean gain of the two on the test cannot be told from zero. How large a
# gain would we have to expect?

# %%
skilled = np.log(2) + 0.542 * np.log(0.542) + 0.458 * np.log(0.458)
print(f"right in 54.2 %, equally sure everywhere: {skilled:.4f} nats")
assert future_row["gain"]["low"] < skilled < future_row["gain"]["high"]

# %% [markdown]
# Whoever is right in 54.2 % of all windows, and no surer in one than in another, gains 0.0035 nats
# over one half for each side, and the interval holds that too. (Whoever knows in which windows to
# be sure gains more.) So the nets may know something: «not learned» means that learning was not
# shown. Whether such a net would have shown skill of that size is asked further down, where sides
# are planted.
#
# And a figure like the claimed one did come out, 0.538, of two classes, where the claim may be of
# three. Its interval lies above one half, but it holds 0.533, the share of «up» in these months,
# for which no net is needed. Net by net:

# %%
alone = b0["split"]["rows"]["next_12"]["b0"]["by_seed"]
for name, values in alone.items():
    print(f"{name:9}", "  ".join(f"{x:.3f}" for x in values))

# %%
assert alone["up"][1] == 1
lacks = results.load("b0_real")["results"]["lacks"]
assert lacks == []

# %% [markdown]
# The first net is right in 0.543, which is the claim as nearly as such a test can tell. The second
# says «up» in every window, looks at nothing, and comes within a point of it. An accuracy without
# the shares of the classes beside it cannot tell the two apart. This is a warning about accuracy
# and not a rule to trade by: in the training bars «down» was the commoner side, and whoever had
# followed that was right in 0.467.
#
# The EfficientNet chapter also names shorter bars. On those of 15 minutes, where 12 bars are three
# hours, every sixteenth window is one to learn from and every fourth is tested (one seed; Binance's
# bars, since Bybit's begin too late):

# %%
finer = b0["quarter"]["rows"]["next_12"]["b0"]["all"]
(curve,) = b0["quarter"]["curves"].values()
print(
    f"quarters of an hour: right {finer['accuracy']['estimate']:.3f} "
    f"[{finer['accuracy']['low']:.3f}, {finer['accuracy']['high']:.3f}]"
    f", best constant {finer['majority']:.3f}"
)

# %%
gain = finer["gain"]
print(
    f"gain {gain['estimate']:+.4f} nats [{gain['low']:+.4f}, "
    f"{gain['high']:+.4f}], least validation loss "
    f"{min(curve['val_loss']):.3f}"
)
assert not finer["learned"]

# %% [markdown]
# This net does worse than the class shares, with its whole interval below zero. Bars of five
# minutes, which the chapter names too, were not tried.
#
# Eight figures are claimed for B0. Ours are of the hourly bars. A position is taken where a
# forecast is as strong as the strongest fifth on validation, which is a neutral zone like that of
# the SE chapter; the EfficientNet chapter lets its net say «hold», and does not say when. Money is
# after fees and funding, without slippage, and five months are made into a year. (Precision, recall
# and F1 are means over the two classes.) The ledger of section 7 has a row for each. Where the net
# that was tested had not learned, the verdict is «not learned», whatever the number.

# %%
def show_rows(family):
    """Print a family's rows of the ledger; return them."""
    mine = [row for row in claims.ledger() if row.family == family]
    for row in mine:
        got = row.found()
        print(
            f"{row.claim:27} {got.value:+.3f} [{got.low:+.3f}, "
            f"{got.high:+.3f}]  {row.verdict}"
        )
    return mine


of_b0 = show_rows("B0 on pictures")

# %%
held = judged["future"]["buy and hold"]["all"]
for name, row, costs in (
    ("B0, gross", future_row, "gross"), ("B0, net", future_row, "net"),
    ("buy and hold, net", held, "net"),
):
    sharpe = row["money"][costs]["sharpe"]
    ends = f"[{sharpe['low']:+.1f}, {sharpe['high']:+.1f}]"
    print(f"{name:18} Sharpe {sharpe['estimate']:+.1f} {ends}")
print(f"trades, mean of two nets: {future_row['money']['trades']:.0f}")

# %%
ends = {row.id[3:]: row.found() for row in of_b0}
came = {
    row.id[3:] for row in of_b0
    if ends[row.id[3:]].low <= row.claimed <= ends[row.id[3:]].high
}
assert came == {"accuracy", "recall"}

# %%
for figure in ("precision", "f1"):
    low, high = ends[figure].low, ends[figure].high
    assert not any(low <= x <= high for x in alone[figure])

# %%
before_fees = future_row["money"]["gross"]["sharpe"]
holding = held["money"]["net"]["sharpe"]

# %%
assert before_fees["low"] < 0 < 1.42 < before_fees["high"]
assert holding["low"] < 0 < 1.42 < holding["high"]
assert np.ptp([*holding.values()]) > np.ptp([*before_fees.values()])
assert {row.verdict for row in of_b0} == {"not learned"}

# %% [markdown]
# <!-- number: 1.5 by the printed Sharpe ratio of buying and holding -->
# Two of the eight, accuracy and recall, came out as claimed, and six did not. What can be read off
# them is how such a table comes about. Precision and F1 miss the claim because one of the two nets
# never says «down», for which it gets a precision of zero; their intervals redraw windows and not
# nets, and hold the figure of neither. The four figures of money miss it after fees. Before fees
# the interval of the Sharpe ratio is so wide that it holds zero and the claimed 1.42 alike. Then
# the nets trade 504 times each on average, because a position is dropped as soon as a forecast
# leaves the zone, though it is made for twelve hours. Buying and holding through the same months
# had +1.5, near the claim without any net, and its interval is wider still and holds zero too.
#
# ### Three years, one after the other
#
# Five months are few. So B0 was trained three times more, from one seed: on all bars before 2022,
# before 2023 and before 2024, less the last three months, which say when to stop, and tested on the
# year that followed. These tests have as many windows as a year has hours.

# %%
walked = b0["folds"]["rows"]["next_12"]
years = ("2022", "2023", "2024")
curves = b0["folds"]["curves"].values()
for year, curve in zip(years, curves, strict=True):
    print(
        f"for {year}: {curve['sizes'][0]} pictures, validation loss "
        f"{min(curve['val_loss']):.3f} after epoch "
        f"{curve['best_epoch']} of {len(curve['val_loss'])}"
    )

# %%
shown = {
    "b0": "B0", "numbers/trees": "trees on numbers",
    "reversal": "reversal", "one half": "one half for each",
}
by_year = {
    name: {
        when: walked[row][when] for when in (*years, "all")
    }
    for row, name in shown.items()
}

# %%
rights = pd.DataFrame(
    {
        name: {k: row["accuracy"]["estimate"] for k, row in of.items()}
        for name, of in by_year.items() if name != "one half for each"
    }
).T
rights.loc["best constant"] = [
    row["majority"] for row in by_year["B0"].values()
]
print(rights.round(3).to_string())

# %%
gains = pd.DataFrame(
    {
        name: {k: row["gain"]["estimate"] for k, row in of.items()}
        for name, of in by_year.items()
    }
).T
print("gain over the class shares of training, nats")
print(gains.round(4).to_string())

# %%
three = walked["b0"]["all"]
hit, gain = three["accuracy"], three["gain"]
print(
    f"B0, three years: right {hit['estimate']:.3f} [{hit['low']:.3f}, "
    f"{hit['high']:.3f}] of {three['n']}, gain {gain['estimate']:+.4f} "
    f"[{gain['low']:+.4f}, {gain['high']:+.4f}]"
)
for costs in ("gross", "net"):
    sharpe = three["money"][costs]["sharpe"]
    print(
        f"{costs:5} Sharpe {sharpe['estimate']:+.1f} "
        f"[{sharpe['low']:+.1f}, {sharpe['high']:+.1f}]"
    )
print(f"trades: {three['money']['trades']:.0f}")

# %%
of_2022 = walked["b0"]["2022"]
assert not three["learned"] and hit["high"] < 0.542
assert gain["low"] < 0 < gain["high"] < skilled
assert of_2022["learned"] and of_2022["accuracy"]["estimate"] < 0.5
assert gains.loc["one half for each", "2022"] > gains.loc["B0", "2022"]
assert walked["one half"]["all"]["learned"]

# %%
by_shares = walked["class shares"]["2022"]
assert by_shares["accuracy"]["estimate"] == by_shares["share"] < 0.5
assert not walked["b0"]["2023"]["learned"]
assert walked["b0"]["2023"]["gain"]["high"] < 0
assert abs(walked["b0"]["2024"]["balanced"] - 0.5) < 1e-3
assert three["money"]["net"]["sharpe"]["high"] < 0

# %% [markdown]
# <!-- number: 0.0035 by the gain of 54.2 %, printed above -->
# Over three years the share of windows that were right is 0.502, and now the interval, which ends at
# 0.519, leaves the claimed 54.2 % out. The mean gain cannot be told from zero, but it can be told
# from the 0.0035 nats that somebody would have who is right in 54.2 % and equally sure everywhere,
# because its interval ends less than a tenth of that above zero. (Over the class shares, which lose
# to one half by 0.0031 nats in these years, such skill would gain more still.) So for these three
# nets it is more than «not shown»: they were not right in 54.2 %. That no net could be, trained in
# this way, does not follow, since it has still to be asked what the training can find.
#
# Taken alone, one year looks different. In 2022 the whole interval of the gain lies above zero, and by
# our rule that net has learned. Yet it is right in 0.493, less often than a coin, so what did it
# learn? The last row of the second table tells. Until 2022 prices had mostly risen, so that the class
# shares lean to «up», and then came a year in which they mostly fell. To say «one half» whatever the
# picture gains 0.0113 nats in that year, more than twice as much as the net. It did better than the
# forecast it is measured against because that forecast was wrong about the year; that it saw anything
# in the pictures is not shown. By our rule even «one half» has learned, over all three years. So a
# yardstick that is itself a forecast has to be looked at too: where shares move, as they do from year
# to year, compare with one half as well. (In 2024 the net always says «up», as the class shares do.)
#
# After fees and funding the Sharpe ratio of the three years is −4.0, and before them it is zero
# within its interval: 2,812 trades in three years pay for the difference.
#
# ### Would it have been seen?
#
# <!-- number: 8 from studies/picture_folds.py -->
# So plant the claim in the same bars. Each window gets a new side, which has nothing to do with the
# bars after it: with chance 0.542 it is the side to which the last 8 closes have moved, which every
# picture shows, and else the opposite one. Whoever reads that move off the picture is right in
# 54.2 % of the windows, as claimed, and nobody can do better. Two nets are trained, each on sides
# drawn anew, with everything else as before; so each stands alone, and beside it trees and a linear
# model that get the numbers:


# %%
def right_and_gain(row):
    """Share of windows that were right, nats won, intervals."""
    right, gain = row["accuracy"], row["gain"]
    return (
        f"{right['estimate']:.3f} [{right['low']:.3f}, "
        f"{right['high']:.3f}], gain {gain['estimate']:+.4f} "
        f"[{gain['low']:+.4f}, {gain['high']:+.4f}]"
    )


# %%
sown = {
    f"net {key[-1]}": rows_of
    for key, rows_of in b0["planted"]["rows"].items()
}
for net, rows_of in sown.items():
    for name in ("b0", "numbers/trees", "numbers/linear"):
        row = rows_of[name]["all"]
        print(f"{net} {models[name]:18} {right_and_gain(row)}")
    print(f"{net} better fixed answer {row['majority']:.3f}")

# %%
for net, curve in zip(
    sown, b0["planted"]["curves"].values(), strict=True
):
    print(
        f"{net}: least validation loss {min(curve['val_loss']):.4f}, "
        f"epoch {curve['best_epoch']} of {len(curve['val_loss'])}\n"
        f"       at the end {curve['val_loss'][-1]:.2f}, in training "
        f"{curve['train_loss'][-1]:.2f}"
    )

# %%
for rows_of in sown.values():
    missed = rows_of["b0"]["all"]
    assert not missed["learned"] and missed["accuracy"]["high"] < 0.51
    assert missed["accuracy"]["low"] < 0.5
    assert rows_of["numbers/trees"]["all"]["gain"]["low"] > 0

# %%
gains_of = [r["numbers/linear"]["all"]["gain"] for r in sown.values()]
assert gains_of[0]["low"] > 0 > gains_of[1]["low"]
assert all(
    min(curve["val_loss"]) > np.log(2)
    for curve in b0["planted"]["curves"].values()
)

# %% [markdown]
# <!-- number: 4,571 from book/results/b0_real.json -->
# Neither net saw it. On the test both are right in less than half of the windows, with intervals
# that hold one half. Their validation loss never fell below a coin's, and in later epochs it rose
# while the training loss fell: they began to learn their 4,571 pictures by heart. By the gain over
# the class shares, trees that get the numbers found it both times and the linear model once (its
# second interval reaches down to −0.0003). In accuracy that is 0.526 and 0.537 for the trees, where
# the better fixed answer has 0.514 and 0.504, and 0.542 is the most that can be expected. So the
# effect was there to be found, in these bars and from as many windows, but not by B0 from pictures,
# trained like this.
#
# So the rows of B0 have to stay «not learned», since a training that misses the claimed skill where
# it has been planted, twice of two, cannot show that there was none; what the three years say is
# said of those three nets alone. And for an effect of this kind trees on the numbers were the
# better tool. Why the pictures lose what the numbers keep is not answered here. (More windows may
# help, since every fourth was used. The rule, which B0 reads off the same pictures, is another
# reading and is always right; whether B0 reads the move of the last 8 closes where that is always
# right was not asked.)

# %%
assert {
    curve["sizes"][0] for curve in b0["planted"]["curves"].values()
} == {4571}

# %% [markdown]
# ### The next sizes
#
# <!-- number: 16, 32 from studies/b0_real.py -->
# <!-- number: 300 from setrade/efficientnet/net.py -->
# B3 has more than twice the parameters and, at 300 pixels, several times the work of B0. To keep
# its two nets to about an hour of a core each we took every sixteenth window, to learn from and to
# validate (B0 had every fourth of both), and one seed; batches of 16 (B0 had 32), because two nets
# with 32 do not fit into the memory at hand (`b3_real.json`). These three were set after B0 had
# been tested on the same months. All else, the learning rate too, is B0's, and so are the
# questions, the bars and the test.

# %%
b3 = results.load("b3_real")["results"]["parts"]
large = {
    "rule": b3["rule"]["rows"]["averages"],
    "future": b3["split"]["rows"]["next_12"],
}
for part in ("rule", "split"):
    (curve,) = b3[part]["curves"].values()
    print(
        f"B3, {part:5} {curve['sizes'][0]} pictures, validation loss "
        f"on {curve['sizes'][1]}: {min(curve['val_loss']):.3f} nats "
        f"after epoch {curve['best_epoch']} of {len(curve['val_loss'])}"
        f", {sum(curve['seconds']) / 3600:.1f} hours"
    )

# %%
for target, found in large.items():
    for name in ("b3", "numbers/trees"):
        row = found[name]["all"]
        print(f"{target:6} {name:13} right {right_and_gain(row)}")

# %%
of_b3 = show_rows("B3 on pictures")
up = large["future"]["b3"]["by_seed"]["up"][0]
rose = large["future"]["buy and hold"]["all"]["accuracy"]["estimate"]
print(f"B3 says «up» in {up:.2f} of the windows; {rose:.2f} rose")

# %%
rule_3, future_3 = (large[k]["b3"]["all"] for k in ("rule", "future"))
assert rule_3["learned"] and not future_3["learned"]
assert future_3["gain"]["high"] < 0 < np.log(2) - min(curve["val_loss"])
assert future_3["accuracy"]["high"] < future_3["majority"]

# %%
for row in of_b3:
    got = row.found()
    assert not got.low <= row.claimed <= got.high
    assert row.verdict == "not learned"
gross = future_3["money"]["gross"]["sharpe"]
print(
    f"B3, gross Sharpe {gross['estimate']:+.1f} [{gross['low']:+.1f}, "
    f"{gross['high']:+.1f}], {future_3['money']['trades']:.0f} trades"
)
assert gross["low"] < 0 < 1.68 < gross["high"]

# %% [markdown]
# B3 reads the rule off its pictures too, though less often rightly (0.925) than trees do from the
# same quarter of the windows (0.947). About the future it comes to a validation loss a hundredth of
# a nat below that of a coin, and whoever looks no further would say that it has learned. But that
# was the best of nine epochs on 242 pictures, which luck may explain, and on the test it does worse
# than the class shares, with its whole interval below zero. Whether more pictures would have helped
# was not tested, and nothing was planted for B3, so that the smallest effect that it could have
# seen is not known. It says «up» in a share of 0.37 of the windows, in months in which 0.53 of them
# rose, and is right in 0.486, with an interval that holds one half and ends below 0.53.
#
# No interval of the eight holds its claim. The four figures of money are after fees; before them
# the interval of the Sharpe ratio holds zero and the claimed 1.68 alike, as it did for B0, and 586
# trades pay for the rest. The rows say «not learned» all the same, because a net that has not
# learned cannot show what one would earn that has. Nor does any of this tell whether a larger net
# is better, since B3 saw a quarter of what B0 saw, and was trained from one seed. B5 was not
# trained; its rows say «not testable».
#
# ### Other pictures
#
# <!-- number: 64 from studies/pictures_real.py -->
# Candlesticks are one kind of picture. To see whether another would have done better, a small net,
# «micro» at 64 pixels, was trained behind five encoders, in three folds, with two seeds
# (`pictures_real.json`):

# %%
pictures = results.load("pictures_real")["results"]
print(f"always the commonest class: {pictures['majority']:.3f}")
for view, row in pictures["table"]["accuracy"].items():
    sharpe = pictures["table"]["sharpe"][view]
    ends = f"[{sharpe['low']:+.1f}, {sharpe['high']:+.1f}]"
    print(
        f"{view:11} {row['estimate']:.3f}  Sharpe "
        f"{sharpe['estimate']:+.1f} {ends}"
    )

# %%
best = max(
    row["high"] for row in pictures["table"]["accuracy"].values()
)

# %%
assert best < pictures["majority"] + 0.05
assert pictures["table"]["max_drawdown"]["gasf"]["low"] < -0.99

# %% [markdown]
# Behind none of the five encoders are the nets right more often than «always the commonest class».
# Whether the nets learned at all can be seen in the validation loss beside that of a constant
# forecast. Beside it stands the mean recall over three classes, which is a third for guesses, or
# for one answer to everything: it says whether a decision came of what was learned.

# %%
recall = {
    view: row["estimate"]
    for view, row in pictures["table"]["recall"].items()
}
for view, row in pictures["learned"].items():
    over = row["over_seeds"]
    gain = f"{1e3 * over['gain']:+.0f} thousandths"
    print(
        f"{view:11} recall {recall[view]:.2f}  gain {gain}  "
        f"{over['word']}"
    )
    assert over["word"] == "not learned"
    assert abs(recall[view] - 1 / 3) < 0.01

# %% [markdown]
# That they learned is not shown: on validation the loss of each encoder's nets is larger than that
# of the class shares, and most were best after one epoch. So they say nothing about what B0 would
# find behind these encoders.
#
# One of the thirty runs sold short, held on while the price more than doubled, and lost everything;
# this ruin is in the table.

# %% [markdown]
# ## 7 The ledger
#
# All claims lie in one file, `book/claims.yml`, each with its source, the number claimed, the
# number measured with its interval, its rule, and the path of its evidence. Numbers and verdict are
# checked against the evidence whenever the file is read. Two verdicts have to be explained. A claim
# is «not learned» if it was tested on a net that, by the rules of sections 3 and 6, had not learned
# anything, because such a test decides nothing, whatever its numbers say. A claim is «quoted» if it
# is a fact of the literature that nothing here could measure again.

# %%
rows = claims.ledger()
first = rows[0]
print(
    first.claim, "|", first.rule, "|", first.evidence, "|",
    first.verdict,
)
print("measured", first.measured, first.interval)
count = Counter(row.verdict for row in rows)
print(len(rows), "claims:", dict(sorted(count.items())))

# %%
assert len(rows) >= 45

# %%
parts = [row.source.split(", ") for row in rows]
words = pd.Series([row.verdict for row in rows], name="")
scan = pd.crosstab(
    [p[1][:38] for p in parts], words, rownames=["section"]
)
print(scan.to_string())

# %%
style = {
    "holds": (UP, ""), "fails": (DOWN, "///"),
    "undecided": ("#F0E442", ".."),
    "not learned": ("#CC79A7", "xx"),
    "not testable": ("#DDDDDD", ""),
    "quoted": ("#AAAAAA", "--"),
}
style = {word: how for word, how in style.items() if count[word]}

# %% mystnb={"figure": {"caption": "Every claim is a square, and a dot marks a stand-in. The page of claims has the words.", "name": "fig-ledger"}, "image": {"alt": "Two blocks of squares, one for each of the two chapters; blue squares hold, vermilion hatched ones fail, yellow dotted ones are undecided, pink crossed ones not learned, pale grey ones not testable and darker grey ones with dashes quoted; a minority of squares is blue, most of the SE chapter are undecided, and stand-ins lie mostly in the block of the EfficientNet chapter."}}
fig, ax = plt.subplots(figsize=(8, 2.6))
for y, part in enumerate(("SE", "EfficientNet")):
    mine = [row for row in rows if row.source.startswith(part)]
    order = [*style].index
    mine.sort(key=lambda row: (order(row.verdict), row.stand_in > ""))
    for k, row in enumerate(mine):
        colour, hatch = style[row.verdict]
        place = (k // 4, -5 * y - k % 4)
        look = {"fc": colour, "hatch": hatch, "ec": "white"}
        ax.add_patch(plt.Rectangle(place, 0.9, 0.9, **look))
        if row.stand_in:
            ax.plot(place[0] + 0.45, place[1] + 0.45, "ko", ms=4)
for word, (colour, hatch) in style.items():
    look = {"color": colour, "hatch": hatch, "edgecolor": "white"}
    ax.bar(0, 0, label=word, **look)
ax.set(xlim=(-0.5, 26), ylim=(-8.5, 3.2), xticks=[])
ax.set_yticks([-0.5, -5.5], ["SE chapter", "EfficientNet chapter"])
ax.legend(ncols=4, loc="upper left")
plt.show()

# %%
assert sum(count.values()) == len(rows)
assert count["holds"] < len(rows) / 2

# %% [markdown]
# A dot is a **stand-in**: what was measured is not quite what the claim is about. A small net
# stands in for a large one, a day of one book for years, a planted market for a real one. Such a
# verdict is about the stand-in first, so verdicts on stand-ins are counted apart.

# %%
for word in style:
    mine = [row for row in rows if row.verdict == word]
    dots = sum(bool(row.stand_in) for row in mine)
    print(f"{word:13}{len(mine):3}, on a stand-in {dots:2}")
plain = [
    row for row in rows if row.verdict == "holds" and not row.stand_in
]
counted = [row for row in plain if row.rule in ("equals", "test")]
print(
    f"{len(plain)} hold without a stand-in, {len(counted)} of them "
    "arithmetic"
)

# %%
assert len(counted) > len(plain) / 2

# %% [markdown]
# The page {ref}`claims` has them all, with colours, words and links. What holds on the thing itself
# is mostly arithmetic: numbers of parameters, tables of widths, the product of three coefficients.
# What was promised of markets is mostly left open, and the two chapters differ in why:

# %%
for chapter in ("SE chapter", "EfficientNet chapter"):
    of_one = Counter(
        row.verdict for row in rows if row.source.startswith(chapter)
    )
    print(f"{chapter:21}", dict(of_one.most_common(4)))

# %% [markdown]
# For the SE chapter the usual word is «undecided», since these bars, searched by these nets, could
# not have shown what it promised. For the EfficientNet chapter «not learned» is as common as
# «holds», and half of what holds there holds on a stand-in; the rest is arithmetic, but for the
# Sharpe ratio of buying and holding.
#
# **Not testable** is a verdict too, and each such row says why. Most often it is that B5 was not
# trained, for want of a GPU. Others name no machine or no measure, or could not hold by
# construction.
#
# ## What goes wrong
#
# Tables like the one above come about from one fold, one seed and one figure, and it is easy to
# make one. Among all the runs of this chapter there are ten seeds a net. Take for each net the best
# seed, and look.

# %%
best_of = stored["best_seed_sharpe"]
mean_of = {
    name: row["estimate"] for name, row in table["sharpe"].items()
}
for name in ("none", "mean"):
    print(
        f"{name:5} all seeds {mean_of[name]:+.2f}   best seed "
        f"{best_of[name]:+.2f}"
    )

# %%
assert all(best_of[name] > mean_of[name] for name in best_of)

# %% [markdown]
# Nothing was made up to get the right-hand column, and it means nothing, because the seed was
# chosen after the test was seen. In the fix all seeds count, their spread is in the interval, and
# the number of tries is in the deflated Sharpe ratio.
#
# The opposite mistake is as easy: to hold the best *average* of ten seeds against the best of sixty
# *single* runs. Here are coins, six nets of ten seeds, and none has skill. The best of them then
# looks as good as the best is expected to look, and a fair test answers about one half.

# %%
def chance(daily, tries):
    best = max(daily, key=evidence.sharpe)
    spread = np.var([evidence.sharpe(x) for x in tries], ddof=1)
    return evidence.deflated_sharpe(best, len(tries), spread)


# %%
rng, answers = np.random.default_rng(0), []
for _ in range(100):
    coins = rng.normal(0, 0.01, (6, 10, 1_000))
    singles, averages = coins.reshape(60, -1), coins.mean(axis=1)
    pairs = (
        (singles, singles), (averages, singles), (averages, averages),
    )
    answers.append([chance(*pair) for pair in pairs])
fair, wrong, mended = np.mean(answers, axis=0)
print(f"best single run among single runs   {fair:.1f}")
print(f"best average among single runs      {wrong:.1f}")
print(f"best average among averages         {mended:.1f}")

# %%
assert wrong < 0.25 < min(fair, mended)

# %% [markdown]
# The average looks worse than luck, because six averages are six tries and were held against what
# the best of sixty would show. The fix is to hold single runs against single runs, or averages
# against averages.
#
# ```{admonition} Intuition, and what is established
# :class: established
# *Intuition.* One may think of the ledger as a court that can also say that the evidence is too
# thin. The picture explains why there are three words, and each word is defined by an interval.
#
# *Proved.* Redrawing few folds gives intervals that are too narrow ({prf:ref}`prop-few-folds`).
# {prf:ref}`def-verdict` looks at the interval alone, so that what a net learned, and what a study
# could see, have to be asked besides.
#
# *Measured here.* On three years of real hourly bars it is undecided whether SE is better than no
# SE. The claimed return and drawdown of buying and holding fail, while its Sharpe ratio holds. B0
# and B3 learned a rule off their pictures; that either learned anything about the twelve hours
# after them could not be shown, and their rows say «not learned». Nor is it known that B0 would
# have shown it: it missed sides planted at the claimed 54.2 % twice, where trees on numbers found
# them.
#
# *Open.* At the rate of the main table the gates hardly moved from their random start. At ten
# times the rate their order changed a little more, and SE's lead in the Sharpe ratio has an
# interval that holds both zero and the claim; only the mean squeeze was tried there. A Sharpe
# ratio of 1.84 that was planted was not earned at either rate, so that these years cannot rule it
# out. What larger nets, larger pictures and other markets would show is unknown. Ten questions
# are written down in {ref}`registered`, with what would change our mind, to be asked once of bars
# from 2025 on that none of us has seen.
# ```
#
# ## Summary
#
# - A fifth of the claims hold, half of them only on a stand-in, and what holds on the thing itself
#   is mostly arithmetic; a tenth fail; and two thirds are left open, because these bars, searched
#   by these nets, could not have shown it, because nets learned nothing, or because a test is out
#   of reach.
# - A claim has to be one that can fail, and a verdict on it needs an interval.
# - «Undecided» is honest: three years of one market say little about a Sharpe ratio.
# - Ask of every net whether it learned, and set linear models, trees and plain rules beside it. Ask
#   too whether it finds what is planted: B0 missed twice from pictures what trees found in the
#   numbers.
# - Charge fees, slippage and funding one by one, gross first.
# - B0 and B3 read a rule off their pictures; that either learned anything about the next twelve
#   hours could not be shown. Two nets of B0 were right about as often as was claimed, and one of
#   them said «up» in every window; one of B3 was right in 0.486, with an interval that holds one
#   half.
# - Between SE and no SE no difference was found that could be told from luck, neither at a rate at
#   which the gates hardly moved nor, for the mean squeeze, at ten times that rate.
# - Where a signal was planted, the nets' ranks showed it and their Sharpe ratios did not: look at
#   both before you say that nothing is there.
# - An interval from few folds is too narrow; say so, and measure by how much.
# - The best of many tries is not evidence until the tries are counted, like with like.
# - A verdict on a stand-in is about the stand-in, and not yet about what was claimed.
# - The ledger is checked each time it is read.
#
# ## Exercises
#
# ```{exercise} How wide is three years? ★
# :label: ex-verdict-1
# A strategy has a true Sharpe ratio of 1 a year. Roughly how wide is the 95 % interval of a Sharpe
# ratio measured over three years of independent returns? (The standard error of a yearly Sharpe ratio
# over $T$ years is about $\sqrt{1/T}$.)
# ```
#
# ```{solution-start} ex-verdict-1
# :class: dropdown
# ```

# %%
half = 1.96 * np.sqrt(1 / 3)
print(f"1 ± {half:.1f}")
row = table["sharpe"]["none"]
assert 0.5 < (row["high"] - row["low"]) / (2 * half) < 2

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise} The bars or the nets? ★★
# :label: ex-verdict-2
# A gain is told from zero in four tries of five if it is as large as 1.96 + 0.84 standard errors.
# Take the standard error of SE's gain in the Sharpe ratio from its own interval in section 3. From
# what size on would the study tell a gain from zero, alone, and as the first of 20 rows (where 3.02
# stands in place of 1.96)? Compare it with the claimed 0.63, and then with what the planted search
# found. What was missing, bars or something else?
# ```
#
# ```{solution-start} ex-verdict-2
# :class: dropdown
# ```

# %%
gain = table["sharpe"]["mean"]["difference"]
error = (gain["high"] - gain["low"]) / 2 / 1.96
for rows_asked in (1, 20):
    past = norm.ppf(1 - 0.025 / rows_asked)
    print(f"of {rows_asked:2} rows: {error * (past + 0.84):.2f}")
first = norm.ppf(1 - 0.025 / 20)
tried = results.load("se_seen")["results"]["detectable"]["sharpe"]
for one in tried["gain"]["tries"]:
    times = (one["high"] - one["low"]) / 2 / 1.96 / error
    print(f"a seed: {one['estimate']:+.2f}, {times:.1f} times as wide")
assert 0.9 * 0.63 < error * (first + 0.84) < 0.63

# %% [markdown]
# By its width the interval would just do, even as one of 20 rows. The planted search looks with one
# seed at a time, whose intervals are about three times as wide: its seeds had gains of 0.96 and
# 0.69, both above 0.63, and one of the two could be told from zero. So for the gain more seeds were
# missing. For the level it is different, because of a Sharpe ratio of 1.84 that could be had the
# nets took less than half. A study can be blind in two ways, by too few bars or seeds and by a
# training that does not find, and the width of an interval knows the first only. That is why the
# ledger asks what was found where something had been planted.
#
# ```{solution-end}
# ```
#
# ```{exercise} A ledger for your own beliefs ★★★
# :label: ex-verdict-own
# List ten sentences about your market that you act on. Give each a row as in the ledger: where it
# comes from, what would be measured, on which bars, and what would count as failing. How many of
# them can be tested with what you have?
# ```
#
# ```{solution} ex-verdict-own
# :class: dropdown
# Expect that some of them cannot be tested at all, since they never say over which horizon or
# against what. That is worth knowing before any computation. Of the rest, begin with the one whose
# failing would cost you most, and keep the rows that came out against you: a ledger from which
# those are missing is an advertisement.
# ```
#
# ## Further reading
#
# {cite:t}`hu2018` and {cite:t}`tan2019` are the sources of both architectures; neither claims
# anything about markets. {cite:t}`bailey2014` and {cite:t}`hansen2005` are the tools of section 4.
# An evening's project, {ref}`ch-evening-5`, tries them on two strategies of which one is luck;
# after it, part VI asks what it takes to run an account live, whatever its forecasts are worth.
