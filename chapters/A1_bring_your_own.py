# %% [markdown]
# (ch-bring-your-own)=
# # Bring your own candles
#
# **You have a file of bars. How do you get to a first result that you may believe?**
#
# ```{admonition} What you will do
# :class: tip
# - read the files of many sources by one line each
# - let a messy file be refused, with all its faults named at once
# - fix it by rules that you can state
# - compute channels, windows and a first gate
# - run a first backtest with costs, put an interval around it, and judge a file on one page
# ```
#
# *You need* {ref}`ch-candles`. The later steps are explained in {ref}`ch-channels`,
# {ref}`ch-se-math` and {ref}`ch-honest-evaluation`. *Runs* in under 40 s on two cores.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from setrade import backtest, candles, channels, evidence, se
from setrade.plots import NEUTRAL, UP, use_style

use_style()

# %% tags=["parameters"]
N_BARS = 5_000  # bars of the file that we pretend you have
LENGTH = 60  # bars in a window

# %% [markdown]
# ## 1 One line for each source
#
# `candles.read` finds columns by their names, and units by their size. It reads CSV, JSON,
# parquet and feather, also compressed. Where a file has two readings it refuses, shows the
# header, and names the option that decides. So you need not learn the options, because it is
# enough to read plainly and do what the error says. The table below shows where this ends for the
# files that people bring.

# %%
OHLCV = "time open high low close volume"

# %% [markdown]
# <!-- number: 2025, 16, 03, 00, 4, 5 by the layouts of these sources -->
# | source | one line |
# |---|---|
# | Binance Vision, old | `candles.read(path, columns=OHLCV)` |
# | Binance Vision, with header | `candles.read(path)` |
# | Binance Vision, since 2025, zipped | `candles.read(path, columns=OHLCV)` |
# | Binance, its close times | `candles.read(path, time="close_time", stamp="close")` |
# | Bybit archive | `candles.read(path)` |
# | Bybit MT4 | `candles.read(path, columns=OHLCV, tz="+03:00")` |
# | Bybit REST answer | `candles.read(path, columns=OHLCV, newest_first=True)` |
# | CryptoDataDownload | `candles.read(path, time="unix", volume="Volume BTC", newest_first=True)` |
# | Kraken | `candles.read(path, columns=OHLCV)` |
# | Coinbase | `candles.read(path, newest_first=True)` |
# | OKX, spot | `candles.read(path, volume="vol", where={"confirm": 1}, newest_first=True)` |
# | OKX days, of 16:00 UTC | `candles.read(path, offset="16h")` |
# | HTX | `candles.read(path, time="id", volume="amount", newest_first=True)` |
# | KuCoin | `candles.read(path)` |
# | BitMEX | `candles.read(path, stamp="close", volume="homeNotional")` |
# | Yahoo | `candles.read(path, tz="UTC")` |
# | Stooq, days | `candles.read(path, tz="UTC")` |
# | Stooq, hours | `candles.read(path, tz="UTC")` |
# | MetaTrader 5 | `candles.read(path, tz="UTC", volume="tickvol")` |
# | TradingView | `candles.read(path)` |
# | freqtrade, feather | `candles.read(path)` |
# | freqtrade, JSON | `candles.read(path, columns=OHLCV)` |
# | ccxt | `candles.read(path, columns=OHLCV)` |
# | ccxt, JSON | `candles.read(path, columns=OHLCV)` |
# | Kaggle | `candles.read(path)` |
# | Kaggle, old | `candles.read(path, volume="Volume_(BTC)")` |
# | pandas, CSV without a name | `candles.read(path)` |
# | pandas, numbered rows | `candles.read(path)` |
# | pandas, JSON | `candles.read(path)` |
# | pandas, parquet | `candles.read(path)` |
# | German Excel | `candles.read(path, tz="UTC")` |
#
# Each line of the table is a test, on a small file with exactly that layout. The second table
# says once what the options mean:
#
# | option | says | asked for when |
# |---|---|---|
# | `columns` | names in the file's order, or `{"close": "Last"}` | no header, or two closes |
# | `time` | the column of times, or date and clock | there are several |
# | `stamp="close"` | a time is the **end** of its bar | a column is called so; else you must know |
# | `tz` | the zone of times that carry none | they carry none |
# | `volume` | the column that counts coins | there are several, or only an amount |
# | `where` | rows to keep | series are mixed, or a flag says that bars still form |
# | `newest_first` | turn the rows round | the newest row comes first |
# | `offset` | when days begin after midnight UTC | bars of days open at 16:00 |
# | `until` | the moment of the download | the last bar has not closed yet |
#
# Some things no file can tell. A time column that is called `timestamp` may hold the end of each
# bar, as BitMEX writes it. And a zone is a claim of yours, because the times do not carry it:
# MetaTrader's is that of your broker. To check both, compare one large move with another source.
# Nor does the name of a column tell what it counts. OKX's `vol` is coins on its spot market and
# contracts on the others, where the coins are `volCcy`; Yahoo's volume of a coin is in dollars; and
# MetaTrader's `tickvol` counts changes of the price.
#
# Two kinds of bars are out of scope. The length of a bar must divide a day, and a week does not,
# so bring days instead. Stock days have weekends and holidays, and every «per year» of this book
# counts 365 days, so their gaps are named and refused. The way round is an array of windows that
# you cut yourself: pictures and nets take it, backtests do not.
#
# **Units.** Prices are in quote currency (dollars a coin), volume is in **base** (coins). A volume
# in dollars is one of the errors that make no noise ({ref}`ch-candles` shows five). To watch three
# of the options at work, here is what OKX hands out: newest first, the newest bar still forming,
# three columns of volume.

