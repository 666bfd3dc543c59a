"""Name what stands behind every number in the prose of a chapter.

python tools/prose.py [CHAPTER ...]            one line a number: where, what, its source
python tools/prose.py --missing [CHAPTER ...]  only numbers without a source; 1 if there is one

A number in prose needs one of these, the nearest first:

printed   a code cell prints it; the prose may round it, drop its sign, write it in per cent or bps
literal   code holds it: a parameter, an assert, a product of literals
stored    a field of a result in book/results that the chapter loads, a literal of its study
claimed   the ledger has it as claimed, and the text around it speaks of claims
restated  another section has it, with a source
cited     its sentence cites a source
note      a hidden comment in its cell: <!-- number: 0.5 by definition of a coin -->, or
          <!-- number: 5.5 from setrade/costs.py -->, where the file has to hold the number

A number of three or more digits may have its source anywhere in the chapter, a shorter one within
four cells of its section, but for integers up to 12, times of day, and integers that are a named
parameter or stand in a string. Behind «about» and the like a round integer may lie 5 % off.

What a cell with a `tolerance` prints is trained: it counts only where an assert bounds it, one that
shares a name with the cell and holds a literal near the number. Else it is «TRAINED, no assert».
"""

from __future__ import annotations

import argparse
import ast
import sys

from behind import Chapter, Source, folded, held, read
from compare import Number, Tolerance
from stated import Stated

from book import sources

SMALL = 12  # an integer up to this may be any number of the chapter
LONG = 3  # digits of a number that hardly meets another by chance
NEAR = 4  # cells away, in the same section, a shorter one may have its source
BASIS = ("bps", "bp", "basis point", "basis points")
SCALES: dict[str, float] = {"%": 100.0, "per cent": 100.0, "percent": 100.0}
SCALES |= dict.fromkeys(BASIS, 1e4)
WORDS = {"million": 1e6, "thousand": 1e3, "billion": 1e9}
COMMON = {"np", "pd", "plt", "torch", "F", "print", "abs", "len", "all", "any", "round", "zip"}


def factors(stated: Stated, source: Source) -> list[float]:
    """Return by what a source may be multiplied to be the number in prose."""
    if stated.unit in WORDS:
        return [1.0, 1 / WORDS[stated.unit]]
    scale, shown = SCALES.get(stated.unit, 1.0), SCALES.get(source.unit)
    if shown:
        return [scale / shown]
    whole = scale == 100 and source.kind == "printed" and source.value == int(source.value)
    return [scale] if whole else sorted({1.0, scale})


def near(stated: Stated, source: Source) -> bool:
    """Return whether both stand in one section, a few cells apart."""
    return source.section == stated.section and abs(source.cell - stated.cell) <= NEAR


def fits(stated: Stated, source: Source) -> bool:
    """Return whether a number in prose is a source's, rounded to the digits of the prose."""
    value, slack = abs(stated.number.value), 0.5 * (stated.number.unit or 1.0)
    far = min(abs(abs(source.value) * f - value) for f in factors(stated, source))
    rounded = stated.hedged and stated.number.exact and value % 10 == 0 and near(stated, source)
    return far <= slack * (1 + 1e-9) or (rounded and far <= 0.05 * value)


def digits(number: Number) -> int:
    """Return how many digits of a number say something: 2 in 0.045, 1 in 60,000."""
    plain = number.text.lower().partition("e")[0].strip("+-−").replace(",", "")
    plain = plain.replace(".", "").lstrip("0")
    return len(plain if number.unit else plain.rstrip("0"))


def small(stated: Stated) -> bool:
    """Return whether a number is one that any chapter is full of: «3 nets»."""
    return stated.number.exact and abs(stated.number.value) <= SMALL and not stated.unit


def allowed(stated: Stated, source: Source) -> bool:
    """Return whether a source is near enough, or the number long enough, to be no chance."""
    number = stated.number
    if source.kind == "claimed":
        return stated.claimed and bool(number.unit or stated.unit or digits(number) >= LONG)
    if digits(number) >= LONG:
        return True
    wide = number.exact and source.kind == "parameter" and not stated.unit
    anywhere = small(stated) or stated.clock or wide
    return source.kind != "stored" and (near(stated, source) or anywhere)


