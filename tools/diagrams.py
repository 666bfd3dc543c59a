"""The book's diagrams, written into book/_static/diagrams/.

python tools/diagrams.py            # write them
python tools/diagrams.py --check    # name those that differ from what stands there
"""

from __future__ import annotations

import math
import sys
from collections import Counter

from drawing import Drawing
from provenance import BOOK

from setrade.evidence import claims
from setrade.files import write_atomic

FOLDER = BOOK / "_static" / "diagrams"


def se_block() -> Drawing:
    """Return squeeze, excite, scale."""
    d = Drawing("se_block", 190, "A squeeze-and-excitation block",
                "A window of four channels is squeezed to one mean a channel. Two small layers "
                "turn the four means into two hidden numbers and these into four gates. Each "
                "gate multiplies its channel of the same window.")  # fmt: skip
    window = [[0.2 + 0.15 * ((3 * c + 2 * t + c * t) % 5) for t in range(6)] for c in range(4)]
    gates = (0.9, 0.25, 0.55, 0.7)
    d.cells(14, 66, 17, window)
    d.arrow((122, 100), (160, 100))
    d.cells(164, 66, 17, [[0.4], [0.6], [0.3], [0.7]], "warm")
    d.arrow((187, 100), (229, 100))
    d.cells(233, 83, 17, [[0.6], [0.2]], "warm")
    d.arrow((256, 100), (298, 100))
    d.cells(302, 66, 17, [[g] for g in gates], "warm")
    d.arrow((66, 62), (66, 28), (336, 28), (336, 90))
    d.line((321, 100), (326, 100))
    d.sign(336, 100, "×")
    d.arrow((346, 100), (362, 100))
    kept = [[g * v for v in row] for g, row in zip(gates, window, strict=True)]
    d.cells(365, 66, 17, kept)
    for x, words in (
        (65, "window X"),
        (172, "z"),
        (241, "hidden"),
        (310, "gates s"),
        (416, "s · X"),
    ):
        d.text(x, 148, words)
    for x, words in (
        (65, "C × T"),
        (172, "C means"),
        (241, "C/r"),
        (310, "in (0, 1)"),
        (416, "C × T"),
    ):
        d.text(x, 168, words, "small")
    for x, words in ((141, "mean"), (208, "W₁, δ"), (277, "W₂, σ"), (200, "the same window")):
        d.text(x, 18 if words.startswith("the") else 52, words, "small")
    return d


def se_trader() -> Drawing:
    """Return the net of chapter 05 from top to bottom."""
    d = Drawing("se_trader", 440, "The SE trader, part by part",
                "From top to bottom: a window of channels; an SE block whose gates multiply the "
                "channels; two causal convolutions; a pool that keeps the newest step and the "
                "mean of all steps; a linear head; the probabilities of sell, hold and buy. A "
                "line past the SE block is the way that its twin takes.")  # fmt: skip
    rows = (
        ("window of channels", "(B, C, T), newest bar last"),
        ("SE block", "a gate for each channel"),
        ("two causal convolutions", "(B, hidden, T)"),
        ("pool: newest step, and mean", "(B, 2 · hidden)"),
        ("linear head", "three logits"),
        ("softmax", "sell, hold, buy"),
    )
    for i, (name, shape) in enumerate(rows):
        d.box(110, 14 + 72 * i, 230, 44, name, shape)
        if i:
            d.arrow((225, 58 + 72 * (i - 1)), (225, 14 + 72 * i))
    d.arrow((225, 72), (400, 72), (400, 144), (231, 144))
    d.text(405, 92, "the twin", "small left")
    d.text(405, 108, "goes past", "small left")
    return d


def squeezes() -> Drawing:
    """Return the weights that five squeezes give to the bars of a window."""
    d = Drawing("squeezes", 246, "Five squeezes as weights over the bars of a window",
                "Five rows of twelve cells, oldest bar left. The mean weighs all bars alike, the "
                "maximum takes the single largest bar, last takes the newest, the exponential "
                "squeeze lets weights grow towards the newest bar, and attention learns where to "
                "look.")  # fmt: skip
    ewm = [0.75 ** (11 - t) for t in range(12)]
    attention = [0.1, 0.1, 0.5, 0.9, 0.2, 0.1, 0.1, 0.35, 0.1, 0.1, 0.7, 0.15]
    rows = (
        ("mean", [0.3] * 12, "all alike"),
        ("max", [float(t == 4) for t in range(12)], "the largest"),
        ("last", [float(t == 11) for t in range(12)], "the newest"),
        ("ewm", ewm, "fading back"),
        ("attention", attention, "learned"),
    )
    for i, (name, weights, words) in enumerate(rows):
        y = 16 + 40 * i
        d.text(14, y + 11, name, "left bold")
        d.cells(100, y, 22, [weights])
        d.text(378, y + 11, words, "left small")
    d.arrow((100, 222), (364, 222))
    d.text(232, 236, "older bars, then newer", "small")
    return d


