import re
from pathlib import Path

import pytest
import torch
from yacs.config import CfgNode

from config import load_cfg_text
from datasets.annotations import VideoRecord
from engine.class_weights import build_class_weights, build_emphasis

LABELS = [0, 0, 0, 0, 0, 0, 1, 1]
OWN = [0, 1, 2]


def cfg_of(*words: str) -> CfgNode:
    return load_cfg_text("MODEL: {NUM_CLASSES: 3}", "test", words)


def weights_of(*words: str, mirrored: list[int | None] | None = None) -> list[float]:
    weights = build_class_weights(cfg_of(*words), LABELS, mirrored or [*OWN])
    assert weights is not None
    assert weights.dtype is torch.float32
    return weights.tolist()


def test_frequency_worked_by_hand() -> None:
    # 8 clips over 2 classes with videos: 8 / (2 x 6) and 8 / (2 x 2)
    assert weights_of("LOSS.CLASS_WEIGHTS", "frequency") == pytest.approx([2 / 3, 2.0, 0.0])


def test_frequency_evens_out_what_the_balance_leaves() -> None:
    words = ("LOSS.CLASS_WEIGHTS", "frequency", "DATA.BALANCE")
    assert weights_of(*words, "1.0") == pytest.approx([1.0, 1.0, 0.0])
    half = weights_of(*words, "0.5")
    assert half[1] / half[0] == pytest.approx(3**0.5)


def test_frequency_counts_the_classes_of_mirrored_clips() -> None:
    words = ("LOSS.CLASS_WEIGHTS", "frequency")
    assert weights_of(*words, mirrored=[1, 0, 2]) == pytest.approx([1.0, 1.0, 0.0])


def test_weights_of_a_file_are_scaled_to_a_mean_of_one_over_the_clips(tmp_path: Path) -> None:
    path = tmp_path / "weights.txt"
    path.write_text("\ufeff1\r\n\r\n 3e0\r\n7\r\n", encoding="utf-8")
    weights = weights_of("LOSS.CLASS_WEIGHTS", str(path))
    assert weights == pytest.approx([1 / 1.5, 3 / 1.5, 7 / 1.5])  # (6 x 1 + 2 x 3) / 8 = 1.5
    assert sum(weights[label] for label in LABELS) == pytest.approx(len(LABELS))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1\n2\n", "2 class weights, MODEL.NUM_CLASSES is 3"),
        ("1\n2\n3\n4\n", "4 class weights, MODEL.NUM_CLASSES is 3"),
        ("1\n-2\n3\n", "line 2: the class weight '-2' is no number of 0 or more"),
        ("1\n\nnan\n3\n", "line 3: the class weight 'nan' is no number"),
        ("1\ninf\n3\n", "line 2: the class weight 'inf' is no number"),
        ("walk 1\n2\n3\n", "line 1: the class weight 'walk 1' is no number"),
        ("0\n0\n3\n", "every class that has training videos has the weight 0"),
        ("", "0 class weights"),
    ],
)
def test_file_that_is_no_number_a_class_is_an_error(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(reason)) as caught:
        weights_of("LOSS.CLASS_WEIGHTS", str(path))
    assert str(path) in str(caught.value)


def test_missing_file_is_an_error_that_names_the_key() -> None:
    with pytest.raises(ValueError, match=r"cannot read LOSS\.CLASS_WEIGHTS 'gone\.txt'"):
        weights_of("LOSS.CLASS_WEIGHTS", "gone.txt")


def test_start_says_balance_and_weights() -> None:
    records = [VideoRecord(str(i), 9, label, i) for i, label in enumerate(LABELS)]
    device, names = torch.device("cpu"), ["walk", "fall", "sit"]
    plain = build_emphasis(cfg_of(), records, OWN, device)
    assert plain.lines(names) == []
    assert plain.as_dict() == {"class_balance": 0.0, "class_weights": []}
    words = ("DATA.BALANCE", "0.5", "LOSS.CLASS_WEIGHTS", "frequency")
    emphasis = build_emphasis(cfg_of(*words), records, OWN, device)
    balance, weights = emphasis.lines(names)
    assert balance.startswith("DATA.BALANCE 0.5: of 8 clips drawn an epoch 2.9 are of 'fall'")
    assert weights == (
        "LOSS.CLASS_WEIGHTS frequency: a clip counts from 0.789 times ('walk') to 1.37 times "
        "('fall'), 1 on average"
    )
    assert emphasis.as_dict()["class_weights"] == pytest.approx([0.7887, 1.366, 0.0], abs=1e-4)
