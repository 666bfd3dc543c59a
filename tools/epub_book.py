"""The book as an EPUB: built by Sphinx from the same sources as the site, finished and checked.

python tools/epub_book.py     into _build/paper
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import epub_check
import offers

from book import SITE

ROOT = Path(__file__).resolve().parent.parent
FILE = offers.PAPER / f"{offers.NAME}.epub"
BUILT = ROOT / "_build" / "epub"
ITEM = re.compile(r'<item (id="[^"]+" href="([^"]+)" media-type="application/xhtml\+xml")\s*/>')
PLACE = re.compile(rb' id="([^"]+)"(?=[^<>]*>)')


def build() -> int:
    """Let Sphinx write the pages; warnings are errors, among them formulas without MathML."""
    shutil.rmtree(BUILT, ignore_errors=True)  # Sphinx would pack what an older build left there
    command = [sys.executable, "-c", SITE, "build", "-W", "-n", "--keep-going", "-q",
               "--builder", "custom", "--custom-builder", "epub", str(ROOT)]  # fmt: skip
    return subprocess.run(command, cwd=ROOT).returncode


def declared(package: str, pages: dict[str, bytes]) -> str:
    """Return a package document that says which pages hold formulas, as EPUB 3 asks."""

    def line(match: re.Match[str]) -> str:
        said = ' properties="mathml"' if b"<math" in pages.get(match[2], b"") else ""
        return f"<item {match[1]}{said} />"

    return ITEM.sub(line, package)


def distinct(page: bytes) -> bytes:
    """Return a page in which only the first of several places of one name has it.

    Boxes of exercises and proofs all call their inner part the same; nothing leads there.
    """
    seen: set[bytes] = set()

    def first(match: re.Match[bytes]) -> bytes:
        known = match[1] in seen
        seen.add(match[1])
        return b"" if known else match[0]

    return PLACE.sub(first, page)


def finished(built: Path, target: Path) -> None:
    """Write what Sphinx built once more: mimetype first and stored, formulas declared."""
    with zipfile.ZipFile(built) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    files["content.opf"] = declared(files["content.opf"].decode(), files).encode()
    for name in files:
        if name.endswith(".xhtml"):
            files[name] = distinct(files[name])
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", epub_check.MIMETYPE, zipfile.ZIP_STORED)
        for name, text in files.items():
            if name != "mimetype":
                archive.writestr(name, text)


def main() -> int:
    """Write the book; return 1 where something is wrong with it."""
    text = offers.state()
    if build():
        return 1
    (built,) = BUILT.glob("*.epub")
    finished(built, FILE)
    if found := epub_check.faults(FILE):
        print("\n".join(found))
        FILE.unlink()
        return 1
    print(f"{FILE.relative_to(ROOT)}: {FILE.stat().st_size / 1e6:.1f} MB")
    offers.stamp(FILE, text)
    offers.offer()
    return 0


if __name__ == "__main__":
    sys.exit(main())
