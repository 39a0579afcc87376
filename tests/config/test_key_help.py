"""--keys: every key is explained by the comment above it in the defaults."""

import pytest

from config.command_line import parse_args
from config.key_help import explained_keys, shown_keys
from config.loading import KEYS


def heads(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line[:1].strip()]


def test_every_key_is_explained_in_the_words_of_the_defaults() -> None:
    explained = {key: one.comment for one in explained_keys() for key in one.keys}
    assert [key for key in KEYS if key not in explained] == []
    assert explained["OPTIM.LR"] == "Base learning rate. It is not scaled by anything."
    assert explained["AUG.HUE"] == explained["AUG.GAMMA"]
    assert explained["TRAIN.SWA"].startswith("Stochastic weight averaging")
    assert all(explained.values())


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("optim.lr", ["OPTIM.LR"]),
        ("MODEL.SHIFT.*", [key for key in KEYS if key.startswith("MODEL.SHIFT.")]),
        ("*_ALPHA", ["AUG.MIXUP_ALPHA", "AUG.CUTMIX_ALPHA"]),
        ("saturation", ["AUG.SATURATION"]),
        ("LR_STEPS", ["OPTIM.MILESTONES"]),
        ("bad_videos.txt", ["TRAIN.MAX_BAD_SHARE"]),
    ],
)
def test_pattern_is_of_a_key_or_a_released_key_or_else_of_a_comment(
    pattern: str, keys: list[str]
) -> None:
    assert heads(shown_keys(pattern)) == keys


def test_key_is_shown_with_default_and_comment_in_80_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shown_keys("*")
    assert "OPTIM.LR  default 0.1\n    Base learning rate. It is not scaled by any" in text
    assert "DATA.PIXEL_MEAN  default [0.5, 0.5, 0.5]\nDATA.PIXEL_STD  default" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [("WARMUP_EPOCH_", "OPTIM.WARMUP_EPOCHS"), ("OPTIM.L_R", "OPTIM.LR"), ("seeed", "SEED")],
)
def test_pattern_without_a_match_names_the_nearest(
    pattern: str, nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_args(["--keys", pattern])
    message = capsys.readouterr().err.splitlines()[-1]
    assert f"no key, and no comment on one, has {pattern!r}; nearest: " in message
    assert nearest in message


def test_keys_need_no_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse_args(["--keys", "optim.lr", "--no-such-flag"])
    assert heads(capsys.readouterr().out) == ["OPTIM.LR"]
