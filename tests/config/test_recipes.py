import math
import re
from pathlib import Path

import pytest

from config import load_cfg, load_cfg_text
from config.backbones import backbone_pixels
from config.base_files import read_files
from config.checks import value_at
from config.legacy import released_run_name
from config.loading import load_with_sources

CONFIG = Path(__file__).parents[2] / "config"
RECIPES = {str(path.relative_to(CONFIG)): path for path in sorted(CONFIG.rglob("*.yml"))}
# The seven released recipes: model, backbone, T, learning rate, clips and videos per GPU, side of
# the frames, short sides in training, GPUs.
RELEASED = {
    "k400_vit_8x32_224": ("vit", "ViT-B_16", 8, 0.1, 21, 2, 224, [224, 330], 2),
    "k400_tokshift_div4_8x32_base_224": ("tokshift", "ViT-B_16", 8, 0.1, 21, 2, 224, [224, 330], 2),
    "k400_tokshift_div4_8x32_base_256": (
        *("tokshift", "ViT-B_16", 8, 0.076, 16, 2, 256),
        *([256, 380], 2),
    ),
    "k400_tokshift_div4_8x32_base_384": ("tokshift", "ViT-B_16", 8, 0.01, 1, 1, 384, [384, 512], 8),
    "k400_tokshift_div4_16x32_base_224": (
        *("tokshift", "ViT-B_16", 16, 0.03, 3, 1, 224),
        *([224, 330], 4),
    ),
    "k400_tokshift_div4_8x32_large_384": (
        *("tokshift", "ViT-L_16", 8, 0.02, 1, 1, 384),
        *([384, 512], 8),
    ),
    "k400_tokshift_div4_12x32_large_384": (
        *("tokshift", "ViT-L_16", 12, 0.03, 1, 1, 384),
        *([384, 512], 8),
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_loads_and_so_does_its_dump(name: str) -> None:
    cfg = load_cfg(RECIPES[name])
    assert load_cfg_text(cfg.dump(), "dump") == cfg


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_holds_what_differs_from_its_base(name: str) -> None:
    files = read_files(RECIPES[name])
    if len(files) == 1:
        return
    base, own = (file.source.partition(" (")[0] for file in files[-2:])
    assert Path(base).resolve().parent == Path(own).resolve().parent
    (cfg, sources), inherited = load_with_sources(own), load_cfg(base)
    kept = [key for key, source in sources.items() if source == own]
    if "MODEL.BACKBONE" in kept:  # then nothing of MODEL.VIT is inherited
        kept = [key for key in kept if not key.startswith("MODEL.VIT.")]
    assert [key for key in kept if value_at(cfg, key) == value_at(inherited, key)] == []


@pytest.mark.parametrize("name", RECIPES)
def test_copy_of_a_recipe_is_the_recipe_wherever_it_lies(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "mine.yml"
    copy.write_bytes(RECIPES[name].read_bytes())
    assert load_cfg(copy) == load_cfg(RECIPES[name])


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_names_itself_in_its_command(name: str) -> None:
    text = RECIPES[name].read_text(encoding="utf-8")
    assert f"--cfg config/{name}" in text


@pytest.mark.parametrize("name", [name for name in RECIPES if "/" in name])
def test_batch_of_the_recipe_is_the_product_that_its_opening_gives(name: str) -> None:
    cfg, text = load_cfg(RECIPES[name]), RECIPES[name].read_text(encoding="utf-8")
    pattern = r"# Batch: +(\d+) effective = (\d+) GPUs? x (\d+) clips? x (\d+) accumulated"
    total, gpus, clips, accumulated = map(int, re.search(pattern, text).groups())
    assert total == gpus * clips * accumulated == cfg.OPTIM.REFERENCE_BATCH
    set_whole = cfg.TRAIN.GLOBAL_BATCH // (gpus * clips)
    assert (clips, accumulated) == (cfg.TRAIN.CLIPS_PER_GPU, set_whole or cfg.TRAIN.ACCUMULATION)
    assert cfg.OPTIM.REFERENCE_LR == cfg.OPTIM.LR


@pytest.mark.parametrize("name", RECIPES)
def test_batches_for_large_cards_are_as_large_as_the_recipes(name: str) -> None:
    opening = RECIPES[name].read_text()
    effective = re.search(r"# Batch: +(\d+) effective", opening)
    if "/" not in name or not effective:
        return
    line = re.search(r"# 80 GB: +(.*) \((.*) GiB in bf16, computed\)", opening)
    assert line is not None
    batches = re.findall(r"(\d+) GPUs? x (\d+) x (\d+)", line[1])
    assert [math.prod(map(int, batch)) for batch in batches] == [int(effective[1])] * len(batches)
    gib = [int(number) for number in line[2].split(", ")]
    assert len(gib) == len(batches)
    assert max(gib) < 67  # of 74.5, the allocator's reserve and kernels aside


@pytest.mark.parametrize("name", RELEASED)
def test_kinetics_recipe_has_the_released_values(name: str) -> None:
    cfg = load_cfg(RECIPES[f"k400/{name}.yml"])
    *values, gpus = RELEASED[name]
    assert values == [
        *(cfg.MODEL.NAME, cfg.MODEL.BACKBONE, cfg.DATA.NUM_FRAMES, cfg.OPTIM.LR),
        *(cfg.TRAIN.CLIPS_PER_GPU, cfg.VAL.VIDEOS_PER_GPU, cfg.DATA.IMAGE_SIZE),
        cfg.AUG.SHORT_SIDE_RANGE,
    ]
    assert gpus * cfg.TRAIN.CLIPS_PER_GPU * 10 == cfg.OPTIM.REFERENCE_BATCH
    assert cfg.DATA.TEST_SHORT_SIDE == cfg.DATA.IMAGE_SIZE
    # what all seven share
    assert (cfg.MODEL.NUM_CLASSES, cfg.DATA.FRAME_STRIDE, cfg.DATA.SAMPLING) == (400, 32, "dense")
    assert (cfg.VAL.NUM_CLIPS, cfg.VAL.NUM_CROPS, cfg.TEST.FLIP) == (1, 3, False)
    assert (cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD) == ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    assert (cfg.OPTIM.NAME, cfg.OPTIM.SCHEDULE, cfg.OPTIM.GAMMA) == ("sgd", "multistep", 0.1)
    assert (cfg.OPTIM.MOMENTUM, cfg.OPTIM.WEIGHT_DECAY, cfg.OPTIM.NESTEROV) == (0.9, 0.0, False)
    assert (cfg.OPTIM.MILESTONES, cfg.TRAIN.EPOCHS) == ([10, 15, 18], 18)
    assert (cfg.TRAIN.ACCUMULATION, cfg.OPTIM.CLIP_GRAD_NORM) == (10, 1.0)
    assert (cfg.LOSS.LABEL_SMOOTHING, cfg.MODEL.PARTIAL_BN) == (0.1, False)
    assert cfg.TRAIN.LAST_GROUP == "underweight"
    if cfg.MODEL.NAME == "tokshift":
        shift = cfg.MODEL.SHIFT
        assert (shift.FOLD_DIV, shift.DIRECTION, shift.ON_RESIDUAL) == (4, "both", True)


def test_every_released_recipe_is_here_and_the_quickstart_too() -> None:
    here = {path.stem for path in RECIPES.values()}
    assert here >= {*RELEASED, "quickstart"}


def test_quickstart_needs_nothing_but_this_repository() -> None:
    cfg = load_cfg(RECIPES["quickstart.yml"])
    assert cfg.DATA.GENERATE_TOY
    assert cfg.DATA.TRAIN_LIST.startswith(f"{cfg.DATA.ROOT}/")
    assert released_run_name(cfg).startswith("TokShift_toy_toy_dense_cls8_segs8x2_")


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_normalises_as_its_backbone_was_trained(name: str) -> None:
    cfg = load_cfg(RECIPES[name])
    pixels = backbone_pixels(cfg.MODEL.BACKBONE)
    assert pixels is None or pixels == (cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)


@pytest.mark.parametrize("backbone", ["clip", "dinov2"])
def test_frozen_recipe_is_the_other_one_with_a_head_that_learns_alone(backbone: str) -> None:
    name = f"k400/k400_{backbone}_tokshift_div4_8x32_base_224"
    whole, frozen = (load_cfg(RECIPES[f"{name}{end}.yml"]) for end in ("", "_frozen"))
    assert (whole.TRAIN.FREEZE, frozen.TRAIN.FREEZE) == ("nothing", "backbone")
    assert whole.OPTIM.NAME == frozen.OPTIM.NAME == "adamw"
    assert (whole.OPTIM.LAYER_DECAY, frozen.OPTIM.LAYER_DECAY) == (0.65, 1.0)
    assert whole.DATA == frozen.DATA
    assert whole.MODEL.VIT == frozen.MODEL.VIT
    assert whole.TRAIN.TUNE_DROPS_HEAD
    assert frozen.TRAIN.TUNE_DROPS_HEAD