def search(stated: Stated, chapter: Chapter) -> list[Source]:
    """Return what may stand behind a number, the best first."""
    order = ("printed", "parameter", "literal", "claimed", "stored")

    def rank(source: Source) -> tuple[bool, bool, int, int]:
        far = source.cell < 0, source.section != stated.section
        return *far, order.index(source.kind), abs(source.cell - stated.cell)

    return sorted((s for s in chapter.known if allowed(stated, s) and fits(stated, s)), key=rank)


def names(tree: ast.AST) -> set[str]:
    """Return the names that code reads or binds, but for those of modules and builtins."""
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - COMMON


def bounded(source: Source, chapter: Chapter) -> bool:
    """Return whether an assert holds what a trained cell printed within a literal bound."""
    cell = chapter.cells[source.cell]
    effect = (Tolerance.of(cell.metadata) or Tolerance(effect=0)).effect
    value = abs(source.value) / SCALES.get(source.unit, 1)
    here = names(ast.parse(cell.source))
    for claim in chapter.asserts:
        bounds = [abs(x) for x in map(folded, ast.walk(claim)) if x is not None]
        if here & names(claim) and any(abs(x - value) <= max(effect, value / 2) for x in bounds):
            return True
    return False


def verdict(stated: Stated, chapter: Chapter) -> str:
    """Return the source of a number in words, or what is lacking, in capitals."""
    if why := stated.notes.get(abs(stated.number.value)):
        return noted(stated, why)
    found = search(stated, chapter)
    anywhere = small(stated) or not found or not found[0].trained
    safe = [s for s in found if not s.trained and (near(stated, s) or anywhere)]
    for source in safe or [s for s in found if bounded(s, chapter)]:
        return f"{source.kind}: {source.where}"
    if found:
        return f"TRAINED, no assert: {found[0].where}"
    return "cited" if stated.cited else restated(stated, chapter) or "MISSING"


def noted(stated: Stated, why: str) -> str:
    """Return a note as a source, if the file that it names holds the number."""
    how, _, rest = why.partition(" ")
    name = rest.split()[0].rstrip(",;:")
    if how == "from" and not any(fits(stated, s) for s in held(name)):
        return f"MISSING: {name} does not hold it"
    return f"note: {why}"


def restated(stated: Stated, chapter: Chapter) -> str:
    """Return which other section has the same number with a source of its own, or nothing."""
    for other in chapter.stated:
        same = (other.number.value, other.unit) == (stated.number.value, stated.unit)
        if same and other.section != stated.section and own(other, chapter):
            return f"restated: {chapter.sections[other.section]}"
    return ""


def own(stated: Stated, chapter: Chapter) -> bool:
    """Return whether a number has a source that is no other place of the prose."""
    return bool(stated.notes.get(abs(stated.number.value)) or search(stated, chapter))


def lacking(said: str) -> bool:
    """Return whether a verdict names no source."""
    return said.startswith(("MISSING", "TRAINED"))


def lines(chapter: Chapter, only_lacking: bool) -> list[str]:
    """Return one line a number: chapter, section, number, words around it, source."""
    told = []
    for number in chapter.stated:
        said = verdict(number, chapter)
        if lacking(said) or not only_lacking:
            what = f"{number.number.text} {number.unit}".strip()
            section = chapter.sections[number.section]
            told.append(" | ".join((chapter.name, section, what, number.around, said)))
    return told


def main() -> int:
    """Print every number in prose with its source."""
    style = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=style)
    parser.add_argument("names", nargs="*", metavar="CHAPTER", help="by name or number; all")
    parser.add_argument("--missing", action="store_true", help="only those without a source")
    args = parser.parse_args()
    told = [x for s in sources(args.names) for x in lines(read(s), args.missing)]
    print("\n".join(told))
    return 1 if args.missing and told else 0


if __name__ == "__main__":
    sys.exit(main())