# %%
folder = TemporaryDirectory()
okx = Path(folder.name) / "okx.csv"
lines = ["ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm"]
for k in range(3, -1, -1):
    time = 1_706_708_700_000 + 900_000 * k
    lines.append(f"{time},100,101,99,100,4,400,400,{int(k < 3)}")
okx.write_text("\n".join(lines), encoding="utf-8")


# %%
def answer(**options) -> str:
    """Read, or return what the error asks for."""
    try:
        bars = candles.read(okx, **options)
    except candles.CandleError as error:
        return error.faults[0].message.partition("; its columns")[0]
    except ValueError as error:
        return str(error).partition("; its columns")[0]
    return f"{len(bars)} bars, volume {bars['volume'].sum():.0f} coins"


# %%
options, said = {}, [answer()]
for more in (
    {"volume": "vol"}, {"where": {"confirm": 1}},
    {"newest_first": True},
):
    options |= more
    said.append(answer(**options))
print(*said, sep="\n")

# %%
assert "volume" in said[0]
assert "confirm" in said[1]
assert "newest" in said[2]
assert said[3] == "3 bars, volume 12 coins"

# %% [markdown]
# Each of the three questions got its answer, and the {term}`forming bar` is gone, without
# anything being guessed.

# %% [markdown]
# ## 2 The file
#
# In your own copy, put your path into `path`, the moment of your download into `downloaded`, and
# leave the rest of this section out. Here we write a file first, so that the page runs anywhere.
# It is what exchanges hand out, with the newest bar first and times in milliseconds, and we spoil
# it in five places.

# %%
good = candles.sample().iloc[:N_BARS]
dump = good.reset_index(names="start")
downloaded = dump["start"].iloc[-1] + pd.Timedelta("4min")
dump["start"] = good.index.as_unit("ms").asi8
dump.loc[700, "low"] = 0.0  # a glitch
dump.loc[1500, "volume"] = np.nan  # an empty cell
newest = len(dump) - 1
dump.loc[newest, "close"] = dump.loc[newest, "open"]  # still forming
# one lost, one sent twice
dump = pd.concat([dump.drop(2500), dump.loc[[3000]]])
dump = dump.sort_values("start", ascending=False)

# %%
path = Path(folder.name) / "bars.csv"
dump.to_csv(path, index=False)
print(*path.read_text(encoding="utf-8").splitlines()[:3], sep="\n")

# %% [markdown]
# ## 3 Refused
#
# `candles.read` never repairs a file but says what is wrong with it, and first of all that the
# newest bar of this file comes first.

