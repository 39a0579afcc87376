import pytest

from tests.config.test_checks import faults, load


@pytest.mark.parametrize("key", ["AUG.MIXUP_ALPHA", "AUG.CUTMIX_ALPHA"])
def test_mixing_needs_two_clips(key: str) -> None:
    load(key, 0.2, "TRAIN.CLIPS_PER_GPU", 2)
    load("TRAIN.CLIPS_PER_GPU", 1)
    text = faults(key, 0.2, "TRAIN.CLIPS_PER_GPU", 1)
    assert "TRAIN.CLIPS_PER_GPU=1; AUG.MIXUP_ALPHA and AUG.CUTMIX_ALPHA mix the clips" in text
    assert "it must be at least 2" in text


def test_layer_decay_is_a_factor_below_one() -> None:
    for right in (0.65, 1.0):
        assert right == load("OPTIM.LAYER_DECAY", right).OPTIM.LAYER_DECAY
    for wrong in (0.0, -0.5, 1.5):
        text = faults("OPTIM.LAYER_DECAY", wrong)
        assert f"OPTIM.LAYER_DECAY={wrong}; it must be above 0 and at most 1" in text


@pytest.mark.parametrize("groups", ["tsm", "paddle"])
def test_published_groups_of_tsm_have_no_layer_decay(groups: str) -> None:
    tsm = ("MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet50", "OPTIM.LAYER_DECAY", 0.75)
    text = faults(*tsm, "OPTIM.GROUPS", groups)
    assert f"OPTIM.LAYER_DECAY=0.75; OPTIM.GROUPS {groups} has its own learning rates" in text
    for others in ("one", "vit"):
        load(*tsm, "OPTIM.GROUPS", others)


def test_released_layout_is_for_the_released_optimizer() -> None:
    load("OPTIM.NAME", "adamw")
    load("TRAIN.CHECKPOINT_LAYOUT", "released")
    for key, value, kept in (
        ("OPTIM.NAME", "adamw", "sgd"),
        ("OPTIM.GROUPS", "vit", "one"),
        ("OPTIM.LAYER_DECAY", 0.5, 1.0),
    ):
        text = faults(key, value, "TRAIN.CHECKPOINT_LAYOUT", "released")
        assert f"{key}={value!r}; TRAIN.CHECKPOINT_LAYOUT released is for {kept!r}" in text
