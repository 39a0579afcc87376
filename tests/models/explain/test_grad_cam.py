from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.explain.grad_cam import STAGES, clip_grad_cam, grad_cam
from models.resnet_tsm import ResNetTSM, TSMOptions


def small(temporal_pool: bool = False) -> ResNetTSM:
    torch.manual_seed(0)
    options = TSMOptions(layers=(1, 1, 1, 1), width=8, temporal_pool=temporal_pool)
    model = ResNetTSM(18, 3, options=options)
    torch.nn.init.normal_(model.fc.weight)
    return model.eval()


def clips() -> Tensor:
    return torch.randn(2, 4, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_grad_cam_by_hand() -> None:
    maps = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]])  # (C, H, W) = (2, 1, 2)
    gradients = torch.tensor([[[1.0, 3.0]], [[-1.0, -1.0]]])  # means 2 and -1
    assert grad_cam(maps, gradients).tolist() == [[0.0, 4.0]]  # 2 - 3 is cut off at 0


def test_grad_cam_equals_a_slow_loop() -> None:
    maps, gradients = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64).unbind()
    got = grad_cam(maps, gradients)
    for m in range(3):
        for i in range(5):
            for j in range(6):
                total = sum(gradients[m, c].mean() * maps[m, c, i, j] for c in range(4))
                assert got[m, i, j] == pytest.approx(max(float(total), 0.0), abs=1e-12)


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_are_those_of_the_class_logit(stage: str) -> None:
    """The model's own pass, the maps kept by hand."""
    model, labels, kept = small(), torch.tensor([2, 0]), []

    def keep(module: object, inputs: object, output: Tensor) -> Tensor:
        output.retain_grad()
        kept.append(output)
        return output.clone()

    handle = getattr(model, stage)[-1].register_forward_hook(keep)
    logits = model(clips())
    (logits[0, 2] + logits[1, 0]).backward()
    handle.remove()
    expected = grad_cam(kept[0].detach(), kept[0].grad).unflatten(0, (2, 4))
    got = clip_grad_cam(model, clips(), labels, stage)
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-7)  # float32
    assert got.max() > 0


def test_behind_layer4_the_weights_are_the_classifiers() -> None:
    model, maps = small(), []
    handle = model.layer4[-1].register_forward_hook(lambda *args: maps.append(args[2].clone()))
    with torch.no_grad():
        model(clips())
    handle.remove()
    num_terms = 4 * maps[0].shape[-1] * maps[0].shape[-2]  # of the means over frames and places
    weights = model.fc.weight[1] / num_terms
    expected = (weights[:, None, None] * maps[0]).sum(1).relu().unflatten(0, (2, 4))
    got = clip_grad_cam(model, clips(), torch.tensor([1, 1]))
    assert torch.allclose(got, expected, rtol=1e-4, atol=1e-7)  # float32


def test_clips_do_not_meet() -> None:
    model = small()
    both = clip_grad_cam(model, clips(), torch.tensor([2, 0]), "layer2")
    first = clip_grad_cam(model, clips()[:1], torch.tensor([2]), "layer2")
    assert torch.allclose(both[:1], first, rtol=1e-4, atol=1e-7)  # float32


@pytest.mark.parametrize(("stage", "side"), [("layer1", 16), ("layer2", 8), ("layer4", 2)])
def test_frames_that_are_pooled_share_a_map(stage: str, side: int) -> None:
    cams = clip_grad_cam(small(temporal_pool=True), clips(), torch.tensor([2, 0]), stage)
    assert cams.shape == (2, 4, side, side)
    assert torch.equal(cams[:, 0], cams[:, 1]) == (stage != "layer1")


@pytest.mark.parametrize("context", [torch.no_grad, torch.enable_grad])
def test_it_leaves_no_trace(context: Callable[[], torch.no_grad]) -> None:
    model = small()
    with context():
        cams = clip_grad_cam(model, clips(), torch.tensor([2, 0]))
    assert not cams.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.layer4[-1]._forward_hooks


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(ValueError, match=r"one of \('layer1', .*\), got 'layer5'"):
        clip_grad_cam(small(), clips(), torch.tensor([2, 0]), "layer5")
