import logging
from typing import Any

import pytest
from yacs.config import CfgNode

from config import load_cfg_text
from config.backbones import BACKBONES, CLIP, HALF, IMAGENET, PLAIN, SIZES, backbone_pixels
from config.checks import AT_LEAST_ONE, BELOW_ONE, CHOICES, NOT_NEGATIVE, SHARES, value_at

EXPLICIT = "PATCH_SIZE: 8, HIDDEN_SIZE: 96, MLP_DIM: 192, NUM_HEADS: 4, NUM_LAYERS: 3"


def load(*overrides: object, text: str = "") -> CfgNode:
    return load_cfg_text(text, "exp.yml", [str(word) for word in overrides])


def faults(*overrides: object, text: str = "") -> str:
    with pytest.raises(ValueError, match=r"(?:exp\.yml|the command line):\n  ") as caught:
        load(*overrides, text=text)
    return str(caught.value)


@pytest.mark.parametrize("key", CHOICES)
def test_choice_is_one_of_the_list(key: str) -> None:
    others = {
        "DATA.WINDOW": ("DATA.SAMPLING", "linspace"),
        "DISTILL.LOSS": ("DISTILL.TEACHER", "teacher.pth"),
    }.get(key, ())
    for choice in CHOICES[key]:
        assert value_at(load(key, choice, *others), key) == choice
    wrong = 2 if key.endswith("NUM_CROPS") else "neither"
    assert f"{key}={wrong!r}; choose one of {list(CHOICES[key])}" in faults(key, wrong)


@pytest.mark.parametrize("key", AT_LEAST_ONE)
def test_count_is_at_least_one(key: str) -> None:
    for wrong in (0, -1):
        assert f"{key}={wrong}; it must be at least 1" in faults(key, wrong)


@pytest.mark.parametrize("key", NOT_NEGATIVE)
def test_amount_is_not_negative(key: str) -> None:
    assert value_at(load(key, 0), key) == 0
    text = faults(key, -1)
    assert f"{key}=-1" in text
    assert "it must be 0 or more" in text


def test_loaders_are_a_number_or_left_to_the_cores() -> None:
    assert [load("DATA.WORKERS", number).DATA.WORKERS for number in (-1, 0, 5)] == [-1, 0, 5]
    assert "DATA.WORKERS=-2; it must be 0 or more, or -1 for a share" in faults("DATA.WORKERS", -2)


@pytest.mark.parametrize("key", BELOW_ONE)
def test_share_is_from_zero_to_below_one(key: str) -> None:
    assert value_at(load(key, 0.5), key) == 0.5
    for wrong in (1.0, -0.5):
        assert f"{key}={wrong}; it must be from 0 to below 1" in faults(key, wrong)


@pytest.mark.parametrize(
    "value", ["[]", "[224]", "[1, 2, 3]", "[330, 224]", "[224, 224]", "[0, 9]"]
)
def test_range_of_the_short_side_is_low_below_high(value: str) -> None:
    text = faults("AUG.SHORT_SIDE_RANGE", value)
    assert f"AUG.SHORT_SIDE_RANGE={value}; it must be [low, high), 1 <= low < high" in text


@pytest.mark.parametrize("key", ["AUG.BRIGHTNESS", "AUG.SATURATION", "AUG.GAMMA", "AUG.HUE"])
def test_range_of_a_colour_change_is_low_to_high(key: str) -> None:
    assert value_at(load(key, "[0.5, 0.5]"), key) == [0.5, 0.5]
    for wrong in ("[0.5]", "[0.75, 0.5]"):
        assert f"{key}={wrong}; it must be [low, high], low <= high" in faults(key, wrong)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("DATA.PIXEL_MEAN", "[0.5]"),
        ("DATA.PIXEL_STD", "[0.5, 0.5]"),
        ("DATA.PIXEL_STD", "[0.5, 0.0, 0.5]"),
    ],
)
def test_pixel_statistics_are_three_numbers(key: str, wrong: str) -> None:
    assert f"{key}={wrong}; it must be three numbers, a std above 0" in faults(key, wrong)


