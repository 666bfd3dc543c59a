"""What several test files share."""

from __future__ import annotations

import importlib
import os

import pytest
from hypothesis import settings

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# What holds to the last bit holds on a CPU: who tests a GPU names it (tests/test_gpu.py).
os.environ.setdefault("SETRADE_DEVICE", "cpu")


@pytest.fixture
def one_thread():
    """Run torch on one thread: small nets lose time by sharing, most of all on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pyts_image(monkeypatch):
    """Return ``pyts.image``; its loops are run and not compiled, which takes half a minute."""
    with monkeypatch.context() as patch:
        patch.setattr("numba.config.DISABLE_JIT", True)
        return importlib.import_module("pyts.image")
