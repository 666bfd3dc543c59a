"""Say what is wrong with the files that an install reads, before pip does in words of its own.

python tools/install_check.py    needs nothing but Python; make runs it before it installs
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
PIN = re.compile(r"([\w.-]+)==[\w.!+]+")
BACK = "get the whole file back with: git checkout -- {} (without git, download it again)"


def name_of(need: str) -> str:
    """Return a requirement's package, written as pip compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", need, maxsplit=1)[0]).lower()


def pin_faults(text: str, needs: list[str]) -> list[str]:
    """Return what is wrong with a constraints file, given the requirements it has to pin."""
    if not text.strip():
        return ["it is empty"]
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    found = [f"line {n} is no pin: {line!r}" for n, line in lines if not PIN.fullmatch(line)]
    if not text.endswith("\n"):
        found.append(f"it is cut short in its last line: {text.splitlines()[-1]!r}")
    pinned = {name_of(line) for _, line in lines}
    lacking = sorted({name_of(need) for need in needs} - pinned)
    return found + ([f"it pins no {', '.join(lacking)}"] if lacking else [])


def faults(root: Path) -> list[str]:
    """Return what keeps a project from being installed, each with what helps."""
    if sys.version_info < OLDEST:
        return [f"Python {sys.version.split()[0]} is too old: make PYTHON=python3.11 (or newer)"]
    import tomllib

    project, pins = root / "pyproject.toml", root / "constraints.txt"
    try:
        about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        extras = about["optional-dependencies"].values()
        needs = [*about["dependencies"], *(need for extra in extras for need in extra)]
    except (OSError, ValueError, KeyError) as error:
        return [f"pyproject.toml is torn ({error!r}); {BACK.format(project.name)}"]
    if not pins.is_file():
        return [f"constraints.txt is missing; {BACK.format(pins.name)}"]
    found = pin_faults(pins.read_text(encoding="utf-8", errors="replace"), needs)
    return [f"constraints.txt: {text}; {BACK.format(pins.name)}" for text in found]


if __name__ == "__main__":
    sys.exit("\n".join(faults(ROOT)[:5]) or None)