# %%
try:
    candles.read(path, "15min")
except candles.CandleError as error:
    print(error)

# %% [markdown]
# Allow it to turn the rows round, and the next answer lists everything else.

# %%
try:
    candles.read(path, "15min", newest_first=True)
except candles.CandleError as error:
    kinds = [fault.kind for fault in error.faults]
    print(error)

# %%
assert kinds == ["duplicates", "gaps", "nan", "price"]

# %% [markdown]
# These are four faults of the five. The fifth cannot be seen in the file, because the newest bar
# looks like any other, and no flag marks it. Only you know that the download happened four
# minutes into it, and `until=downloaded` would say so to `read`. On the day itself `read` sees it
# alone, because no bar can close in the future.

# %% [markdown]
# ## 4 Mended
#
# Each fault has a rule, and each rule is one line that you can defend.
#
# | fault | rule |
# |---|---|
# | sent twice | the later row wins, whole |
# | zero price, empty cell | the row is not believed: it counts as missing |
# | forming | a bar that closes after the download is dropped |
# | single bars missing | filled flat at the close before, volume zero, and listed |
# | longer holes | not filled: fetch them again, or keep the part before or after |

# %%
table = pd.read_csv(path).iloc[::-1]
stamps = pd.to_datetime(table["start"], unit="ms", utc=True).rename(
    "time"
)
bars = table.set_index(stamps)[list(candles.COLUMNS)]
bars = bars[~bars.index.duplicated(keep="last")]
bars = bars[
    (bars > 0)[["open", "high", "low", "close"]].all(axis=1)
].dropna()
bars = bars[bars.index + pd.Timedelta("15min") <= downloaded]

# %%
grid = pd.date_range(
    bars.index[0], bars.index[-1], freq="15min", name="time"
)
lost = grid.difference(bars.index)
steps = bars.index.to_series().diff()

# %%
assert steps.max() <= pd.Timedelta("30min"), (
    "a hole longer than one bar"
)

# %%
bars = bars.reindex(grid)
bars["volume"] = bars["volume"].fillna(0.0)
bars["close"] = bars["close"].ffill()
bars = bars.apply(lambda column: column.fillna(bars["close"]))
print(
    f"{len(bars):,} bars, filled: "
    f"{', '.join(lost.strftime('%d %b %H:%M'))}"
)

# %% [markdown]
# Write the result down as parquet and read it again with the same strict function. From here on
# the messy file is no longer needed.

# %%
clean = path.with_suffix(".parquet")
bars.to_parquet(clean)
mine = candles.read(clean, "15min")
candles.check(mine)

# %%
same = (
    mine.drop(lost).eq(good.loc[mine.index].drop(lost)).all(axis=None)
)

# %%
assert same
assert len(mine) == N_BARS - 1
assert len(lost) == 3

# %% [markdown]
# Three bars are not what they were in the market, and we know which, while all others are equal
# to the source.

# %% [markdown]
# ## 5 Channels, windows, a gate
#
# Channels come next ({ref}`ch-channels`), in scale-free form. Their mean and deviation come from
# the first 70 per cent of the bars only.

# %%
names = ["roc", "rsi", "bollinger_percent_b", "atr", "volume_ma"]
x = channels.compute(mine, scale_free=True)[names]
cut = int(0.7 * len(mine))
scaled = channels.Standardizer().fit(x.iloc[:cut]).transform(x)
warm = int(scaled.isna().any(axis=1).sum())
print(f"warm-up: {warm} bars; test part: {len(mine) - cut:,} bars")

# %%
view = np.lib.stride_tricks.sliding_window_view(
    scaled.to_numpy()[warm:], LENGTH, 0
)
# (32, channels, LENGTH)
batch = torch.tensor(view[-32:], dtype=torch.float32)
torch.manual_seed(0)
block = se.SEBlock(len(names), reduction=2)
gates = block.gates(batch).detach()
print(f"windows {tuple(batch.shape)} -> gates {tuple(gates.shape)}")

# %%
assert gates.shape == (32, len(names))
assert ((gates > 0) & (gates < 1)).all()

