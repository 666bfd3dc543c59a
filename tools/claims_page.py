"""The ledger of claims: its page on the site, and the measured numbers written into its rows.

    python tools/claims_page.py            # check book/claims.yml and count
    python tools/claims_page.py --update   # write measured numbers into it after a new study

Text written by hand stays as it is; a verdict that no longer follows is named, not changed.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from itertools import groupby
from pathlib import Path

import yaml
from drawing import Drawing

from setrade.evidence import claims
from setrade.files import write_atomic

BADGES = {
    "holds": "{bdg-success}`holds`",
    "fails": "{bdg-danger}`fails`",
    "undecided": "{bdg-warning}`undecided`",
    "not learned": "{bdg-warning-line}`not learned`",
    "not testable": "{bdg-light}`not testable`",
    "quoted": "{bdg-info}`quoted`",
}
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
STAND_IN = "{bdg-secondary-line}`stand-in`"
COLUMNS = "| verdict | claim | claimed | measured | evidence |\n|---|---|---|---|---|\n"
HEAD = f"""(claims)=
# Claims

Every claim of the SE chapter and of the EfficientNet chapter, with what this book measured. Chapter
{{ref}}`ch-verdict` says how a verdict is reached: a claimed number **holds** when it lies inside an
interval narrow enough to say something, **fails** when it lies outside, and is **undecided** when
the interval is too wide to tell, or the study could not have seen an effect of the claimed size. A
net that did not learn gives no verdict but **not learned**. **Not testable** is what nothing at
hand can put to a test, and the row says why; **quoted** are facts of the literature. How narrow is
enough is our choice, and written in each row of `book/claims.yml`. The verdicts are computed from
the stored results each time this page is built; a row whose verdict does not follow stops the
build.

An interval in brackets is one of 95 % unless the chapter says otherwise. «Corrected» is the same
interval made wider for few folds or seeds and for the many claims that are tested together, and
«detectable» is the smallest effect that the study would have found, ∞ where an effect of the
claimed size was planted and missed.

{STAND_IN} marks a row where not the thing itself was measured but something in its place, and says
what. Such a verdict is about the stand-in first.

The SE chapter names no bars, no years and no fees. Hourly bars, the years 2022 to 2024 and the
fees of a taker are ours.

"""

# With scripts off the words and the tables below say the same.
PLOT = """
<div data-move="claims">
{chart}

The bars count the verdicts. Where scripts are on, every claim follows as a row of a plot, to be
filtered by words, verdict and chapter and to be sorted; the tables below show the same rows. Each
row has its own scale: the dashed line is the claimed number, and every interval is drawn equally
wide, so that its distance from the line says by how many half intervals what was measured misses
what was claimed. An arrow stands for an interval farther off than five of them.

