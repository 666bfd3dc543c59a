"""`import timm` beside a torch whose torchvision operators are missing, present or half there."""

from __future__ import annotations

import subprocess
import sys

import pytest

DECLARE = """
import torch
from setrade import compat
kept = torch.library.Library("torchvision", "FRAGMENT")
for name in {names!r}:
    kept.define(compat.SCHEMAS[name])
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh process: what is declared stays declared until it ends."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=120
    )


def test_timm_imports_and_runs_here():
    done = python(
        "from setrade.compat import import_timm\n"
        "timm = import_timm()\n"
        "assert import_timm() is timm\n"
        "import torch, torchvision\n"
        "net = timm.create_model('tf_efficientnet_lite0', num_classes=3).eval()\n"
        "print(tuple(net(torch.zeros(1, 3, 32, 32)).shape))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(1, 3)"


def test_timm_imports_after_a_plain_import_failed():
    done = python(
        "try:\n    import timm\nexcept RuntimeError as error:\n    print(error)\n"
        "from setrade.compat import import_timm\n"
        "print(import_timm().__name__)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "timm"


def test_operators_that_load_are_left_alone():
    done = python(
        "try:\n    import torchvision\nexcept RuntimeError:\n    raise SystemExit(3)\n"
        "from setrade import compat\n"
        "compat.import_timm()\n"
        "print(compat.declare_missing(), compat._KEPT)"
    )
    if done.returncode == 3:
        pytest.skip("torchvision's operators are for another build of torch")
    assert done.stdout.strip() == "[] []", done.stderr


@pytest.fixture(scope="module")
def without_operators():
    """Skip where torchvision's operators load: what a test declares first aborts its import."""
    if python("import torchvision").returncode == 0:
        pytest.skip("torchvision's own operators load")


@pytest.mark.usefixtures("without_operators")
@pytest.mark.parametrize("names", [("nms", "qnms"), ("nms",), ("qnms",)])
def test_operators_already_declared_are_left_alone(names):
    done = python(
        DECLARE.format(names=names) + "missing = [n for n in compat.SCHEMAS if n not in "
        f"{names!r}]\n"
        "compat.import_torchvision()\n"
        "assert compat.declare_missing() == [], 'declared again'\n"
        "print(len(compat._KEPT) == (len(missing) > 0))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


def test_declaring_without_looking_fails():
    """The wrong version: define both schemas whether or not they exist."""
    wrong = "compat._KEPT = torch.library.Library('torchvision', 'FRAGMENT')\n" + "\n".join(
        f"compat._KEPT.define(compat.SCHEMAS[{name!r}])" for name in ("nms", "qnms")
    )
    done = python(DECLARE.format(names=("nms", "qnms")) + wrong)
    assert done.returncode != 0
    assert "nms" in done.stderr


def test_other_errors_are_not_swallowed():
    done = python(
        "import sys, types\n"
        "from setrade import compat\n"
        "def fail(name):\n    raise RuntimeError('out of luck')\n"
        "compat.import_module = fail\n"
        "try:\n    compat.import_timm()\n"
        "except RuntimeError as error:\n    print(error, 'torch' in sys.modules)"
    )
    assert done.stdout.strip() == "out of luck False", done.stderr


def test_importing_compat_is_light():
    done = python("import sys, setrade.compat; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr
