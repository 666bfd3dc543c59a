"""The page of claims: every row of the ledger with its verdict, as a colour and as a word."""

from __future__ import annotations

from itertools import groupby

from setrade.evidence import claims

BADGES = {
    "holds": "{bdg-success}`holds`",
    "fails": "{bdg-danger}`fails`",
    "undecided": "{bdg-warning}`undecided`",
    "not testable": "{bdg-light}`not testable`",
}
COLUMNS = "| verdict | claim | measured | evidence |\n|---|---|---|---|\n"
HEAD = """(claims)=
# Claims

Every claim of the two chapters we started from that can be put to a test, with what this book
measured. Chapter {ref}`ch-verdict` says how a verdict is reached: a claimed number **holds** when
it lies inside an interval narrow enough to say something, **fails** when it lies outside, and is
**undecided** when the interval is too wide to tell. The verdicts are computed from the stored
results each time this page is built; a row whose verdict does not follow stops the build.

"""


def number(value: float) -> str:
    """Return a number in few digits."""
    return f"{value:.3g}".replace("-", "−")


def measured(claim: claims.Claim) -> str:
    """Return the measured value with its interval."""
    found = claim.measured()
    if found is None:
        return ""
    exact = found.low is None or found.high is None or found.low == found.high
    if exact:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low or 0)}, {number(found.high or 0)}]"


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
    unit = f" ({claim.unit})" if claim.unit else ""
    note = f" *{claim.note}*" if claim.note else ""
    cells = (BADGES[claim.verdict], claim.claim + note, measured(claim) + unit, evidence(claim))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """Return the page, one table a section of the chapters we started from."""
    rows = claims.ledger()
    counts = [f"{BADGES[v]} {sum(r.verdict == v for r in rows)}" for v in claims.VERDICTS]
    text = HEAD + f"{len(rows)} claims: " + ", ".join(counts) + "\n"
    for source, chapter in groupby(rows, key=lambda r: r.source.split(", ")[0]):
        text += f"\n## The {source}\n"
        for section, group in groupby(chapter, key=lambda r: r.source.split(", ")[1]):
            text += (
                f"\n### {section}\n\n| verdict | claim | measured | evidence |\n|---|---|---|---|\n"
            )
            text += "\n".join(map(row, group)) + "\n"
    return text