@pytest.mark.parametrize(
    "template",
    [
        "img.jpg",
        "",
        "img_{}_{}.jpg",
        "{name}.jpg",
        "img_{:05d.jpg",
        "{:05d}{:zz}",
        "{:999999999d}",
        "{:.999999999f}",
        "{0:{0}}",
        "{0.real}",
    ],
)
def test_frame_template_without_one_integer_field_is_an_error(template: str) -> None:
    text = faults(text=f"DATA: {{FRAME_TEMPLATE: '{template}'}}")
    assert f"DATA.FRAME_TEMPLATE={template!r}; it must hold one integer field" in text


@pytest.mark.parametrize("template", ["img_{:05d}.jpg", "{}.png", "{0:06d}.jpg"])
def test_frame_template_with_an_integer_field_is_taken(template: str) -> None:
    cfg = load("DATA.FRAME_TEMPLATE", template)
    assert value_at(cfg, "DATA.FRAME_TEMPLATE") == template


def test_all_faults_are_listed_at_once() -> None:
    text = faults("OPTIM.NAME", "adam", "TRAIN.EPOCHS", 0, "MODEL.DROP_PATH", 2, "SEED", -3)
    assert len(text.splitlines()) == 5
    for key in ("OPTIM.NAME", "TRAIN.EPOCHS", "MODEL.DROP_PATH", "SEED"):
        assert f"\n  {key}=" in text


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_sizes_come_from_the_backbones_name(name: str) -> None:
    image_size = 4 * BACKBONES[name]["PATCH_SIZE"]
    cfg = load("MODEL.BACKBONE", name, "DATA.IMAGE_SIZE", image_size)
    assert dict(cfg.MODEL.VIT) == BACKBONES[name] | {"QKV_BIAS": True}
    assert all(type(cfg.MODEL.VIT[key]) is int for key in SIZES)


def test_biases_of_the_attention_are_no_size_of_the_backbone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    cfg = load("MODEL.BACKBONE", "ViT-B_16", "MODEL.VIT.QKV_BIAS", "False")
    assert not cfg.MODEL.VIT.QKV_BIAS
    assert not caplog.records
    text = faults(text="MODEL: {BACKBONE: mine, VIT: {QKV_BIAS: False}}")
    assert "QKV_BIAS" not in text.partition("or set")[2]


def test_backbones_are_those_of_the_release() -> None:
    table = {
        name: [sizes[key] for key in ("PATCH_SIZE", "HIDDEN_SIZE", "MLP_DIM", "NUM_HEADS")]
        + [sizes["NUM_LAYERS"], sizes["DROPOUT"]]
        for name, sizes in BACKBONES.items()
        if name.startswith("ViT-")
    }
    assert all(PLAIN.items() <= BACKBONES[name].items() for name in table)
    assert table == {
        "ViT-B_16": [16, 768, 3072, 12, 12, 0.0],
        "ViT-B_32": [32, 768, 3072, 12, 12, 0.0],
        "ViT-L_16": [16, 1024, 4096, 16, 24, 0.0],
        "ViT-L_32": [32, 1024, 4096, 16, 24, 0.0],
        "ViT-H_14": [14, 1280, 5120, 16, 32, 0.1],
        # not of the release: DeiT's (arXiv:2012.12877, table 1)
        "ViT-S_16": [16, 384, 1536, 6, 12, 0.0],
        "ViT-S_32": [32, 384, 1536, 6, 12, 0.0],
        "ViT-Ti_16": [16, 192, 768, 3, 12, 0.0],
    }


