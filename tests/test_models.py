"""The SE trader: its parts by hand, its twin, its laws, and what it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import assert_causal
from torch import nn

from setrade import candles, channels, training
from setrade.errors import ArgumentError
from setrade.models import SETrader
from setrade.models.se_trader import DECISIONS, ENCODERS, GATES, MULTI_SCALE
from setrade.se import SQUEEZES, SEBlock

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = (*SQUEEZES, MULTI_SCALE, None)


def build(seed: int = 0, channels: int = 6, **options) -> SETrader:
    """A net from a seed, with scales that fit short windows."""
    training.seed_everything(seed)
    return SETrader(channels, **({"scales": (3, 8)} | options)).eval()


def windows(batch: int = 5, channels: int = 6, time: int = 12, seed: int = 1) -> torch.Tensor:
    """Random windows (B, C, T)."""
    return torch.randn(batch, channels, time, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("squeeze", ALL)
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("gate", GATES)
def test_every_combination_answers(encoder, squeeze, gate):
    x = windows()
    for decision in DECISIONS:
        net = build(encoder=encoder, squeeze=squeeze, gate=gate, decision=decision)
        out = net(x)
        assert out.shape == ((5, 3) if decision == "softmax" else (5,))
        assert out.dtype == torch.float32
        assert out.isfinite().all()
        assert decision == "softmax" or out.abs().max() <= 1
        out.sum().backward()
        assert all(p.grad is not None for p in net.parameters())
        if squeeze is not None:
            gates = net.gates(x)
            assert gates.shape == (5, 6 if gate == "input" else 16)
            assert ((gates > 0) & (gates < 1)).all()


@pytest.mark.parametrize("squeeze", ALL)
@pytest.mark.parametrize("decision", DECISIONS)
def test_batch_of_one(decision, squeeze):
    """TRAPS 27: the batch axis stays, and one window alone gets what it gets in a batch."""
    net, x = build(decision=decision, squeeze=squeeze), windows()
    one = net(x[2:3])
    assert one.shape == ((1, 3) if decision == "softmax" else (1,))
    torch.testing.assert_close(one, net(x)[2:3], rtol=1e-5, atol=1e-6)


def sigmoid(v):
    """The logistic function."""
    return 1 / (1 + np.exp(-v))


def conv_by_hand(x, weight, bias):
    """A causal convolution, bar by bar: x (C, T), weight (H, C, K)."""
    padded = np.pad(x, ((0, 0), (weight.shape[2] - 1, 0)))
    steps = [padded[:, t : t + weight.shape[2]] for t in range(x.shape[1])]
    return np.stack([(weight * step).sum((1, 2)) + bias for step in steps], axis=1)


def test_forward_by_hand():
    """Squeeze, excitation, two convolutions and the decision, in NumPy."""
    net, x = build(hidden=3, squeeze="mean", reduction=2), windows(batch=1)
    w = {name: value.double().numpy() for name, value in net.state_dict().items()}
    one = x[0].double().numpy()
    z = one.mean(1)
    h = np.maximum(w["se.excite.reduce.weight"] @ z + w["se.excite.reduce.bias"], 0)
    s = sigmoid(w["se.excite.expand.weight"] @ h + w["se.excite.expand.bias"])
    y = one * s[:, None]
    for name in ("encoder.first", "encoder.second"):
        y = np.maximum(conv_by_hand(y, w[f"{name}.weight"], w[f"{name}.bias"]), 0)
    logits = w["head.weight"] @ np.r_[y[:, -1], y.mean(1)] + w["head.bias"]
    np.testing.assert_allclose(net.gates(x)[0].detach(), s, atol=1e-6)
    np.testing.assert_allclose(net(x)[0].detach(), logits, atol=1e-6)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("squeeze", [*SQUEEZES, MULTI_SCALE])
def test_the_twin_differs_in_nothing_else(encoder, gate, squeeze):
    """Same seed: same names, same shapes, same values outside the block."""
    net = build(encoder=encoder, gate=gate, squeeze=squeeze)
    base = build(encoder=encoder, gate=gate, squeeze=None)
    mine = {k: v for k, v in net.state_dict().items() if not k.startswith("se.")}
    for other in (base, net.twin()):
        theirs = other.state_dict()
        assert list(theirs) == list(mine)
        assert all(torch.equal(theirs[k], mine[k]) for k in mine)
    assert torch.equal(base(windows()), net.twin()(windows()))


def test_the_twin_is_a_copy():
    net = build()
    twin = net.twin()
    twin.head.weight.data.zero_()
    assert net.head.weight.abs().sum() > 0
    assert net.se is not None


def test_gates_at_one_half_halve_the_input():
    """A block whose last layer is zero gates everything by 0.5: the twin on half the input."""
    net, x = build(), windows()
    assert isinstance(net.se, SEBlock)
    net.se.excite.expand.weight.data.zero_()
    net.se.excite.expand.bias.data.zero_()
    assert (net.gates(x) == 0.5).all()
    torch.testing.assert_close(net(x), net.twin()(x / 2))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_look_back_only(encoder):
    """Step t of the encoder does not change when later bars do."""
    net, x = build(encoder=encoder), windows()
    other = x.clone()
    other[:, :, 8:] += 5
    torch.testing.assert_close(net.encoder(other)[:, :, :8], net.encoder(x)[:, :, :8])
    assert not torch.allclose(net.encoder(other)[:, :, 8:], net.encoder(x)[:, :, 8:])


@pytest.mark.parametrize("squeeze", ["mean", MULTI_SCALE, None])
def test_candles_to_probabilities_never_look_ahead(squeeze):
    """The truncation law over channels, windows and net at once."""
    names, lookback = ["roc", "rsi", "atr", "volume_ma", "adx", "bollinger_percent_b"], 12
    net = build(squeeze=squeeze)

    def probabilities(frame):
        x = channels.compute(frame, scale_free=True)[names]
        ends = np.arange(120, len(frame))
        data = training.WindowSet(x, np.zeros(len(frame)), ends, lookback)
        return training.predict(net, data, batch_size=1).softmax(1).numpy()

    assert_causal(probabilities, candles.synthetic(300, seed=3).candles, offset=120)


def test_swapped_channels_swap_their_gates():
    """Renaming features moves their gates with them, once the weights are renamed too."""
    net, x = build(), windows()
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    other = build()
    other.load_state_dict(net.state_dict())
    with torch.no_grad():
        other.se.excite.reduce.weight.copy_(net.se.excite.reduce.weight[:, order])
        other.se.excite.expand.weight.copy_(net.se.excite.expand.weight[order])
        other.se.excite.expand.bias.copy_(net.se.excite.expand.bias[order])
    torch.testing.assert_close(other.gates(x[:, order]), net.gates(x)[:, order])


def test_window_scaled_by_itself_leaves_the_mean_squeeze_blind():
    """TRAPS 2: z-scored per window every mean is 0, so every window gets the same gates."""
    net, x = build(), windows(batch=40)
    z = (x - x.mean(2, keepdim=True)) / x.std(2, keepdim=True)
    assert net.gates(z).std(0).max() < 1e-6
    assert net.gates(x).std(0).max() > 1e-3


def test_a_mirror_cannot_be_told_by_shape_alone():
    """TRAPS 35: the net answers differently to a market and its mirror image."""
    net, x = build(), windows()
    assert not torch.allclose(net(x).softmax(1), net(-x).softmax(1), atol=1e-3)


def switching_problem(n: int, seed: int) -> training.TensorSet:
    """Channel 2 (one constant) says which of channels 0 and 1 holds the answer."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, 12, generator=g)
    switch = torch.rand(n, generator=g) < 0.5
    x[:, 2] = torch.where(switch, 1.5, -1.5)[:, None] + 0.1 * x[:, 2]
    answer = torch.where(switch, x[:, 0].mean(1), x[:, 1].mean(1))
    return training.TensorSet(x, 1 + (answer > 0.15).long() - (answer < -0.15).long())


