"""The project's files agree with each other and the package keeps its floors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import install_check
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from provenance import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
INSTALLED = ("cpu", "book", "test", "bench")
VERSIONS = ("3.11", "3.12", "3.13")


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def wanted() -> list[Requirement]:
    texts = list(PYPROJECT["project"]["dependencies"])
    for extra in EXTRAS.values():
        texts += extra
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("need", wanted(), ids=lambda need: need.name)
def test_constraints_satisfy_pyproject(need):
    version = pinned()[canonicalize_name(need.name)]
    assert need.specifier.contains(version, prereleases=True)


def test_conda_way_leads_to_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip == ["-c constraints.txt", f"-e .[{','.join(INSTALLED)}]"]
    (python,) = [d for d in environment["dependencies"] if str(d).startswith("python")]
    assert python == "python>=3.11,<3.14"


def test_the_package_names_the_versions_of_python_that_ci_runs():
    about = PYPROJECT["project"]
    assert about["requires-python"] == f">={VERSIONS[0]}"
    named = re.findall(r"Python :: (3\.\d+)'", str(about["classifiers"]))
    assert tuple(named) == VERSIONS
    jobs = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8"))["jobs"]
    for job in ("test", "package"):
        assert tuple(jobs[job]["strategy"]["matrix"]["python"]) == VERSIONS
        given = [step.get("with", {}).get("python-version") for step in jobs[job]["steps"]]
        assert [x for x in given if x] == ["${{ matrix.python }}"]


def test_ci_tests_the_book_on_linux_and_the_package_on_the_others():
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8"))
    assert workflow["defaults"]["run"]["shell"] == "bash"  # Windows' own reads no such quotes
    jobs = workflow["jobs"]
    steps = {
        name: [s["run"] for s in job["steps"] if "run" in s and "if" not in s]
        for name, job in jobs.items()
    }
    # `python`, not what the Makefile would find first: the runner has others.
    assert steps["test"] == ["make test PYTHON=python"]
    assert jobs["test"]["runs-on"].startswith("ubuntu")
    systems = {name.split("-")[0] for name in jobs["package"]["strategy"]["matrix"]["os"]}
    assert systems == {"macos", "windows"}
    assert steps["package"][0] == "python tools/install_check.py"
    assert f"-c constraints.txt -e '.[{','.join(INSTALLED)}]'" in steps["package"][1]
    assert "pytest tests --ignore=tests/book" in steps["package"][2]


def test_one_onnx_runtime_at_a_time():
    everywhere = [Requirement(text).name for text in PYPROJECT["project"]["dependencies"]]
    assert not [name for name in everywhere if name.startswith("onnxruntime")]
    having = {e: [t for t in texts if t.startswith("onnxruntime")] for e, texts in EXTRAS.items()}
    assert {e: len(found) for e, found in having.items() if found} == {"cpu": 1, "gpu": 1}
    assert "gpu" not in INSTALLED


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_boosted_trees_come_once_on_every_system(platform):
    trees = [need for need in wanted() if need.name.startswith("xgboost") and need.marker]
    names = [n.name for n in trees if n.marker.evaluate({"sys_platform": platform})]
    assert names == ["xgboost" if platform == "darwin" else "xgboost-cpu"]


def test_nothing_is_wrong_with_the_files_that_an_install_reads():
    assert install_check.faults(ROOT) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("\n \n", "it is empty"),
        ("numpy==2.4.6\ntor", "line 2 is no pin: 'tor'"),
        ("numpy==2.4.6\ntorch==2.1", "cut short in its last line: 'torch==2.1'"),
        ("numpy>=2\ntorch==2.13.0\n", "line 1 is no pin: 'numpy>=2'"),
        ("# numpy==2.4.6\n\nTorch==2.13.0\n", "it pins no numpy"),
        ("\0\0\0\n", "line 1 is no pin"),
        (None, "is missing"),
    ],
)
def test_a_torn_constraints_file_is_named_with_what_helps(tmp_path, text, said):
    about = '[project]\ndependencies = ["numpy>=2,<3"]\n[project.optional-dependencies]\n'
    (tmp_path / "pyproject.toml").write_text(
        about + "fast = [\"torch==2.13.0; python_version>'3'\"]", encoding="utf-8"
    )
    if text is not None:
        (tmp_path / "constraints.txt").write_text(text, encoding="utf-8")
    found = "\n".join(install_check.faults(tmp_path))
    assert said in found
    assert "git checkout -- constraints.txt" in found


def test_a_torn_pyproject_is_named_with_what_helps(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["num', encoding="utf-8")
    (found,) = install_check.faults(tmp_path)
    assert found.startswith("pyproject.toml is torn")
    assert "git checkout -- pyproject.toml" in found


@pytest.fixture
def bare(tmp_path):
    """A folder with what `make` reads before it installs, and a Python that only takes notes."""
    (tmp_path / "tools").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tools/install_check.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    noting = tmp_path / "python"
    noting.write_text(
        '#!/bin/sh\necho "$0 $*" >> calls\n'
        f'case "$*" in\n*install_check*) exec {sys.executable} "$@" ;;\n'
        "*version_info*) echo 3.11 ;;\n"
        '"-m pip --version") test -e whole ;;\n'
        '"-m venv .venv") mkdir -p .venv/bin; cp python .venv/bin/python; touch whole ;;\n'
        "esac\n",
        encoding="utf-8",
    )
    noting.chmod(0o755)
    return tmp_path


def installs(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run what every target runs first, with the Python that only takes notes."""
    command = ["make", "PYTHON=./python", ".venv/.ready-3.11"]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8")


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml"])
def test_make_says_what_helps_where_a_file_that_it_installs_from_is_gone(bare, name):
    assert installs(bare).returncode == 0
    (bare / name).unlink()
    done = installs(bare)
    assert done.returncode
    assert f"git checkout -- {name}" in done.stderr
    (bare / name).touch()
    assert f"git checkout -- {name}" in installs(bare).stderr


