from pathlib import Path

import pytest

from config import load_cfg
from datasets.augment.flips import mirrored_by_pairs, parse_pairs
from datasets.protocols import describe_protocol

REPOSITORY = Path(__file__).parents[2]
RECIPES = sorted((REPOSITORY / "config").glob("*/tsm_*.yml"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in RECIPES]


@pytest.mark.parametrize("path", RECIPES, ids=NAMES)
def test_each_recipe_loads_and_says_what_is_published_for_what(path: Path) -> None:
    cfg = load_cfg(path)
    assert cfg.MODEL.NAME == "tsm"
    assert cfg.OPTIM.REFERENCE_LR == cfg.OPTIM.LR
    effective, clips = cfg.OPTIM.REFERENCE_BATCH, cfg.TRAIN.CLIPS_PER_GPU
    gpus = effective // clips
    batch = f"# Batch:     {effective} effective = {gpus} GPUs x {clips} clips x 1 accumulated"
    assert batch in path.read_text()
    assert f"config/{path.parent.name}/{path.name}" in path.read_text()
    assert (cfg.OPTIM.GROUPS == "paddle") == ("paddle" in path.stem)
    assert (cfg.MODEL.TSM.ORDER == "past_first") == ("paddle" in path.stem)
    assert describe_protocol(cfg)


def test_recipes_run_into_folders_of_their_own() -> None:
    folders = [load_cfg(path).OUTPUT_DIR for path in RECIPES]
    assert len(set(folders)) == len(folders) > 10


def test_the_pairs_of_something_something_fit_its_classes() -> None:
    for path in RECIPES:
        cfg = load_cfg(path)
        if not path.parent.name.startswith("ssv"):
            continue
        assert not cfg.AUG.FLIP  # as published
        pairs = parse_pairs(cfg.AUG.FLIP_PAIRS, cfg.MODEL.NUM_CLASSES)
        table = mirrored_by_pairs(pairs, cfg.MODEL.NUM_CLASSES)
        assert [label for label in range(174) if table[label] != label] == [
            *(86, 87, 93, 94, 166, 167)
        ]
