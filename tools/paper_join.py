"""Join printed pages into one PDF: page numbers, outline, links that lead inside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import paper_check
from paper_print import Printed
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    Fit,
    FloatObject,
    NameObject,
    NullObject,
)

FOOT = 28  # points above the lower edge
MARGIN = 42.5  # 15 mm
DIGIT = 0.556  # the width of any digit of Helvetica, in units of its size
SIZE = 8.5


class Place(NamedTuple):
    """A place in the joined file."""

    page: int  # from 0
    top: float  # points above the lower edge


class Places:
    """Where each page of the book, and each named place on it, came to lie."""

    def __init__(self) -> None:
        self.first: dict[str, int] = {}
        self.named: dict[tuple[str, str], Place] = {}

    def add(self, address: str, reader: PdfReader, offset: int) -> None:
        """Take in one printed page of the book that begins at page ``offset``."""
        self.first[address] = offset
        numbers = {page.indirect_reference.idnum: n for n, page in enumerate(reader.pages)}  # type: ignore[union-attr]
        for name, target in reader.named_destinations.items():
            reference = target.raw_get("/Page")
            if (number := numbers.get(getattr(reference, "idnum", -1))) is not None:
                self.named[address, plain(name)] = Place(offset + number, float(target.top or 0))

    def find(self, address: str) -> Place | None:
        """Return where an address with or without ``#place`` lies, None if it is no page here."""
        page, _, name = address.partition("#")
        if page not in self.first:
            return None
        top = Place(self.first[page], 10_000)
        return self.named.get((page, unquote(name)), top) if name else top


def plain(name: str) -> str:
    """Return a place's name as the page has it: Chromium writes ``/name``."""
    return unquote(str(name).removeprefix("/"))


def _top(writer: PdfWriter, place: Place) -> float:
    """Return where on its page a place is shown: a little above it."""
    return min(place.top + 4, float(writer.pages[place.page].mediabox.top))


def _target(writer: PdfWriter, place: Place) -> ArrayObject:
    """Return a place as links name it."""
    page = writer.pages[place.page].indirect_reference
    top = FloatObject(_top(writer, place))
    return ArrayObject([page, NameObject("/XYZ"), NullObject(), top, NullObject()])


def wanted(link: DictionaryObject, address: str) -> str | None:
    """Return the address to which a link of a page leads, None if it is no link."""
    action = link.get("/A")
    action = action.get_object() if action is not None else {}
    if "/URI" in action:
        return str(action["/URI"])
    inside = link.get("/Dest", action.get("/D"))
    if isinstance(inside, str):
        return f"{address}#{plain(inside)}"
    return None


def relink(writer: PdfWriter, page: Any, address: str, places: Places) -> list[str]:
    """Lead the links of a page inside the file; return those that would lead to a local file."""
    lost = []
    for reference in page.get("/Annots", ArrayObject()):
        link = reference.get_object()
        there = wanted(link, address)
        if there is None:
            continue
        if place := places.find(there):
            link.pop("/A", None)
            link[NameObject("/Dest")] = _target(writer, place)
        elif there.startswith("file:"):
            lost.append(there.rsplit("/", 1)[-1])
    return lost


def words(text: str) -> bytes:
    """Return a text as the foot's font writes it; a letter that it lacks becomes ``?``."""
    return re.sub(rb"([\\()])", rb"\\\1", text.encode("cp1252", "replace"))


def foot(writer: PdfWriter, font: Any, page: Any, number: int, title: str) -> None:
    """Write the title of its chapter, and a page's number, below what was printed."""
    right = float(page.mediabox.right) - MARGIN - DIGIT * SIZE * len(str(number))
    line = b"BT /PaperFoot %.1f Tf %.1f %d Td (%s) Tj ET "
    drawn = [(MARGIN, words(title)), (right, b"%d" % number)]
    before, after = DecodedStreamObject(), DecodedStreamObject()
    before.set_data(b"q\n")  # what Chromium wrote turns the page upside down: it is undone
    after.set_data(b"\nQ q 0.35 g " + b"".join(line % (SIZE, x, FOOT, t) for x, t in drawn) + b"Q")
    old = page["/Contents"]
    middle = list(old) if isinstance(old, ArrayObject) else [page.raw_get("/Contents")]
    made = [writer._add_object(before), *middle, writer._add_object(after)]
    page[NameObject("/Contents")] = ArrayObject(made)
    fonts = page["/Resources"].setdefault(NameObject("/Font"), DictionaryObject()).get_object()
    fonts[NameObject("/PaperFoot")] = font


def helvetica(writer: PdfWriter) -> Any:
    """Return the font of the foot: one that every reader of PDFs has."""
    names = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica",
             "/Encoding": "/WinAnsiEncoding"}  # fmt: skip
    made = DictionaryObject({NameObject(k): NameObject(v) for k, v in names.items()})
    return writer._add_object(made)


def outline(writer: PdfWriter, pieces: list[Printed], places: Places) -> None:
    """Write the outline: parts, chapters, sections."""

    def add(title: str, place: Place, above: Any, bold: bool = False) -> Any:
        fit = Fit.xyz(top=_top(writer, place))
        return writer.add_outline_item(title=title, page_number=place.page, parent=above, fit=fit,
                                       bold=bold, is_open=False)  # fmt: skip

    part, parent, chapter = "", None, None
    for piece in pieces:
        leaf = piece.leaf
        start = Place(places.first[leaf.address], 10_000)
        if leaf.part != part:
            part, parent = leaf.part, add(leaf.part, start, None, bold=True)
        item = add(leaf.title, start, chapter if leaf.level > 1 else parent)
        chapter = chapter if leaf.level > 1 else item
        section = item
        for level, text, name in piece.headings:
            made = add(text, places.find(f"{leaf.address}#{name}") or start,
                       section if level > 2 else item)  # fmt: skip
            section = made if level == 2 else section


def joined(pieces: list[Printed], target: Path, title: str, author: str) -> list[str]:
    """Write the pages as one file; return the links that lead nowhere."""
    writer, places, spans = PdfWriter(), Places(), []
    for piece in pieces:
        reader = PdfReader(piece.path)
        places.add(piece.leaf.address, reader, len(writer.pages))
        for page in reader.pages:
            writer.add_page(page)
            spans.append(piece)
    font, lost = helvetica(writer), []
    for number, (page, piece) in enumerate(zip(writer.pages, spans, strict=True), 1):
        found = relink(writer, page, piece.leaf.address, places)
        lost += [f"{piece.leaf.title}: a link leads to a file: {name}" for name in found]
        if number > 1:
            foot(writer, font, page, number, piece.leaf.title)
    outline(writer, pieces, places)
    writer.add_metadata({"/Title": title, "/Author": author})
    writer.page_mode = "/UseOutlines"
    writer.compress_identical_objects(remove_duplicates=True, remove_unreferenced=True)
    writer.write(target)
    return lost


def trim(path: Path) -> None:
    """Take off a last page on which nothing stands but the margin of what stood before it."""
    reader = PdfReader(path)
    if len(reader.pages) > 1 and paper_check.blank(reader.pages[-1]):
        writer = PdfWriter(path)
        writer.remove_page(len(reader.pages) - 1)
        writer.write(path)


def pages_of(path: Path) -> int:
    """Return how many pages a file has."""
    return len(PdfReader(path).pages)
