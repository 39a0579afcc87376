"""Frame by frame, a one-directional model answers what it answers on the whole clip."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.online import OnlineTSM, OnlineViT, StreamState
from models.resnet_tsm import ResNetTSM, TSMOptions
from models.streaming import build_online, num_bytes
from models.tokshift import tokshift
from models.vit import VisionTransformer, ViTSize, vit
from tests.conftest import golden_arrays
from tests.models.conftest import randomized

SIZE = ViTSize(patch_size=8, hidden_size=16, mlp_dim=24, num_heads=4, num_layers=3)
BASE = ViTSize(patch_size=16, hidden_size=768, mlp_dim=3072, num_heads=12, num_layers=12)


def small_tokshift(
    fold_div: int = 4, shifts_residual: bool = True, direction: str = "past"
) -> VisionTransformer:
    model = tokshift(SIZE, 16, 5, fold_div, direction, shifts_residual)
    return randomized(model).eval()


def small(
    depth: int = 50, fold_div: int = 8, placement: str = "blockres", **options: Any
) -> ResNetTSM:
    options = {"direction": "past", "layers": (2, 2, 2, 2), "width": 8} | options
    torch.manual_seed(0)
    model = ResNetTSM(depth, 6, fold_div, placement, TSMOptions(**options))
    nn.init.normal_(model.fc.weight, std=0.1)
    return model.eval()


def frame_by_frame(model: nn.Module, clips: Tensor) -> Tensor:
    online = build_online(model)
    state, logits = online.initial_state(clips[:, 0]), []
    for frames in clips.unbind(1):
        frame_logits, state = online(frames, state)
        logits.append(frame_logits)
    return torch.stack(logits, dim=1)


def check_every_prefix(model: VisionTransformer | ResNetTSM, clips: Tensor) -> None:
    online = frame_by_frame(model, clips)
    with torch.no_grad():
        for T in range(1, clips.shape[1] + 1):
            # only the batch of the layers differs, and with it the order of their sums
            torch.testing.assert_close(
                online[:, :T].mean(1), model(clips[:, :T]), rtol=1e-5, atol=1e-5
            )
        torch.testing.assert_close(online, model.frame_logits(clips), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shifts_residual", [True, False])
@pytest.mark.parametrize("fold_div", [16, 4, 3, 2, 1])
def test_every_prefix_has_the_answer_of_tokshift(fold_div: int, shifts_residual: bool) -> None:
    check_every_prefix(small_tokshift(fold_div, shifts_residual), torch.randn(2, 6, 3, 16, 16))


def test_every_prefix_has_the_answer_of_an_image_vit() -> None:
    model = randomized(vit(SIZE, 16, 5)).eval()
    check_every_prefix(model, torch.randn(2, 3, 3, 16, 16))
    assert build_online(model).initial_state(torch.empty(2, 3, 16, 16)) == []


def test_the_answer_owes_to_the_frames_before() -> None:
    clips = torch.randn(1, 2, 3, 16, 16)
    other = clips.clone()
    other[:, 0] = torch.randn(1, 3, 16, 16)
    for model in (small_tokshift(), small_tokshift(shifts_residual=False)):
        last = [frame_by_frame(model, each)[:, -1] for each in (clips, other)]
        assert (last[0] - last[1]).abs().max() > 5e-3


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("placement", ["blockres", "block"])
@pytest.mark.parametrize("fold_div", [8, 4, 0])
def test_every_prefix_has_the_answer_of_tsm(depth: int, placement: str, fold_div: int) -> None:
    check_every_prefix(small(depth, fold_div, placement), torch.randn(2, 6, 3, 64, 64))


@pytest.mark.parametrize(
    "name", golden_arrays("tsm/online/online.npz", r"(.+)\.clip_logits_mean_over_frames")
)
def test_release_per_frame_logits(
    name: str,
    golden: Callable,
    golden_json: Callable,
    filled_like: Callable,
    normalised: Callable,
) -> None:
    arrays = golden("tsm/online/online.npz")
    facts = golden_json("tsm/online/online.json")[name]
    mean = arrays[f"{name}.clip_logits_mean_over_frames"]
    [depth] = re.findall(r"r(\d+)_", name)
    options = TSMOptions(direction="past")
    model = ResNetTSM(int(depth), mean.shape[-1], facts["div"], facts["place"], options)
    clips = normalised(arrays[f"{name}.clip_u8"])
    online = frame_by_frame(filled_like(model).eval(), clips)
    frame_logits = arrays[f"{name}.frame_logits"]
    np.testing.assert_allclose(online.flatten(0, 1), frame_logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(online.mean(1), mean, rtol=0, atol=1e-5)
    state = OnlineTSM(model).initial_state(clips[:, 0])
    assert [cache.shape[1] for cache in state] == facts["cache_channels"]
    assert sum(cache.numel() for cache in state) == facts["cache_floats_at_this_size"]


def test_size_of_the_state() -> None:
    with torch.device("meta"):
        frames = torch.empty(1, 3, 224, 224)
        tsm = ResNetTSM(50, 400, options=TSMOptions(direction="past"))
        tokshift_base = tokshift(BASE, 224, 400, 4, "past")
    state = build_online(tokshift_base).initial_state(frames)
    assert [cache.shape for cache in state] == 24 * [(1, 192)]
    assert num_bytes(state) == 24 * 192 * 4  # 18 KiB
    state = build_online(tsm).initial_state(frames)
    assert len(state) == 16
    assert num_bytes(state) == 702_464 * 4  # 2.7 MiB


@pytest.mark.parametrize("model", [small(), small_tokshift(), small_tokshift(1)])
def test_state_is_left_as_it_is_and_keeps_its_shapes(model: nn.Module) -> None:
    online, frames = build_online(model), frames_for(model)
    state = online.initial_state(frames)
    first, following = online(frames, state)
    assert all(cache.eq(0).all() for cache in state)
    assert [cache.shape for cache in following] == [cache.shape for cache in state]
    torch.testing.assert_close(online(frames, state)[0], first, rtol=0, atol=0)


@pytest.mark.parametrize("model", [small(), small_tokshift()])
def test_a_saved_state_goes_on_and_holds_nothing_else(tmp_path: Path, model: nn.Module) -> None:
    online, frames = build_online(model), frames_for(model)
    _, state = online(frames, online.initial_state(frames))
    torch.save(state, tmp_path / "state.pt")
    loaded: StreamState = torch.load(tmp_path / "state.pt", weights_only=True)
    assert torch.equal(online(frames, loaded)[0], online(frames, state)[0])
    assert sum(cache.untyped_storage().nbytes() for cache in state) == num_bytes(state)


@pytest.mark.parametrize(
    "model", [small(), small(placement="block"), small_tokshift(), small_tokshift(4, False)]
)
def test_exported_step_equals_the_step(model: nn.Module) -> None:
    online, frames = build_online(model), frames_for(model)
    state = [torch.randn_like(cache) for cache in online.initial_state(frames)]
    exported = torch.export.export(online, (frames, state)).module()
    torch.testing.assert_close(exported(frames, state), online(frames, state))


@pytest.mark.parametrize("model", [small(), small_tokshift()])
def test_videos_of_a_batch_keep_apart(model: nn.Module) -> None:
    side = frames_for(model).shape[-1]
    clips = torch.randn(2, 3, 3, side, side)
    alone = torch.cat([frame_by_frame(model, clip[None]) for clip in clips])
    torch.testing.assert_close(frame_by_frame(model, clips), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"direction": "both"}, {"temporal_pool": True}, {"non_local": True}],
)
def test_a_tsm_that_needs_later_frames_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"this one: shift .* config/quickstart_online.yml"):
        OnlineTSM(small(**options))


def test_a_tokshift_that_needs_later_frames_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"MODEL.SHIFT.DIRECTION past; this one: .*\(both\).* config/quickstart_online.yml",
    ):
        OnlineViT(small_tokshift(direction="both"))


def test_other_models_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="a Linear cannot run online"):
        build_online(nn.Linear(1, 1))


def frames_for(model: nn.Module) -> Tensor:
    side = model.image_size if isinstance(model, VisionTransformer) else 32
    return torch.randn(1, 3, side, side)
