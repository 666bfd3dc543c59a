"""Pictures made on the fly against pictures made beforehand: who waits for whom?"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from setrade import candles, pictures, training
from setrade.efficientnet import EfficientNet

N, SIZE, BATCH = 512, 64, 64


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

    def epoch(data):
        for rows in torch.randperm(N).split(BATCH):
            x, y = data.batch(rows)
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()

    medians = race(lambda: epoch(on_the_fly), made_before=lambda: epoch(made_before), seconds=6.0)
    race.bound("made_before", medians["made_before"] / medians["ours"], 0.9)
