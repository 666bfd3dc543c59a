"""`fit` learns what is there, resumes exactly, stops in time, and refuses what it cannot use."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from setrade import training
from setrade.errors import ArgumentError
from setrade.training.data import batches

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def problem(n: int = 600, seed: int = 0) -> tuple[training.TensorSet, training.TensorSet]:
    """Three classes that a linear rule tells apart, with some noise."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g)
    y = (x @ torch.tensor([[2.0, 0, -1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])).argmax(1)
    cut = n * 3 // 4
    return training.TensorSet(x[:cut], y[:cut]), training.TensorSet(x[cut:], y[cut:])


def small_net(seed: int = 0, dropout: float = 0.1) -> nn.Sequential:
    """A net whose training draws from torch's generator (dropout), so that resuming can fail."""
    training.seed_everything(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))


def weights(net: nn.Module) -> torch.Tensor:
    """All parameters in a row."""
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_fit_learns_and_records():
    train, val = problem()
    net = small_net()
    history = training.fit(net, train, val, num_epochs=15, lr=1e-2, batch_size=64, device="cpu")
    accuracy = (training.predict(net, val).argmax(1) == val.y).float().mean()
    assert accuracy > 0.9
    assert not net.training
    assert len(history.train_loss) == len(history.val_loss) == len(history.seconds)
    assert history.val_loss[history.best_epoch - 1] == min(history.val_loss)
    assert history.device == "cpu"


def test_first_step_by_hand():
    """One SGD step on one example equals the gradient worked out on paper."""
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(2.0)
    data = training.TensorSet(torch.tensor([[3.0]]), torch.tensor([[0.0]]))
    history = training.fit(
        net, data, num_epochs=1, clip=1e9, device="cpu", loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
    )  # fmt: skip
    # loss (3w)^2 = 36, slope 18 w = 36, w - 0.01 * 36 = 1.64
    assert history.train_loss == [36.0]
    assert net.weight.item() == pytest.approx(1.64)


def test_the_gradient_is_clipped():
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(2.0)
    data = training.TensorSet(torch.tensor([[3.0]]), torch.tensor([[0.0]]))
    training.fit(
        net, data, num_epochs=1, clip=0.5, device="cpu", loss=nn.MSELoss(),
        optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
    )  # fmt: skip
    assert net.weight.item() == pytest.approx(1.5, abs=1e-5)


def test_early_stopping_restores_the_best_weights():
    """Trained on noise the validation loss turns; the weights kept are those of its minimum."""
    train, val = problem(200)
    order = torch.randperm(len(train.y), generator=torch.Generator().manual_seed(0))
    train = training.TensorSet(train.x, train.y[order])
    seen = {}
    history = training.fit(
        small_net(dropout=0), train, val, num_epochs=200, lr=3e-2, patience=4, device="cpu",
        on_epoch=lambda epoch, net: seen.update({epoch: weights(net)}),
    )  # fmt: skip
    assert history.stopped_early
    assert len(history.val_loss) == history.best_epoch + 4
    net = small_net(dropout=0)
    again = training.fit(net, train, val, num_epochs=200, lr=3e-2, patience=4, device="cpu")
    assert again.val_loss == history.val_loss  # same seed, same digits
    assert torch.equal(weights(net), seen[history.best_epoch])


PLAN = training.Plan(num_epochs=6, lr=1e-2, batch_size=64, patience=6)


@pytest.mark.parametrize("kind", ["examples", "loader"])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, kind):
    """Cut short in the middle of epoch 4, then started again: the same bits as in one go."""
    train, val = problem()
    if kind == "loader":  # shuffles with torch's global generator
        data = TensorDataset(train.x, train.y)
        train = DataLoader(data, 64, shuffle=True)
    whole = small_net()
    history = training.fit(whole, train, val, plan=PLAN, device="cpu")

    class Cut(nn.CrossEntropyLoss):
        calls = 0

        def forward(self, input, target):
            self.calls += 1
            if self.calls == 32:
                raise KeyboardInterrupt
            return super().forward(input, target)

    path = tmp_path / "run.pt"
    cut = small_net()
    with pytest.raises(KeyboardInterrupt):
        training.fit(cut, train, val, plan=PLAN, device="cpu", loss=Cut(), checkpoint=path)
    training.seed_everything(99)  # another process, another state of the generators
    resumed = small_net(seed=5)
    second = training.fit(resumed, train, val, plan=PLAN, device="cpu", checkpoint=path)
    assert torch.equal(weights(resumed), weights(whole))
    assert second.val_loss == history.val_loss
    assert second.train_loss == history.train_loss
    assert [p.name for p in tmp_path.iterdir()] == ["run.pt"]  # no temporary file is left


