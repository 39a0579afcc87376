import json
from pathlib import Path

import numpy as np
import pytest

from engine.mean_scores import MeanScores
from engine.scores import Scores
from tools.rescore import main, rescore
from tools.rescoring.ensembles import averaged_models, ensemble_rows

LABELS = np.array([0, 1, 2, 2])


def scores_of(seed: int, videos: str = "abcd", labels: np.ndarray = LABELS) -> Scores:
    logits = np.random.default_rng(seed).standard_normal((len(labels), 6, 3), dtype=np.float32)
    return Scores(np.array([*videos]), labels, logits, num_clips=2, num_crops=3)


def write(path: Path, scores: Scores) -> str:
    scores.save(path, scores.averaged())
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    order = [2, 0, 3, 1]  # the second lists the same videos in another order
    second = scores_of(1)
    mixed = Scores(second.videos[order], LABELS[order], second.view_logits[order], 2, 3)
    return [write(tmp_path / "a.npz", scores_of(0)), write(tmp_path / "b.npz", mixed)]


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits.astype(np.float64))
    return weights / weights.sum(-1, keepdims=True)


def test_each_protocol_has_its_figures_with_interval_and_calibration() -> None:
    scores = scores_of(0)
    rows = rescore(scores)
    assert [row["views"] for row in rows] == [v for v in ("1x1", "1x3", "2x1", "2x3") for _ in "12"]
    last = rows[-2]
    mean = MeanScores(scores.videos, LABELS, scores.averaged(), are_logits=True)
    assert last["top1"] == 100 * mean.hits().mean()
    assert last.items() >= mean.reliability().items()


def test_models_are_averaged_video_by_video_in_each_way(files: list[str]) -> None:
    a, b = (scores_of(seed).view_logits for seed in (0, 1))
    expected = {
        ("logits", "logits"): a.mean(1) / 3 + 2 * b.mean(1) / 3,
        ("logits", "softmax"): softmax(a.mean(1)) / 3 + 2 * softmax(b.mean(1)) / 3,
        ("softmax", "softmax"): softmax(a).mean(1) / 3 + 2 * softmax(b).mean(1) / 3,
    }
    rows = ensemble_rows(files, [0.5, 1.0])
    assert [row["model"] for row in rows] == ["1", "2", "1", "2", "all", "all", "all"]
    for row in rows[4:]:
        mean = expected[row["views"], row["models"]]
        assert row["top1"] == 100 * (mean.argmax(1) == LABELS).mean()
        assert "per_class_accuracy" not in row
    models = [MeanScores(np.array([*"abcd"]), LABELS, x.mean(1), True) for x in (a, b)]
    mean = averaged_models(models, [1 / 3, 2 / 3], average_logits=True)
    np.testing.assert_allclose(mean.values, expected["logits", "logits"], atol=1e-6)


def test_two_ways_to_average_can_decide_otherwise() -> None:
    labels = np.array([1])
    logits = ([[9.0, 0.0]], [[0.0, 4.0]], [[0.0, 4.0]])
    models = [MeanScores(np.array(["v"]), labels, np.array(x, "f4"), True) for x in logits]
    shares = [1 / 3] * 3
    assert averaged_models(models, shares, average_logits=True).values.argmax() == 0
    assert averaged_models(models, shares, average_logits=False).values.argmax() == 1


def test_table_fits_a_screen_and_the_json_holds_the_rows(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    for words in (files[:1], [*files, "--weights", "1", "0.5", "--average", "probabilities"]):
        assert main([*words, "--json", str(out)]) == 0
        lines = capsys.readouterr().out.replace(str(tmp_path), "").splitlines()
        assert max(map(len, lines)) <= 80
        assert len(json.loads(out.read_text())) in (6, 8)
    assert lines[1] == "model 2: /b.npz, weight 0.5"
    assert lines[2].split()[:3] == ["model", "views", "models"]
    assert [line.split()[0] for line in lines[3:]] == ["1", "2", "1", "2", "all", "all"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--weights", "1"], "--weights takes a number for each of the 2 files; it has 1"),
        (["--weights", "1", "-1"], "--weights 1 -1; they must be"),
        (["--weights", "0", "0"], "--weights 0 0; they must be"),
        (["--weights", "inf", "1"], "--weights inf 1; they must be"),
        (["--weights", "nan", "1"], "--weights nan 1; they must be"),
    ],
)
def test_weights_that_cannot_be_are_told(
    files: list[str], words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files, *words]) == 1
    assert capsys.readouterr().err.startswith(f"error: {text}")


def test_models_of_other_videos_or_labels_are_told(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {
        "are of other videos: 3 videos are in both, 1 in the first alone: 'd'": scores_of(
            2, "abcx"
        ),
        "do not go together: 4 videos have other labels": scores_of(2, "abcd", LABELS[::-1]),
        "do not go together: the first has 3 classes, the second 2": Scores(
            np.array(["a"]), np.array([0]), np.zeros((1, 1, 2), "f4"), 1, 1
        ),
    }
    for text, scores in others.items():
        assert main([files[0], write(tmp_path / "c.npz", scores)]) == 1
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1


def test_weights_of_a_single_file_are_told(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([files[0], "--average", "logits"]) == 1
    assert "--weights and --average are for several files" in capsys.readouterr().err
