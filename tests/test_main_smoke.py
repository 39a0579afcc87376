"""--max-iterations: the whole path in a few batches, which nobody takes for a run."""

from pathlib import Path

import pytest

from tests.test_main import Experiment
from tests.test_main_errors import assert_clear


@pytest.fixture(scope="module")
def smoked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, str]:
    """A smoke run of one batch, and what was printed; to be looked at only."""
    experiment = Experiment(tmp_path_factory.mktemp("smoked"))
    words = ("--resume", "auto", "TRAIN.MAX_BAD_SHARE=0.1", "TRAIN.LAST_GROUP=drop")
    return experiment, experiment.run("--max-iterations", 1, *words)


def folder_of(experiment: Experiment) -> Path:
    return experiment.run_folder.with_name("run_smoke")


def test_all_that_a_run_leaves_is_there_and_not_in_the_run_s_folder(
    smoked: tuple[Experiment, str],
) -> None:
    experiment, _ = smoked
    names = {path.name for path in folder_of(experiment).iterdir()}
    assert names >= {"last.pth", "best.pth", "config.yml", "results.json", "scores.npz"}
    assert names >= {"log.jsonl", "train.log", "confusion.csv", "tensorboard"}
    assert not experiment.run_folder.exists()


def test_one_batch_is_trained_on_with_a_step_and_as_many_are_scored(
    smoked: tuple[Experiment, str],
) -> None:
    experiment, text = smoked
    assert "4 videos to train on, 2 to validate" in text
    checkpoint = experiment.checkpoint(folder=folder_of(experiment))
    assert (checkpoint["epoch"], checkpoint["position"]["iterations"]) == (1, 1)
    assert checkpoint["optimizer"]["state"]
    results = experiment.results(folder_of(experiment))
    assert (results["num_videos"], results["num_listed"]) == (2, 2)


def test_everything_says_that_it_is_a_smoke_run(smoked: tuple[Experiment, str]) -> None:
    experiment, text = smoked
    results = experiment.results(folder_of(experiment))
    assert results["protocol"].startswith("smoke run of 1 batch, 10x3 views, ")
    assert results["remarks"][0].startswith("a smoke run (--max-iterations): 1 batch of each list")
    assert "best.pth is of a smoke run (--max-iterations 1)" in results["remarks"][1]
    assert len(results["remarks"]) == 2
    assert "the test list: " not in text
    assert text.count("a smoke run (--max-iterations): 1 batch of each list; the figures say") == 2
    assert "run_smoke" in text


def test_nothing_goes_on_from_a_smoke_run(smoked: tuple[Experiment, str], tmp_path: Path) -> None:
    experiment, _ = smoked
    last = folder_of(experiment) / "last.pth"
    code, text = experiment.outcome("--resume", last, "--output", tmp_path / "a")
    assert code == 1
    assert_clear(text, r"last\.pth is of a smoke run \(--max-iterations 1\), which nothing goes on")
    for resume in (["--resume", last], ["--resume"]):
        code, text = experiment.outcome("--max-iterations", 1, *resume, "--output", tmp_path / "a")
        assert code == 1
        assert_clear(text, r"a smoke run \(--max-iterations\) goes on from no other; leave one out")


def test_weights_of_a_smoke_run_are_told_wherever_they_are_used(
    smoked: tuple[Experiment, str], tmp_path: Path
) -> None:
    experiment, _ = smoked
    best = folder_of(experiment) / "best.pth"
    words = ("--evaluate", "--resume", best, "--output", tmp_path / "a")
    text = experiment.run(*words)
    assert "note: of a smoke run (--max-iterations 1), whose weights have learned nothing" in text
    assert "best.pth is of a smoke run" in experiment.results(tmp_path / "a")["remarks"][0]
    text = experiment.run(*words, has_cfg=False)
    results = experiment.results(tmp_path / "a_smoke")
    assert results["protocol"].startswith("smoke run of 1 batch, ")
    assert results["num_videos"] == 2
