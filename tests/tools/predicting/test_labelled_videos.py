import pytest
import torch

from tools.predicting.labelled_videos import LabelledVideos


def test_nothing_is_said_of_videos_without_labels() -> None:
    assert LabelledVideos(is_multi_label=False).lines() == []


def test_figures_of_one_class_a_video() -> None:
    labelled = LabelledVideos(is_multi_label=False)
    rights = [
        labelled.add(torch.tensor(row), (label,))
        for row, label in (([0.7, 0.3], 0), ([0.6, 0.4], 0), ([0.6, 0.4], 1))
    ]
    assert rights == [True, True, False]
    assert labelled.lines() == [
        "mean class accuracy: 50.00",
        "2 right, 1 wrong",
        "top-1 of 3 labelled videos: 66.67",
    ]


@pytest.mark.parametrize(
    ("threshold", "line"),
    [
        (0.5, "of 3 classes named at --threshold 0.5 2 are true: precision 66.67, recall 66.67"),
        (0.95, "of 0 classes named at --threshold 0.95 0 are true: precision nan, recall 0.00"),
        (None, None),
    ],
)
def test_figures_of_several_classes_a_video(threshold: float | None, line: str | None) -> None:
    labelled = LabelledVideos(is_multi_label=True, threshold=threshold)
    assert labelled.add(torch.tensor([0.9, 0.8, 0.1]), (1,)) is False
    assert labelled.add(torch.tensor([0.2, 0.6, 0.4]), (1, 2)) is True
    # class 1 is found at ranks 1 and 2, class 2 at rank 1
    first, *others = labelled.lines()
    assert first == "of 2 labelled videos: mAP 100.00 top1 50.00"
    assert others == ([line] if line else [])