def multi_scale() -> Drawing:
    """Return one SE block a scale and their fusion."""
    d = Drawing("multi_scale", 268, "A multi-scale squeeze-and-excitation block",
                "One window of 60 bars. Three SE blocks squeeze its newest 5, its newest 15 and "
                "all 60 bars. Learned weights that sum to one mix their gates into one gate for "
                "each channel, which multiplies the window.")  # fmt: skip
    d.rect(30, 16, 420, 22, "box")
    d.text(240, 27, "window, newest bar right", "small")
    for scale, x, y in ((60, 90, 62), (15, 240, 78), (5, 390, 94)):
        left = 450 - 7 * scale
        down = x if scale != 5 else 432
        d.line((left, y - 6), (left, y), (450, y), (450, y - 6), kind="aline")
        d.arrow((max(down, left), y), (down, y), (down, 126))
    for x, words in ((90, "all 60 bars"), (240, "newest 15"), (390, "newest 5")):
        d.box(x - 56, 128, 112, 42, "SE block", words)
        d.line((x, 170), (x, 207))
    d.arrow((240, 170), (240, 196))
    d.arrow((90, 207), (150, 207))
    d.arrow((390, 207), (330, 207))
    d.box(150, 196, 180, 24, "weights that sum to 1")
    d.arrow((240, 220), (240, 240))
    d.text(240, 253, "one gate a channel, times the window")
    return d


def tower(d: Drawing, x: float, title: str, steps: tuple[tuple[str, str, float], ...]) -> None:
    """Draw a block of a net as boxes as wide as their channels, with its shortcut."""
    d.text(x, 16, title, "bold")
    d.text(x, 40, "input, few channels", "small")
    for i, (name, words, width) in enumerate(steps):
        y = 66 + 62 * i
        d.arrow((x, y - 16), (x, y))
        d.box(x - width / 2, y, width, 44, name, words)
    end = 66 + 62 * len(steps)
    d.line((x, end - 18), (x, end - 10))
    d.sign(x, end, "+")
    d.arrow((x + 66, 40), (x + 108, 40), (x + 108, end), (x + 12, end))
    d.arrow((x, end + 10), (x, end + 28))
    d.text(x, end + 38, "output, few channels", "small")


def mbconv() -> Drawing:
    """Return the two blocks side by side."""
    d = Drawing("mbconv", 366, "MBConv and fused MBConv",
                "Two columns. MBConv widens the channels with a 1 by 1 convolution, looks around "
                "with a depthwise convolution, gates with squeeze and excitation and narrows with "
                "another 1 by 1 convolution. Fused MBConv does the first two steps with one "
                "ordinary 3 by 3 convolution. In both, a shortcut adds the input.")  # fmt: skip
    tower(d, 120, "MBConv", (
        ("expand, 1 × 1", "e times the channels", 176),
        ("depthwise, k × k", "each channel alone", 176),
        ("SE gates", "one a channel", 176),
        ("project, 1 × 1", "no swish after it", 120),
    ))  # fmt: skip
    tower(d, 352, "fused MBConv", (
        ("convolution, 3 × 3", "expands and looks", 176),
        ("SE gates", "in some variants", 176),
        ("project, 1 × 1", "no swish after it", 120),
    ))  # fmt: skip
    return d