def test_the_gate_finds_a_planted_switch():
    """Where one channel says which other one counts, the trained gate follows it."""
    train, val, test = (switching_problem(n, seed) for seed, n in enumerate((3_000, 500, 1_000)))
    net = build(reduction=1)
    plan = training.Plan(num_epochs=25, lr=5e-3, batch_size=128)
    training.fit(net, train, val, plan=plan, device="cpu")
    accuracy = (training.predict(net, test).argmax(1) == test.y).float().mean()
    assert accuracy > 0.8
    gates, on = net.gates(test.x).detach(), test.x[:, 2].mean(1) > 0
    lead = gates[:, 0] - gates[:, 1]
    assert lead[on].mean() > 0.2
    assert lead[~on].mean() < -0.2


@pytest.mark.parametrize("squeeze", ["mean", None])
def test_on_noise_nothing_is_found(squeeze):
    """Labels drawn without looking at the windows: accuracy within chance."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(3_000, 6, 12, generator=g), torch.randint(0, 3, (3_000,), generator=g)
    parts = [training.TensorSet(x[a:b], y[a:b]) for a, b in ((0, 1500), (1500, 2000), (2000, 3000))]
    net = build(squeeze=squeeze)
    training.fit(net, parts[0], parts[1], num_epochs=10, lr=3e-3, device="cpu")
    right = (training.predict(net, parts[2]).argmax(1) == parts[2].y).float().mean()
    assert abs(right - 1 / 3) < 3 * (2 / 9 / 1000) ** 0.5


@pytest.mark.slow
def test_a_small_study():
    """One market of the stored study, shortened; the control finds nothing on the same bars.

    Seed 3 is one of the markets on which the stored study finds most, so that a few epochs do.
    """
    from studies.se_trader import ARMS, Setting, run_seed, summarise

    setting = Setting(num_epochs=3)
    found, noise = (run_seed(3, setting, control) for control in (False, True))
    for arm in ARMS:
        assert found[arm]["ic"] > 0.08
        assert abs(noise[arm]["ic"]) < 0.06
        assert abs(found[arm]["ic"] - found["none"]["ic"]) < 0.04
    assert set(summarise([found, noise])["differences"]) == {"input", "encoded"}


def test_position_head_learns_to_stay_out():
    """No signal and a cost: positions go to zero. A signal that pays: they do not."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2_000, 6, 12, generator=g)
    noise = 0.003 * torch.randn(2_000, generator=g)
    sizes = []
    for signal in (0.0, 0.006):
        returns = noise + signal * x[:, 0, -1]
        net = build(decision="tanh")
        loss = training.PositionLoss(cost=0.0013, unit=float(returns.std()))
        data = training.TensorSet(x, returns)
        training.fit(net, data, loss=loss, num_epochs=15, lr=5e-3, device="cpu")
        sizes.append(training.predict(net, data).abs().mean().item())
    assert sizes[0] < 0.25
    assert sizes[1] > 0.6


