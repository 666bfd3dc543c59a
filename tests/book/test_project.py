"""The project's files agree with each other and the package keeps its floors."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from provenance import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
INSTALLED = ("book", "test", "bench")


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def wanted() -> list[Requirement]:
    texts = list(PYPROJECT["project"]["dependencies"])
    for extra in INSTALLED:
        texts += EXTRAS[extra]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("need", wanted(), ids=lambda need: need.name)
def test_constraints_satisfy_pyproject(need):
    version = pinned()[canonicalize_name(need.name)]
    assert need.specifier.contains(version, prereleases=True)


def test_conda_way_leads_to_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip == ["-c constraints.txt", f"-e .[{','.join(INSTALLED)}]"]
    (python,) = [d for d in environment["dependencies"] if str(d).startswith("python")]
    assert python == "python=3.11"
    assert PYPROJECT["project"]["requires-python"] == ">=3.11,<3.12"


def test_makefile_installs_the_same_extras():
    makefile = (ROOT / "Makefile").read_text()
    assert f"-c constraints.txt -e '.[{','.join(INSTALLED)}]'" in makefile


def test_ci_runs_make_test_and_nothing_of_its_own():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
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
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
            for _ in range(3)
        )
        if out.rstrip().endswith("[]")
    )
    assert best < 0.3


def test_floors_hold():
    program = f"{sys.prefix}/bin/lint-imports"
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_help_lists_every_public_target():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("book", "test", "lab", "bench", "study", "help"):
        assert re.search(rf"^{target}\s+\S", done.stdout, re.M), target


def test_no_path_of_a_machine_in_tracked_text():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = [n for n in done.stdout.split("\0") if n and (ROOT / n).is_file()]
    pattern = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w+")
    for name in names:
        if name.endswith((".png", ".safetensors", ".parquet")):
            continue
        assert not pattern.search((ROOT / name).read_text()), name


def test_every_folder_of_the_package_has_a_face():
    for file in (ROOT / "setrade").glob("*/__init__.py"):
        assert "__all__" in file.read_text(), f"{file} says what is public in __all__"