def gasf_geometry() -> Drawing:
    """Return two bars as angles, and the pixel that they share."""
    d = Drawing("gasf_geometry", 250, "The geometry of a Gramian field",
                "Left, two bars of a rescaled series lie on a half circle, each at the angle "
                "whose cosine is its value. Right, a square of pixels: the pixel in row i and "
                "column j holds the cosine of the sum of the two angles.")  # fmt: skip
    cx, cy, r = 130, 170, 104
    arc = [
        (cx + r * math.cos(math.pi * k / 40), cy - r * math.sin(math.pi * k / 40))
        for k in range(41)
    ]
    d.line(*arc, kind="plain")
    d.line((cx - r - 8, cy), (cx + r + 8, cy), kind="plain")
    for angle, kind, name in ((0.8, "aline", "i"), (2.1, "wline", "j")):
        x, y = cx + r * math.cos(angle), cy - r * math.sin(angle)
        d.line((cx, cy), (x, y), kind=kind)
        d.line((x, y), (x, cy), kind="dash")
        d.circle(x, y, 5, "accent" if name == "i" else "warm")
        d.text(x + (14 if name == "i" else -14), y - 10, f"bar {name}", "small")
        d.text(x, cy + 14, f"x̃ {name}", "small")
        d.text(cx + 37 if name == "i" else cx - 30, cy - 13, f"φ {name}", "small")
    for x, words in ((cx - r, "−1"), (cx, "0"), (cx + r, "1")):
        d.text(x, cy + 32, words, "small")
    d.text(cx, 226, "x̃ = cos φ")
    d.rect(310, 50, 120, 120, "plain")
    d.line((310, 90), (430, 90), kind="dash")
    d.line((390, 50), (390, 170), kind="dash")
    d.rect(380, 80, 20, 20, "accent")
    d.text(298, 90, "i", "bold")
    d.text(390, 40, "j", "bold")
    d.text(370, 198, "cos(φ i + φ j)")
    d.text(370, 218, "= x̃ i x̃ j − sin φ i sin φ j", "small")
    return d


def recurrence_embedding() -> Drawing:
    """Return a series, two of its states, and the pixel that says whether they are close."""
    d = Drawing("recurrence_embedding", 392, "From a series to a recurrence plot",
                "Above, a series with two states, each made of two values some bars apart. Below "
                "left, the states are points in a plane; the second lies within a circle of "
                "radius epsilon around the first. Below right, the pixel in row i and column j of "
                "the recurrence plot is therefore marked.")  # fmt: skip

    def at(t: float) -> tuple[float, float]:
        return 30 + 420 * t / 59, 80 - 46 * math.sin(2 * math.pi * t / 20) - 0.12 * t

    d.line(*[at(t) for t in range(60)], kind="plain")
    for first, kind, line, name in ((7, "accent", "aline", "i"), (28, "warm", "wline", "j")):
        (x0, y0), (x1, y1) = at(first), at(first + 5)
        d.line((x0, y0), (x0, 142), (x1, 142), (x1, y1), kind=line)
        d.circle(x0, y0, 5, kind)
        d.circle(x1, y1, 5, kind)
        d.text((x0 + x1) / 2, 156, f"state {name}", "small")
    d.rect(40, 196, 150, 150, "plain")
    d.circle(96, 282, 42, "dash")
    d.line((96, 282), (138, 282), kind="aline")
    d.circle(96, 282, 5, "accent")
    d.circle(114, 262, 5, "warm")
    d.text(118, 292, "ε", "small")
    d.text(115, 362, "value at t")
    d.text(115, 380, "(upwards: value at t + τ)", "small")
    d.arrow((205, 271), (275, 271))
    d.text(240, 256, "close?", "small")
    d.rect(300, 196, 150, 150, "plain")
    d.line((300, 196), (450, 346), kind="dash")
    for i, j in ((18, 70), (70, 18)):
        d.rect(296 + j, 192 + i, 12, 12, "accent")
    d.text(288, 216, "i", "bold")
    d.text(376, 186, "j", "bold")
    d.text(375, 362, "R i j = 1")
    return d


def book_heatmap() -> Drawing:
    """Return three snapshots that become three columns."""
    d = Drawing("book_heatmap", 262, "From an order book to a heat map",
                "Left, one snapshot of a book: bars for the sizes that rest at each price, asks "
                "above the mid and bids below it. Right, a heat map: each snapshot became one "
                "column of cells whose shades are those sizes, the newest column at the right. A "
                "large order at one price is a dark row.")  # fmt: skip
    sizes = (30, 22, 84, 16, 12, 10, 18, 26, 34, 20)
    for i, size in enumerate(sizes):
        d.rect(60, 30 + 19 * i, size, 15, "warm" if i < 5 else "accent")
    d.line((40, 122), (160, 122), kind="dash")
    d.text(30, 76, "asks", "small")
    d.text(30, 170, "bids", "small")
    d.text(172, 122, "mid", "small")
    d.text(100, 236, "one snapshot", "bold")
    d.text(100, 252, "size at each price", "small")
    d.arrow((186, 122), (250, 122))
    d.text(218, 108, "a column", "small")
    for j in range(9):
        shades = [
            min(1, s / 90 * (1 + 0.18 * ((3 * i + 5 * j) % 4 - 1.5))) for i, s in enumerate(sizes)
        ]
        d.cells(268 + 21 * j, 27, 19, [[s] for s in shades[:5]], "warm")
        d.cells(268 + 21 * j, 122, 19, [[s] for s in shades[5:]], "accent")
    d.text(362, 236, "heat map", "bold")
    d.text(362, 252, "a row a price, newest at the right", "small")
    return d


