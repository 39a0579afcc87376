import time

import pytest

from models.weights.python_text import MAX_CHARACTERS, read_assignments

CONFIG = r"""
# of a run
clip_len = 8
model = dict(
    backbone=dict(type='TimeSformer', num_heads=4, norm_cfg=dict(eps=1e-06)),  # 4
    data_preprocessor=dict(mean=[127.5, 1., -.5], std=(1, ), to_rgb=False),
    single=(3), pairs={'a b': None, 2: True},
    text='don\'t' "s\n")

def f(x):
    y = 1
scale = (-1, 256)
"""


def test_literals_are_read() -> None:
    assert read_assignments(CONFIG) == {
        "clip_len": 8,
        "model": {
            "backbone": {"type": "TimeSformer", "num_heads": 4, "norm_cfg": {"eps": 1e-6}},
            "data_preprocessor": {"mean": [127.5, 1.0, -0.5], "std": [1], "to_rgb": False},
            "single": 3,
            "pairs": {"a b": None, 2: True},
            "text": "don'ts\n",
        },
        "scale": [-1, 256],
    }


@pytest.mark.parametrize(
    "value",
    [
        *("__import__('os').system('x')", "f(1)", "a.b", "1 + 1", "[x for x in y]", "lambda: 1"),
        *(
            "dict",
            "dict(1)",
            "dict(**a)",
            "{[]: 1}",
            "{1}",
            "b'x'",
            "f'{x}'",
            "-'a'",
            "[1",
            "(1,",
            "",
        ),
        *("[" * 200, "9" * 400, "1_", "'open", "open'", "{'a': }", "dict(a=)", "[,]", "1 2"),
    ],
)
def test_anything_else_is_left_out_and_nothing_is_run(value: str) -> None:
    assert read_assignments(f"a = 1\na = {value}\n") in ({}, {"a": 1})
    assert "b" not in read_assignments(f"b = {value}\nc = 2")


@pytest.mark.parametrize(
    "part",
    ["[", "(", "-", "'", '"', "'\\", "'\\'", "dict(a=", "1,", "{1:", "a", "\\\n", "# \n", "'' "],
)
def test_time_is_in_proportion_to_the_text(part: str) -> None:
    start = time.process_time()
    read_assignments(f"a = {part * (50_000 // len(part))}")
    assert time.process_time() - start < 5  # a third of a second; what is quadratic takes minutes


OLDER = """/home/me/configs/_base_/models/tsm_r50.py
# model settings
model = dict(
    backbone=dict(type='ResNetTSM', depth=50, shift_div=8),
    cls_head=dict(type='TSMHead', dropout_ratio=0.5, extra=dict(a=1)))
/home/me/configs/tsm_r50_1x1x16.py
_base_ = ['../_base_/models/tsm_r50.py']
model = dict(backbone=dict(num_segments=16), cls_head=dict(extra=dict(_delete_=True, b=2)))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_bgr=False)
test_pipeline = [dict(type='Normalize', **img_norm_cfg), dict(type='CenterCrop', crop_size=224)]
lr = 0.02 * 8
data = dict(test=dict(pipeline=test_pipeline), train=dict(pipeline=train_pipeline))
"""


def test_names_of_the_text_and_its_bases_are_followed() -> None:
    found = read_assignments(OLDER)
    assert found["model"] == {
        "backbone": {"type": "ResNetTSM", "depth": 50, "shift_div": 8, "num_segments": 16},
        "cls_head": {"type": "TSMHead", "dropout_ratio": 0.5, "extra": {"b": 2}},
    }
    assert found["test_pipeline"][0]["std"] == [58.395, 57.12, 57.375]
    assert found.keys() == {"_base_", "model", "img_norm_cfg", "test_pipeline"}
    assert read_assignments("a = dict(b=1)\na = dict(c=2)") == {"a": {"c": 2}}  # no base


@pytest.mark.parametrize(
    "step", ["[{0}, {0}]", "dict(a={0}, b={0})", "[{0}]", "dict(**{0}, x={0})"]
)
@pytest.mark.parametrize("base", ["", "_base_ = []\n"])
def test_names_in_names_do_not_grow_without_bound(step: str, base: str) -> None:
    lines = [f"a{i + 1} = {step.format(f'a{i}')}" for i in range(10_000)]
    start = time.process_time()
    found = read_assignments(base + "a0 = dict(y=1)\n" + "\n".join(lines))
    assert len(repr(found)) < 1 << 22
    assert time.process_time() - start < 5  # a tenth of a second
    assert read_assignments("a = [a]\nb = c") == {}


def test_text_beyond_what_a_config_has_says_nothing() -> None:
    assert read_assignments(f"a = 1\nb = '{'x' * MAX_CHARACTERS}'") == {}