def test_explicit_sizes_win_over_the_backbones() -> None:
    keys = ("MODEL.VIT.NUM_LAYERS", 3, "MODEL.VIT.DROPOUT", 0.25)
    cfg = load("MODEL.BACKBONE", "ViT-L_16", *keys)
    assert dict(cfg.MODEL.VIT) == BACKBONES["ViT-L_16"] | {
        "NUM_LAYERS": 3,
        "DROPOUT": 0.25,
        "QKV_BIAS": True,
    }
    no_dropout = load("MODEL.BACKBONE", "ViT-H_14", "DATA.IMAGE_SIZE", 224, "MODEL.VIT.DROPOUT", 0)
    assert no_dropout.MODEL.VIT.DROPOUT == 0  # not filled in from the name


def test_options_come_from_the_name_and_from_explicit_keys() -> None:
    vit = load("MODEL.BACKBONE", "clip_vit_b16").MODEL.VIT
    assert (vit.ACTIVATION, vit.NORM_EPS, vit.PRE_NORM) == ("quick_gelu", 1e-5, True)
    vit = load("MODEL.BACKBONE", "clip_vit_b16", "MODEL.VIT.ACTIVATION", "gelu").MODEL.VIT
    assert (vit.ACTIVATION, vit.NORM_EPS) == ("gelu", 1e-5)
    words = ("MODEL.BACKBONE", "dinov2_vit_s14_reg4", "MODEL.VIT.NUM_REGISTERS", 8)
    assert load(*words, "DATA.IMAGE_SIZE", 28).MODEL.VIT.NUM_REGISTERS == 8
    giant = load("MODEL.BACKBONE", "dinov2_vit_g14", "DATA.IMAGE_SIZE", 28).MODEL.VIT
    assert (giant.ACTIVATION, giant.MLP_DIM, giant.POS_RESIZE) == ("swiglu", 8192, "dinov2")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("MODEL.VIT.ACTIVATION", "relu"), "MODEL.VIT.ACTIVATION='relu'; choose one of"),
        (("MODEL.VIT.POOL", "max"), "MODEL.VIT.POOL='max'; choose one of"),
        (("MODEL.VIT.POSITIONS", "none"), "MODEL.VIT.POSITIONS='none'; choose one of"),
        (("MODEL.VIT.NORM_EPS", -1e-5), "MODEL.VIT.NORM_EPS=-1e-05; it must be 0"),
        (("MODEL.VIT.NUM_REGISTERS", -2), "MODEL.VIT.NUM_REGISTERS=-2; it must be 0 or more"),
        (
            ("MODEL.VIT.ACTIVATION", "swiglu", "MODEL.VIT.MLP_DIM", 95),
            "MODEL.VIT.MLP_DIM=95 is odd",
        ),
        (
            ("MODEL.VIT.POSITIONS", "rotary", "MODEL.VIT.NUM_HEADS", 384),
            "needs heads of a multiple of 4 channels",
        ),
        (
            ("MODEL.VIT.LAYER_SCALE", "True", "TRAIN.CHECKPOINT_LAYOUT", "released"),
            "MODEL.VIT.LAYER_SCALE=True; TRAIN.CHECKPOINT_LAYOUT released has False",
        ),
    ],
)
def test_options_that_cannot_be_are_errors(words: tuple[Any, ...], text: str) -> None:
    assert text in faults(*words)


def test_what_neither_weights_nor_the_name_tell_is_to_be_set() -> None:
    text = faults(text=f"MODEL: {{BACKBONE: mine, VIT: {{{EXPLICIT}, PRE_NORM: True}}}}")
    assert "MODEL.VIT.ACTIVATION is not set" in text
    assert "quick_gelu (OpenAI's CLIP) or gelu (LAION's)" in text
    assert "MODEL.VIT.NORM_EPS is not set" in text
    text = faults(text=f"MODEL: {{BACKBONE: mine, VIT: {{{EXPLICIT}, POSITIONS: rotary}}}}")
    assert "MODEL.VIT.NORM_EPS is not set" in text
    assert "ACTIVATION is not set" not in text