# %% [markdown]
# The block takes your data and gives gates, but they mean **nothing** yet, because nobody has
# trained them. {ref}`ch-se-trader` does.

# %% [markdown]
# ## 6 A first backtest
#
# Before any net, try the simplest rule: be long while the price is above where it was a week ago
# (672 bars), else flat. Decisions use the bar that has closed and fill at the next open, and fees
# and slippage are charged. Beside it stand buy and hold, and the same rule deciding on ten bars.


# %%
def follow(n_bars: int) -> pd.Series:
    """Long after a rise over n_bars, else flat."""
    return (mine["close"] > mine["close"].shift(n_bars)).astype(float)


runs = {f"{n} bars": backtest.run(mine, follow(n)) for n in (10, 672)}
runs["hold"] = backtest.run(mine, pd.Series(1.0, mine.index))
rows = ["sharpe", "max_drawdown", "turnover", "fees"]
pd.DataFrame({k: r.metrics() for k, r in runs.items()}).loc[rows].round(
    2
)

# %% mystnb={"figure": {"caption": "Equity of two rules and of holding, costs included.", "name": "fig-own-equity"}, "image": {"alt": "Three equity curves over 52 days: holding ends near 1.34 after rising most of the time, the rule that looks back a week ends near 1.13, and the rule that looks back ten bars stays near 1 for three weeks and then falls steadily to 0.59 under its costs."}}
fig, ax = plt.subplots()
colours = {"10 bars": NEUTRAL, "672 bars": UP, "hold": "black"}
for (name, result), style in zip(
    runs.items(), (":", "-", "--"), strict=True
):
    ax.plot(result.equity, style, color=colours[name], label=name)
ax.set(ylabel="equity, start = 1", xlabel="time, UTC")
ax.legend()
plt.show()

# %%
final = {
    name: float(result.equity.iloc[-1]) for name, result in runs.items()
}
print({name: round(value, 2) for name, value in final.items()})

# %%
assert final["10 bars"] < final["672 bars"] < final["hold"]

# %% [markdown]
# The quick rule loses because of its costs: it turns its money over hundreds of times in these
# weeks, and the fees alone took 0.40 of the first equity, which is nearly the whole loss. The slow
# rule earns, but holding earned more. In a rising market any rule that is sometimes flat looks like
# skill at one time, when the price falls meanwhile, and like too much caution at another. One curve
# cannot decide between the two, so ask for an interval.

# %% [markdown]
# ## 7 How sure are you?
#
# <!-- number: 52 by 5,000 bars of 96 a day -->
# These 52 days are one history. Redrawing it in stretches of neighbouring bars gives other
# histories that might have been ({ref}`ch-honest-evaluation` explains how). Here is the annual
# Sharpe ratio with its 95 % interval.


# %%
def annual_sharpe(returns: np.ndarray) -> float:
    return evidence.sharpe(returns) * np.sqrt(365 * 96)


def bounds(result) -> evidence.ConfidenceInterval:
    returns = result.equity.pct_change().dropna().to_numpy()
    return evidence.interval(annual_sharpe, returns, seed=0)


sure = {name: bounds(runs[name]) for name in runs}
for name, span in sure.items():
    print(
        f"{name:8s} {span.estimate:6.1f}  from {span.low:5.1f} to "
        f"{span.high:5.1f}"
    )

# %%
assert sure["10 bars"].high < 0
assert sure["672 bars"].low < 0 < sure["672 bars"].high
assert sure["hold"].low < 0 < sure["hold"].high

# %% [markdown]
# A Sharpe ratio of 2 sounds fine, but its interval contains zero and is so wide that the rule may
# be very bad or very good. The one thing that these bars do show is that the quick rule loses. That
# is a first result that you may believe.

# %% [markdown]
# ## 8 The whole on one page
#
# Four functions that you can keep lead from the file to the verdict. They say the units, which no
# file holds, so you name them, and what «per year» means: a year of 365 days, because this market
# never closes. Our sample's volume is in dollars, since a thousand million coins in fifteen minutes
# do not exist, but nothing on the page multiplies it. The verdict is not about profit alone. It
# asks whether the rule was **better than holding**, on the same redrawn histories, so that what
# moves both cancels.