def walk_forward() -> Drawing:
    """Return three folds with what is left out between their sets."""
    d = Drawing("walk_forward", 216, "Walk-forward splits with purge and embargo",
                "Three rows on one time axis. In each row a model is trained on the past and "
                "tested on the block that follows; the blocks lie side by side. Between training "
                "and test some bars are left out: the purge, as their labels reach into the "
                "windows of the test, and an embargo in addition.")  # fmt: skip
    for fold in range(3):
        y, start = 22 + 44 * fold, 200 + 84 * fold
        d.text(14, y + 13, f"fold {fold + 1}", "left small")
        d.rect(66, y, start - 66 - 34, 26, "box")
        d.text((66 + start - 34) / 2, y + 13, "train", "small")
        d.rect(start - 34, y, 20, 26, "warm")
        d.rect(start - 14, y, 14, 26, "dash")
        d.rect(start, y, 84, 26, "accent", 0.45)
        d.text(start + 42, y + 13, "test", "small bold")
    d.arrow((66, 160), (466, 160))
    d.text(266, 174, "time", "small")
    d.rect(86, 192, 16, 14, "warm")
    d.text(108, 199, "purge: labels reach into the test", "left small")
    d.rect(322, 192, 16, 14, "dash")
    d.text(344, 199, "embargo: for safety", "left small")
    return d


def live_bar() -> Drawing:
    """Return the stages between a closed bar and an order."""
    d = Drawing("live_bar", 470, "The path of a live bar",
                "From top to bottom: the source gives a closed bar, the guard passes it on if it "
                "can be true, the model turns the newest bars into a signal, the risk manager "
                "turns signal and account into a move, and the executor turns the move into an "
                "order at the exchange. Beside the line stands a journal that is written before "
                "anything is acted on; fills go back to the account.")  # fmt: skip
    rows = (
        ("source", "a stream, or a recording"),
        ("guard", "can this bar be true?"),
        ("model", "newest bars to a Signal"),
        ("risk manager", "signal and account to moves"),
        ("executor", "a move to an order with a name"),
        ("exchange", "fills"),
    )
    for i, (name, words) in enumerate(rows):
        y = 14 + 76 * i
        d.box(40, y, 220, 46, name, words)
        if i:
            d.arrow((150, y - 30), (150, y))
            gives = ("closed bar", "the bar, or nothing", "Signal", "move", "order")[i - 1]
            d.text(158, y - 16, gives, "left small")
    d.box(340, 166, 124, 122, "journal", "written before", "it is acted on")
    for y in (189, 265):
        d.arrow((260, y), (340, y))
    d.arrow((260, 341), (402, 341), (402, 288))
    d.arrow((40, 417), (16, 417), (16, 265), (40, 265))
    d.text(20, 448, "fills go back to the account", "left small")
    return d


PARTS = {  # corner of each part's box, and its second line
    "Before you start": (140, 14, "a system, and two primers"),
    "I Markets as channels": (140, 94, "bars, and 32 views of them"),
    "II Squeeze and excitation": (14, 174, "nets that weigh channels"),
    "III Markets as pictures": (266, 174, "charts and fields to look at"),
    "V From forecast to verdict": (14, 272, "costs, luck and evidence"),
    "IV EfficientNet": (266, 272, "nets that look at pictures"),
    "VI Live": (14, 382, "an exchange, in real time"),
    "VII Where it goes next": (266, 382, "portfolios and options"),
}
NEEDS = {  # the arrows of the map: what a part builds on
    "I": ("Before you start",), "II": ("I",), "III": ("I",), "IV": ("II", "III", "V"),
    "V": ("II",), "VI": ("IV", "V"), "VII": ("IV", "V"),
}  # fmt: skip


