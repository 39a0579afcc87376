"""ResNetTSM computes what the released models compute, and says what it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from models.resnet_tsm import OPS, ResNetTSM, TSMOptions
from models.temporal import NonLocal, temporal_pool
from tests.conftest import golden_arrays, golden_content
from tests.models.conftest import tsm_of

CASES: dict[str, Any] = golden_content("tsm/models/index.json")


def small(
    depth: int = 50, fold_div: int = 8, placement: str = "blockres", **options: Any
) -> ResNetTSM:
    options = {"layers": (2, 2, 2, 2), "width": 8, "dropout": 0.0} | options
    model = ResNetTSM(depth, 6, fold_div, placement, TSMOptions(**options))
    for name, parameter in model.named_parameters():  # no zeros and ones that hide mistakes
        if parameter.dim() < 2:
            nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.1)
    nn.init.normal_(model.fc.weight, std=0.1)
    return model


def clips_of(
    arrays: dict[str, Any], cfg: dict[str, Any], model: ResNetTSM, normalised: Callable
) -> Tensor:
    """The clips of a golden case, (B, T, C, H, W); those of flow are stored image by image."""
    clips = normalised(arrays["clip_u8"], model.options.modality == "Flow")
    return clips.reshape(len(clips), cfg["T"], model.in_channels, *clips.shape[-2:])


def logits_atol(cfg: dict[str, Any]) -> float:
    return 1e-3 if cfg.get("nl") else 1e-4  # README; the sums' order is the machine's


@pytest.mark.parametrize("name", CASES)
def test_release_logits_and_maps(
    name: str, golden: Callable, golden_json: Callable, golden_tsm: Callable, normalised: Callable
) -> None:
    arrays = golden(f"tsm/models/{name}.npz")
    facts = golden_json("tsm/models/index.json")[name]
    cfg = facts["cfg"]
    model = golden_tsm(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["n_params"]
    clips = clips_of(arrays, cfg, model, normalised)
    suffix, means = ".spatial_mean", {}
    for part in (key.removesuffix(suffix) for key in arrays if key.endswith(suffix)):
        module = model.get_submodule(part)
        (module[-1] if isinstance(module, nn.ModuleList) else module).register_forward_hook(
            lambda _, __, maps, part=part: means.update({part: maps.mean((2, 3))})
        )
    with torch.no_grad():
        logits = model(clips)
        frame_logits = model.frame_logits(clips)
    tolerance = logits_atol(cfg)
    np.testing.assert_allclose(logits, arrays["logits"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        frame_logits.flatten(0, 1), arrays["frame_logits"], rtol=0, atol=tolerance
    )
    assert means.keys() >= {"conv1", "layer1", "layer2", "layer3", "layer4"}
    for part, mean in means.items():
        np.testing.assert_allclose(mean, arrays[f"{part}{suffix}"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_shift_stands_where_the_release_has_it(name: str, golden_json: Callable) -> None:
    facts = golden_json("tsm/models/index.json")[name]
    with torch.device("meta"):
        model = tsm_of(facts["cfg"])
    places = [
        place.replace(".net", "").replace(".block", "").removesuffix(".conv1")
        for place in facts["shift_at"]
    ]
    blocks = {name: b for name, b in model.named_modules() if hasattr(b, "shifts_shortcut")}
    assert [name for name, block in blocks.items() if block.temporal is not None] == places


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name]["shift_at"]])
def test_swapped_directions_are_noticed(
    name: str, golden: Callable, golden_json: Callable, golden_tsm: Callable, normalised: Callable
) -> None:
    arrays = golden(f"tsm/models/{name}.npz")
    facts = golden_json("tsm/models/index.json")[name]
    change = facts["negative_controls_max_abs_logit_change"]["directions_swapped"]
    model = golden_tsm(name, order="past_first")
    with torch.no_grad():
        logits = model(clips_of(arrays, facts["cfg"], model, normalised))
    swapped = np.abs(logits.numpy() - arrays["logits"]).max()
    atol = logits_atol(facts["cfg"])
    assert swapped == pytest.approx(change, abs=atol)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_parameters_are_torchvisions_with_and_without_shift(depth: int) -> None:
    with torch.device("meta"):
        reference = torchvision.models.get_model(f"resnet{depth}", num_classes=7).state_dict()
        states = [ResNetTSM(depth, 7, fold_div).state_dict() for fold_div in (8, 0)]
    for state in states:
        assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in reference.items()}
        assert list(state) == list(reference)


def test_without_shift_a_clip_is_the_mean_of_torchvisions_frames() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet18(num_classes=5).eval()
    model = ResNetTSM(18, 5, fold_div=0).eval()
    model.load_state_dict(reference.state_dict())
    clips = torch.randn(2, 3, 3, 32, 40)
    with torch.no_grad():
        frames = reference(clips.flatten(0, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(model(clips), frames.mean(1), rtol=1e-5, atol=1e-5)


def test_parameter_counts_of_the_papers_models() -> None:
    with torch.device("meta"):
        plain, non_local = ResNetTSM(50, 400), ResNetTSM(50, 51, options=TSMOptions(non_local=True))
        count = [sum(p.numel() for p in model.parameters()) for model in (plain, non_local)]
    assert count == [24_327_632, 30_970_995]  # 24.3 M, table 2 of the paper


@pytest.mark.parametrize(("depth", "expected"), [(50, ([0, 2], [0, 2, 4])), (18, ([0], [0]))])
def test_non_local_blocks_follow_every_second_block(depth: int, expected: tuple) -> None:
    with torch.device("meta"):
        model = ResNetTSM(depth, 5, options=TSMOptions(non_local=True))
    for stage, indices in zip((model.layer2, model.layer3), expected, strict=True):
        assert [i for i, block in enumerate(stage) if block.non_local is not None] == indices
    assert all(block.non_local is None for block in [*model.layer1, *model.layer4])


def test_non_local_by_its_formula() -> None:
    torch.manual_seed(1)
    B, T, C, H, W = 2, 3, 6, 4, 5
    module = NonLocal(C).eval()
    nn.init.normal_(module.norm.weight)
    x = torch.randn(B * T, C, H, W)
    clips = x.unflatten(0, (B, T)).transpose(1, 2)
    with torch.no_grad():
        theta, phi, g = (conv(clips) for conv in (module.theta, module.phi, module.g))
        phi, g = (part[..., : H // 2 * 2, : W // 2 * 2] for part in (phi, g))
        phi, g = (
            part.unflatten(-2, (-1, 2)).unflatten(-1, (-1, 2)).amax((-3, -1)) for part in (phi, g)
        )
        weight = torch.einsum("bcthw,bcsij->bthwsij", theta, phi).flatten(-3).softmax(-1)
        seen = torch.einsum("bthwm,bcm->bcthw", weight, g.flatten(2))
        expected = clips + module.norm(module.out(seen))
        torch.testing.assert_close(
            module(x, T), expected.transpose(1, 2).flatten(0, 1), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("mode", ["dot_product", "gaussian"])
def test_other_non_local_modes_by_their_formulas(mode: str) -> None:
    B, T, C, H, W = 2, 3, 8, 4, 6
    module = NonLocal(C, mode).eval()
    nn.init.ones_(module.norm.weight)
    x = torch.randn(B * T, C, H, W)
    clips = x.unflatten(0, (B, T)).transpose(1, 2)  # (B, C, T, H, W)
    pool = nn.MaxPool3d((1, 2, 2))
    value = pool(module.g(clips)).flatten(2)
    if mode == "gaussian":
        weights = (clips.flatten(2).transpose(1, 2) @ pool(clips).flatten(2)).softmax(-1)
    else:
        key = pool(module.phi(clips)).flatten(2)
        weights = module.theta(clips).flatten(2).transpose(1, 2) @ key / key.shape[-1]
    seen = (weights @ value.transpose(1, 2)).transpose(1, 2).reshape(B, C // 2, T, H, W)
    expected = clips + module.norm(module.out(seen))
    due = expected.transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(module(x, T), due, rtol=0, atol=1e-5)  # float32 in another order


def test_a_non_local_mode_that_is_not_here_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"a non-local block's mode is one of .*'concatenation'"):
        NonLocal(8, "concatenation")


def test_a_new_non_local_block_changes_nothing() -> None:
    x = torch.randn(4, 8, 4, 4)
    assert torch.equal(NonLocal(8)(x, 2), x)


@pytest.mark.parametrize("case", golden_arrays("tsm/ops/temporal_pool.npz", r"y(\d+)"))
def test_release_temporal_pool(case: int, golden: Callable, golden_json: Callable) -> None:
    arrays = golden("tsm/ops/temporal_pool.npz")
    facts = golden_json("tsm/ops/ops.json")["temporal_pool"][case]
    pooled = temporal_pool(torch.from_numpy(arrays[f"x{case}"]), facts["T"])
    np.testing.assert_array_equal(pooled.numpy(), arrays[f"y{case}"])


def test_temporal_pool_of_odd_frames_is_an_error() -> None:
    with pytest.raises(ValueError, match="T=3 is odd"):
        small(temporal_pool=True)(torch.randn(1, 3, 3, 32, 32))


def slow_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """Three taps along time, zero outside; x is (T, C, H, W), the weight (C, 3)."""
    y = torch.zeros_like(x)
    for t in range(len(x)):
        for tap in range(3):
            if 0 <= t + tap - 1 < len(x):
                y[t] += weight[:, tap, None, None] * x[t + tap - 1]
    return y


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    C = (slice(None), None, None)
    return (x - norm.running_mean[C]) / (norm.running_var[C] + 1e-5).sqrt() * norm.weight[
        C
    ] + norm.bias[C]


@pytest.mark.parametrize("op", ["squeezed_conv", "depthwise_conv"])
def test_released_convolutions_by_a_slow_loop(op: str) -> None:
    torch.manual_seed(2)
    model = small(op=op, width=16).eval()
    module = model.layer2[1].temporal
    for norm in (m for m in module.modules() if hasattr(m, "running_var")):
        assert (norm.eps, norm.momentum) == (1e-5, 0.01)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    T, C = 4, 128
    clips = torch.randn(2, T, C, 3, 2)
    with torch.no_grad():
        expected = []
        for x in clips:
            if op == "depthwise_conv":
                y = slow_convolution(x, module.conv.weight[:, 0, :, 0, 0])
                expected.append(normed(y, module.norm).relu())
                continue
            x = torch.einsum("tchw,oc->tohw", x, module.squeeze.weight[..., 0, 0])
            x = normed(x, module.squeeze_norm).relu()
            x = slow_convolution(x, module.temporal.conv.weight[:, 0, :, 0, 0])
            x = normed(x, module.temporal.norm).relu()
            x = torch.einsum("tchw,oc->tohw", x, module.expand.weight[..., 0, 0])
            expected.append(normed(x, module.expand_norm).relu())
        y = module(clips.flatten(0, 1), T).unflatten(0, (2, T))
    torch.testing.assert_close(y, torch.stack(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("depth", [18, 50])
def test_every_op_sees_other_frames_and_learns(op: str, depth: int) -> None:
    torch.manual_seed(0)
    model = small(depth, op=op)
    clips = torch.randn(2, 4, 3, 32, 32)
    nn.functional.cross_entropy(model(clips), torch.tensor([0, 1])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        model.eval()
        assert not torch.allclose(model(clips), model(clips.flip(1)), atol=1e-5)


@pytest.mark.parametrize("placement", ["blockres", "block"])
def test_evaluation_equals_recorded_evaluation(placement: str) -> None:
    """Without gradients the shift may write into its input; the result must not change."""
    torch.manual_seed(0)
    model = small(placement=placement).eval()
    clips = torch.randn(2, 4, 3, 64, 64)
    recorded = model(clips)
    with torch.inference_mode():
        assert torch.equal(model(clips), recorded)


def test_clips_of_other_lengths_pass_and_do_not_mix() -> None:
    torch.manual_seed(0)
    model = small().eval()
    clips = torch.randn(2, 6, 3, 32, 32)
    with torch.no_grad():
        both = model(clips)
        torch.testing.assert_close(both[:1], model(clips[:1]))
        assert model(clips[:, :1]).shape == (2, 6)


def test_partial_bn_keeps_all_norms_but_the_first() -> None:
    model = small(partial_bn=True, non_local=True, op="depthwise_conv").train()
    trunk = [m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert trunk[0].training
    assert not any(norm.training for norm in trunk[1:])
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert len(frozen) == 2 * len(trunk[1:])
    assert not any(".non_local." in name or ".temporal." in name for name in frozen)
    assert all(m.training for m in model.modules() if isinstance(m, nn.BatchNorm3d))
    assert model.eval() is model


def test_classifier_starts_small() -> None:
    model = ResNetTSM(50, 400)
    assert model.fc.weight.std().item() == pytest.approx(0.001, rel=0.01)
    assert model.fc.bias.eq(0).all()


def test_flow_takes_ten_channels_and_says_so() -> None:
    model = small(modality="Flow")
    assert model(torch.randn(1, 2, 10, 32, 32)).shape == (1, 6)
    with pytest.raises(ValueError, match=r"\(B, T, 10, H, W\) for Flow, got \(1, 2, 3, 32, 32\)"):
        model(torch.randn(1, 2, 3, 32, 32))
    assert small(modality="Flow", new_length=2).in_channels == 4


def test_exported_model_equals_the_model() -> None:
    torch.manual_seed(0)
    model = small().eval()
    clips = torch.randn(2, 4, 3, 32, 32)
    exported = torch.export.export(model, (clips,)).module()
    torch.testing.assert_close(exported(clips), model(clips), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((20,), "depth is one of"),
        ((50, 6, 8, "stageres"), "placement is one of"),
        ((50, 6, 8, "blockres", TSMOptions(op="correlation")), "op is one of"),
        ((50, 6, 8, "blockres", TSMOptions(modality="RGBDiff")), "modality is one of"),
        ((50, 6, 8, "blockres", TSMOptions(consensus="max")), "consensus is one of"),
        ((50, 6, 8, "block", TSMOptions(op="blend")), "for op 'shift' alone"),
    ],
)
def test_unknown_settings_are_errors(arguments: tuple, text: str) -> None:
    defaults = (50, 6)
    with pytest.raises(ValueError, match=text):
        ResNetTSM(*arguments, *defaults[len(arguments) :])


def test_description_says_how_many_blocks_shift_and_by_how_much() -> None:
    with torch.device("meta"):
        assert ResNetTSM(50, 5).describe_time() == (
            "shift (blockres) in 16 of 16 blocks, future_first, 1/8 of the channels each way: "
            "8 of 64 to 256 of 2048"
        )
        assert "18 of 33 blocks" in ResNetTSM(101, 5).describe_time()
        assert "33 of 33 blocks" in ResNetTSM(101, 5, placement="block").describe_time()
        assert ResNetTSM(50, 5, 0).describe_time() == "no temporal shift in any of 16 blocks (TSN)"
