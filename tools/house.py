"""Count the package: files, lines, import cycles, class names that stand twice.

    python tools/house.py            # one line a figure; exit 1 when one is above its bound
    python tools/house.py --arrows   # and the imports between the files of each folder

The bounds keep the package small enough to hold in one head; `make lint` runs this. Who must raise
one says why in the commit that does.
"""

from __future__ import annotations

import argparse
import ast
import graphlib
import io
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "setrade"
# What may stand in the package as a whole, and how many files in a folder.
# Lines have still to come down to 24,500, of code to 14,500: whoever makes them fewer lowers these.
# Raised in November 2026: reading other people's files (candles/tables and reader), the table of
# the exchange's codes (bybit/codes), what ordinary clients call (simulator/private), forecasts to
# set a net beside (study/baselines), tests that count every try and what a study can see
# (evidence/multiple, power and claims), the book of single orders (orderbook/book), the picture,
# net and portfolios of the reference paper (pictures/ohlc, backtest/ranked), options (options,
# toys), the account of several assets (portfolio); arguments of another kind named by nets and
# training, records in the order of time, tick and lot in the backtest; a checkpoint beside the one
# that decides (live/shadow); more ends of a run (live/trader, pipeline), shares of an error among
# tests whose intervals are Student's (evidence/claims), weights from gates (portfolio); part VII:
# many markets at once (panel), EfficientNetV2 (efficientnet/v2), SE with several heads (se), a
# transformer's encoder (models/se_transformer), forecasts held against each other
# (evidence/forecasts), an account as an environment to learn a size in (sizing), and a market whose
# best sizes are known (toys), with arguments that are refused by name. And torch's number of
# threads, which numba's first parallel kernel used to set anew (compiled); errors that another
# process can send (errors).
# Raised again on 30 November 2026, after a stranger's second round: the law of the index (options,
# risk, portfolio, patterns, sizing, panel, pictures of series, plots); whatever was computed is
# stored (results, study/store); answers of the exchange that are no numbers and bars of the far
# future (bybit); a damaged checkpoint named (training); and one pass over decisions, levels and
# checks in a backtest, which is 1.4 times as fast for it (backtest/engine). Once more that evening:
# extremes of 1,024 bars at a time, so that a run need not look at each bar for a level that is far
# away, which takes it to 25 times vectorbt (backtest/engine, candles/checks).
BOUNDS = {"files": 127, "lines": 34_781, "lines of code": 21_585, "lines of the largest file": 600}
FOLDERS = {"live": 15, "bybit": 15, "models": 10}
FOLDER = 9  # files of any other folder


def sources() -> list[Path]:
    """Return the files of the package, in order."""
    return sorted(PACKAGE.rglob("*.py"))


def dotted(file: Path) -> str:
    """Return the name under which a file is imported."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def code_lines(text: str) -> int:
    """Return how many lines hold code: no blank lines, comments or docstrings."""
    kept: set[int] = set()
    skip = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skip and token.type != tokenize.ENDMARKER:
            kept.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            kept -= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(kept)


def imported(file: Path, names: set[str]) -> Iterator[str]:
    """Yield the modules of the package that a file imports: in functions and for types too."""
    inside = dotted(file).split(".")
    package = inside if file.stem == "__init__" else inside[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                if inner in names:
                    yield inner
                elif source in names:
                    yield source


def arrows() -> dict[str, set[str]]:
    """Return for each module which others it imports."""
    names = {dotted(file): file for file in sources()}
    return {n: set(imported(f, set(names))) - {n} for n, f in names.items()}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of one import cycle; none if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return sorted(set(error.args[1]))
    return []


def twice() -> dict[str, list[str]]:
    """Return the class names that stand in more than one place, with the places."""
    places: dict[str, list[str]] = defaultdict(list)
    for file in sources():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{dotted(file)}:{node.lineno}")
    return {name: where for name, where in sorted(places.items()) if len(where) > 1}


def figures() -> list[tuple[str, int, int, str]]:
    """Return every figure with its bound, and what stands behind it."""
    texts = {file: file.read_text(encoding="utf-8") for file in sources()}
    lines = {file: text.count("\n") for file, text in texts.items()}
    largest = max(lines, key=lambda file: lines[file])
    measured = {
        "files": len(texts),
        "lines": sum(lines.values()),
        "lines of code": sum(map(code_lines, texts.values())),
        "lines of the largest file": lines[largest],
    }
    rows = [(name, value, BOUNDS[name], "") for name, value in measured.items()]
    rows[-1] = (*rows[-1][:3], dotted(largest))
    counts = Counter(f.relative_to(PACKAGE).parts[0] for f in texts if f.parent != PACKAGE)
    for folder, count in sorted(counts.items()):
        rows.append((f"files of {folder}", count, FOLDERS.get(folder, FOLDER), ""))
    deep = sorted(
        {
            f.parent.relative_to(ROOT).as_posix()
            for f in texts
            if len(f.relative_to(PACKAGE).parts) > 2
        }
    )
    rows.append(("folders in folders", len(deep), 0, ", ".join(deep)))
    found = cycle(arrows())
    rows.append(("modules in an import cycle", len(found), 0, " ~ ".join(found)))
    names = twice()
    shown = "; ".join(f"{name} ({', '.join(where)})" for name, where in names.items())
    rows.append(("class names twice", len(names), 0, shown))
    return rows


def show_arrows() -> None:
    """Print how many imports stand between the files of each folder."""
    graph = arrows()
    inside: Counter[str] = Counter()
    for name, others in graph.items():
        folder = name.split(".")[1] if "." in name else ""
        inside[folder] += sum(other.split(".")[1:2] == [folder] for other in others)
    for folder, count in sorted(inside.items()):
        if count:
            print(f"imports inside {folder}: {count}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; return 1 when one is above its bound."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--arrows", action="store_true", help="count imports inside each folder")
    args = parser.parse_args(argv)
    above = 0
    for name, value, bound, behind in figures():
        mark = "" if value <= bound else "  ABOVE"
        above += value > bound
        print(f"{name}: {value:,} (at most {bound:,}){mark}{': ' + behind if behind else ''}")
    if args.arrows:
        show_arrows()
    return int(above > 0)


if __name__ == "__main__":
    sys.exit(main())