def test_restart_without_the_generators_is_caught(tmp_path):
    """The wrong version: weights and optimiser restored, generators not. Then the bits differ."""
    train, val = problem()
    whole = small_net()
    training.fit(whole, train, val, plan=PLAN, device="cpu")
    path = tmp_path / "run.pt"
    training.fit(small_net(), train, val, plan=PLAN, num_epochs=3, device="cpu", checkpoint=path)
    state = torch.load(path)
    state["random"]["torch"] = torch.Generator().manual_seed(1).get_state()
    torch.save(state, path)
    wrong = small_net()
    training.fit(wrong, train, val, plan=PLAN, device="cpu", checkpoint=path)
    assert not torch.equal(weights(wrong), weights(whole))


def test_a_finished_run_is_not_repeated(tmp_path):
    train, val = problem()
    net, path = small_net(), tmp_path / "run.pt"
    first = training.fit(net, train, val, plan=PLAN, device="cpu", checkpoint=path)
    again = small_net(seed=3)
    assert training.fit(again, train, val, plan=PLAN, device="cpu", checkpoint=path) == first
    assert torch.equal(weights(again), weights(net))


def test_a_checkpoint_of_another_run_or_cut_short_is_refused(tmp_path):
    train, val = problem()
    path = tmp_path / "run.pt"
    training.fit(small_net(), train, val, plan=PLAN, device="cpu", checkpoint=path)
    with pytest.raises(training.CheckpointError, match="plan differs in lr"):
        training.fit(small_net(), train, plan=PLAN, lr=1.0, device="cpu", checkpoint=path)
    with pytest.raises(training.CheckpointError, match=r"shapes differs in 0\.weight"):
        training.fit(
            nn.Sequential(nn.Linear(4, 3)), train, plan=PLAN, device="cpu", checkpoint=path
        )
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(training.CheckpointError, match="cannot be read"):
        training.fit(small_net(), train, plan=PLAN, device="cpu", checkpoint=path)


NAN_LOSS = {"train_loss": [1.0], "val_loss": [math.nan], "best_epoch": 1}
DAMAGE = [
    *({"whole": odd} for odd in ([1, 2], torch.zeros(3), 5, None)),
    {"identity": 5}, {"identity": {"plan": 5}},
    *({part: {}} for part in ("net", "best", "optimizer", "random", "history")),
    {"history": {"bad": 1}}, {"history": NAN_LOSS},
    {"history": NAN_LOSS | {"train_loss": [math.nan], "val_loss": []}},
    {"history": NAN_LOSS | {"val_loss": [1.0, 2.0]}},
    {"history": NAN_LOSS | {"val_loss": [1.0], "best_epoch": 5}},
    {"history": NAN_LOSS | {"val_loss": [1.0], "stopped_early": "no"}},
]  # fmt: skip


def test_a_damaged_checkpoint_is_refused(tmp_path):
    train, val = problem(60)
    path, how = tmp_path / "run.pt", {"plan": PLAN, "device": "cpu"}
    training.fit(small_net(), train, val, **how, num_epochs=1, checkpoint=path)
    whole = torch.load(path)
    gone = [{k: v for k, v in whole.items() if k != part} for part in whole]
    for state in (*gone, *(odd.get("whole", whole | odd) for odd in DAMAGE)):
        torch.save(state, path)
        with pytest.raises(training.CheckpointError, match="^checkpoint: got"):
            training.fit(small_net(), train, val, **how, num_epochs=3, checkpoint=path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    from setrade.training import loop

    path = tmp_path / "run.pt"
    loop.save(path, {"epoch": 1})
    with pytest.raises(Exception, match="local object"):
        loop.save(path, {"epoch": lambda: 2})
    assert loop.load(path) == {"epoch": 1}


def test_class_weights_by_hand_and_against_sklearn():
    from sklearn.utils.class_weight import compute_class_weight

    y = torch.tensor([0, 1, 1, 1, 1, 1, 2, 2])
    got = training.class_weights(y)
    np.testing.assert_allclose(got, [8 / 3, 8 / 15, 8 / 6], rtol=1e-6)
    peer = compute_class_weight("balanced", classes=np.arange(3), y=y.numpy())
    np.testing.assert_allclose(got, peer, rtol=1e-6)
    assert got[y].mean() == pytest.approx(1.0)


def test_weighted_loss_reaches_the_net():
    """With nine of ten examples one class and no signal, plain training always says that class."""
    training.seed_everything(0)
    x, y = torch.randn(500, 4), (torch.arange(500) % 10 == 0).long() * 2
    y[:5] = 1
    said = []
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(weight=training.class_weights(y))):
        net = small_net()
        training.fit(net, training.TensorSet(x, y), num_epochs=10, loss=loss, device="cpu", lr=1e-2)
        said.append(training.predict(net, training.TensorSet(x, y)).argmax(1).bincount(minlength=3))
    assert said[0][0] == 500
    assert said[1][0] < 400


