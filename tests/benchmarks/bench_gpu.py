"""All races of a GPU: pictures, a training step, and what an engine gains on eager PyTorch.

An engine also has to decide as the net does. ONNX Runtime and TensorRT take part where they are
installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import allocator
import pytest
import torch
from torch import Tensor, nn

from setrade import compat, inference, training
from setrade import efficientnet as en
from setrade.efficientnet import EfficientNet
from setrade.gramian import gasf
from setrade.inference.timing import waiting

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(allocator.memory() == "fresh", reason="the card's memory is its own"),
]
SIDES = {"b0": 224, "b3": 300, "b5": 456}
ENGINES = ("channels_last", "compiled", "bf16", "onnx", "tensorrt")
BATCHES = (1, 64)
PICTURES = 256  # on which decisions are compared
ALIKE = {"bf16": None, "tensorrt": None}  # they round; of the others nearly all is asked
STEADY = {"seconds": 1.5, "min_calls": 50}  # of calls timed for the quantiles


@cache
def ready(variant: str, device: str = "cuda") -> tuple[nn.Module, Tensor, Tensor]:
    """Return a net whose answers vary, pictures, and its logits for them in float32."""
    training.seed_everything(0)
    net = EfficientNet(variant, 3, drop_connect=0.0).to(device)
    x = torch.rand(PICTURES, 3, SIDES[variant], SIDES[variant], device=device)
    with torch.no_grad():
        net.train()
        for part in x.split(32):  # norms that fit the pictures
            net(part)
        net.eval()
        centre = torch.cat([net(part) for part in x.split(32)]).mean(0)
        net.classifier.bias -= centre  # type: ignore[operator, assignment]
    return net, x, answers(lambda part: (net(part),), x)


@torch.inference_mode()
def answers(call: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> Tensor:
    """Return the logits of all pictures, on the CPU; TF32 is off."""
    with torch.backends.cudnn.flags(allow_tf32=False):
        return torch.cat([call(part)[0].float().cpu() for part in x.split(64)])


def compare(race, variant: str, runtime: str, batch: int, device: str = "cuda") -> None:
    """Time an engine beside eager PyTorch, and note its quantiles, its rate and its decisions."""
    net, x, exact = ready(variant, device)
    assert len(exact.argmax(1).unique()) > 1, "a net that always decides alike compares nothing"
    try:
        call = inference.engine(net, x[:2], runtime, most=max(BATCHES))
    except inference.MissingRuntimeError as error:
        pytest.skip(str(error))
    eager, part, wait = inference.engine(net, x[:2]), x[:batch].clone(), waits(device)
    name = torch.cuda.get_device_name() if device == "cuda" else None
    race(lambda: wait(call(part)), eager=lambda: wait(eager(part)), on=name)
    found = inference.measure(lambda: call(part), batch=batch, device=device, **STEADY)
    for figure in ("p50", "p95", "p99"):
        race.note(f"{figure}_ms", getattr(found, figure))
    race.note("images_a_second", found.throughput)
    alike = float((answers(call, x).argmax(1) == exact.argmax(1)).float().mean())
    race.bound("decisions_alike", alike, ALIKE.get(runtime, 0.99))


def waits(device: str) -> Callable[[object], None]:
    """Return what waits for the device after a call, as a race wants it."""
    wait = waiting(torch.device(device))
    return lambda made: wait()


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("variant", SIDES)
def test_inference_on_a_gpu_against_eager(race, variant, runtime, batch):
    compare(race, variant, runtime, batch)


def test_a_batch_that_lies_on_the_gpu_against_one_that_is_copied(race):
    """ONNX Runtime reads it where it is: two copies and a wait are saved."""
    net, x, _ = ready("b0")
    try:
        call = inference.OnnxNet(inference.to_onnx(net, x[:1]), provider="cuda")
    except inference.MissingRuntimeError as error:
        pytest.skip(str(error))
    there, here = x[:64].clone(), x[:64].cpu()
    race(lambda: call(there), copied=lambda: call(here), on=torch.cuda.get_device_name())


def test_gasf_against_the_copy_bandwidth_of_a_gpu(race):
    x = torch.randn(20_000, 224, device="cuda").cumsum(-1)
    out = torch.empty(20_000, 224, 224, device="cuda")
    source, wait = torch.rand_like(out), waits("cuda")
    times = race(
        lambda: wait(gasf(x, out=out)),
        copy=lambda: wait(out.copy_(source)),
        on=torch.cuda.get_device_name(),
    )
    # The copy moves two bytes for each one that a picture holds: it reads as well.
    race.bound("copy", times["copy"] / 2 / times["ours"], 0.6)


@pytest.mark.parametrize(("size", "batch"), [(64, 256), (224, 64)])
def test_b0_on_a_gpu_with_channels_last_and_bf16_against_timm(race, size, batch):
    """Issue: as fast as timm, with channels_last and bf16; pictures and weights alike."""
    training.seed_everything(0)
    theirs = compat.import_timm().create_model("efficientnet_b0", num_classes=3)
    ours = EfficientNet("b0", 3, drop_connect=0.0)
    ours.load_state_dict(en.from_timm(theirs.state_dict()))
    last, wait = torch.channels_last, waits("cuda")
    nets = [net.train().cuda() for net in (ours, theirs)]
    for net in nets:
        net.to(memory_format=last)  # type: ignore[call-overload]
    x = torch.rand(batch, 3, size, size, device="cuda").to(memory_format=last)
    y = torch.arange(batch, device="cuda") % 3

    def step(net):
        net.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(net(x), y)
        wait(loss.backward())

    gpu = torch.cuda.get_device_name()
    medians = race(lambda: step(nets[0]), timm=lambda: step(nets[1]), seconds=6.0, on=gpu)
    race.bound("timm", medians["timm"] / medians["ours"], 0.95)
