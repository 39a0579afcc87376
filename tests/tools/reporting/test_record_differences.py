from collections.abc import Callable
from pathlib import Path

import pytest

from tools.reporting.record_differences import TOPICS, Difference, record_differences
from tools.reporting.run_records import open_records

MakeRun = Callable[..., Path]


def found(*folders: Path) -> dict[str, Difference]:
    differences = record_differences([open_records(str(folder)) for folder in folders])
    assert [TOPICS.index(one.topic) for one in differences] == sorted(
        TOPICS.index(one.topic) for one in differences
    )
    return {one.name: one for one in differences}


def test_runs_that_say_the_same_do_not_differ(make_run: MakeRun) -> None:
    assert found(make_run("a"), make_run("b", seed=1)) == {}


def test_each_difference_is_found_under_its_topic(make_run: MakeRun) -> None:
    words = ["OPTIM.LR", "0.5", "TEST.NUM_CLIPS", "3", "DATA.NUM_FRAMES", "16"]
    words += ["DATA.WORKERS", "7"]
    differ = found(make_run("a"), make_run("b", *words, protocol="3x3 views"), make_run("c"))
    assert {name: (one.topic, one.values) for name, one in differ.items()} == {
        "protocol of the test": (
            "protocol",
            ["1x3 views, logits averaged", "3x3 views", "1x3 views, logits averaged"],
        ),
        "TEST.NUM_CLIPS": ("protocol", ["10", "3", "10"]),
        "DATA.NUM_FRAMES": ("data", ["8", "16", "8"]),
        "OPTIM.LR": ("model and training", ["0.1", "0.5", "0.1"]),
        "DATA.WORKERS": ("where and how fast", ["-1", "7", "-1"]),
    }


def test_lists_differ_by_what_they_say_and_not_by_their_names(make_run: MakeRun) -> None:
    run = {"revision": "f" * 40, "is_changed": False}
    lists = {"file": "elsewhere/val.txt", "sha256": "ab" * 32, "num_videos": 12}
    same = {**run, "lists": {"test": lists}}
    other = {**run, "lists": {"test": {**lists, "sha256": "cd" * 32}}}
    a, b, c = make_run("a", run=same), make_run("b", run=other), make_run("c", run=same)
    assert found(a, b)["test list"].values == [
        "elsewhere/val.txt: 12 videos, SHA-256 abababababab",
        "elsewhere/val.txt: 12 videos, SHA-256 cdcdcdcdcdcd",
    ]
    assert found(a, c) == {}


def test_code_with_changed_files_counts_as_different(make_run: MakeRun) -> None:
    run = {"revision": "f" * 40, "is_changed": True, "packages": {"torch": "2.11"}}
    differ = found(make_run("a", run=run), make_run("b", run=run))
    assert differ["revision"].values == ["ffffffffffff and files changed since"] * 2
    differ = found(make_run("c", run=run), make_run("d"))
    assert differ["torch"].values == ["2.11", "2.14.1"]


def test_key_that_an_older_config_lacks_has_its_default(make_run: MakeRun) -> None:
    a, b = make_run("a"), make_run("b")
    for name in ("config.yml", "test_config.yml"):
        text = (b / name).read_text()
        assert "  LABEL_SMOOTHING: 0.1\n" in text
        (b / name).write_text(text.replace("  LABEL_SMOOTHING: 0.1\n", "  OLD: 3\n"))
    assert found(a, b)["LOSS.OLD"].values == ["not told", "3"]
    assert len(found(a, b)) == 1


@pytest.mark.parametrize("lacking", ["results.json", "config.yml", "log.jsonl"])
def test_what_a_run_lacks_is_not_told(make_run: MakeRun, lacking: str) -> None:
    a, b = make_run("a"), make_run("b")
    (b / lacking).unlink()
    values = [one.values for one in found(a, b).values()]
    assert all(value[1] == "not told" for value in values)
    assert bool(values) == (lacking != "config.yml")


def test_classes_differ_by_the_first_that_does(make_run: MakeRun) -> None:
    a, b = make_run("a", names=["x", "y", "z"]), make_run("b", names=["x", "w", "z"])
    assert found(a, b)["classes"].values == ["3, label 1 is 'y'", "3, label 1 is 'w'"]
    c = make_run("c", names=["x", "y"])
    assert found(a, c)["classes"].values == ["3", "2"]


def test_remark_on_its_own_checkpoint_is_the_same_remark(make_run: MakeRun) -> None:
    told = "{}/best.pth was chosen on the list that is tested"
    a, b = (make_run(name, remarks=[told.format(name)]) for name in "ab")
    assert found(a, b) == {}
    differ = found(a, make_run("c"))
    assert differ["remarks"].values == [told.replace("{}/best.pth", "the checkpoint"), "none"]