# %%
def facts(bars: pd.DataFrame, prices: str, volume: str) -> str:
    """Say what the file holds, and whether its channels can be
    computed."""
    step, first, last = (
        candles.bar_interval(bars), bars.index[0], bars.index[-1],
    )
    minutes, year = (
        step.total_seconds() / 60, pd.Timedelta(days=365) / step,
    )
    x = channels.compute(bars, scale_free=True).dropna()
    return (
        f"{len(bars):,} bars of {minutes:.0f} minutes\n"
        f"prices in {prices}, volume in {volume}\n"
        f"opens, UTC: {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}\n"
        f"that is {len(bars) / year:.2f} years of {year:,.0f} bars\n"
        f"{x.shape[1]} channels, complete after {len(bars) - len(x)} "
        "bars"
    )


# %%
def against_holding(
    result: backtest.Result,
) -> evidence.ConfidenceInterval:
    """Log growth a year, less that of holding, with its 95 % interval.
    """
    year = pd.Timedelta(days=365) / candles.bar_interval(result.candles)
    own, held = (
        r.equity.pct_change().dropna().to_numpy()
        for r in (result, result.buy_and_hold)
    )
    return evidence.paired_difference(
        lambda r: np.log1p(r).mean() * year, own, held, seed=0
    )


# %%
def judgement(gap: evidence.ConfidenceInterval) -> str:
    if gap.low > 0 or gap.high < 0:
        return (
            "better than holding"
            if gap.low > 0
            else "worse than holding"
        )
    return "not shown to differ from holding"


# %%
def page(bars, position, costs, prices="USD a BTC", volume="USD"):
    """The file, its units, the rule with its costs, and the verdict."""
    result = backtest.run(bars, position, costs=costs)
    gap, m = against_holding(result), result.metrics()
    fall, hold = m["max_drawdown"], result.buy_and_hold.equity.iloc[-1]
    return "\n".join([
        facts(bars, prices, volume),
        f"fee {costs.fee_bps}, slip {costs.slippage_bps} bps a side",
        f"turns its money over {m['turnover']:,.0f} times a year",
        f"1 became {result.equity.iloc[-1]:.2f}, holding {hold:.2f}",
        f"Sharpe ratio {m['sharpe']:.1f}, deepest fall {fall:.0%}",
        f"log growth a year, less that of holding: {gap.estimate:.1f}",
        f"95 % interval: {gap.low:.1f} to {gap.high:.1f}",
        f"VERDICT: {judgement(gap)}",
    ])


# %%
file = candles.read(clean, "15min")
costs = backtest.Costs(fee_bps=5.5, slippage_bps=1.0)
pages = {n: page(file, follow(n), costs) for n in (672, 10)}
print(pages[672])
folder.cleanup()

# %%
quick = pages[10].splitlines()
print(*quick[6:], sep="\n")
assert quick[-1].endswith("worse than holding")
assert pages[672].endswith("not shown to differ from holding")

# %% [markdown]
# Read each page from its last line upwards. The quick rule is worse than holding, and the file is
# long enough to say so. The slow rule earned less than holding, and the file is **not** long
# enough to call that more than chance. «Not shown» is the usual verdict on a few weeks of bars,
# and it is no fault of the page.

# %% [markdown]
# ## What goes wrong
#
# *A fix that looks ahead.* Filling a hole flat looks crude, while a straight line between the
# neighbours looks smoother, and pandas offers it in one word. Hide every tenth close of the clean
# file, fill it both ways, and ask on each filled bar: does the last move foretell the next one?


# %%
def hit_rate(mend) -> tuple[int, float]:
    """Guesses made on mended bars, and the share that was right."""
    close = mine["close"].to_numpy().copy()
    hidden = np.arange(10, len(close) - 1, 10)
    close[hidden] = np.nan
    close = mend(pd.Series(close)).to_numpy()
    guess = np.sign(close[hidden] - close[hidden - 1])
    truth = np.sign(close[hidden + 1] - close[hidden])
    asked = (guess != 0) & (truth != 0)
    return int(asked.sum()), float(
        (guess == truth)[asked].mean()
    ) if asked.any() else 0.5


