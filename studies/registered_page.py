"""What the registered test asks: ten hypotheses, and the page that says them.

`registered` imports it; it runs nothing by itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """One question, the number that answers it, and the rule that was fixed beforehand.

    ``expects``: the book is right if the whole interval lies below it (``above``: above it).
    ``mind``: the book is wrong if the whole interval lies above it (``above``: below it), and that
    goes first. Else the answer is «undecided».
    """

    name: str
    source: str
    question: str
    data: str
    statistic: str
    expects: float
    mind: float
    answer: str
    change: str
    settings: str
    control: str = ""
    above: bool = False

    def word(self, low: float, high: float) -> str:
        """Return the verdict on an interval; a bound that is NaN decides nothing."""
        wrong = high < self.mind if self.above else low > self.mind
        right = low > self.expects if self.above else high < self.expects
        return "against the book" if wrong else "as the book expects" if right else "undecided"


NETS = (
    "windows of 48 bars, the next 16 (sell, hold, buy), all else as in `se_real`; "
    "seeds 0 to 4 on hours of BTC, 0 to 2 elsewhere"
)
PICTURES = (
    "windows of 64 hours from 2022-07 on, candlesticks at 224 pixels, at most 200 rounds of "
    "trees, all else as in `frozen_real`; seeds 0 to 2"
)
RULES = (
    "momentum of 48 hours beyond half a deviation, regimes by rules, weights from all years "
    "before, as in chapter 16; no seed"
)
GATES = "14 channels, gates on the input, rate 0.005, all else as in `gates_real`; seeds 0 to 9"
FUNDING = "every settlement; no seed"

HYPOTHESES = (
    Hypothesis(
        "se_gain", "the SE chapter, table of results: SE raises the win rate from 52.1 to 58.2 %",
        "Does a squeeze-and-excitation block make a net more often right than its twin?",
        "hours of BTC, ETH and SOL", "accuracy with SE less accuracy without, mean of three coins",
        0.01, 0.0,
        "No: the block is worth less than a point.",
        "An interval above zero: then SE helps on markets, and chapters 5 and 19 say so.",
        NETS,
    ),
    Hypothesis(
        "se_money", "the SE chapter, table of results: Sharpe ratio 1.84 after costs",
        "Does the SE net earn what was claimed?",
        "hours of BTC", "Sharpe ratio a year after fees, slippage and funding, mean of the seeds",
        1.84, 0.0,
        "No: it earns less than the claim.",
        "An interval above zero: then the strategy earned on bars that nobody had seen.",
        NETS,
    ),
    Hypothesis(
        "pictures", "the EfficientNet chapter, strategy 2: frozen features, then boosted trees",
        "Do pictures tell trees more than the same bars as numbers?",
        "hours of BTC", "accuracy of trees on Lite0's features of candlesticks less accuracy of "
        "trees on the numbers, side of the next 12 hours",
        0.01, 0.0,
        "No: a picture of a window holds nothing that its numbers lack.",
        "An interval above zero: then the picture part of the book is right for another reason.",
        PICTURES,
    ),
    Hypothesis(
        "b0_accuracy", "the EfficientNet chapter, table of models: B0 is right in 54.2 %",
        "Does a pretrained EfficientNet read the future off a chart that often?",
        "hours of BTC", "accuracy of trees on Lite0's features, side of the next 12 hours",
        0.542, 0.542,
        "No: fewer than 54.2 %.",
        "An interval above 54.2 %: then the claim stands, stand-in or not.",
        PICTURES,
        "the same features find sides that were planted in the same bars at 54.2 %",
    ),
    Hypothesis(
        "rule_not_future", "this book, after Cohen, Balch and Veloso (2020)",
        "The features that learn an indicator's rule: do they learn the future?",
        "hours of BTC", "nats by which trees on Lite0's features lose less than a forecast of "
        "class shares, side of the next 12 hours",
        0.0035, 0.0,
        "No: less than the 0.0035 nats that being right in 54.2 % is worth.",
        "An interval above zero: then a chart does foretell, if little.",
        PICTURES,
        "the same features, the same trees, learn «RSI above 70»",
    ),
    Hypothesis(
        "last_quarter", "this book: what one span finds, the next one does not keep",
        "Does the model that earned most in the quarter before go on earning?",
        "hours of BTC", "Sharpe ratio after costs of the model that was best on the quarter before "
        "the test, less what it had there",
        0.0, 0.0,
        "No: it falls.",
        "An interval above zero: then a backtest of 2024 foretold what came later.",
        NETS,
    ),
    Hypothesis(
        "funding", "this book: a constant long paid 2.9, 8.9 and 12.0 % in 2022, 2023 and 2024",
        "Does holding a perpetual go on costing funding?",
        "funding rates of BTC", "share of notional a year that a constant long pays",
        0.0, 0.0,
        "Yes: more than nothing.",
        "An interval below zero: then longs were paid, and costs of this book are too high.",
        FUNDING,
        above=True,
    ),
    Hypothesis(
        "fifteen_minutes", "the EfficientNet chapter, table of results: bars of 5 and 15 minutes",
        "Do shorter bars earn after costs?",
        "bars of 15 minutes of BTC", "Sharpe ratio a year after fees, slippage and funding, mean "
        "of the net, its SE twin, ridge and trees",
        0.0, 0.0,
        "No: they lose.",
        "An interval above zero: then the faster frame is the better one.",
        NETS,
    ),
    Hypothesis(
        "conditioning", "the EfficientNet chapter, key findings: conditioning, +15 % in trends",
        "Does trading only in regimes that paid before add 15 % a year in trends?",
        "hours of BTC", "mean return a year, in hours known as trending, of momentum gated by "
        "regime less momentum always, after fees and slippage",
        0.15, 0.0,
        "No: it adds less.",
        "An interval above zero: then conditioning helps, and chapter 16 says so.",
        RULES,
    ),
    Hypothesis(
        "gates", "the SE chapter, table of gates: three named channels lead in each regime",
        "Do the gates of trained nets report which channel counts?",
        "hours of BTC", "share of the three named channels among a net's three largest gates, "
        "mean of four regimes, over nets (chance: 3 of 14)",
        0.5, 0.5,
        "No: under half of the names are found.",
        "An interval above a half: then gates may be read as reports.",
        GATES,
    ),
)  # fmt: skip


HEAD = """(registered)=
# The registered test

