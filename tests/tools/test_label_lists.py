"""The class names of public sets: counts, order, and places that other sources name."""

from pathlib import Path

import pytest

from datasets.annotations import read_class_names
from datasets.augment.flips import mirrored_by_name
from tools.listing.official_annotations import OFFICIAL_CLASSES

FILES = {"kinetics": "kinetics400", "ucf101": "ucf101", "ssv2": "ssv2", "jester": "jester"}
ANCHORS = {
    "kinetics": {0: "abseiling", 5: "archery", 6: "arm wrestling", 399: "zumba"},
    "ucf101": {0: "ApplyEyeMakeup", 35: "HammerThrow", 78: "Shotput", 100: "YoYo"},
    "ssv2": {
        0: "Approaching something with your camera",
        86: "Pulling something from left to right",
        93: "Pushing something from left to right",
        166: "Turning the camera left while filming something",
        173: "Wiping something off of something",
    },
    "jester": {0: "Doing other things", 16: "Swiping Left", 26: "Zooming Out With Two Fingers"},
}


def names_of(repository: Path, dataset: str) -> list[str]:
    path = repository / "model_zoo/labels" / f"{FILES[dataset]}.txt"
    return read_class_names(path, OFFICIAL_CLASSES[dataset])  # which checks how many there are


@pytest.mark.parametrize("dataset", FILES)
def test_lists_are_in_alphabetical_order_and_name_each_class_once(
    repository: Path, dataset: str
) -> None:
    names = names_of(repository, dataset)
    # classInd.txt puts Hammering before HammerThrow, the others count capitals first
    assert names == sorted({*names}, key=str.lower if dataset == "ucf101" else None)
    for label, name in ANCHORS[dataset].items():
        assert names[label] == name


def test_kinetics_is_the_list_of_torchvision(repository: Path) -> None:
    meta = pytest.importorskip("torchvision.models._meta")
    assert names_of(repository, "kinetics") == meta._KINETICS400_CATEGORIES


@pytest.mark.parametrize(
    ("dataset", "pairs"),
    [("ssv2", [(86, 87), (93, 94), (166, 167)]), ("jester", [(11, 12), (16, 17), (21, 22)])],
)
def test_classes_that_differ_in_left_and_right_are_the_published_pairs(
    repository: Path, dataset: str, pairs: list[tuple[int, int]]
) -> None:
    mirrored = mirrored_by_name(names_of(repository, dataset))
    assert [(a, b) for a, b in enumerate(mirrored) if b is not None and a < b] == pairs
