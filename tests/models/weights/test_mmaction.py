"""MMAction2's files: what its networks compute, what they say of themselves, what is refused."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.protocols import build_test_sampling
from models import load_model
from models.pretrained import load_weights
from models.resnet_tsm import ResNetTSM, TSMOptions
from models.weights.checkpoint_file import read_checkpoint
from tests.conftest import golden_content, golden_names
from tests.other_libraries import weights_by_rule

FOLDER = "other/mmaction2"
CASES = golden_content(f"{FOLDER}/index.json").get("cases", {})
HERE = [Path(name).name.split(".")[0] for name in golden_names(f"{FOLDER}/*.keys.json")]
IS_LARGE = ("r50", "r101", "base")
# Two implementations in float32; measured 1.3e-6 at most. A saturated softmax: 8e-5, its own noise
# against float64 is 3e-5.
ATOL, SATURATED_ATOL = 1e-5, 1e-3
NON_LOCAL = "tsm_r50_t4_nl_dot_product"


def cfg_of(case: dict[str, Any], **backbone: Any) -> str:
    """Write what MMAction2 writes beside the weights of a case."""
    model = {
        "type": "Recognizer2D",
        "backbone": case["backbone"] | backbone,
        "cls_head": case["cls_head"],
        "data_preprocessor": {"mean": case["mean_0_255"], "std": case["std_0_255"]},
    }
    pipeline = [{"type": "SampleFrames", "clip_len": 1, "num_clips": case["T"]}]
    return f"model = {model!r}\ntrain_pipeline = {pipeline!r}\n"


@pytest.fixture
def weights(golden_json: Callable[[str], Any]) -> Callable[[str], dict[str, Tensor]]:
    return cache(lambda name: weights_by_rule(golden_json(f"{FOLDER}/{name}.keys.json")))


@pytest.fixture
def saved(weights: Callable[[str], dict[str, Tensor]], tmp_path: Path) -> Callable[..., Path]:
    """Write a case's file, with the config that MMAction2 would write or another one."""

    def save(name: str, cfg: str | None = None, is_narrow: bool = False, **others: Any) -> Path:
        text = cfg_of(CASES[name]) if cfg is None else cfg
        content = {"meta": {"cfg": text, **others}, "state_dict": weights(name)}
        if is_narrow:
            content["state_dict"] = {k: narrow(v) for k, v in weights(name).items()}
        torch.save(content, tmp_path / "theirs.pth")
        return tmp_path / "theirs.pth"

    return save


def narrow(value: Tensor) -> Tensor:
    """Leave a tensor an eighth of its channels, as if its network were of width 8."""
    shape = [size // 8 if size >= 64 else size for size in value.shape]
    return value[tuple(slice(size) for size in shape)].clone()


def normalised(u8: np.ndarray, cfg: Any) -> Tensor:
    C = u8.shape[2]
    mean, std = (torch.tensor(values * C)[:C].view(-1, 1, 1) for values in (cfg[0], cfg[1]))
    return (torch.from_numpy(u8).float() / 255 - mean) / std


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if any(s in name for s in IS_LARGE) else [])
        for name in HERE
    ],
)
def test_file_that_describes_itself_gives_its_logits(
    name: str, saved: Callable[..., Path], golden: Callable[[str], dict[str, Any]]
) -> None:
    case, data = CASES[name], golden(f"{FOLDER}/{name}.npz")
    names = [f"class {label}" for label in range(case["classes"])]
    loaded = load_model(saved(name, dataset_meta={"classes": names}))
    cfg = loaded.cfg
    said = {"T": cfg.DATA.NUM_FRAMES, "classes": cfg.MODEL.NUM_CLASSES}
    assert said == {key: case[key] for key in said}
    assert loaded.class_names == names
    pixels = [
        [round(255 * v, 3) for v in values] for values in (cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)
    ]
    assert pixels == [case["mean_0_255"][:3], case["std_0_255"][:3]]
    with torch.inference_mode():
        clips = normalised(data["clip_u8"], (cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD))
        logits = loaded.model(clips)
    atol = SATURATED_ATOL if "gaussian" in str(case["backbone"].get("non_local_cfg")) else ATOL
    torch.testing.assert_close(logits, torch.from_numpy(data["logits"]), rtol=0, atol=atol)
    scores = data["view_scores_tsn" if "tsn" in name else "view_scores"]
    views = logits.mean(0).softmax(0) if cfg.TEST.AVERAGE_LOGITS else logits.softmax(-1).mean(0)
    torch.testing.assert_close(views[None], torch.from_numpy(scores), rtol=0, atol=atol)
    report = loaded.report
    assert len(report.loaded) == len(loaded.model.state_dict())
    assert [report.resized, report.reinitialised, report.ignored] == [{}, {}, []]
    filled = {n for n in loaded.model.state_dict() if n.endswith("non_local.out.bias")}
    assert {*report.filled} == filled
    same = {"cls_token", "pos_embed", "time_embed", "norm.weight", "norm.bias"}
    assert {*report.renamed} | filled | same >= {*report.loaded}