</div>
"""


def number(value: float | None) -> str:
    """Return a number in few digits, an empty text for none; below 0.001 as a power of ten."""
    if value is None:
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and abs(value) < 0.001:
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g} · 10{str(int(power)).translate(RAISED)}".replace("-", "−")
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return text.replace("-", "−")


def measured(claim: claims.Claim) -> str:
    """Return the measured value with its interval and unit."""
    unit = f" ({claim.unit})" if claim.unit and claim.measured is not None else ""
    if claim.interval is None:
        return number(claim.measured) + unit
    low, high = map(number, claim.interval)
    text = f"{number(claim.measured)} [{low}, {high}]{unit}"
    if (bounds := claim.checked("corrected")) is not None:
        text += f"; corrected [{number(bounds[0])}, {number(bounds[1])}]"
    if (least := claim.checked("detectable")) is not None:
        text += f"; detectable {number(least)}"
    return text


def numbers(claim: claims.Claim) -> str:
    """Return what was claimed and measured, as far as there is a number."""
    parts = (("claimed", number(claim.claimed)), ("measured", measured(claim)))
    return ", ".join(f"{name} {text}" for name, text in parts if text)


def evidence(claim: claims.Claim) -> str:
    """Return links to the chapter and to the file that measured it."""
    links = [f"{{ref}}`{claim.chapter}`"]
    if "::" in claim.evidence:
        path, _ = claim.evidence.split("::")
        links.append(f"{{download}}`{path} <../../{path}>`")
    elif claim.evidence:
        name, _, _ = claim.evidence.partition("#")
        links.append(f"{{download}}`{name}.json <../results/{name}.json>`")
    return ", ".join(links)


def row(claim: claims.Claim) -> str:
    """Return one claim as a table row."""
    note = f" *{claim.note}*" if claim.note else ""
    note += f" {STAND_IN} *{claim.stand_in}*" if claim.stand_in else ""
    said = f'<span id="claim-{claim.id}"></span>{claim.claim}{note}'
    cells = (BADGES[claim.verdict], said, number(claim.claimed), measured(claim))
    return "| " + " | ".join(x.replace("|", "\\|") for x in (*cells, evidence(claim))) + " |"


def counts(rows: list[claims.Claim]) -> str:
    """Return how many rows have each verdict, and how many of them by a stand-in."""
    parts = []
    for verdict, badge in BADGES.items():
        if not (mine := [row for row in rows if row.verdict == verdict]):
            continue
        parts.append(f"{badge} {len(mine)} ({sum(bool(row.stand_in) for row in mine)})")
    return f"{len(rows)} claims, in brackets those with a stand-in: " + ", ".join(parts) + "\n"


def chart(rows: list[claims.Claim]) -> str:
    """Return the verdicts as bars, an SVG without empty lines."""
    found = {v: sum(row.verdict == v for row in rows) for v in BADGES}
    told = ", ".join(f"{v} {n}" for v, n in found.items())
    drawing = Drawing("verdicts", 26 * len(found) + 10, "The verdicts", f"Bars: {told}.")
    for i, (verdict, count) in enumerate(found.items()):
        drawing.text(8, 20 + 26 * i, verdict, "left")
        drawing.rect(108, 10 + 26 * i, 320 * count / max(found.values()), 20, "accent")
        drawing.text(448, 20 + 26 * i, str(count))
    return drawing.svg().strip()


def page() -> str:
    """Return the page, one table a section of the two chapters."""
    rows = claims.ledger()
    text = HEAD + counts(rows) + PLOT.format(chart=chart(rows))
    for source, chapter in groupby(rows, key=lambda r: r.source.split(", ")[0]):
        text += f"\n## The {source}\n"
        for section, group in groupby(chapter, key=lambda r: r.source.split(", ")[1]):
            text += f"\n### {section}\n\n{COLUMNS}" + "\n".join(map(row, group)) + "\n"
    return text


def with_numbers(text: str) -> str:
    """Return the ledger with the numbers of its evidence; all other lines stay as they are.

    Raises:
        ClaimError: evidence is missing, or a row is not written one field a line.
    """
    numbers = {claim.id: claim.found() for claim in claims.parse(text)}
    lines, name = [], ""
    for line in text.splitlines(keepends=True):
        if re.match("  (measured|interval):", line):
            continue
        if line.startswith("- id:"):
            name = yaml.safe_load(line)[0]["id"]
        lines.append(line)
        if line.startswith("  claimed:") and (found := numbers[name]):
            for field, value in zip(("measured", "interval"), found.written(), strict=True):
                plain = yaml.safe_dump([value], default_flow_style=True).strip()[1:-1]
                lines.append(f"  {field}: {plain}\n")
    result = "".join(lines)
    for claim in claims.parse(result):
        found = numbers[claim.id]
        if (claim.measured, claim.interval) != (found.written() if found else (None, None)):
            raise claims.ClaimError(f"{claim.id}: write one field a line, and id first")
    return result


def update(path: Path) -> list[str]:
    """Write the numbers into the file; return a line for each verdict that no longer follows."""
    text = path.read_text(encoding="utf-8")
    if (new := with_numbers(text)) != text:
        write_atomic(path, new)
    rows = [(claim, claim.judge()) for claim in claims.step_down(claims.parse(new))]
    return [
        f"{claim.id}: the row says {claim.verdict}, the evidence {judged}: change it by hand"
        for claim, judged in rows
        if judged != claim.verdict
    ]


def main(argv: list[str] | None = None) -> int:
    """Check the ledger, or write its numbers."""
    kind = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--update", action="store_true", help="write measured numbers, in place")
    parser.add_argument("--file", type=Path, default=claims.FILE, help="the ledger")
    args = parser.parse_args(argv)
    try:
        wrong = update(args.file) if args.update else []
        if not wrong:
            print(re.sub(r"\{bdg-[\w-]+\}|`", "", counts(claims.ledger(args.file))), end="")
    except claims.ClaimError as error:
        wrong = [str(error)]
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