def part_map() -> Drawing:
    """Return the parts of the book and which of them build on which."""
    d = Drawing("part_map", 446, "The parts of the book",
                "Eight boxes. Before you start leads to part I, markets as channels, and this to "
                "part II, squeeze and excitation, and part III, markets as pictures. Both lead to "
                "part IV, EfficientNet, and part II to part V, from forecast to verdict. A dashed "
                "line says that two chapters of part IV want part V first. Parts IV and V lead to "
                "part VI, live, and part VII, where it goes next.")  # fmt: skip
    for name, (x, y, words) in PARTS.items():
        d.box(x, y, 200, 46, name, words)
    d.arrow((240, 60), (240, 94))
    d.line((240, 140), (240, 157))
    d.line((114, 157), (366, 157))
    d.arrow((114, 157), (114, 174))
    d.arrow((366, 157), (366, 174))
    d.arrow((94, 220), (94, 272))
    d.arrow((366, 220), (366, 272))
    d.arrow((134, 220), (134, 246), (326, 246), (326, 272))
    d.line((214, 295), (260, 295), kind="dash")
    d.text(240, 309, "14, 16", "small")
    d.line((114, 318), (114, 350))
    d.line((366, 318), (366, 350))
    d.line((114, 350), (366, 350))
    d.arrow((114, 350), (114, 382))
    d.arrow((366, 350), (366, 382))
    return d


def verdicts() -> Drawing:
    """Draw how many claims got which verdict, as the ledger has them."""
    count = Counter(row.verdict for row in claims.ledger())
    d = Drawing("verdicts", 40 + 28 * len(claims.VERDICTS), "The claims by verdict",
                "Six bars, one for each verdict, as long as the number of claims that got it, "
                "which stands beside it.")  # fmt: skip
    d.text(240, 16, "the claims by verdict", "bold")
    scale = 300 / max(count.values())
    for i, word in enumerate(claims.VERDICTS):
        y, kind = 36 + 28 * i, {"holds": "accent", "fails": "warm"}.get(word, "box")
        d.text(10, y + 10, word, "left")
        d.rect(110, y, scale * count[word], 20, kind)
        d.text(118 + scale * count[word], y + 10, str(count[word]), "left")
    return d


def asset_gates() -> Drawing:
    """Return a block over assets, whose gates become weights."""
    d = Drawing("asset_gates", 190, "Gates over assets that become weights",
                "A window holds the returns of four assets. Each is squeezed to its mean. Two "
                "small layers turn the four means into four gates. The gates scale base weights "
                "into portfolio weights, which are set against the returns that follow, less "
                "what trading costs.")  # fmt: skip
    window = [[0.2 + 0.15 * ((3 * c + 2 * t + c * t) % 5) for t in range(6)] for c in range(4)]
    d.cells(14, 66, 17, window)
    d.arrow((122, 100), (156, 100))
    d.cells(160, 66, 17, [[0.4], [0.6], [0.3], [0.7]], "warm")
    d.arrow((183, 100), (235, 100))
    d.cells(239, 66, 17, [[g] for g in (0.9, 0.25, 0.55, 0.7)], "warm")
    d.arrow((262, 100), (308, 100))
    d.cells(312, 66, 17, [[w] for w in (0.5, 0.1, 0.25, 0.35)])
    d.arrow((335, 100), (374, 100))
    d.box(378, 78, 86, 44, "account", "less costs")
    for x, words, below in (
        (65, "returns X", "assets × T"),
        (168, "z", "means"),
        (247, "gates s", "in (0, 1)"),
        (320, "weights w", "1 in sum"),
    ):
        d.text(x, 148, words)
        d.text(x, 168, below, "small")
    for x, words in ((139, "mean"), (209, "excite"), (285, "× base"), (354, "held")):
        d.text(x, 52, words, "small")
    return d


DIAGRAMS = (
    part_map, se_block, se_trader, squeezes, multi_scale, mbconv, gasf_geometry,
    recurrence_embedding, book_heatmap, walk_forward, live_bar, verdicts,
    asset_gates,
)  # fmt: skip


def files() -> dict[str, str]:
    """Return the text of every file by its name."""
    drawn = [make() for make in DIAGRAMS]
    return {f"{drawing.name}.svg": drawing.svg() for drawing in drawn}


def main(argv: list[str]) -> int:
    """Write the files, or say which differ."""
    different = []
    for name, text in files().items():
        path = FOLDER / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            different.append(name)
            if "--check" not in argv:
                FOLDER.mkdir(exist_ok=True)
                write_atomic(path, text)
    print("\n".join(different) or "every diagram is up to date")
    return int(bool(different) and "--check" in argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
