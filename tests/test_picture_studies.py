"""Studies of pictures: holes are not bridged, targets are what they say, killed work goes on."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import cloudpickle
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from standin import standin

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

import b0_real
import frozen_real
import picture_folds as pf
import rule_or_future

from setrade import candles, labels, results, training
from setrade.candles import CandleError
from setrade.charts import candlesticks
from setrade.efficientnet import EfficientNet
from setrade.errors import ArgumentError
from setrade.gramian import gadf
from setrade.study import StudyError
from setrade.study.store import HOURS

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = b0_real.Setting(
    variant="nano", size=32, lookback=16, stride=64, num_epochs=1, batch_size=8, rounds=3
)
SPAN = ("", "2022-02-10", "2022-02-18", "2022-03-01")


def write(folder: Path, n: int = 1_500, start: str = "2022-01-01", drop: slice | None = None):
    """Write hourly bars, some dropped, and funding of one basis point every eight hours."""
    bars = candles.synthetic(n, seed=0, interval="1h").candles
    time = pd.date_range(start, periods=n, freq="1h", tz="UTC")
    frame = bars.reset_index(drop=True).assign(ts=time.as_unit("ms").astype("int64"))
    if drop is not None:
        frame = frame.drop(index=range(*drop.indices(n)))
    frame.to_parquet(folder / HOURS)
    paid = time[::8].as_unit("ms").astype("int64")
    pd.DataFrame({"ts": paid, "rate": 1e-4}).to_parquet(folder / pf.FUNDING)
    return folder / HOURS


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("bars")).parent


@pytest.fixture(scope="module")
def bars(folder) -> pf.Bars:
    return pf.load(folder / HOURS)


@pytest.fixture(scope="module")
def holed(tmp_path_factory) -> pf.Bars:
    return pf.load(write(tmp_path_factory.mktemp("holed"), drop=slice(700, 730)))


def test_nothing_bridges_a_hole(holed):
    time, bars = holed.frame.index, 24
    hole = int(np.flatnonzero(np.diff(holed.stretch))[0]) + 1  # the first bar after it
    assert time[hole] - time[hole - 1] == pd.Timedelta("31h")
    ends = np.flatnonzero(holed.whole(bars))
    assert ends[0] == bars - 1
    assert set(range(hole, hole + bars - 1)).isdisjoint(ends)
    assert {hole - 1, hole + bars - 1} <= set(ends)
    spans = [time[e] - time[e - bars + 1] for e in ends]
    assert set(spans) == {pd.Timedelta(hours=bars - 1)}
    y, ahead, _ = pf.target(holed, "next_12")
    assert np.isnan(ahead[hole - 13 : hole]).all()
    assert np.isfinite(ahead[hole - 14])
    assert np.isnan(y[hole - 13 : hole]).all()
    assert np.isnan(pf.target(holed, "averages")[0][hole : hole + 23]).all()  # warms up again


def test_bars_of_2025_are_left_alone(tmp_path):
    late = pf.load(write(tmp_path, 100, "2024-12-30"))
    assert late.frame.index[-1] == pd.Timestamp("2024-12-31 23:00", tz="UTC")
    with pytest.raises(StudyError, match="no bars from 2026"):
        pf.load(write(tmp_path, 100, "2026-01-01"))
    with pytest.raises(StudyError, match="SETRADE_DATA"):
        pf.load(tmp_path / "none.parquet")


def test_other_faults_of_bars_are_named(tmp_path):
    path = write(tmp_path, 100)
    raw = pd.read_parquet(path)
    raw.loc[40, "high"] = raw.loc[40, "low"] / 2
    raw.to_parquet(path)
    with pytest.raises(CandleError, match="2022-01-02 16:00"):
        pf.load(path)


def test_split_is_that_of_labels_and_shares_no_bar(bars):
    y, _, horizon = pf.target(bars, "next_12")
    found = pf.split(bars, y, SPAN, lookback=24, horizon=horizon)
    at = [int(bars.frame.index.searchsorted(pd.Timestamp(t, tz="UTC"))) for t in SPAN[1:]]
    (plain,) = labels.walk_forward(
        at[2], lookback=24, horizon=12, train=at[0], validation=at[1] - at[0],
        test=at[2] - at[1], embargo=12,
    )  # fmt: skip
    for name in ("train", "validation", "test"):
        mine, theirs = getattr(found, name), getattr(plain, name)
        np.testing.assert_array_equal(mine, theirs[~np.isnan(y[theirs])])
    for earlier, later in ((found.train, found.validation), (found.validation, found.test)):
        assert earlier[-1] + 1 + horizon + horizon < later[0] - 23
    with pytest.raises(ArgumentError, match="test"):
        pf.split(bars, y, (*SPAN[:3], SPAN[2]), lookback=24, horizon=12)


def test_rules_by_hand_and_without_the_future(bars):
    close = bars.frame["close"]
    slow, fast = close.rolling(24).mean(), close.rolling(8).mean()
    y = pf.target(bars, "averages")[0]
    np.testing.assert_array_equal(y[23:], (fast > slow).to_numpy()[23:])
    cut = pf.Bars(bars.frame.iloc[:800], bars.stretch[:800], "", "")
    for name in pf.RULES:
        mine, whole = pf.target(cut, name)[0], pf.target(bars, name)[0][:800]
        np.testing.assert_array_equal(mine, whole)
        assert 0.01 < np.nanmean(mine) < 0.7
    with pytest.raises(ArgumentError, match="name"):
        pf.target(bars, "moon")


def test_planted_sides_are_as_right_as_they_say(bars):
    y, _, _ = pf.target(bars, "planted_700_3")
    drift = bars.frame["close"].diff(8).to_numpy() > 0
    right = (drift == (y > 0))[8:]
    assert right.mean() == pytest.approx(0.7, abs=4 * (0.21 / len(right)) ** 0.5)
    assert (y[8:] != pf.target(bars, "planted_700_4")[0][8:]).any()


def test_pictures_are_those_of_the_encoders(bars):
    windows, rows, y = bars.windows(24), np.array([5, 80]), np.ones(len(bars.frame) - 23)
    x, classes = pf.Drawn(windows, rows, y, "candles", 48).batch(torch.arange(2))
    assert classes.tolist() == [1, 1]
    np.testing.assert_allclose(x.numpy(), candlesticks(windows[rows], 48, 48) / 255, atol=1e-6)
    x, _ = pf.Drawn(windows, rows, y, "gadf", 72).batch(torch.arange(2))
    wanted = (gadf(windows[rows, 3]) + 1) / 2
    wanted = wanted.repeat(3, axis=1).repeat(3, axis=2)
    np.testing.assert_allclose(x.numpy(), np.stack([wanted] * 3, axis=1), atol=1e-6)


def test_numbers_know_no_unit_and_no_level(bars):
    windows = np.array(bars.windows(24)[:5])
    scaled = windows * np.array([7, 7, 7, 7, 3.0])[:, None]
    np.testing.assert_allclose(pf.numbers(windows), pf.numbers(scaled), rtol=1e-3, atol=1e-4)
    flat = np.ones((1, 5, 24))
    assert np.isfinite(pf.numbers(flat)).all()


def test_judge_of_a_constant_and_of_one_who_knows():
    rng = np.random.default_rng(0)
    y, ahead = (rng.random(600) < 0.4).astype(float), rng.normal(size=600)
    share = np.full(600, 0.4)
    constant = pf.judge(share[None], y, ahead, share, 10.0)
    assert constant["gain"] == {"estimate": 0, "low": 0, "high": 0}
    assert (constant["learned"], constant["accuracy"]["estimate"]) == (False, constant["majority"])
    assert constant["balanced"] == 0.5
    assert constant["ic"]["estimate"] == 0
    knows = pf.judge(np.array([0.1 + 0.8 * y, 0.2 + 0.6 * y]), y, 2 * y - 1, share, 10.0)
    assert (knows["learned"], knows["accuracy"]["estimate"], knows["auc"]) == (True, 1.0, 1.0)
    assert knows["ic"]["estimate"] == pytest.approx(1)
    assert knows["gain_by_seed"][0] == pytest.approx(constant_loss(y) + np.log(0.9))
    gambler = pf.judge(rng.random((1, 600)), y, ahead, share, 10.0)
    assert not gambler["learned"]


def constant_loss(y: np.ndarray) -> float:
    """Return the mean loss of always saying 0.4."""
    return float(-(y.mean() * np.log(0.4) + (1 - y.mean()) * np.log(0.6)))


@given(st.lists(st.floats(0, 1), min_size=10, max_size=60))
def test_zone_holds_nothing_on_weak_scores(values):
    p = np.array(values)
    held = pf.zone(p, p)
    assert (held != 0).sum() <= 0.2 * len(p) + 1
    assert (held * (p - 0.5) >= 0).all()


def test_money_charges_fees_once_and_funding_every_eight_hours(bars, folder):
    ends = np.arange(100, 400)
    made = pf.money(bars, ends, np.ones(len(ends)), pf.funding(folder))
    total = {name: np.prod(1 + made[name]) for name in ("gross", "fees", "net")}
    assert total["fees"] / total["gross"] == pytest.approx(1 - 5.5e-4, abs=1e-4)  # bought once
    assert total["net"] < total["fees"]
    assert 1 - total["net"] / total["fees"] == pytest.approx(37 * 1e-4, rel=0.1)
    flat = pf.money(bars, ends, np.zeros(len(ends)), pf.funding(folder))
    assert not any(flat[name].any() for name in ("gross", "fees", "net"))
    assert pf.money_row([flat])["win_rate"] is None


def test_kept_work_is_not_made_again_nor_by_another(tmp_path):
    assert pf.kept(tmp_path / "a" / "x.npy", lambda: np.arange(3)).tolist() == [0, 1, 2]
    assert pf.kept(tmp_path / "a" / "x.npy", lambda: 1 / 0).tolist() == [0, 1, 2]
    pf.claim(tmp_path / "a", {"data": "abc", "c": (1e-5, 0.1)})
    pf.claim(tmp_path / "a", {"data": "abc", "c": (1e-5, 0.1)})
    with pytest.raises(StudyError, match="work of another data"):
        pf.claim(tmp_path / "a", {"data": "other", "c": (1e-5, 0.1)})


class Cut(RuntimeError):
    """The power is gone."""


class Failing:
    """What is called like the original until the power goes."""

    def __init__(self, original, calls: int) -> None:
        self.original, self.left = original, calls

    def __call__(self, *args):
        if not self.left:
            raise Cut
        self.left -= 1
        return self.original(*args)


PLAN = frozen_real.Plan(
    lookback=24, begin="2022-01-01", seeds=2, rounds=5, block=10.0,
    folds=(("2022-02-01", "2022-02-10", "2022-02-20"), ("2022-02-10", "2022-02-20", "2022-03-04")),
)  # fmt: skip
LITE = frozen_real.Look("lite0", "candles", stride=8, size=48)
PLAIN = frozen_real.Look("numbers", "", stride=8)


def test_features_of_a_killed_run_are_those_of_a_whole_one(bars, tmp_path, monkeypatch):
    monkeypatch.setattr(frozen_real, "BLOCK", 64)
    frozen_real.extract(LITE, bars, PLAN, tmp_path / "whole")
    whole = frozen_real.features(LITE, bars, PLAN, tmp_path / "whole")
    assert whole.shape == (len(frozen_real.ends_of(LITE, bars, PLAN)), 1280)
    original = frozen_real.net_of
    with monkeypatch.context() as patch:
        patch.setattr(frozen_real, "net_of", lambda look: Failing(original(look), 2))
        with pytest.raises(Cut):
            frozen_real.extract(LITE, bars, PLAN, tmp_path / "cut")
    left = [p for p, _ in frozen_real.blocks(LITE, bars, PLAN, tmp_path / "cut") if not p.is_file()]
    assert len(left) == 1
    assert frozen_real.cost((LITE,), {HOURS: bars}, PLAN, tmp_path / "cut") == len(whole) - 128
    frozen_real.extract(LITE, bars, PLAN, tmp_path / "cut")
    np.testing.assert_array_equal(frozen_real.features(LITE, bars, PLAN, tmp_path / "cut"), whole)
    with pytest.raises(StudyError, match="another lookback"):
        frozen_real.home(LITE, bars, replace(PLAN, lookback=25), tmp_path / "cut")


def test_frozen_study_from_bars_to_table(bars, folder, tmp_path):
    looks, targets = (PLAIN, LITE), {HOURS: ("next_12", "rsi")}
    frozen_real.work(looks, {HOURS: bars}, PLAN, tmp_path, 1, targets)
    made = frozen_real.table(looks, {HOURS: bars}, PLAN, tmp_path, folder, targets)[HOURS]
    names = {f"{a}/{b}" for a in ("numbers", LITE.name) for b in frozen_real.HEADS}
    assert set(made["next_12"]["rows"]) == names | set(frozen_real.RULES)
    assert set(made["rsi"]["rows"]) == names | {"class shares"}
    row = made["next_12"]["rows"][f"{LITE.name}/trees"]
    assert set(row) == {"all", "2022"}
    assert (
        row["all"]["money"]["net"]["annual_return"] <= row["all"]["money"]["gross"]["annual_return"]
    )
    assert made["next_12"]["rows"]["class shares"]["all"]["gain"]["estimate"] == 0
    assert len(row["all"]["gain_by_seed"]) == 2
    assert "lite0-candles/trees - numbers/trees" in made["next_12"]["differences"]
    hit = made["next_12"]["rows"]["momentum"]["all"]["accuracy"]["estimate"]
    against = made["next_12"]["rows"]["reversal"]["all"]["accuracy"]["estimate"]
    assert hit + against == pytest.approx(1)


def sets_of(bars: pf.Bars, name: str, size: int = 32) -> list[pf.Drawn]:
    y, _, horizon = pf.target(bars, name)
    found = pf.split(bars, y, SPAN, lookback=16, horizon=horizon)
    return pf.drawn(bars, found, y, ("candles", size, 16), (16, 8, 8))


def test_a_net_killed_in_an_epoch_ends_as_one_that_was_not(bars, tmp_path):
    plan = training.Plan(num_epochs=3, lr=3e-3, batch_size=16, patience=9)

    def net() -> EfficientNet:
        return EfficientNet("nano", 2)

    whole, history = pf.taught(tmp_path / "whole", net, sets_of(bars, "averages"), plan)
    sets = sets_of(bars, "averages")
    steps = -(-len(sets[0]) // 16)
    sets[0].batch = Failing(sets[0].batch, steps + 1)  # in the second epoch
    with pytest.raises(Cut):
        pf.taught(tmp_path / "cut", net, sets, plan)
    assert (tmp_path / "cut" / "state.pt").is_file()
    sets = sets_of(bars, "averages")
    sets[0].batch = Failing(sets[0].batch, 2 * steps)  # two epochs are enough
    p, told = pf.taught(tmp_path / "cut", net, sets, plan)
    np.testing.assert_array_equal(p, whole)
    assert told["val_loss"] == history["val_loss"]
    assert len(p) == len(sets[1]) + len(sets[2])


def test_pictures_kept_on_a_card_are_those_that_are_drawn(bars):
    windows = bars.windows(16)
    drawn = pf.Drawn(windows, np.arange(300), np.arange(len(windows)) % 2, "candles", 24)
    rows = torch.tensor([299, 0, 257])
    x, y = (part.clone() for part in drawn.batch(rows))
    with standin() as device:
        kept = b0_real.OnCard(drawn, device)
        assert len(kept) == 300
        mine = kept.batch(rows)
        assert kept.all()[0].dtype == torch.uint8
        assert {part.device for part in mine} == {device}
        torch.testing.assert_close([part.cpu() for part in mine], [x, y], rtol=0, atol=0)


def test_a_study_on_a_card_learns_what_a_cpu_does(folder, tmp_path, monkeypatch):
    (run,) = (run for run in b0_real.RUNS if run.part == "rule")
    homely = b0_real.train(run, folder, SMALL, tmp_path / "cpu")
    assert homely["made"].startswith("cpu, torch")
    asked, batch = [], b0_real.OnCard.batch
    monkeypatch.setattr(
        b0_real.OnCard, "batch", lambda kept, rows: asked.append(len(rows)) or batch(kept, rows)
    )
    with standin() as device:
        monkeypatch.setattr(training, "device", lambda: device)
        monkeypatch.setattr("setrade.training.loop.pick_device", lambda name: device)
        found = b0_real.train(run, folder, SMALL, tmp_path / "gpu")
    assert sum(asked) == found["sizes"][0] + 2 * found["sizes"][1] + found["sizes"][2]
    assert found["history"]["device"] == str(device)
    assert found["made"].startswith(f"{device}, torch")
    for part in ("validation", "test"):
        np.testing.assert_allclose(found[part], homely[part], atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_study_on_a_real_card(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SETRADE_DEVICE", "cuda")
    (run,) = (run for run in b0_real.RUNS if run.part == "rule")
    b0_real.work(run, folder, SMALL, tmp_path)
    (curve,) = b0_real.table("rule", folder, SMALL, tmp_path)["curves"].values()
    assert (curve["device"], curve["precision"]) == ("cuda", "bfloat16")
    assert torch.cuda.get_device_name() in curve["made"]


def test_a_study_can_be_sent_to_its_workers(folder, tmp_path, monkeypatch):
    """Run as a script, all of it travels by value, its classes too."""
    code = Path(b0_real.__file__).read_text(encoding="utf-8").replace("    main()\n", "    pass\n")
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(code, b0_real.__file__, "exec"), module.__dict__)
    task = (module.work, module.RUNS[0], folder, module.Setting(), tmp_path)
    assert cloudpickle.loads(cloudpickle.dumps(task))[2:] == task[2:]
    assert b"OnCard" in cloudpickle.dumps(task)


def test_what_was_trained_on_a_card_is_judged_without_one(folder, tmp_path, monkeypatch):
    """Its answers travel, its state does not; the table names the card."""
    monkeypatch.setattr(results, "FOLDER", tmp_path / "stored")
    assert SMALL.plan(0).batch_size == 8
    runs = [run for run in b0_real.RUNS if run.part == "rule"]
    home = tmp_path / "nano_gpu"
    for run in runs:
        b0_real.work(run, folder, SMALL, home)
        (home / run.name / "state.pt").unlink()
        (home / run.name / b0_real.MADE).write_text("Card 0, torch 9", encoding="utf-8")
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained again"))
    (curve,) = b0_real.table("rule", folder, SMALL, home)["curves"].values()
    assert curve["made"] == "Card 0, torch 9"
    (home / runs[0].name / b0_real.MADE).unlink()  # kept by an older study: what its history says
    (curve,) = b0_real.table("rule", folder, SMALL, home)["curves"].values()
    assert curve["made"] == curve["device"] == "cpu"


def test_a_table_of_kept_runs_trains_nothing(folder, tmp_path, monkeypatch, capsys):
    shutil.copy(folder / HOURS, folder / b0_real.QUARTERS)
    monkeypatch.setattr(b0_real, "RUNS", b0_real.RUNS[:3])
    monkeypatch.setattr(b0_real, "PARTS", b0_real.PARTS[:2])
    monkeypatch.setattr(training, "fit", lambda *a, **k: pytest.fail("trained"))
    monkeypatch.setattr(b0_real, "speed", lambda *a: pytest.fail("measured"))
    words = ["--data", str(folder), "--store", str(tmp_path), "--variant", "b5"]
    monkeypatch.setattr(sys, "argv", ["b0_real", *words, "--result", "b5_gpu"])
    b0_real.main()
    assert "b5_gpu: nothing stored yet, rule, split not whole" in capsys.readouterr().out


def test_b0_study_from_bars_to_table(folder, tmp_path, monkeypatch):
    setting = b0_real.Setting(
        variant="nano", size=32, lookback=16, stride=16, num_epochs=1, batch_size=16, rounds=3
    )
    runs = [run for run in b0_real.RUNS if run.part == "split"]
    assert b0_real.estimate(runs, folder, setting, tmp_path) == runs
    made = b0_real.table("split", folder, setting, tmp_path)
    rows = made["rows"]["next_12"]
    fitted = {"nano", "numbers/trees", "numbers/linear"}
    assert set(rows) == fitted | {"one half", *b0_real.RULES}
    half, always = rows["one half"]["all"], rows["buy and hold"]["all"]
    constant = always["gain"]["estimate"] - (1 - always["share"]) * np.log(1e-6)  # its loss
    assert half["gain"]["estimate"] == pytest.approx(constant - np.log(2), abs=1e-5)
    assert half["exposure"] == 0
    assert len(rows["nano"]["all"]["gain_by_seed"]) == 2
    assert all(len(c["val_loss"]) == 1 for c in made["curves"].values())
    assert rows["buy and hold"]["all"]["exposure"] == 1
    assert b0_real.estimate(runs, folder, setting, tmp_path) == []
    folds = [b0_real.Run("folds", "averages"), b0_real.Run("folds", "averages", seed=1)]
    todo = [(folds[0], 3, 1), (folds[1], 5, 1)]
    monkeypatch.setattr(b0_real, "left", lambda *_: todo)
    assert b0_real.estimate(folds, folder, setting, tmp_path) == folds[::-1]  # the longest first

    got, judged = rows["nano"]["claimed"], rows["nano"]["all"]
    assert all(row["low"] <= row["estimate"] <= row["high"] for row in got.values())
    assert got["accuracy"] == judged["accuracy"]
    for mine, theirs in (("precision", "precision"), ("recall", "balanced"), ("f1", "f1")):
        assert got[mine]["estimate"] == pytest.approx(judged[theirs])
    assert got["sharpe"] == judged["money"]["net"]["sharpe"]
    for name in ("annual_return", "max_drawdown"):
        assert got[name]["estimate"] == pytest.approx(judged["money"]["net"][name])
    assert 0 < got["win_rate"]["estimate"] < 1
    alone = rows["nano"]["by_seed"]
    assert np.mean(alone["accuracy"]) == pytest.approx(got["accuracy"]["estimate"])
    assert np.mean(alone["precision"]) == pytest.approx(got["precision"]["estimate"])
    assert all(0 <= share <= 1 for share in alone["up"])


def test_b0_result_grows_part_by_part(folder, tmp_path, monkeypatch, capsys):
    """A run takes hours: what was stored on one machine is not asked of the next."""
    (folder / b0_real.QUARTERS).write_bytes((folder / HOURS).read_bytes())
    runs = tuple(
        b0_real.Run(part, name)
        for part, name in (("rule", "averages"), ("split", "next_12"), ("planted", "planted_542_0"))
    )
    monkeypatch.setattr(b0_real, "RUNS", runs)
    monkeypatch.setattr(b0_real, "PARTS", tuple(run.part for run in runs))
    monkeypatch.setattr(results, "FOLDER", tmp_path / "stored")
    setting = b0_real.Setting(
        variant="nano", size=32, lookback=16, stride=64, num_epochs=1, batch_size=16, rounds=3
    )

    def stored() -> dict:
        return results.load("nano_real")["results"]

    b0_real.work(runs[1], folder, setting, tmp_path / "one" / "nano_real")
    b0_real.store(folder, setting, tmp_path / "one" / "nano_real")
    assert "nothing stored yet, rule, planted not whole" in capsys.readouterr().out
    assert not results.FOLDER.exists()
    b0_real.work(runs[0], folder, setting, tmp_path / "one" / "nano_real")
    b0_real.store(folder, setting, tmp_path / "one" / "nano_real")
    first = stored()
    assert (first["lacks"], list(first["parts"])) == (["planted"], ["rule", "split"])
    b0_real.work(runs[2], folder, setting, tmp_path / "two" / "nano_real")  # another machine
    b0_real.store(folder, setting, tmp_path / "two" / "nano_real")
    assert stored()["parts"]["split"] == first["parts"]["split"]
    assert [run["target"] for run in first["parts"]["split"]["runs"]] == ["next_12"]
    assert (stored()["lacks"], len(stored()["parts"])) == ([], 3)
    other = replace(setting, stride=32)  # of which nothing is whole
    b0_real.store(folder, other, tmp_path / "three" / "nano_real")
    assert "nothing stored yet" in capsys.readouterr().out
    assert stored()["setting"]["stride"] == 64
    with pytest.raises(StudyError, match="num_epochs"):  # whole after one epoch, and not after two
        b0_real.store(folder, replace(setting, num_epochs=2), tmp_path / "one" / "nano_real")

    others = (runs[0], replace(runs[1], target="next_1"), runs[2])
    monkeypatch.setattr(b0_real, "RUNS", others)
    b0_real.store(folder, setting, tmp_path / "four" / "nano_real")
    assert "nothing stored yet, split not whole" in capsys.readouterr().out
    monkeypatch.setattr(b0_real, "RUNS", runs)
    bars = pd.read_parquet(folder / b0_real.QUARTERS)
    bars.iloc[:-1].to_parquet(folder / b0_real.QUARTERS)  # other data
    b0_real.store(folder, setting, tmp_path / "five" / "nano_real")
    assert "nothing stored yet, rule, split, planted not" in capsys.readouterr().out


def test_larger_nets_are_trained_from_one_seed():
    b0, b3 = (b0_real.runs_of(b0_real.Setting(size=pixels)) for pixels in (224, 300))
    assert b0 == list(b0_real.RUNS)
    assert {run.seed for run in b0} == {0, 1}
    assert {run.seed for run in b3} == {0}
    assert {run.part for run in b3} == set(b0_real.PARTS)


def test_b0_folds_test_three_years_one_after_the_other(tmp_path):
    n = 24 * 366 * 4
    path = write(tmp_path, n, "2021-01-01")
    bars, setting = pf.load(path), b0_real.Setting()
    runs = [run for run in b0_real.RUNS if run.part == "folds"]
    ends = [b0_real.split_of(run, bars, setting).test for run in runs]
    years = [set(bars.frame.index[e].year) for e in ends]
    assert years == [{2022}, {2023}, {2024}]


def test_rule_or_future_trains_and_tells(bars, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(rule_or_future, "TARGETS", ("averages", "next_1"))
    setting = rule_or_future.Setting(
        size=32, lookback=16, strides=(32, 16, 8), span=SPAN, num_epochs=1, batch_size=16
    )
    said = rule_or_future.estimate([("averages", 0)], bars, setting, 2)
    assert said.startswith("1 nets left: at most 1 epochs")
    made = rule_or_future.table(1, bars, setting, tmp_path, folder)
    assert set(made) == {"averages", "next_1"}
    row = made["averages"]["row"]["all"]
    assert row["above_majority"] == pytest.approx(row["accuracy"]["estimate"] - row["majority"])
    assert "money" in made["next_1"]["row"]["all"]
    assert "money" not in row
    trees, n = made["averages"]["trees"]["all"], row["n"]
    assert (trees["n"], trees["majority"]) == (n, row["majority"])  # the same windows
    assert trees["learned"]  # numbers hold the rule
    assert trees["accuracy"]["estimate"] > 0.8


def test_trees_are_fitted_beside_stored_nets_and_no_net_is_trained(bars, folder, monkeypatch):
    setting = rule_or_future.Setting(lookback=16, strides=(8, 8, 4), span=SPAN, rounds=5)
    monkeypatch.setattr(rule_or_future, "train", None)
    old = {
        "commit": "c", "machine": "m", "device": "d", "seconds": 1, "command": "x", "seed": [0, 1],
        "data_sha256": {"a": "b"},
        "results": {
            "setting": results.plain(asdict(setting) | {"rounds": 3}),
            "targets": {"averages": {"what": "w", "row": {"all": 1}, "curves": [2]}},
        },
    }  # fmt: skip
    told = rule_or_future.with_trees(old, {"a": "b"}, bars, setting, folder)
    one = told["targets"]["averages"]
    assert (one["row"], one["curves"], told["nets"]["commit"]) == ({"all": 1}, [2], "c")
    assert one["trees"]["all"]["learned"]
    with pytest.raises(ArgumentError, match="nets of these bars"):
        rule_or_future.with_trees(old, {"a": "other"}, bars, setting, folder)
    with pytest.raises(ArgumentError, match="nets of these bars"):
        rule_or_future.with_trees(old, {"a": "b"}, bars, replace(setting, size=32), folder)
