import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import update_bn

from config import load_cfg_text
from datasets.loaders import build_train_loader, read_records
from engine.scores import Scores
from models import build_model
from models.weights.released_tokshift import to_released
from ops.pixels import normalize
from tests.test_main import Experiment, assert_same
from tests.test_main_swa import TSM
from tools.average_checkpoints import average, main

Trained = tuple[Experiment, list[Path]]


def train(folder: Path, *words: object) -> Trained:
    """Train three epochs, each kept; return their checkpoints."""
    experiment = Experiment(folder)
    experiment.run("TRAIN.EPOCHS", 3, "TRAIN.KEEP_EVERY", 1, *words)
    return experiment, [experiment.run_folder / f"epoch_{epoch}.pth" for epoch in (1, 2, 3)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("trained"), "TRAIN.EMA_DECAY", 0.0)


@pytest.fixture(scope="module")
def trained_tsm(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("tsm"), *TSM)


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def saved(content: dict[str, Any], path: Path) -> Path:
    torch.save(content, path)
    return path


def mean_by_hand(paths: list[Path], key: str = "state_dict") -> dict[str, np.ndarray]:
    states = [load(path)[key] for path in paths]
    return {
        name: sum(state[name].numpy().astype(np.float64) for state in states) / len(states)
        for name in states[0]
    }


def assert_mean(ours: dict[str, torch.Tensor], expected: dict[str, np.ndarray]) -> None:
    assert ours.keys() == expected.keys()
    for name, mean in expected.items():
        np.testing.assert_array_equal(ours[name].numpy(), mean.astype(np.float32), err_msg=name)


def run_tool(*words: object) -> None:
    main([str(word) for word in words])


def test_mean_of_three_checkpoints_equals_that_by_hand(trained: Trained, tmp_path: Path) -> None:
    experiment, paths = trained
    output = tmp_path / "averaged.pth"
    run_tool("--output", output, *paths)
    content, last = load(output), load(paths[-1])
    assert_mean(content["state_dict"], mean_by_hand(paths))
    assert content.keys() == {
        *("state_dict", "averaged_from", "config", "class_names", "preprocessing"),
    }
    assert content["averaged_from"] == [str(path) for path in paths]
    for key in ("config", "class_names", "preprocessing"):
        assert content[key] == last[key]
    moved = content["state_dict"]["head.weight"] - last["state_dict"]["head.weight"]
    assert moved.abs().max() > 1e-3
    assert "averaged.pth" not in {path.name for path in experiment.run_folder.iterdir()}


def test_mean_is_tested_without_a_config_and_gives_the_mean_s_logits(
    trained: Trained, tmp_path: Path
) -> None:
    experiment, paths = trained
    output = tmp_path / "averaged.pth"
    run_tool("--output", output, *paths)
    by_hand = {name: torch.from_numpy(mean).float() for name, mean in mean_by_hand(paths).items()}
    saved({"state_dict": by_hand}, tmp_path / "by_hand.pth")
    logits = []
    for path, has_cfg in ((output, False), (tmp_path / "by_hand.pth", True)):
        experiment.run("-e", "--resume", path, "--output", tmp_path / path.stem, has_cfg=has_cfg)
        logits.append(Scores.load(tmp_path / path.stem / "scores.npz").view_logits)
        assert experiment.results(tmp_path / path.stem)["checkpoint"] == str(path)
    np.testing.assert_array_equal(*logits)


def test_equal_checkpoints_are_their_own_mean_to_the_last_bit(
    trained_tsm: Trained, tmp_path: Path
) -> None:
    _, (path, *_) = trained_tsm
    copies = [saved(load(path), tmp_path / f"{number}.pth") for number in range(7)]
    run_tool("--output", tmp_path / "averaged.pth", *copies)
    assert_same(load(tmp_path / "averaged.pth")["state_dict"], dict(load(path)["state_dict"]))


