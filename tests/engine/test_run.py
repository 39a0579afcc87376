import pytest
import torch
from torch import Tensor, nn

from config import load_cfg_text
from datasets.clips import Clips
from engine.distributed import World
from engine.run import on_device, placed, runs_channels_last, to_device
from models import build_model
from ops.pixels import normalize
from tests.fake_gpu import GPU, fake_gpu

CPU = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
TSM = "{MODEL: {NAME: tsm, BACKBONE: resnet18, TSM: {LAYERS: [1, 1, 1, 1], WIDTH: 8}}}"


def decoded(B: int = 2, T: int = 2, side: int = 6) -> Tensor:
    """Clips as the loader gives them: channels last in memory."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (B, T, side, side, 3), generator=generator, dtype=torch.uint8)
    return pixels.permute(0, 1, 4, 2, 3)


def is_channels_last(clips: Tensor) -> bool:
    return clips.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("text", ["", TSM])
def test_clips_of_the_cpu_are_normalised_bit_by_bit_and_contiguous(text: str) -> None:
    cfg = load_cfg_text(text, "cfg")
    clips = to_device(decoded(), cfg, CPU)
    assert torch.equal(clips, normalize(decoded(), cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD))
    assert clips.is_contiguous()


def test_maps_of_a_resnet_lie_channels_last_from_the_first_to_the_last_convolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cfg = load_cfg_text(TSM, "cfg")
    plain = build_model(cfg).eval()
    expected = plain(to_device(decoded(side=32), cfg, CPU))
    monkeypatch.setattr("engine.run.runs_channels_last", lambda *_: True)  # here, as on a GPU
    model = placed(plain, cfg, CPU)
    seen: list[Tensor] = []
    for module in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        module.register_forward_hook(lambda _, inputs, out: seen.extend([*inputs, out]))
    logits = model(to_device(decoded(side=32), cfg, CPU))
    assert len(seen) > 20
    assert all(maps.is_contiguous(memory_format=torch.channels_last) for maps in seen)
    # float32; another order of additions
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


def test_resnets_on_gpus_are_what_runs_channels_last() -> None:
    found = {
        (name, device): runs_channels_last(load_cfg_text(text, "cfg"), torch.device(device))
        for name, text in (("vit", ""), ("tsm", TSM))
        for device in ("cpu", "cuda")
    }
    assert [case for case, is_so in found.items() if is_so] == [("tsm", "cuda")]


def test_clips_go_to_a_gpu_as_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = decoded()
    with fake_gpu(monkeypatch) as waits:
        for text in ("", TSM):
            cfg = load_cfg_text(text, "cfg")
            to_device(clips, cfg, GPU)  # mean and std are made once
            with waits:
                there = to_device(clips, cfg, GPU)
            assert (is_channels_last(there), there.is_contiguous()) == (bool(text), not text)
    assert waits.found == []


def test_batch_goes_to_the_device_without_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.ones(2)
    batch = Clips(decoded(), one, one, one, torch.empty(2, 0), errors={3: "broken"})
    with fake_gpu(monkeypatch) as waits, waits:
        there = on_device(batch, GPU)
    assert waits.found == []
    assert {tensor.device for tensor in there[:5]} == {GPU.device}
    assert there.errors == {3: "broken"}
    assert is_channels_last(there.clips)


@pytest.mark.gpu
@pytest.mark.parametrize("text", ["", TSM])
def test_clips_of_a_gpu_are_those_of_the_cpu(text: str) -> None:
    cfg = load_cfg_text(text, "cfg")
    there = to_device(decoded(), cfg, GPU)
    # one division and one subtraction each, rounded alike
    torch.testing.assert_close(there.cpu(), to_device(decoded(), cfg, CPU), atol=1e-6, rtol=1e-6)
    assert is_channels_last(there) == bool(text)
