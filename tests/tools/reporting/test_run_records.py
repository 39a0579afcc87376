import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.reporting.run_records import open_records, read_config

MakeRun = Callable[..., Path]


def test_folder_and_files_in_it_are_one_run(make_run: MakeRun) -> None:
    folder = make_run("a")
    for name in (folder, folder / "results.json", folder / "scores.npz"):
        run = open_records(str(name))
        assert run.results["num_videos"] == 12
        assert run.scores == folder / "scores.npz"
        assert run.start()["python"] == "3.11"
        assert run.average_logits()
        mean = run.mean_scores()
        assert mean is not None
        assert 100 * mean.hits().mean() == pytest.approx(run.results["top1"])


def test_probabilities_are_averaged_where_the_test_did(make_run: MakeRun) -> None:
    run = open_records(str(make_run("a", protocol="1x3 views, probabilities averaged")))
    assert not run.average_logits()


def test_scores_of_another_test_than_the_results_are_told(make_run: MakeRun) -> None:
    folder = make_run("a")
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {"num_videos": 13}))
    with pytest.raises(ValueError, match="they are of two tests"):
        open_records(str(folder)).mean_scores()


def test_file_of_another_name_stands_alone(make_run: MakeRun) -> None:
    folder = make_run("a")
    (folder / "scores.npz").rename(folder / "old.npz")
    run = open_records(str(folder / "old.npz"))
    assert not run.results
    assert run.mean_scores() is not None
    (folder / "results.json").rename(folder / "old.json")
    assert open_records(str(folder / "old.json")).mean_scores() is None


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "results.json").write_text("{")
    for name, text in [
        ("none", "does not exist"),
        ("notes.txt", "is no run folder, no results.json and no scores.npz"),
        ("results.json", "is not JSON"),
    ]:
        with pytest.raises(ValueError, match=text):
            open_records(str(tmp_path / name))
    (tmp_path / "results.json").unlink()
    with pytest.raises(ValueError, match=r"is no run folder: it has no results\.json"):
        open_records(str(tmp_path))


def test_config_is_read_by_the_kinds_of_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("OPTIM: {LR: 1, BETAS: [0.9, 0.99]}\nDATA: {NAME: 010}\nOLD: {KEY: 5e-4}\n")
    assert read_config(path) == {
        "OPTIM.LR": 1.0,
        "OPTIM.BETAS": [0.9, 0.99],
        "DATA.NAME": "010",
        "OLD.KEY": 5e-4,
    }
    assert read_config(tmp_path / "none.yml") == {}


def test_names_are_those_of_the_table_and_else_numbers(make_run: MakeRun) -> None:
    folder = make_run("a", names=["up", "up", "down"])
    run = open_records(str(folder))
    assert run.class_names(3) == ["up", "up", "down"]
    assert run.class_names(4) == ["0", "1", "2", "3"]
    (folder / "confusion.csv").write_text("x,a,b\na,1\n")
    with pytest.raises(ValueError, match=r"confusion.csv is no table of a confusion"):
        run.confusion()


@pytest.mark.parametrize(
    ("key", "value"),
    [("run", []), ("run", {"lists": {"val": 1}}), ("per_class_accuracy", 3), ("unreadable", True)],
)
def test_results_of_another_program_are_told(make_run: MakeRun, key: str, value: object) -> None:
    folder = make_run("a")
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(results | {key: value}))
    with pytest.raises(ValueError, match=r"results\.json: .*, not (an object|a list)"):
        open_records(str(folder))


@pytest.mark.parametrize("text", ["", "true,a\na,x\n", "x" * 200_000])
def test_damaged_confusion_is_told_with_its_name(make_run: MakeRun, text: str) -> None:
    folder = make_run("a")
    (folder / "confusion.csv").write_text(text)
    with pytest.raises(ValueError, match=r"confusion\.csv is no table of a confusion"):
        open_records(str(folder)).confusion()


def test_class_name_with_a_line_separator_is_one_cell(make_run: MakeRun) -> None:
    folder = make_run("a")
    (folder / "confusion.csv").write_text("true,a\u2028b,c\na\u2028b,1,0\nc,0,1\n")
    table = open_records(str(folder)).confusion()
    assert table is not None
    assert table[0] == ["a\u2028b", "c"]