def test_position_loss_by_hand():
    loss = training.PositionLoss(cost=0.001, unit=0.01)
    got = loss(torch.tensor([1.0, -0.5, 0.0]), torch.tensor([0.02, 0.01, 0.5]))
    # profits 0.02 - 0.001, -0.005 - 0.0005, 0
    assert got.item() == pytest.approx(-(0.019 - 0.0055) / 3 / 0.01, rel=1e-5)
    loss = training.PositionLoss(cost=0.5)
    position = torch.tensor([0.3], requires_grad=True)
    loss(position, torch.tensor([0.1])).backward()
    assert position.grad is not None
    assert position.grad.item() > 0  # a move that does not pay its cost: towards no position


def test_windows_are_gathered_not_copied():
    n, c, lookback = 50, 3, 8
    x = np.arange(n * c, dtype=np.float32).reshape(n, c)
    data = training.WindowSet(x, np.arange(n) % 3, np.array([7, 20, 49]), lookback)
    got, y = data.batch(torch.tensor([2, 0]))
    assert got.shape == (2, c, lookback)
    np.testing.assert_array_equal(got[0], x[42:50].T)  # newest bar last
    np.testing.assert_array_equal(got[1], x[0:8].T)
    assert y.tolist() == [49 % 3, 7 % 3]
    assert data.channels.nbytes == x.nbytes
    peer = np.lib.stride_tricks.sliding_window_view(x, lookback, axis=0)[[0, 13, 42]]
    np.testing.assert_array_equal(data.all()[0], peer)


def test_batches_cover_every_example_once():
    data = training.TensorSet(torch.arange(10).float(), torch.arange(10))
    g = torch.Generator().manual_seed(0)
    shuffled = torch.cat([y for _, y in batches(data, 4, CPU, g)])
    assert sorted(shuffled.tolist()) == list(range(10))
    assert shuffled.tolist() != list(range(10))
    assert torch.cat([y for _, y in batches(data, 4, CPU)]).tolist() == list(range(10))


