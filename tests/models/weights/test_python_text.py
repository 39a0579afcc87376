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


def test_text_beyond_what_a_config_has_says_nothing() -> None:
    assert read_assignments(f"a = 1\nb = '{'x' * MAX_CHARACTERS}'") == {}