def test_saved_and_loaded():
    net = build()
    other = build(seed=9)
    assert not torch.equal(net(windows()), other(windows()))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(windows()), other(windows()))


def test_it_exports():
    """Exported for any batch size, it gives the same answers."""
    net, x = build(), windows()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},))
    other = windows(batch=7, seed=4)
    torch.testing.assert_close(program.module()(other), net(other))


BAD = [
    ("channels", 0),
    ("channels", 2.5),
    ("encoder", "gru"),
    ("squeeze", "median"),
    ("squeeze", 3),
    ("gate", "both"),
    ("decision", "sigmoid"),
    ("hidden", 0),
    ("reduction", 0),
    ("dropout", 1.0),
    ("dropout", float("nan")),
]


@pytest.mark.parametrize(("argument", "value"), BAD)
def test_bad_arguments_are_named(argument, value):
    options = {"channels": 6, argument: value}
    with pytest.raises(ArgumentError) as error:
        SETrader(**options)
    assert error.value.name == argument


@pytest.mark.parametrize(
    "x",
    [torch.zeros(5, 6), torch.zeros(5, 7, 12), torch.zeros(0, 6, 12), torch.zeros(5, 6, 0),
     np.zeros((5, 6, 12)), torch.zeros(5, 6, 12, dtype=torch.int64)],
)  # fmt: skip
@pytest.mark.parametrize("squeeze", ["mean", None])
def test_bad_windows_are_named(x, squeeze):
    net = build(squeeze=squeeze)
    with pytest.raises(ArgumentError) as error:
        net(x)
    assert error.value.name == "x"


def test_nan_in_a_window_is_named():
    x = windows()
    x[1, 2, 3] = float("nan")
    for squeeze in ("mean", None):
        with pytest.raises(ArgumentError) as error:
            build(squeeze=squeeze)(x)
        assert error.value.name == "x"


def test_a_scale_longer_than_the_window_is_named():
    with pytest.raises(ArgumentError) as error:
        build(squeeze=MULTI_SCALE, scales=(5, 60))(windows())
    assert error.value.name == "scales"


def test_no_gates_without_a_block():
    with pytest.raises(ArgumentError) as error:
        build(squeeze=None).gates(windows())
    assert error.value.name == "squeeze"
    assert isinstance(build(squeeze=None).encoder, nn.Module)
