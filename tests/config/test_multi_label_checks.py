import pytest

from config.multi_label_checks import check_one_class
from tests.config.test_checks import faults, load

SEVERAL = ("DATA.MULTI_LABEL", True)


@pytest.mark.parametrize(
    ("key", "value", "off"),
    [
        ("DATA.BALANCE", 0.5, 0.0),
        ("LOSS.CLASS_WEIGHTS", "frequency", ""),
        ("DISTILL.TEACHER", "teacher.pth", ""),
        ("DISTILL.LOGITS", "scores.npz", ""),
        ("TRAIN.CHECKPOINT_LAYOUT", "released", "plain"),
    ],
)
def test_what_goes_by_one_class_is_refused_by_name(key: str, value: object, off: object) -> None:
    text = faults(key, value, *SEVERAL)
    assert f"{key}={value!r} with DATA.MULTI_LABEL=True; " in text
    assert f": {key} {off!r}, or DATA.MULTI_LABEL False" in text
    load(key, off, *SEVERAL)
    load(key, value)


def test_mixing_and_smoothing_go_with_several_classes() -> None:
    load(*SEVERAL, "AUG.MIXUP_ALPHA", 0.2, "AUG.CUTMIX_ALPHA", 1.0, "LOSS.LABEL_SMOOTHING", 0.1)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_balance_is_a_share(value: float) -> None:
    assert f"DATA.BALANCE={value}; it must be from 0 to 1" in faults("DATA.BALANCE", value)


def test_tool_for_one_class_says_so() -> None:
    check_one_class(load(), "the probe")
    with pytest.raises(ValueError, match="MULTI_LABEL=True; the probe is for videos of one class"):
        check_one_class(load(*SEVERAL), "the probe")
