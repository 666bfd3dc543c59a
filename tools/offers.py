"""Put the book as PDF and EPUB beside the site, and the links to them into its first page.

A link is there when its file is: after each build of the site, and after each of the files, the
place that `book/intro.md` keeps is written again from what stands in `_build/paper`.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setrade.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
HTML, PAPER = ROOT / "_build" / "html", ROOT / "_build" / "paper"
NAME = "squeeze-excite-measure"
KINDS = {"pdf": "PDF", "epub": "EPUB"}
PLACE = re.compile(r'(<div id="offers"[^>]*>).*?(</div>)', re.DOTALL)
PAGE = "book/intro.html"


def sentence(files: list[Path]) -> str:
    """Return what the page says of the files beside the site; nothing where there is none."""
    links = [
        f'<a href="../{file.name}">{KINDS[file.suffix[1:]]}</a> '
        f"({file.stat().st_size / 1e6:.1f} MB)"
        for file in files
    ]
    return f"<p>The whole book to take along: {' and '.join(links)}.</p>" if links else ""


def offer(html: Path = HTML, paper: Path = PAPER) -> list[Path]:
    """Copy the files beside a built site and link them; remove copies whose file has gone."""
    page = html / PAGE
    if not page.is_file():
        return []
    files = []
    for kind in KINDS:
        made, beside = paper / f"{NAME}.{kind}", html / f"{NAME}.{kind}"
        if made.is_file():
            shutil.copyfile(made, beside)
            files.append(beside)
        else:
            beside.unlink(missing_ok=True)
    text = page.read_text(encoding="utf-8")
    said = PLACE.sub(lambda m: m[1] + sentence(files) + m[2], text)
    if said != text:
        write_atomic(page, said)
    return files