def test_non_local_blocks_of_another_kind_are_refused(saved: Callable[..., Path]) -> None:
    def save(cfg: str) -> Path:
        return saved(NON_LOCAL, cfg, is_narrow=True)

    def model(mode: str) -> ResNetTSM:
        options = TSMOptions(width=8, non_local=True, non_local_mode=mode)
        return ResNetTSM(50, num_classes=7, fold_div=8, options=options)

    key, cfg = "MODEL.TSM.NON_LOCAL_MODE", cfg_of(CASES[NON_LOCAL])
    for mode in ("", "embedded_gaussian"):
        with pytest.raises(
            ValueError, match=rf"mode dot_product; the .* embedded.*: set {key} dot"
        ):
            load_weights(model(mode), save(cfg))
    assert load_weights(model("dot_product"), save(cfg)).filled
    # without a config the two kinds cannot be told apart
    with pytest.raises(ValueError, match=rf"does not say what its non-local.*: set {key}"):
        load_weights(model(""), save(""))
    assert load_weights(model("dot_product"), save("")).filled
    with pytest.raises(ValueError, match=rf"does not say {key}, nor do its weights"):
        load_model(save(cfg.replace("non_local_cfg", "x")))
    for text, mode in (("'mode': 'x'", "'x'"), ("'a': 1", "'embedded_gaussian, scaled'")):
        other = cfg.replace("'mode': 'dot_product'", text).replace("'use_scale': False, ", "")
        with pytest.raises(ValueError, match=f"mode {mode}, which no model here computes"):
            load_model(save(other))


def test_what_neither_file_nor_class_tells_is_named_with_its_key(
    saved: Callable[..., Path],
) -> None:
    name = "tiny_timesformer_space_t4"
    with pytest.raises(ValueError, match=r"does not say MODEL\.VIT\.NUM_HEADS, DATA\.NUM_FRAMES"):
        load_model(saved(name, ""))
    words = ["MODEL.VIT.NUM_HEADS", "4", "DATA.NUM_FRAMES", "4"]
    assert load_model(saved(name, ""), overrides=words).cfg.DATA.PIXEL_MEAN == [0.5] * 3
    of_another = "model = dict(backbone=dict(type='ResNetTSM', num_heads=2, num_frames=4))"
    with pytest.raises(ValueError, match=r"NUM_HEADS: .*num_heads, the cfg .* is of a ResNetTSM"):
        load_model(saved(name, of_another))


def test_defaults_of_the_class_that_the_text_names_count(saved: Callable[..., Path]) -> None:
    cfg = "model = dict(backbone=dict(type='ResNetTSM', depth=18))"
    loaded = load_model(saved("tsm_r18_t4", cfg))
    assert (loaded.cfg.DATA.NUM_FRAMES, loaded.cfg.MODEL.TSM.FOLD_DIV) == (8, 8)
    assert any("those of all such recipes" in note for note in loaded.report.notes)