print(
    "line: {} guesses, {:.0%} right".format(
        *hit_rate(pd.Series.interpolate)
    )
)
print("flat: {} guesses".format(*hit_rate(pd.Series.ffill)))

# %%
assert hit_rate(pd.Series.interpolate)[1] == 1.0
assert hit_rate(pd.Series.ffill)[0] == 0

# %% [markdown]
# The guess from the line is always right, because the line to the next close has used the next
# close. The flat bar allows no guess, because it holds only what was known at the time. What was
# said of the line goes for `bfill`, for means of the whole column, and for any library call whose
# name says *smooth*.

# %% [markdown]
# ## Summary
#
# - Read plainly and do what the error says, because what is ambiguous is asked for, never
#   guessed.
# - Let the file be refused, read the list, fix the faults by rules, write the result down, read
#   it again.
# - A forming bar without a flag cannot be seen in a file, so note when you downloaded it.
# - Fill with what was known at the time, and keep the list of what you filled.
# - Run the simplest rule first, with costs, beside holding, and with an interval. Then let one
#   page say what is known, in which units, and per which year.

# %% [markdown]
# ## Exercises
#
# ```{exercise} More bars, more certainty? ★★
# :label: ex-own-hours
# Resample the file to one hour and run the weekly rule there (168 bars). The file now has a
# quarter of the bars, so is the interval of its Sharpe ratio twice as wide?
# ```
#
# ```{solution-start} ex-own-hours
# :class: dropdown
# ```

# %%
hours = candles.resample(mine, "1h")
weekly = (hours["close"] > hours["close"].shift(168)).astype(float)
returns = (
    backtest.run(hours, weekly).equity.pct_change().dropna().to_numpy()
)
slow = evidence.interval(
    lambda r: evidence.sharpe(r) * np.sqrt(365 * 24), returns, seed=0
)
quick = sure["672 bars"]
ratio = (slow.high - slow.low) / (quick.high - quick.low)
print(
    f"from {slow.low:.1f} to {slow.high:.1f}: {ratio:.1f} times as wide"
)

# %%
assert 0.7 < ratio < 1.4

# %% [markdown]
# It is not, because how well a Sharpe ratio is known depends on the years that you have seen,
# hardly on how finely you cut them.
#
# ```{solution-end}
# ```
#
# ```{exercise} Stamps without a zone ★
# :label: ex-own-zone
# Many files carry times such as `2021-10-04 20:45:00` and no zone. Write the first ten bars that
# way, and see what `candles.read` says. What happens if you answer wrongly?
# ```
#
# ```{solution-start} ex-own-zone
# :class: dropdown
# ```

# %%
with TemporaryDirectory() as place:
    naive = Path(place) / "naive.csv"
    mine.iloc[:10].tz_localize(None).to_csv(naive)
    try:
        candles.read(naive)
    except ValueError as error:
        print(error)
    tokyo = candles.read(naive, tz="Asia/Tokyo")
print(
    "nine hours early: "
    f"{tokyo.index[0] - mine.index[0] == -pd.Timedelta('9h')}"
)

# %%
assert tokyo.index[0] == mine.index[0] - pd.Timedelta("9h")

# %% [markdown]
# It asks for the zone, and a wrong answer passes every check, because the bars are fine and
# merely at the wrong hours. Compare one well-known move of your file with another source before
# you go on.
#
# ```{solution-end}
# ```

# %% [markdown]
# ```{exercise} One page about your file ★★★
# :label: ex-own-own
# Make the page of the last section for a file of your own, and give it to somebody who does not
# know the strategy. Which question do they ask that the page does not answer?
# ```
#
# ```{solution} ex-own-own
# :class: dropdown
# The usual ones are: over which years, after which costs, compared with what, how many others were
# tried, and how wide is the interval. If the page answers these five, the sixth question is worth a
# study of its own.
# ```
#
# ## Further reading
#
# {cite:t}`lopezdeprado2018` spends a chapter on data structures before the first model, and with
# reason, while {cite:t}`politis1994` is the bootstrap behind the intervals.