def test_mean_of_the_patches_is_said_to_hardly_see_the_shift(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    load("MODEL.BACKBONE", "mae_vit_b16", "MODEL.NAME", "vit", "MODEL.VIT.POOL", "mean")
    assert not caplog.records
    load("MODEL.BACKBONE", "mae_vit_b16", "MODEL.VIT.POOL", "mean")
    assert "hardly reaches the logits" in caplog.text


def test_unknown_backbone_may_stand_if_all_its_sizes_are_explicit() -> None:
    cfg = load(text=f"MODEL: {{BACKBONE: mine, VIT: {{{EXPLICIT}}}}}")
    assert (cfg.MODEL.BACKBONE, cfg.MODEL.VIT.HIDDEN_SIZE) == ("mine", 96)
    assert cfg.MODEL.VIT.DROPOUT == 0.0


def test_unknown_backbone_is_an_error_that_lists_the_known_and_the_missing() -> None:
    text = faults(text="MODEL: {BACKBONE: ViT-B16, VIT: {PATCH_SIZE: 8, NUM_LAYERS: 2}}")
    assert f"MODEL.BACKBONE='ViT-B16'; choose one of {sorted(BACKBONES)}" in text
    sizes = ("HIDDEN_SIZE", "MLP_DIM", "NUM_HEADS")
    assert text.endswith("or set " + ", ".join(f"MODEL.VIT.{size}" for size in sizes))


def test_hybrid_backbone_is_an_error_that_says_so() -> None:
    text = faults("MODEL.BACKBONE", "R50-ViT-B_16")
    assert "'R50-ViT-B_16': the hybrid of ResNet and ViT is not supported" in text


def test_image_size_is_a_multiple_of_the_patch() -> None:
    assert load("DATA.IMAGE_SIZE", 240).DATA.IMAGE_SIZE == 240
    text = faults("DATA.IMAGE_SIZE", 230)
    assert "DATA.IMAGE_SIZE=230 is not a multiple of the patch, MODEL.VIT.PATCH_SIZE=16" in text


def test_width_is_a_multiple_of_the_heads() -> None:
    text = faults("MODEL.VIT.NUM_HEADS", 7)
    assert "MODEL.VIT.HIDDEN_SIZE=768 is not a multiple of MODEL.VIT.NUM_HEADS=7" in text


def test_negative_size_is_an_error() -> None:
    assert "MODEL.VIT holds a negative size" in faults("MODEL.VIT.NUM_LAYERS", -2)


def test_fold_div_lies_between_one_and_the_width() -> None:
    for allowed in (1, 768):
        cfg = load("MODEL.SHIFT.FOLD_DIV", allowed)
        assert value_at(cfg, "MODEL.SHIFT.FOLD_DIV") == allowed
    for wrong in (0, -1, 769):
        text = faults("MODEL.SHIFT.FOLD_DIV", wrong)
        assert f"MODEL.SHIFT.FOLD_DIV={wrong}; it must lie between 1 and the width" in text
        assert "MODEL.VIT.HIDDEN_SIZE=768" in text
    load("MODEL.SHIFT.FOLD_DIV", 0, "MODEL.NAME", "vit")  # the released ViT recipe has 0


@pytest.mark.parametrize("key", SHARES)
def test_probability_is_from_zero_to_one(key: str) -> None:
    for right in (0, 0.5, 1):
        assert value_at(load(key, right), key) == right
    for wrong in (1.5, -0.5):
        assert f"{key}={wrong}; it must be from 0 to 1" in faults(key, wrong)


def test_groups_of_a_transformer_are_none_of_a_tsm() -> None:
    tsm = ("MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet50")
    text = faults(*tsm, "OPTIM.GROUPS", "pp_timesformer")
    assert "OPTIM.GROUPS='pp_timesformer' is for transformers" in text


@pytest.mark.parametrize("name", ["timesformer", "tsm"])
def test_released_layout_is_for_the_released_models(name: str) -> None:
    backbone = "resnet50" if name == "tsm" else "ViT-B_16"
    keys = ("MODEL.NAME", name, "MODEL.BACKBONE", backbone)
    assert load(*keys).TRAIN.CHECKPOINT_LAYOUT == "plain"
    text = faults(*keys, "TRAIN.CHECKPOINT_LAYOUT", "released")
    assert f"CHECKPOINT_LAYOUT='released' is for TokShift; for {name} choose 'plain'" in text


def test_released_layout_needs_the_biases_of_the_attention() -> None:
    text = faults("MODEL.VIT.QKV_BIAS", "False", "TRAIN.CHECKPOINT_LAYOUT", "released")
    assert "MODEL.VIT.QKV_BIAS=False; TRAIN.CHECKPOINT_LAYOUT released needs the biases" in text


def test_timesformer_is_tested_at_the_size_that_it_is_built_for() -> None:
    text = faults("MODEL.NAME", "timesformer", "TEST.IMAGE_SIZE", 256)
    assert "TEST.IMAGE_SIZE=256; a transformer is built for DATA.IMAGE_SIZE=224 alone" in text
    assert "is not a multiple of the patch" in faults(
        "MODEL.NAME", "timesformer", "DATA.IMAGE_SIZE", 230
    )


def test_single_frame_with_a_shift_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    load("DATA.NUM_FRAMES", 1, "MODEL.NAME", "vit")
    load("DATA.NUM_FRAMES", 1, "MODEL.NAME", "timesformer")
    load("DATA.NUM_FRAMES", 2)
    assert not caplog.records
    load("DATA.NUM_FRAMES", 1)
    assert "DATA.NUM_FRAMES=1: each shift zeroes the moved channels" in caplog.text


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"START_EPOCH": 19}, "START_EPOCH=19; it must be at most TRAIN.EPOCHS=18"),
        ({"CYCLE_EPOCHS": 2}, "CYCLE_EPOCHS=2; it needs a TRAIN.SWA.LR above 0 to lead to"),
        ({"ANNEAL_EPOCHS": 2}, "ANNEAL_EPOCHS=2; it needs a TRAIN.SWA.LR above 0 to lead to"),
        (
            {"LR": 0.05, "CYCLE_EPOCHS": 2, "ANNEAL_EPOCHS": 3},
            "ANNEAL_EPOCHS=3; it is for the constant rate, with TRAIN.SWA.CYCLE_EPOCHS=2 it must "
            "be 0",
        ),
        (
            {"LR": 0.5, "CYCLE_EPOCHS": 2},
            "LR=0.5; cycles fall to it from OPTIM.LR=0.1, it must not lie above",
        ),
    ],
)
def test_averaging_that_cannot_work_is_an_error(keys: dict[str, object], reason: str) -> None:
    words = [word for key, value in keys.items() for word in (f"TRAIN.SWA.{key}", value)]
    assert f"\n  TRAIN.SWA.{reason}" in faults(*words)


def test_averaging_may_begin_in_the_last_epoch_and_rise_to_its_constant_rate() -> None:
    assert load("TRAIN.SWA.START_EPOCH", 18).TRAIN.SWA.START_EPOCH == 18
    assert load("TRAIN.SWA.LR", 0.5, "TRAIN.SWA.ANNEAL_EPOCHS", 2).TRAIN.SWA.LR == 0.5


def test_a_family_s_name_tells_the_pixels_of_its_weights() -> None:
    assert backbone_pixels("clip_vit_l14") == backbone_pixels("openclip_vit_h14") == CLIP
    assert backbone_pixels("dinov2_vit_s14_reg4") == backbone_pixels("mae_vit_b16") == IMAGENET
    assert backbone_pixels("augreg_vit_b16") == HALF
    assert backbone_pixels("ViT-B_16") is None  # recipes of other pixels start from it
    assert backbone_pixels("clip_of_mine") is None