def test_moving_averages_are_averaged_where_the_files_hold_them(
    trained: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, paths = trained
    contents = [load(path) for path in paths]
    shifted = [
        {name: value + 1 for name, value in content["state_dict"].items()} for content in contents
    ]
    files = [
        saved(content | {"ema": ema}, tmp_path / f"{number}.pth")
        for number, (content, ema) in enumerate(zip(contents, shifted, strict=True))
    ]
    caplog.set_level(logging.INFO)
    average([str(file) for file in files], str(tmp_path / "averaged.pth"))
    assert caplog.text.count("(checkpoint, its ema)") == 3
    content = load(tmp_path / "averaged.pth")
    assert_mean(content["state_dict"], mean_by_hand(files, "ema"))
    assert "ema" not in content


def test_batch_norms_are_averaged_with_a_warning_and_their_counts_come_from_the_last(
    trained_tsm: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = trained_tsm
    run_tool("--output", tmp_path / "averaged.pth", *paths)
    assert "--update-bn recomputes them on the training clips" in capsys.readouterr().out
    state, mean = load(tmp_path / "averaged.pth")["state_dict"], mean_by_hand(paths)
    last = load(paths[-1])["state_dict"]
    counts = [name for name in mean if name.endswith("num_batches_tracked")]
    assert counts
    for name in counts:
        assert mean.pop(name) != last[name]
        assert_same(state.pop(name), last[name])
    assert_mean(state, mean)


def test_statistics_are_recomputed_on_the_training_clips_where_asked(
    trained_tsm: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = trained_tsm
    words = ("TRAIN.CLIPS_PER_GPU", 3)
    run_tool("--output", tmp_path / "averaged.pth", "--update-bn", *paths, *words)
    console = capsys.readouterr().out
    assert "batch norms set by a pass over training clips" in console
    assert "are means too" not in console
    content = load(tmp_path / "averaged.pth")
    cfg = load_cfg_text(content["config"], "averaged.pth")
    assert cfg.TRAIN.CLIPS_PER_GPU == 3
    run_tool("--output", tmp_path / "plain.pth", *paths)
    model = build_model(cfg)
    model.load_state_dict(load(tmp_path / "plain.pth")["state_dict"])
    loader = build_train_loader(cfg, read_records(cfg, "train"), rank=0, world_size=1)
    loader.sampler.set_epoch(cfg.TRAIN.EPOCHS)
    update_bn(
        [normalize(batch.clips.contiguous(), [0.5] * 3, [0.5] * 3) for batch in loader], model
    )
    assert_same(content["state_dict"], dict(model.state_dict()))


def test_model_without_batch_norms_needs_no_clips(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = trained
    run_tool("--output", tmp_path / "with.pth", "--update-bn", *paths, "DATA.TRAIN_LIST", "gone")
    assert "no batch norms: --update-bn has nothing to do" in capsys.readouterr().out
    assert_mean(load(tmp_path / "with.pth")["state_dict"], mean_by_hand(paths))


def test_released_checkpoints_are_averaged_under_our_names(
    trained: Trained, tmp_path: Path
) -> None:
    experiment, paths = trained
    released = []
    for number, path in enumerate(paths):
        state = to_released(load(path)["state_dict"])
        content = {"state_dict": {f"module.{name}": value for name, value in state.items()}}
        released.append(saved(content, tmp_path / f"ckpt_e{number}.pth"))
    run_tool("--output", tmp_path / "averaged.pth", *released)
    content = load(tmp_path / "averaged.pth")
    assert content.keys() == {"state_dict", "averaged_from"}
    assert_mean(content["state_dict"], mean_by_hand(paths))
    run_tool("--output", tmp_path / "described.pth", "--cfg", experiment.config, *released)
    assert load(tmp_path / "described.pth")["class_names"] == ["0", "1", "2"]


# What cannot be averaged


def outcome(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run the tool, which must fail; return the message."""
    with pytest.raises(SystemExit) as end:
        run_tool(*words)
    assert end.value.code == 1
    text = capsys.readouterr().out
    assert text.count("error:") == 1
    return text


def test_one_checkpoint_has_no_mean(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (path, *_) = trained
    for words in ((path,), ("DATA.ROOT", path)):
        text = outcome(capsys, "--output", tmp_path / "averaged.pth", *words)
        assert "a mean takes at least two checkpoints, got [" in text


def test_mean_does_not_replace_what_it_is_made_of(
    trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = trained
    text = outcome(capsys, "--output", paths[1], *paths)
    assert f"--output {paths[1]} is one of the checkpoints; name another file" in text


CONFIGS: dict[str, tuple[Callable[[str], str], str]] = {
    "model": (
        lambda text: text.replace("FOLD_DIV: 4", "FOLD_DIV: 8"),
        "MODEL.SHIFT.FOLD_DIV: 4 and 8",
    ),
    "clips": (
        lambda text: text.replace("NUM_FRAMES: 4", "NUM_FRAMES: 6"),
        "num_frames: 4 and 6",
    ),
}


@pytest.mark.parametrize(("change", "reason"), CONFIGS.values(), ids=CONFIGS)
def test_checkpoints_of_other_experiments_are_refused(
    change: Callable[[str], str],
    reason: str,
    trained: Trained,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, paths = trained
    content = load(paths[0])
    assert change(content["config"]) != content["config"]
    other = saved(content | {"config": change(content["config"])}, tmp_path / "other.pth")
    text = outcome(capsys, "--output", tmp_path / "averaged.pth", paths[0], paths[1], other)
    assert f"{paths[0]} and {other} are not of the same model and experiment" in text
    assert f"they differ in:\n  {reason}" in text
    assert not (tmp_path / "averaged.pth").exists()


def test_checkpoints_of_other_sizes_or_classes_are_refused(
    trained: Trained, trained_tsm: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained[1][0]
    content = load(path)
    head = torch.zeros(4, 16)
    wider = content | {"state_dict": content["state_dict"] | {"head.weight": head}}
    others = {
        saved(wider, tmp_path / "wider.pth"): "head.weight: (3, 16) and (4, 16)",
        saved(content | {"class_names": ["a", "b", "c"]}, tmp_path / "c.pth"): "the class names",
        trained_tsm[1][0]: "cls_token: (1, 1, 16) and nothing",
    }
    for other, reason in others.items():
        text = outcome(capsys, "--output", tmp_path / "averaged.pth", path, other)
        assert f"they differ in:\n  {reason}" in text or f"\n  {reason}" in text


def test_settings_of_the_training_may_differ(trained: Trained, tmp_path: Path) -> None:
    _, paths = trained
    content = load(paths[0])
    text = content["config"].replace("DROP_PATH: 0.0", "DROP_PATH: 0.5")
    text = text.replace("SEED: 0", "SEED: 7").replace("LR: 0.1", "LR: 0.2")
    other = saved(content | {"config": text}, tmp_path / "other.pth")
    assert text.count("0.5") > content["config"].count("0.5")
    run_tool("--output", tmp_path / "averaged.pth", other, paths[1])
    assert_mean(load(tmp_path / "averaged.pth")["state_dict"], mean_by_hand([other, paths[1]]))


def test_clips_and_keys_need_a_config(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = trained
    bare = [saved({"state_dict": load(path)["state_dict"]}, tmp_path / path.name) for path in paths]
    for words in (("--update-bn",), ("DATA.NUM_FRAMES", 4)):
        text = outcome(capsys, "--output", tmp_path / "averaged.pth", *bare, *words)
        assert f"{bare[-1]} does not hold its config; name one with --cfg" in text


def test_missing_file_is_named(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = outcome(capsys, "--output", tmp_path / "a.pth", trained[1][0], tmp_path / "gone.pth")
    assert f"checkpoint '{tmp_path / 'gone.pth'}' is not a file" in text
