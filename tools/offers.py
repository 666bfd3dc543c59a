"""Put the book as PDF and EPUB beside the site, and the links to them into its first page.

A link is there when its file is: after each build of the site, and after each of the files, the
place that `book/intro.md` keeps is written again from what stands in `_build/paper`. A file that
was made from an earlier text stays linked, because it is still worth reading, and is named so.
"""

from __future__ import annotations

import hashlib
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
SOURCES = (
    "_toc.yml", "_config.yml", "book/*.ipynb", "book/*.md", "book/*.yml", "book/*.bib",
    "book/_static/diagrams/*.svg",
)  # fmt: skip


def state(root: Path = ROOT) -> str:
    """Return a digest of all that the pages are built from, by which a file's age is known."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in root.glob(pattern)):
        place = path.relative_to(root).as_posix()
        digest.update(place.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def stamp(made: Path, of: str) -> None:
    """Note beside a finished file, or the site's folder, of which state of the text it is."""
    write_atomic(made.with_name(f"{made.name}.state"), of + "\n")


def stamped(made: Path) -> str:
    """Return the state of the text that a file or the site was made from; "" if it is not known."""
    note = made.with_name(f"{made.name}.state")
    return note.read_text(encoding="utf-8").strip() if note.is_file() else ""


def sentence(files: list[Path], old: set[Path]) -> str:
    """Return what the page says of the files beside the site; nothing where there is none."""
    links = [
        f'<a href="../{file.name}">{KINDS[file.suffix[1:]]}</a> '
        f"({file.stat().st_size / 1e6:.1f} MB{', of an earlier text' if file in old else ''})"
        for file in files
    ]
    return f"<p>The whole book to take along: {' and '.join(links)}.</p>" if links else ""


def offer(html: Path = HTML, paper: Path = PAPER) -> list[Path]:
    """Copy the files beside a built site and link them; remove copies whose file has gone."""
    page = html / PAGE
    if not page.is_file():
        return []
    files: list[Path] = []
    old: set[Path] = set()
    now = state()
    for kind in KINDS:
        made, beside = paper / f"{NAME}.{kind}", html / f"{NAME}.{kind}"
        if made.is_file():
            shutil.copyfile(made, beside)
            files.append(beside)
            if stamped(made) != now:
                old.add(beside)
        else:
            beside.unlink(missing_ok=True)
    text = page.read_text(encoding="utf-8")
    said = PLACE.sub(lambda m: m[1] + sentence(files, old) + m[2], text)
    if said != text:
        write_atomic(page, said)
    return files