def test_half_an_environment_is_made_again(bare):
    """A kill between Python and pip, or a Python of another version."""
    made = ".venv/bin/python -m pip install"
    (bare / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(bare / "python", bare / ".venv" / "bin" / "python")
    assert installs(bare).returncode == 0
    calls = (bare / "calls").read_text(encoding="utf-8")
    assert calls.index("./python -m venv .venv") < calls.index(made)
    (bare / "constraints.txt").touch()
    assert installs(bare).returncode == 0
    assert (bare / "calls").read_text(encoding="utf-8").count("-m venv") == 1  # whole: kept


def test_the_install_check_ends_as_make_needs_it():
    program = ROOT / "tools" / "install_check.py"
    done = subprocess.run([sys.executable, "-S", program], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_makefile_installs_the_same_extras():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"-c constraints.txt -e '.[{','.join(INSTALLED)}]'" in makefile


def test_ci_runs_make_test_and_nothing_of_its_own():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line.strip() and not line.startswith("#")]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test"]


def test_import_setrade_is_light():
    code = (
        "import sys, time; t = time.perf_counter(); import setrade; "
        "heavy = [m for m in ('torch', 'timm', 'talib') if m in sys.modules]; "
        "print(time.perf_counter() - t, heavy)"
    )
    best = min(
        float(out.split()[0])
        for out in (
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, encoding="utf-8"
            ).stdout
            for _ in range(3)
        )
        if out.rstrip().endswith("[]")
    )
    assert best < 0.3


def test_floors_hold():
    program = f"{sys.prefix}/bin/lint-imports"
    done = subprocess.run([program], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout


def test_help_lists_every_public_target():
    done = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    for target in ("book", "test", "lab", "bench", "study", "help"):
        assert re.search(rf"^{target}\s+\S", done.stdout, re.M), target


def tracked() -> list[Path]:
    """The files that git knows; none where there is no git, or none that answers."""
    command = ["git", "ls-files", "-z"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    except OSError:
        return []
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def not_ignored() -> list[Path]:
    """The files of the tree that .gitignore does not name."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    patterns = [".git", *(line.strip("/") for line in lines)]

    def kept(path: Path) -> bool:
        names = path.name, path.relative_to(ROOT).as_posix()
        return not any(fnmatch(name, pattern) for name in names for pattern in patterns)

    found = []
    for folder, below, files in os.walk(ROOT):
        below[:] = [name for name in below if kept(Path(folder, name))]
        found += [path for name in files if kept(path := Path(folder, name))]
    return found


def test_no_path_of_a_machine_in_tracked_text():
    pattern = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w+")
    for file in tracked() or not_ignored():
        if file.suffix not in (".png", ".safetensors", ".parquet"):
            assert not pattern.search(file.read_text(encoding="utf-8", errors="replace")), file


def test_without_git_the_same_files_are_looked_at_and_more():
    assert set(tracked()) <= set(not_ignored())
    folders = {file.relative_to(ROOT).parts[0] for file in not_ignored()}
    assert {"setrade", "tests", "Makefile"} < folders
    assert not {".venv", ".git", "_build"} & folders


def test_every_folder_of_the_package_has_a_face():
    for file in (ROOT / "setrade").glob("*/__init__.py"):
        assert "__all__" in file.read_text(encoding="utf-8"), (
            f"{file} says what is public in __all__"
        )


def test_the_version_is_the_same_wherever_it_is_named():
    named = {
        "pyproject.toml": r'^version = "(.+)"$',
        "setrade/__init__.py": r'^__version__ = "(.+)"$',
        "_config.yml": r'^    version: "(.+)"',
        "CITATION.cff": r"^version: (.+)$",
    }
    found = {
        re.findall(pattern, (ROOT / name).read_text(encoding="utf-8"), re.M)[0]
        for name, pattern in named.items()
    }
    assert len(found) == 1


def test_the_readme_names_each_part_once_and_each_of_its_pages():
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    there = {part["caption"]: [Path(c["file"]).name for c in part["chapters"]] for part in parts}
    table = re.findall(
        r"^\| (.+?) \| (.+) \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M
    )
    rows = [row for row in table if row[0] in {*there, "Appendices"}]
    names = [part for part, _ in rows]
    assert len(names) == len(set(names))
    for part, pages in rows:
        if part not in ("Before you start", "Appendices"):  # which name no numbers
            said = [page.split(" ")[0] for page in pages.split(" · ")]
            assert said == [name.split("_")[0] for name in there[part]], part
    assert names == [part for part in there if part in names]
    assert {part for part in there if re.match("[IV]+ ", part)} <= set(names)
