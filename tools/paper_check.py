"""Check a PDF page by page: no page is blank, nothing lies outside its page, none was shrunk."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pypdf import PdfReader

SLACK = 1.0  # points
# Chromium writes 0.24 times 3.125, which is 0.75 points a CSS pixel, unless it shrank a wide page.
SCALE = 0.75
# MathJax stretches a brace with pieces of its font that it cuts off: they have no letter's number.
PIECES = re.compile(r"[\ue000-\uf8ff\s]*")
MATRIX = re.compile(rb"([\d.]+) 0 0 (-?[\d.]+) [\d.-]+ [\d.-]+ cm")


def marks(page: Any) -> list[tuple[float, float, str]]:
    """Return where on a page each piece of text begins."""
    found: list[tuple[float, float, str]] = []

    def note(text: str, cm: Any, tm: Any, _font: Any, _size: Any) -> None:
        if not PIECES.fullmatch(text):
            x, y = tm[4] * cm[0] + tm[5] * cm[2] + cm[4], tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
            found.append((x, y, text.strip()))

    page.extract_text(visitor_text=note)
    return found


def scale(page: Any) -> float:
    """Return points a CSS pixel, from the first two matrices of what Chromium wrote."""
    made = 1.0
    for sizes in MATRIX.findall(page.get_contents().get_data()[:4000])[:2]:
        made *= float(sizes[0])
    return made


def drawn(page: Any) -> bool:
    """Return whether a page shows a picture or draws a line."""
    resources = page.get("/Resources", {})
    return "/XObject" in resources or "/Pattern" in resources


def blank(page: Any, foot: float = 0) -> bool:
    """Return whether nothing stands on a page above its foot."""
    return not drawn(page) and not any(y > foot for _, y, _ in marks(page))


def faults(path: Path, foot: int = 0) -> list[str]:
    """Return what is wrong with the pages of a file.

    Args:
        path: The file.
        foot: How high, in points, a foot is that does not make a page full.
    """
    found = []
    for number, page in enumerate(PdfReader(path).pages, 1):
        box = page.mediabox
        texts = marks(page)
        if not drawn(page) and not any(y > foot for _, y, _ in texts):
            found.append(f"page {number} is blank")
        for x, y, text in texts:
            inside = (
                box.left - SLACK <= x <= box.right and box.bottom - SLACK <= y <= box.top + SLACK
            )
            if not inside:
                found.append(f"page {number}: outside the page: {text[:40]!r}")
        if abs(scale(page) - SCALE) > 0.005:
            found.append(f"page {number} was shrunk to {scale(page) / SCALE:.2f} of its size")
    return found
