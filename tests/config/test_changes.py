from yacs.config import CfgNode

from config import load_cfg_text
from config.changes import changed_answers, changed_keys


def cfg_of(*overrides: str) -> CfgNode:
    return load_cfg_text(
        "{OUTPUT_DIR: runs/x, MODEL: {NUM_CLASSES: 3}, OPTIM: {LR: 0.05}}", "test", overrides
    )


def test_changed_keys_have_the_value_in_the_file_and_that_of_now() -> None:
    cfg = cfg_of("OPTIM.LR", "0.1", "MODEL.SHIFT.FOLD_DIV", "8")
    expected = {"MODEL.SHIFT.FOLD_DIV": (4, 8), "OPTIM.LR": (0.05, 0.1)}
    assert changed_keys(cfg_of().dump(), cfg) == expected
    assert changed_keys(cfg.dump(), cfg) == {}
    assert changed_keys("", cfg) == {}


def test_key_that_one_of_them_lacks_is_no_change() -> None:
    assert changed_keys("{OPTIM: {LR: 0.05}, GONE: 3}", cfg_of()) == {}


def test_only_model_frames_and_pixels_shape_the_answer() -> None:
    words = (
        *("OPTIM.LR", "0.1", "DATA.WORKERS", "2", "MODEL.DROP_PATH", "0.1", "TEST.NUM_CLIPS", "2"),
        *("DATA.NUM_FRAMES", "16", "MODEL.SHIFT.DIRECTION", "past", "DATA.PIXEL_MEAN"),
        "[0.4, 0.4, 0.4]",
    )
    changed = changed_answers(cfg_of().dump(), cfg_of(*words))
    assert set(changed) == {"DATA.NUM_FRAMES", "MODEL.SHIFT.DIRECTION", "DATA.PIXEL_MEAN"}