def test_networks_that_compute_otherwise_are_refused(saved: Callable[..., Path]) -> None:
    case = CASES["tsm_r18_t4"]
    with pytest.raises(ValueError, match="a ResNet of the style 'caffe'"):
        load_model(saved("tsm_r18_t4", cfg_of(case, style="caffe")))
    with pytest.raises(ValueError, match="BGR frames"):
        load_model(saved("tsm_r18_t4", cfg_of(case).replace("'mean'", "'to_rgb': True, 'mean'")))
    cfg = cfg_of(CASES["tiny_timesformer_space_t4"]).replace("1e-06", "1e-05")
    assert load_model(saved("tiny_timesformer_space_t4", cfg)).cfg.MODEL.VIT.NORM_EPS == 1e-5


def test_3d_network_of_the_same_names_is_refused(tmp_path: Path) -> None:
    state = {"backbone.layer1.0.conv1.conv.weight": torch.zeros(4, 4, 1, 3, 3)}
    torch.save({"state_dict": state}, tmp_path / "i3d.pth")
    with pytest.raises(ValueError, match=r"i3d\.pth holds a 3-D ResNet of MMAction2"):
        load_weights(ResNetTSM(50, 7), tmp_path / "i3d.pth")


@pytest.mark.parametrize(
    "name",
    ["layer1.0.conv1.conv.weight", "transformer_layers.layers.0.attentions.0.attn.in_proj_weight"],
)
def test_part_of_a_file_is_an_error_that_names_what_lacks(name: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {name: torch.zeros(4, 4, 1, 1)}}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"part\.pth does not hold its config"):
        load_model(tmp_path / "part.pth")


