from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import get_defaults, load_cfg_text
from config.limits import AT_MOST
from config.loading import all_leaves

DEFAULTS = dict(all_leaves(get_defaults()))
NUMBERS = [k for k, v in DEFAULTS.items() if type(v) in (int, float) or v is None]
LISTS = [k for k, v in DEFAULTS.items() if isinstance(v, list)]
TEXTS = [k for k, v in DEFAULTS.items() if isinstance(v, str)]
FLAGS = [k for k, v in DEFAULTS.items() if isinstance(v, bool)]
HUGE = "1" + "0" * 30
NO_NUMBERS = ("nan", "inf", "-inf", "1e400", "-1e308", "1e308", HUGE, "9" * 5000)
NO_NUMBERS += ("True", "2001-02-30", "12:30", "[1]", "'1'", "one", "1,5", "", "1 2", "٣")
MAY_BE_NEGATIVE = ("DATA.PIXEL_MEAN", "AUG.HUE")


def fault(key: str, value: str) -> str:
    with pytest.raises(ValueError, match=r"exp\.yml|the command line") as caught:
        load_cfg_text("", "exp.yml", [key, value])
    assert type(caught.value) is ValueError
    assert max(map(len, str(caught.value).split("\n"))) < 1000
    return str(caught.value)


@pytest.mark.parametrize("key", NUMBERS)
def test_number_is_finite_of_its_type_and_within_its_range(key: str) -> None:
    below = "-2" if key == "DATA.WORKERS" else "-1"  # whose -1 leaves it to the cores
    for value in (*NO_NUMBERS, below):
        if key == "OPTIM.LR" and value == HUGE:
            continue
        if value != "" or DEFAULTS[key] is not None:
            text = fault(key, value)
            assert key in text or "MODEL.VIT holds a negative size" in text, value
    if type(DEFAULTS[key]) is int:
        for value in ("1.5", "010", "1e3"):
            assert key in fault(key, value), value


@pytest.mark.parametrize("key", LISTS)
def test_list_holds_finite_numbers_within_their_range(key: str) -> None:
    for value in NO_NUMBERS:
        if value != "1,5":
            assert key in fault(key, f"[{value or 'x'}]"), value
    if key not in MAY_BE_NEGATIVE:
        assert key in fault(key, str([-1.0 if type(i) is float else -1 for i in DEFAULTS[key]]))


@pytest.mark.parametrize("key", FLAGS)
def test_flag_is_true_or_false(key: str) -> None:
    for value in ("1", "0", "maybe", "", "None", "[True]", "2001-02-30"):
        assert key in fault(key, value)


@pytest.mark.parametrize("key", TEXTS)
def test_text_has_no_letters_that_no_path_has(key: str) -> None:
    for value in ("a\0b", "a\nb", "\ud800", "x" * 5000, "\x1b[31m"):
        assert key in fault(key, value)


def test_limits_are_those_of_numbers() -> None:
    assert {*AT_MOST} <= {*NUMBERS, *LISTS}
    assert load_cfg_text("", "exp.yml", ["SEED", str(2**63 - 1)]).SEED == 2**63 - 1
    assert "SEED=" in fault("SEED", str(2**63))


@pytest.mark.parametrize(
    "template",
    ["{:999999999d}", "{:100d}", "{0.__class__}", "{0!r}", "{:{}d}", "{:*>9}", "{1}", "{:05d}{}"],
)
def test_frame_template_is_one_number_of_bounded_width(template: str) -> None:
    assert "DATA.FRAME_TEMPLATE=" in fault("DATA.FRAME_TEMPLATE", template)


@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    st.sampled_from(sorted(DEFAULTS)),
    st.one_of(
        st.integers().map(str), st.floats().map(str), st.text(), st.lists(st.integers()).map(str)
    ),
)
def test_value_is_taken_as_it_is_or_refused(key: str, text: str) -> None:
    try:
        cfg = load_cfg_text("", "exp.yml", [key, text])
    except UnicodeError:
        raise
    except ValueError:
        return
    value: Any = dict(all_leaves(cfg))[key]
    if isinstance(value, str):
        assert value == text or key == "OUTPUT_DIR"
    else:
        assert load_cfg_text(cfg.dump(), "its dump") == cfg
