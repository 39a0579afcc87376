from pathlib import Path

import numpy as np
import pytest
import torch

from config import load_cfg
from engine.scores import Scores
from engine.teachers import cached_logits
from models import build_model
from tests.ranks import Ranks
from tests.test_main import Experiment, process_restored
from tools.dump_teacher import main

VIEWS = ("TEST.NUM_CLIPS", "2", "TEST.NUM_CROPS", "1")


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """The tiny data set of the main script with its tiny.yml, and a teacher of random weights."""
    experiment = Experiment(tmp_path)
    torch.manual_seed(0)
    model = build_model(load_cfg(experiment.config))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    text = experiment.config.read_text()
    torch.save({"state_dict": model.state_dict(), "config": text}, tmp_path / "teacher.pth")
    return tmp_path / "teacher.pth"


def dump(teacher: Path, output: Path, *words: object) -> None:
    argv = ["--checkpoint", str(teacher), "--output", str(output), *map(str, words)]
    with process_restored():
        main(argv)


def test_every_training_video_has_the_logits_of_the_test(
    teacher: Path, tmp_path: Path, ranks: Ranks
) -> None:
    output = tmp_path / "new folder/scores.npz"
    dump(teacher, output, *VIEWS)
    ours = Scores.load(output)
    experiment_words = ("DATA.TEST_LIST", tmp_path / "train.txt", *VIEWS)
    words = ("--evaluate", "--resume", teacher, "--output", tmp_path / "test", *experiment_words)
    done = ranks.run(1, "main_ddp_shift.py", *words, is_launched=False)
    assert done.returncode == 0, done.stdout
    expected = Scores.load(tmp_path / "test/scores.npz")
    assert ours.videos.tolist() == expected.videos.tolist()
    assert ours.labels.tolist() == expected.labels.tolist()
    np.testing.assert_array_equal(ours.view_logits, expected.view_logits)
    assert ours.view_logits.shape == (12, 2, 3)


def test_students_list_stands_for_the_teachers(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "few.txt"
    listed.write_text("".join((tmp_path / "train.txt").read_text().splitlines(True)[4:7]))
    dump(teacher, tmp_path / "few.npz", "--list", listed, *VIEWS)
    scores = Scores.load(tmp_path / "few.npz")
    assert scores.videos.tolist() == ["run/train_1", "swim/train_1", "kick ball/train_2"]
    logits = cached_logits(scores, "few", scores.videos.tolist(), scores.labels.tolist(), 3)
    top1 = 100 * float((logits.argmax(-1).numpy() == scores.labels).mean())
    text = capsys.readouterr().out
    assert f"logits of 3 of 3 videos, 2 views each; on them the teacher has top1 {top1:.2f}" in text
    assert "views: 2x1 views, dense 4x2, short side 16" in text


@pytest.mark.ddp
def test_processes_share_the_videos(teacher: Path, tmp_path: Path, ranks: Ranks) -> None:
    dump(teacher, tmp_path / "one.npz", *VIEWS)
    words = ("--checkpoint", teacher, "--output", tmp_path / "two.npz", *VIEWS)
    done = ranks.run(2, "tools/dump_teacher.py", *words)
    assert done.returncode == 0, done.stdout
    one, two = (Scores.load(tmp_path / name) for name in ("one.npz", "two.npz"))
    assert two.videos.tolist() == one.videos.tolist()
    # the views go through the model in other batches: float32 rounding
    np.testing.assert_allclose(two.view_logits, one.view_logits, atol=1e-5)
    assert done.stdout.count("the teacher has top1") == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--list", "gone.txt"), "cannot read the list file 'gone.txt'"),
        (("MODEL.VIT.NUM_LAYERS", 3), "do not fit the model"),
        (("DATA.TRAIN_LIST", ""), "DATA.TRAIN_LIST is not set"),
    ],
)
def test_faults_are_said_in_a_line(
    words: tuple[object, ...],
    text: str,
    teacher: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        dump(teacher, tmp_path / "scores.npz", *words)
    assert end.value.code == 1
    assert text in capsys.readouterr().out
    assert not (tmp_path / "scores.npz").exists()