def test_several_inputs_and_targets():
    """Tuples and dicts pass through, for the nets with many heads."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(2, 1)

        def forward(self, x):
            return {"up": self.a(x["p"]), "down": -self.a(x["q"])}

    g = torch.Generator().manual_seed(0)
    x = {"p": torch.randn(8, 2, generator=g), "q": torch.randn(8, 2, generator=g)}
    y = (torch.ones(8, 1), torch.ones(8, 1))

    def loss(out, target):
        return ((out["up"] - target[0]) ** 2 + (out["down"] + target[1]) ** 2).mean()

    history = training.fit(Two(), [(x, y)], num_epochs=80, lr=0.1, loss=loss, device="cpu")
    assert history.train_loss[-1] < 0.1 * history.train_loss[0]


def test_nan_loss_stops_at_once():
    net = small_net()
    net[0].weight.data[0, 0] = math.nan
    with pytest.raises(training.TrainingError, match="epoch 1: the loss is nan"):
        training.fit(net, *problem(), device="cpu")


def test_seed_everything_reaches_every_generator():
    def draw():
        rng = training.seed_everything(7)
        return random.random(), np.random.rand(), torch.rand(1).item(), rng.random()  # noqa: NPY002

    assert draw() == draw()
    assert draw()[3] == np.random.default_rng(7).random()


def test_device(monkeypatch):
    monkeypatch.delenv("SETRADE_DEVICE", raising=False)
    assert training.device("cpu") == CPU
    assert training.device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ArgumentError, match="a device of this machine: "):
            training.device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_mixed_precision_on_cuda():
    train, val = problem()
    net = small_net()
    history = training.fit(net, train, val, num_epochs=15, lr=1e-2, batch_size=64, device="cuda")
    assert history.device.startswith("cuda")
    assert (training.predict(net, val).argmax(1) == val.y).float().mean() > 0.9


def test_progress_bar_obeys_the_environment():
    code = (
        "import torch; from setrade import training as t;"
        "t.fit(torch.nn.Linear(2, 2), t.TensorSet(torch.randn(9, 2), torch.arange(9) % 2),"
        "num_epochs=1, device='cpu')"
    )
    for disable, silent in (("1", True), ("", False)):
        environment = {"TQDM_DISABLE": disable, "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        assert (done.stderr == "") == silent


X, Y = np.zeros((20, 2)), np.zeros(20)
HOLED = X.copy()
HOLED[5, 1] = np.nan
GOOD_WINDOWS = {"channels": X, "targets": Y, "ends": np.arange(4, 20), "lookback": 3}
BAD_WINDOWS = [
    ("channels", X[:0]),
    ("channels", X[:, 0]),
    ("channels", HOLED),
    ("channels", pd.DataFrame({"a": ["x"] * 20})),
    ("targets", Y[:5]),
    ("targets", Y + 0.5),
    ("targets", Y - 1),
    ("targets", np.full(20, np.nan)),
    ("targets", np.full(20, 1e19)),
    ("targets", np.full(20, 2**64 - 1, np.uint64)),
    ("channels", X + 1e39),
    ("ends", np.arange(0, 20)),
    ("ends", np.array([20])),
    ("ends", np.array([5.0])),
    ("ends", np.array([], int)),
    ("lookback", 0),
    ("lookback", 21),
    ("lookback", 2.5),
    ("kind", "number"),
]


@pytest.mark.parametrize(("argument", "value"), BAD_WINDOWS)
def test_bad_windows_are_named(argument, value):
    with pytest.raises(ArgumentError) as error:
        training.WindowSet(**(GOOD_WINDOWS | {argument: value}))
    assert error.value.name == argument


def test_a_value_that_float32_cannot_hold_is_refused():
    with pytest.raises(ArgumentError, match="^targets: got .*finite value"):
        training.WindowSet(X, Y + 1e39, np.array([4]), 3, kind="value")


def test_a_nan_no_window_reads_is_allowed():
    training.WindowSet(HOLED, Y, np.array([4, 8, 9]), 3)


class Two(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


def test_targets_may_be_a_named_tuple():
    def loss(out, y):
        return nn.functional.cross_entropy(out, y.first)

    x, y = torch.randn(6, 4), torch.arange(6) % 3
    training.fit(small_net(), [(x, Two(y, y))], loss=loss, num_epochs=1, device="cpu")


DATA = problem(40)
BAD_CALLS = [
    (lambda: training.fit(small_net(), DATA[0], num_epochs=0), "num_epochs"),
    (lambda: training.fit(small_net(), DATA[0], lr=0), "lr"),
    (lambda: training.fit(small_net(), DATA[0], lr=math.nan), "lr"),
    (lambda: training.fit(small_net(), DATA[0], batch_size=1.5), "batch_size"),
    (lambda: training.fit(small_net(), DATA[0], weight_decay=-1), "weight_decay"),
    (lambda: training.fit(small_net(), DATA[0], patience=0), "patience"),
    (lambda: training.fit(small_net(), DATA[0], clip=0), "clip"),
    (lambda: training.fit(small_net(), DATA[0], seed=-1), "seed"),
    (lambda: training.fit(small_net(), DATA[0], progress="False"), "progress"),
    (lambda: training.fit(small_net(), DATA[0], checkpoint="no/such/folder.pt"), "checkpoint"),
    (lambda: training.fit(small_net(), DATA[0], checkpoint=5), "checkpoint"),
    (lambda: training.fit(small_net(), []), "train"),
    (lambda: training.fit(small_net(), DATA[0], []), "val"),
    (lambda: training.fit(small_net(), DATA[0], device="tpu"), "name"),
    (lambda: training.predict(small_net(), []), "data"),
    (lambda: training.predict(small_net(), DATA[0], batch_size=0), "batch_size"),
    (lambda: training.TensorSet(torch.zeros(3), torch.zeros(2)), "y"),
    (lambda: training.TensorSet(torch.zeros(0), torch.zeros(0)), "y"),
    (lambda: training.class_weights(torch.tensor([0, 1])), "y"),
    (lambda: training.class_weights(torch.tensor([0, 1, 3])), "y"),
    (lambda: training.class_weights(torch.tensor([0.0, 1.0])), "y"),
    (lambda: training.class_weights(torch.tensor([0, 1]), 1), "num_classes"),
    (lambda: training.PositionLoss(cost=-1), "cost"),
    (lambda: training.PositionLoss(unit=0), "unit"),
    (lambda: training.PositionLoss()(torch.zeros(2), torch.zeros(2, 1)), "position"),
    (lambda: training.seed_everything(-1), "seed"),
    (lambda: training.seed_everything("a"), "seed"),
    (lambda: training.device("gpu"), "name"),
    (lambda: training.device(3), "name"),
]


@pytest.mark.parametrize(("call", "argument"), BAD_CALLS)
def test_bad_arguments_are_named(call, argument):
    with pytest.raises(ArgumentError) as error:
        call()
    assert error.value.name == argument