*Status: {status}.*

Everything in this book was found on bars that its authors could look at, often more than once.
Whoever looks often enough finds something. There is one cure that needs no statistics: write
down what you ask, how you will answer it, and what would change your mind; then look at bars
that nobody of you has seen, once.

This page is that note. The bars are Bybit's from 2025-01-01 on. No net of this book was trained
on them, no setting was chosen by them, no chapter shows one.

«The SE chapter» and «the EfficientNet chapter» are the two texts that this book examines; a
seed, below, is where random numbers begin.

## How it is read

- **Data.** Hours of BTC, ETH and SOL, bars of 15 minutes of BTC, and BTC's funding, from 2025 on;
  what models learn from are the same files before 2025. A file with a hole, one that begins too
  late, and one that holds bars of 2024 are refused.
- **Training.** Everything is trained once, on bars before 2025; the last quarter of 2024 stops
  the nets, and chooses penalties and numbers of trees. Nothing is trained again on the way.
  Settings are those of `se_real` and `frozen_real`, which were fixed on synthetic markets.
- **Models.** The net of ten channels with a squeeze-and-excitation block and its twin without,
  {seeds} seeds on BTC and {other_seeds} elsewhere; ridge; boosted trees; momentum, reversal, and
  holding; on pictures Lite0 with ImageNet's weights, frozen, with boosted trees on its features.
- **Costs.** {fee} basis points of fee and one of slippage a side, and funding as it was paid, for
  BTC. ETH and SOL are asked for forecasts only.
- **Intervals.** Each number comes with an interval of {level:.1%}: ten questions share one error of
  5 %. Weeks are redrawn (stationary bootstrap, {draws:,} histories); nets count as the mean of
  their seeds. The gates' interval is Student's, over {gate_seeds} nets.
- **Words.** «As the book expects» and «against the book» need the whole interval on one side of a
  number that stands below. Else the word is «undecided», and it is said so. Where a control is
  named and not found, the answer counts for nothing.
- **Once.** The answer is stored in `book/results/registered.json`. Where it stands, the command
  refuses to read again. Where this page, a setting or the study's source changed after the
  freeze, it refuses to read at all, and names what changed.

```
SETRADE_DATA=<bars before 2025> SETRADE_LATER=<bars from 2025 on> make study STUDY=registered
```

A rehearsal on the second half of 2024, with nets trained before it, shows that the command works:
`python studies/registered.py --rehearse`. Its answers are no evidence: those bars were looked at.

## The questions
"""


def write_page(level: float, facts: dict[str, object], frozen: str | None = None) -> str:
    """Return the page in Markdown, as frozen on a day or as a draft."""
    status = (
        f"frozen on {frozen}; hashes in `book/registered.json`"
        if frozen
        else ("draft, not frozen: nets and chapters may still change")
    )
    parts = [HEAD.format(status=status, level=level, **facts)]
    for k, h in enumerate(HYPOTHESES, 1):
        side, other = ("above", "below") if h.above else ("below", "above")
        lines = [
            f"### {k} {h.question}\n",
            f"- *From*: {h.source}.",
            f"- *Data*: {h.data}.",
            f"- *Settings and seeds*: {h.settings}.",
            f"- *Number*: {h.statistic}.",
            *([f"- *Control*: {h.control}."] if h.control else []),
            f"- *The book expects*: {h.answer} Said if the whole interval is {side} {h.expects:g}.",
            f"- *What would change its mind*: {h.change} Said if the whole interval is {other} "
            f"{h.mind:g}; this goes first.",
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)
