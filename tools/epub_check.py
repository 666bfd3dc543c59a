"""Check an EPUB as a reader opens it: container, package, pages, links, formulas.

These are the rules of EPUB 3 that a book of text, pictures and formulas can break; epubcheck, which
needs Java, knows more of them.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

MIMETYPE = b"application/epub+zip"
CONTAINER = "META-INF/container.xml"
XHTML = "application/xhtml+xml"
OPF = "{http://www.idpf.org/2007/opf}"
HTML = "{http://www.w3.org/1999/xhtml}"
MATH = "{http://www.w3.org/1998/Math/MathML}"
DOCTYPE = re.compile(r"<!DOCTYPE[^>]*>")
TEX = re.compile(r"\\[(\[][^\n]{0,40}")


class Package:
    """The files of an EPUB, and what its package document says of them."""

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            ValueError: If it has no package document that can be read.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                self.entries = archive.infolist()
                self.files = {entry.filename: archive.read(entry) for entry in self.entries}
            container = ElementTree.fromstring(self.files[CONTAINER])
            self.name = next(e for e in container.iter() if e.tag.endswith("rootfile"))
            self.name = self.name.attrib["full-path"]
            self.root = ElementTree.fromstring(self.files[self.name])
        except KeyError as error:
            raise ValueError(f"missing: {error}") from None
        except (zipfile.BadZipFile, ElementTree.ParseError, StopIteration) as error:
            raise ValueError(f"cannot be read: {error!r}") from None
        folder = posixpath.dirname(self.name)
        self.items = [
            (posixpath.join(folder, unquote(item.get("href", ""))), item)
            for item in self.root.iter(f"{OPF}item")
        ]
        self.pages: dict[str, ElementTree.Element] = {}

    def parsed(self) -> Iterator[str]:
        """Parse the pages; yield a fault for each that is no XML."""
        for name, item in self.items:
            if item.get("media-type") != XHTML or name not in self.files:
                continue
            text = DOCTYPE.sub("", self.files[name].decode())
            try:
                self.pages[name] = ElementTree.fromstring(text)
            except ElementTree.ParseError as error:
                yield f"{name} is no XML: {error}"


def _box(package: Package) -> Iterator[str]:
    """Yield what is wrong with the archive itself."""
    first = package.entries[0]
    if first.filename != "mimetype" or package.files[first.filename] != MIMETYPE:
        yield f"the first file is no mimetype of an EPUB: {first.filename}"
    elif first.compress_type != zipfile.ZIP_STORED or first.extra:
        yield "mimetype is compressed"


def _listed(package: Package) -> Iterator[str]:
    """Yield what is wrong with the list of files and with their order."""
    names, ids = [name for name, _ in package.items], {i.get("id") for _, i in package.items}
    known = {"mimetype", package.name, *names}
    yield from (f"listed, but missing: {name}" for name in names if name not in package.files)
    yield from (
        f"listed twice: {name}" for name in sorted({n for n in names if names.count(n) > 1})
    )
    for name in package.files:
        if name not in known and not name.startswith("META-INF/") and not name.endswith("/"):
            yield f"not listed: {name}"
    if len(ids) < len(names):
        yield "two files have one id"
    spine = [item.get("idref") for item in package.root.iter(f"{OPF}itemref")]
    yield from (f"in the order, but not listed: {each}" for each in spine if each not in ids)
    if not spine:
        yield "no page is in the order of reading"
    if not any((i.text or "").strip() not in ("", "unknown") for i in package.root.iter()
               if i.tag.endswith("}identifier")):  # fmt: skip
        yield "it has no identifier"


def _nav(package: Package) -> Iterator[str]:
    """Yield what is wrong with the contents."""
    navs = [n for n, item in package.items if "nav" in item.get("properties", "").split()]
    if len(navs) != 1:
        yield f"{len(navs)} tables of contents, not one"
        return
    page = package.pages.get(navs[0])
    if page is None or not [a for nav in page.iter(f"{HTML}nav") for a in nav.iter(f"{HTML}a")]:
        yield "the table of contents lists nothing"


def _links(package: Package, name: str) -> Iterator[str]:
    """Yield links and pictures of a page that lead nowhere."""
    for element in package.pages[name].iter():
        for attribute in ("href", "src"):
            target = urlsplit(element.get(attribute, "#"))
            if target.scheme or target.netloc or element.get(attribute) in (None, "#"):
                continue
            there = posixpath.normpath(
                posixpath.join(posixpath.dirname(name), unquote(target.path))
            )
            there = there if target.path else name
            if there not in package.files:
                yield f"{name}: leads nowhere: {element.get(attribute)}"
            elif target.fragment and there in package.pages:
                ids = {e.get("id") for e in package.pages[there].iter()}
                if unquote(target.fragment) not in ids:
                    yield f"{name}: no such place: {element.get(attribute)}"


def _page(package: Package, name: str, item: ElementTree.Element) -> Iterator[str]:
    """Yield what else is wrong with a page."""
    page = package.pages[name]
    ids = [e.get("id") for e in page.iter() if e.get("id")]
    yield from (f"{name}: two places are called {each}" for each in sorted(
        {i for i in ids if i and ids.count(i) > 1}))  # fmt: skip
    for tag in ("script", "details"):
        if page.find(f".//{HTML}{tag}") is not None:
            yield f"{name}: a reader of EPUBs has no {tag}"
    yield from (f"{name}: a picture without words: {image.get('src')}"
                for image in page.iter(f"{HTML}img") if not image.get("alt"))  # fmt: skip
    has = page.find(f".//{MATH}math") is not None
    if has != ("mathml" in item.get("properties", "").split()):
        yield f"{name}: its formulas are not declared"
    for element in page.iter():
        text = "".join(element.itertext()) if "math" in element.get("class", "").split() else ""
        if left := TEX.search(text):
            yield f"{name}: a formula is left as TeX: {left[0]}"


def faults(path: Path) -> list[str]:
    """Return what is wrong with an EPUB."""
    try:
        package = Package(path)
    except ValueError as error:
        return [str(error)]
    found = [*package.parsed(), *_box(package), *_listed(package), *_nav(package)]
    for name, item in package.items:
        if name in package.pages:
            found += [*_links(package, name), *_page(package, name, item)]
    return found
