"""A GPU that is not there: tensors have its device and their shapes, and every wait is noted."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from engine import run
from engine.distributed import World

ROOT = str(Path(__file__).parents[1])
GPU = World(rank=0, size=1, local_rank=0, device=torch.device("cuda", 0))
READS = ("_local_scalar_dense", "is_nonzero", "aten.nonzero", "masked_select", "aten.unique")


class Waits(TorchDispatchMode):
    """Notes each operation for which the host would wait until the GPU has done all its work."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        name = str(func)
        if name.startswith("aten._fused_"):
            return None  # torch has no shapes of it; it reads nothing
        if any(read in name for read in READS) and args[0].device.type == "cuda":
            self.found.append(f"{_place()}: {name}")
        out = func(*args, **kwargs)
        if name.startswith(("aten._to_copy", "aten.copy_")):
            devices = {one.device.type for one in (*args, out) if isinstance(one, Tensor)}
            flag = args[2] if name.startswith("aten.copy_") and len(args) > 2 else False
            if devices == {"cpu", "cuda"} and not kwargs.get("non_blocking", flag):
                self.found.append(f"{_place()}: {name}")
        return out


@contextmanager
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    """Give what runs inside a GPU: shapes are computed alone, and gradients are zero."""

    class Event:  # of a device that is never done
        def record(self) -> None: ...

        def query(self) -> bool:
            return False

    def give_gradients(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(Tensor, "backward", lambda loss: None)  # autograd looks for the device
    # of torch it looks for the memory behind a tensor, and there is none
    monkeypatch.setattr(Tensor, "__deepcopy__", lambda tensor, memo: tensor.detach().clone())
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    unscale = torch.amp.GradScaler.unscale_

    def unscale_given(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> None:
        give_gradients(optimizer)
        unscale(scaler, optimizer)

    monkeypatch.setattr(torch.amp.GradScaler, "unscale_", unscale_given)
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda tensor, **_: tensor)  # it reads values
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    run._constant.cache_clear()
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield Waits()
    run._constant.cache_clear()


def _place() -> str:
    frames = reversed(traceback.extract_stack())
    ours = (f for f in frames if f.filename.startswith(ROOT) and f.filename != __file__)
    found = next(ours, None)
    return f"{found.filename.removeprefix(ROOT + '/')}:{found.lineno}" if found else "?"
