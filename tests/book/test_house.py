"""What `tools/house.py` counts, on small packages whose figures are known by hand."""

from __future__ import annotations

import house
import pytest

CLEAN = {
    "__init__.py": '"""A package."""\n',
    "one.py": '"""One."""\n\n# why\nX = 1\n\n\n'
    'class A:\n    """An A."""\n\n    y = """\n    text"""\n\n    def f(self): ...\n',
    "two/__init__.py": "from .inner import B\n",
    "two/inner.py": "from setrade.one import X\n\n\nclass B:\n    x = X\n",
}


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """Write files into a package, and return its figures by name, with what stands behind."""
    monkeypatch.setattr(house, "ROOT", tmp_path)
    monkeypatch.setattr(house, "PACKAGE", tmp_path / "setrade")

    def write(files: dict[str, str]) -> dict[str, tuple[int, str]]:
        for name, text in files.items():
            path = tmp_path / "setrade" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return {name: (value, behind) for name, value, _, behind in house.figures()}

    return write


def test_a_clean_package(figures, capsys):
    found = figures(CLEAN)
    assert {name: value for name, (value, _) in found.items()} == {
        "files": 4, "lines": 20, "lines of code": 9, "lines of the largest file": 13,
        "files of two": 2, "folders in folders": 0, "modules in an import cycle": 0,
        "class names twice": 0,
    }  # fmt: skip
    assert found["lines of the largest file"][1] == "setrade.one"
    assert house.main([]) == 0
    assert "ABOVE" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "back",
    [
        "from setrade.two.inner import B\n",
        "import setrade.two.inner\n",
        "from setrade.two import inner\n",
        "def f():\n    from setrade.two.inner import B\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .two.inner import B\n",
    ],
    ids=["plain", "import", "module", "in a function", "for types"],
)
def test_a_cycle_however_it_is_closed(figures, capsys, back):
    value, behind = figures(CLEAN | {"one.py": back + CLEAN["one.py"]})[
        "modules in an import cycle"
    ]
    assert value >= 2
    assert {"setrade.one", "setrade.two.inner"} <= set(behind.split(" ~ "))
    assert house.main([]) == 1
    assert f"modules in an import cycle: {value} (at most 0)  ABOVE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("added", "figure", "behind"),
    [
        ({"three.py": "class B:\n    pass\n"}, "class names twice", "setrade.three:1"),
        ({"two/deep/x.py": "X = 1\n"}, "folders in folders", "setrade/two/deep"),
    ],
)
def test_what_stands_twice_or_too_deep(figures, added, figure, behind):
    value, where = figures(CLEAN | added)[figure]
    assert value == 1
    assert behind in where
    assert house.main([]) == 1


@pytest.mark.parametrize(
    ("added", "figure"),
    [
        ({"long.py": "X = 1\n" * 601}, "lines of the largest file"),
        ({f"two/f{k}.py": "" for k in range(8)}, "files of two"),
        ({f"f{k}.py": "" for k in range(house.BOUNDS["files"] - 3)}, "files"),
        ({f"f{k}.py": "X = 1\n" * 500 for k in range(54)}, "lines of code"),
    ],
)
def test_what_is_above_its_bound(figures, capsys, added, figure):
    figures(CLEAN | added)
    assert house.main([]) == 1
    above = [line for line in capsys.readouterr().out.splitlines() if "  ABOVE" in line]
    assert [line.split(":")[0] for line in above].count(figure) == 1
