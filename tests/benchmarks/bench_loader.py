"""Pictures made on the fly against pictures made beforehand: who waits for whom?

And what the large studies of pictures hang on: the training loop of B0 at its own 224 pixels, and
the features of a frozen net.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import allocator
import numpy as np
import pytest
import torch

from setrade import candles, inference, pictures, training
from setrade.efficientnet import EfficientNet
from setrade.models.backbones import pretrained

N, SIZE, BATCH = 512, 64, 64
OWN_SIZE, FEW, LOOKBACK = 224, 32, 64  # of B0: pixels, pictures an epoch, bars of a picture
WINDOWS = 26_000  # of hourly bars in three years


def epoch(net, optimizer, data, batch):
    """Train on every row of ``data`` once."""
    for rows in torch.randperm(len(data)).split(batch):
        x, y = data.batch(rows)
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["candles", "gadf", "recurrence"])
def test_training_on_the_fly_against_tensors_made_before(race, name):
    """Issue: at 0.9 or more of the speed on pre-made tensors."""
    windows = candles.windows(candles.sample(), SIZE)[:N]
    targets = np.arange(N) % 3
    on_the_fly = pictures.PictureSet(windows, targets, pictures.encoder(name, SIZE))
    x, y = on_the_fly.batch(np.arange(N))
    made_before = training.TensorSet(x.clone(), y.clone())
    net = EfficientNet("micro", 3, in_channels=x.shape[1]).train()
    optimizer = torch.optim.Adam(net.parameters())

    medians = race(
        lambda: epoch(net, optimizer, on_the_fly, BATCH),
        made_before=lambda: epoch(net, optimizer, made_before, BATCH),
        seconds=6.0,
    )
    race.bound("made_before", medians["made_before"] / medians["ours"], 0.9)


def own_size(n=FEW):
    """Return ``n`` pictures of 224 pixels that are drawn when they are asked for."""
    windows = candles.windows(candles.sample(), LOOKBACK)[:n]
    return pictures.PictureSet(windows, np.arange(n) % 2, pictures.encoder("candles", OWN_SIZE))


def b0():
    """Return B0 and its optimiser."""
    training.seed_everything(0)
    net = EfficientNet("b0", 2).train()
    return net, torch.optim.AdamW(net.parameters())


@cache
def naive():
    """Return a plain loop's net, optimiser and loader: ready tensors, channels first."""
    x, y = own_size().batch(np.arange(FEW))
    ready = torch.utils.data.TensorDataset(x.contiguous(), y)
    return *b0(), torch.utils.data.DataLoader(ready, batch_size=16, shuffle=True)


def naive_epoch():
    """Train for an epoch as a tutorial does; return its seconds."""
    net, optimizer, loader = naive()
    start = time.perf_counter()
    for x, y in loader:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return time.perf_counter() - start


@pytest.fixture
def elsewhere(monkeypatch):
    """Return a process that takes memory fresh, as one has it that nobody has set up."""
    for name in allocator.KEPT:
        monkeypatch.delenv(name, raising=False)  # the C library reads them when it starts
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def ours(data):
    """Return a call that trains B0 on every picture of ``data`` once, as the studies do."""
    net, optimizer = b0()
    net.to(memory_format=torch.channels_last)
    return lambda: epoch(net, optimizer, data, 16)


def test_training_b0_on_the_fly_at_its_own_size(race):
    """Issue: 0.97 of the speed on ready tensors; 16 pictures a call, or its scatter hides that."""
    drawn = own_size(16)
    x, y = drawn.batch(np.arange(16))
    ready = ours(training.TensorSet(x.clone(), y.clone()))
    medians = race(ours(drawn), ready=ready, seconds=30.0)
    race.bound("ready", medians["ready"] / medians["ours"], 0.97)


def test_training_b0_against_a_naive_loop(race, elsewhere):
    """Issue: 1.3 times as fast as a loop that takes memory fresh, channels first."""
    train = ours(own_size())

    def timed():
        start = time.perf_counter()
        train()
        return time.perf_counter() - start

    medians = race(
        timed, naive=lambda: elsewhere.submit(naive_epoch).result(), seconds=20.0, clocked=True
    )
    race.bound("naive", medians["naive"] / medians["ours"], {"kept": 1.3})


def test_features_of_three_years_of_hours(race):
    """Issue: features of 26,000 windows through Lite0 at 224 pixels within 8 minutes."""
    net = pretrained("lite0").freeze().eval()
    drawn, rows = own_size(), np.arange(FEW)
    ask = inference.engine(net, torch.zeros(1, 3, OWN_SIZE, OWN_SIZE), "onnx")
    medians = race(lambda: ask(drawn.batch(rows)[0]), drawing=lambda: drawn.batch(rows))
    minutes = medians["ours"] / FEW * WINDOWS / 60
    race.bound("within_8_minutes", 8 / minutes, 1)
