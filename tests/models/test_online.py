"""Frame by frame, a one-directional TSM answers what it answers on the whole clip."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.online import OnlineTSM
from models.resnet_tsm import ResNetTSM, TSMOptions


def small(
    depth: int = 50, fold_div: int = 8, placement: str = "blockres", **options: Any
) -> ResNetTSM:
    options = {"direction": "past", "layers": (2, 2, 2, 2), "width": 8} | options
    torch.manual_seed(0)
    model = ResNetTSM(depth, 6, fold_div, placement, TSMOptions(**options))
    nn.init.normal_(model.fc.weight, std=0.1)
    return model.eval()


def frame_by_frame(model: ResNetTSM, clips: Tensor) -> Tensor:
    online = OnlineTSM(model)
    state, logits = online.initial_state(clips[:, 0]), []
    with torch.no_grad():
        for frames in clips.unbind(1):
            frame_logits, state = online(frames, state)
            logits.append(frame_logits)
    return torch.stack(logits, dim=1)


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("placement", ["blockres", "block"])
@pytest.mark.parametrize("fold_div", [8, 4, 0])
def test_every_prefix_has_the_offline_answer(depth: int, placement: str, fold_div: int) -> None:
    model = small(depth, fold_div, placement)
    clips = torch.randn(2, 6, 3, 64, 64)
    online = frame_by_frame(model, clips)
    with torch.no_grad():
        for T in range(1, 7):
            # only the batch of a convolution differs, and with it the order of its sums
            torch.testing.assert_close(
                online[:, :T].mean(1), model(clips[:, :T]), rtol=1e-5, atol=1e-5
            )
        torch.testing.assert_close(online, model.frame_logits(clips), rtol=1e-5, atol=1e-5)


def test_release_per_frame_logits(
    golden: Callable, golden_json: Callable, filled_like: Callable, normalised: Callable
) -> None:
    arrays = golden("tsm/online/online.npz")
    facts = golden_json("tsm/online/online.json")["r50_blockres8"]
    model = filled_like(ResNetTSM(50, 27, options=TSMOptions(direction="past"))).eval()
    clips = normalised(arrays["r50_blockres8.clip_u8"])
    online = frame_by_frame(model, clips)
    np.testing.assert_allclose(online[0], arrays["r50_blockres8.frame_logits"], rtol=0, atol=1e-5)
    mean = arrays["r50_blockres8.clip_logits_mean_over_frames"]
    np.testing.assert_allclose(online.mean(1), mean, rtol=0, atol=1e-5)
    state = OnlineTSM(model).initial_state(clips[:, 0])
    assert [cache.shape[1] for cache in state] == facts["cache_channels"]
    assert sum(cache.numel() for cache in state) == facts["cache_floats_at_this_size"]


def test_state_of_resnet50_at_224_pixels() -> None:
    with torch.device("meta"):
        model = ResNetTSM(50, 400, options=TSMOptions(direction="past"))
        state = OnlineTSM(model).initial_state(torch.empty(1, 3, 224, 224))
    assert sum(cache.numel() for cache in state) == 702_464  # 2.7 MiB
    assert len(state) == 16


def test_state_is_left_as_it_is() -> None:
    online, frames = OnlineTSM(small()), torch.randn(1, 3, 32, 32)
    state = online.initial_state(frames)
    _, following = online(frames, state)
    assert all(cache.eq(0).all() for cache in state)
    assert any(cache.ne(0).any() for cache in following)


def test_exported_step_equals_the_step() -> None:
    online, frames = OnlineTSM(small()), torch.randn(1, 3, 64, 64)
    state = [torch.randn_like(cache) for cache in online.initial_state(frames)]
    exported = torch.export.export(online, (frames, state)).module()
    torch.testing.assert_close(exported(frames, state), online(frames, state))


@pytest.mark.parametrize(
    "options",
    [{"direction": "both"}, {"temporal_pool": True}, {"non_local": True}],
)
def test_models_that_need_later_frames_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"online inference needs .*; this one: shift"):
        OnlineTSM(small(**options))