def test_what_the_file_says_is_compared_with_a_config(
    saved: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = saved("tsm_r18_t4")
    cfg = load_model(path, overrides=["MODEL.TSM.FOLD_DIV", "4"]).cfg
    assert caplog.messages == [f"{path} was trained with MODEL.TSM.FOLD_DIV 8, and is used with 4"]
    caplog.clear()
    load_model(path, cfg)
    assert len(caplog.messages) == 1


def test_views_are_those_of_its_test(saved: Callable[..., Path]) -> None:
    steps = [
        {"type": "SampleFrames", "clip_len": 1, "num_clips": 4, "twice_sample": True},
        {"type": "Resize", "scale": (-1, 240)},
        {"type": "TenCrop", "crop_size": 192},
    ]
    cfg = load_model(
        saved("tsm_r18_t4", cfg_of(CASES["tsm_r18_t4"]) + f"test_pipeline = {steps}")
    ).cfg
    assert (cfg.DATA.SAMPLING, cfg.DATA.UNIFORM_TWICE) == ("uniform", True)
    assert (cfg.DATA.TEST_SHORT_SIDE, cfg.DATA.IMAGE_SIZE) == (240, 192)
    assert (cfg.TEST.NUM_CROPS, cfg.TEST.FLIP, cfg.TEST.AVERAGE_LOGITS) == (5, True, False)
    assert cfg.TEST.CROPS == "mmaction"


def test_timesformer_is_tested_on_the_middle_clip(saved: Callable[..., Path]) -> None:
    steps = [
        {"type": "SampleFrames", "clip_len": 4, "frame_interval": 32, "num_clips": 1},
        {"type": "Resize", "scale": (-1, 48)},
        {"type": "ThreeCrop", "crop_size": 48},
    ]
    name = "tiny_timesformer_joint_t4"
    cfg = load_model(saved(name, cfg_of(CASES[name]) + f"test_pipeline = {steps}")).cfg
    (clip,) = build_test_sampling(cfg, "test")(300)
    assert clip.tolist() == [101, 133, 165, 197]  # (300 - 97) // 2
    assert (cfg.TEST.NUM_CROPS, cfg.TEST.CROPS, cfg.TEST.AVERAGE_LOGITS) == (3, "mmaction", False)


OLDER = """/home/me/mmaction2/configs/recognition/tsm/tsm_r18_1x1x4.py
model = dict(
    type='Recognizer2D',
    backbone=dict(type='ResNetTSM', depth=18, num_segments=4, shift_div=8, norm_eval=False),
    cls_head=dict(type='TSMHead', num_classes=7, dropout_ratio=0.6, is_shift=True),
    train_cfg=None,
    test_cfg=dict(average_clips='AVERAGE'))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
test_pipeline = [
    dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=4, test_mode=True),
    dict(type='Resize', scale=(-1, 256)),
    dict(type='TenCrop', crop_size=224),
    dict(type='Normalize', **img_norm_cfg),
]
optimizer = dict(type='SGD', lr=0.0075 * 2)
"""


@pytest.mark.parametrize("average", ["prob", "score"])
def test_file_of_before_version_1_is_told_by_its_config(
    average: str, weights: Callable[[str], dict[str, Tensor]], tmp_path: Path
) -> None:
    meta = {"mmaction_version": "0.24.1", "config": OLDER.replace("AVERAGE", average)}
    torch.save({"meta": meta, "state_dict": weights("tsm_r18_t4")}, tmp_path / "tsm.pth")
    loaded = load_model(tmp_path / "tsm.pth")
    cfg = loaded.cfg
    assert (cfg.DATA.NUM_FRAMES, cfg.MODEL.TSM.FOLD_DIV, cfg.MODEL.TSM.DROPOUT) == (4, 8, 0.6)
    assert (cfg.DATA.TEST_SHORT_SIDE, cfg.TEST.NUM_CROPS, cfg.TEST.FLIP) == (256, 5, True)
    assert cfg.TEST.AVERAGE_LOGITS is (average == "score")
    assert cfg.DATA.PIXEL_MEAN == [0.485, 0.456, 0.406]
    assert not any("names no pixels" in note for note in loaded.report.notes)
    meta["config"] = meta["config"].replace("to_bgr=False", "to_bgr=True")
    torch.save({"meta": meta, "state_dict": weights("tsm_r18_t4")}, tmp_path / "bgr.pth")
    with pytest.raises(ValueError, match=r"bgr\.pth was trained on BGR frames \(to_bgr turns them"):
        load_model(tmp_path / "bgr.pth")


def test_hostile_text_in_place_of_a_config_says_nothing(saved: Callable[..., Path]) -> None:
    for text in ("model = __import__('os').abort()", "model = dict(backbone=3)", "model = [" * 999):
        with pytest.raises(ValueError, match=r"does not say MODEL\.TSM\.FOLD_DIV"):
            load_model(saved("tsm_r18_t4", text))
    big = cfg_of(CASES["tsm_r18_t4"], num_segments=10**20)
    with pytest.raises(ValueError, match=r"DATA\.NUM_FRAMES"):
        load_model(saved("tsm_r18_t4", big))


def test_file_of_a_run_holds_the_average(
    golden_path: Callable[[str], Path], golden: Callable[[str], dict[str, Any]]
) -> None:
    path = golden_path(f"{FOLDER}/runner_timesformer_ema_epoch_1.pth")
    data = golden(f"{FOLDER}/runner_timesformer_ema_epoch_1.npz")
    loaded = load_model(path, overrides=["MODEL.VIT.NUM_HEADS", "2"])
    cfg = loaded.cfg
    clips = normalised(data["clip_u8"], (cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD))
    with torch.inference_mode():
        logits = loaded.model(clips)
    torch.testing.assert_close(logits, torch.from_numpy(data["logits"]), rtol=0, atol=ATOL)
    assert any("state_dict is the average already" in note for note in loaded.report.notes)


def test_stored_files_are_read_as_they_are(golden_root: Path) -> None:
    for path in golden_root.glob(f"{FOLDER}/t*.pth"):
        content = read_checkpoint(path)
        keys = json.loads(path.with_suffix(".keys.json").read_text())
        assert {n: list(v.shape) for n, v in content["state_dict"].items()} == keys
