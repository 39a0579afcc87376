from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from yacs.config import CfgNode

from config import load_cfg_text
from engine.checkpoint_folder import write_checkpoint
from engine.checkpoints import TrainingList, build_checkpoint
from engine.distributed import World
from engine.learner import Learner, build_learner
from engine.objective import Target
from engine.position import Position
from engine.resuming import best_of, read_training_checkpoint, resume
from models import build_model
from models.pretrained import load_weights
from models.weights.checkpoint_file import read_checkpoint
from models.weights.released_tokshift import to_released
from tests.one_batch import accumulate

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
TEXT = """
DATA: {IMAGE_SIZE: 16, TEST_SHORT_SIDE: 20, NUM_FRAMES: 4, FRAME_STRIDE: 3}
MODEL:
  BACKBONE: tiny
  NUM_CLASSES: 3
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 24, NUM_HEADS: 2, NUM_LAYERS: 2, DROPOUT: 0.25}
OPTIM: {LR: 0.05}
"""
NAMES = ["walk", "run", "swim"]
LISTED = TrainingList("0" * 64, num_videos=12, class_names=NAMES, clips_per_step=8)
ReleasedCfg = Callable[..., CfgNode]


def cfg_of(*overrides: str) -> CfgNode:
    return load_cfg_text(TEXT, "test", overrides)


def new_learner(cfg: CfgNode, seed: int) -> Learner:
    torch.manual_seed(seed)
    learner = build_learner(cfg, build_model(cfg), WORLD)
    learner.model.train()
    return learner


def train(learner: Learner, *seeds: int) -> None:
    """Take a step on a batch for each seed; dropout draws from torch's generator."""
    size = learner.model.image_size
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        clips = torch.randn(2, 4, 3, size, size, generator=generator)
        labels = torch.randint(3, (2,), generator=generator)
        accumulate(learner, clips, Target(labels).loss, 1.0, is_last=True)
        learner.step()


def saved(cfg: CfgNode, learner: Learner, path: Path, epoch: int = 0, best: float = 50.0) -> Path:
    content = build_checkpoint(cfg, learner, Position(epoch + 1), best, LISTED, WORLD)
    assert content is not None
    write_checkpoint(path, content)
    return path


def equal(a: Any, b: Any) -> bool:
    """Compare nested states to the last bit."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def test_checkpoint_loads_with_weights_only_and_describes_itself(tmp_path: Path) -> None:
    cfg = cfg_of("TRAIN.EMA_DECAY", "0.9")
    learner = new_learner(cfg, seed=0)
    train(learner, 0)
    path = saved(cfg, learner, tmp_path / "last.pth", epoch=4, best=62.5)
    content = torch.load(path, weights_only=True)
    assert equal(content["state_dict"], learner.model.state_dict())
    assert equal(content["ema"], learner.evaluated.state_dict())
    assert content["epoch"] == 5  # epochs done, as released
    assert content["best_acc1"] == 62.5
    assert content["class_names"] == NAMES
    assert load_cfg_text(content["config"], "checkpoint") == cfg
    assert content["preprocessing"] == {
        "num_frames": 4,
        "frame_stride": 3,
        "sampling": "dense",
        "short_side": 20,
        "image_size": 16,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
    assert content["scheduler"] == {"last_epoch": 5, "base_lrs": [0.05]}
    (states,) = content["rng"]
    assert torch.equal(states["cpu"], torch.get_rng_state())


RUNS = [
    ("sgd", "plain", "0.0"),
    ("sgd", "plain", "0.5"),
    ("sgd", "released", "0.0"),
    ("sgd", "released", "0.5"),
    ("adamw", "plain", "0.5"),
]


@pytest.mark.parametrize(("optimizer", "layout", "ema_decay"), RUNS)
def test_resumed_training_equals_training_without_a_break_to_the_last_bit(
    optimizer: str, layout: str, ema_decay: str, tmp_path: Path
) -> None:
    keys = ["OPTIM.NAME", optimizer, "TRAIN.EMA_DECAY", ema_decay]
    cfg = cfg_of(*keys, "TRAIN.CHECKPOINT_LAYOUT", layout)
    unbroken = new_learner(cfg, seed=0)
    train(unbroken, 0, 1)
    path = saved(cfg, unbroken, tmp_path / "last.pth", epoch=1, best=62.5)
    train(unbroken, 2, 3)
    generator_after = torch.get_rng_state()

    broken = new_learner(cfg, seed=9)
    train(broken, 8)
    content = resume(broken, str(path), WORLD)
    assert (content["epoch"], best_of(content)) == (2, 62.5)
    train(broken, 2, 3)
    assert equal(broken.model.state_dict(), unbroken.model.state_dict())
    states = [learner.optimizer.state_dict() for learner in (broken, unbroken)]
    assert equal(*states)
    assert equal(broken.evaluated.state_dict(), unbroken.evaluated.state_dict())
    assert torch.equal(torch.get_rng_state(), generator_after)


def test_released_layout_has_the_released_names_order_and_momentum(tmp_path: Path) -> None:
    cfg = cfg_of("TRAIN.CHECKPOINT_LAYOUT", "released")
    learner = new_learner(cfg, seed=0)
    train(learner, 0, 1)
    content = torch.load(saved(cfg, learner, tmp_path / "ckpt_e0.pth"), weights_only=True)
    expected = to_released(learner.model.state_dict())
    assert list(content["state_dict"]) == [f"module.{name}" for name in expected]
    assert equal(list(content["state_dict"].values()), list(expected.values()))

    # as the released code does: SGD over the parameters in this order takes up the file
    parameters = [torch.nn.Parameter(value) for value in expected.values()]
    optimizer = torch.optim.SGD(parameters, lr=1.0, momentum=0.5)
    optimizer.load_state_dict(content["optimizer"])
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.05, 0.9)
    for parameter in parameters:
        assert optimizer.state[parameter]["momentum_buffer"].shape == parameter.shape
    index = list(expected).index("base_model.head.bias")
    bias = learner.optimizer.state[learner.model.head.bias]["momentum_buffer"]
    assert torch.equal(optimizer.state[parameters[index]]["momentum_buffer"], bias)


@pytest.mark.parametrize("layout", ["plain", "released"])
def test_weights_of_a_checkpoint_are_tested_as_they_were_trained(
    layout: str, tmp_path: Path
) -> None:
    cfg = cfg_of("TRAIN.CHECKPOINT_LAYOUT", layout, "TRAIN.EMA_DECAY", "0.5")
    learner = new_learner(cfg, seed=0)
    train(learner, 0, 1)
    path = saved(cfg, learner, tmp_path / "best.pth")
    model = build_model(cfg)
    report = load_weights(model, path, head_may_differ=False)
    assert equal(model.state_dict(), learner.evaluated.state_dict())
    assert report.kind == "checkpoint, its ema"


def test_released_checkpoint_is_taken_up_whole(
    released_checkpoint: Path, released_cfg: ReleasedCfg
) -> None:
    cfg = released_cfg("OPTIM.LR", "0.25")
    learner = new_learner(cfg, seed=0)
    content = resume(learner, str(released_checkpoint), WORLD)
    assert content.keys() == read_checkpoint(released_checkpoint).keys()
    weights = to_released(learner.model.state_dict())
    ours = {f"module.{name}": value for name, value in weights.items()}
    assert equal(ours, dict(content["state_dict"]))
    assert len(learner.optimizer.state) == len(list(learner.model.parameters()))
    group = learner.optimizer.param_groups[0]
    assert (group["lr"], group["momentum"]) == (0.25, cfg.OPTIM.MOMENTUM)  # the config wins
    train(learner, 0)
    moved = to_released(learner.model.state_dict())["base_model.head.bias"]
    assert not torch.equal(moved, content["state_dict"]["module.base_model.head.bias"])


def test_released_momentum_finds_its_parameters_in_any_groups(
    released_checkpoint: Path, released_cfg: ReleasedCfg
) -> None:
    learners = [
        new_learner(released_cfg(*words), seed=0)
        for words in ((), ("OPTIM.GROUPS", "vit", "OPTIM.LAYER_DECAY", "0.5"))
    ]
    for learner in learners:
        resume(learner, str(released_checkpoint), WORLD)
    one, many = learners
    assert len(many.optimizer.param_groups) > 2
    for ours, expected in zip(many.model.parameters(), one.model.parameters(), strict=True):
        states = many.optimizer.state[ours], one.optimizer.state[expected]
        assert torch.equal(*(state["momentum_buffer"] for state in states))


def test_checkpoint_in_released_layout_equals_the_released_one(
    released_checkpoint: Path, released_cfg: ReleasedCfg
) -> None:
    cfg = released_cfg("TRAIN.CHECKPOINT_LAYOUT", "released")
    learner = new_learner(cfg, seed=0)
    content = resume(learner, str(released_checkpoint), WORLD)
    place = Position(content["epoch"])
    ours = build_checkpoint(cfg, learner, place, best_of(content), LISTED, WORLD)
    assert ours is not None
    theirs = read_checkpoint(released_checkpoint)
    assert equal(ours["state_dict"], dict(theirs["state_dict"]))
    assert equal(ours["optimizer"]["state"], dict(theirs["optimizer"]["state"]))
    (group,) = theirs["optimizer"]["param_groups"]
    assert ours["optimizer"]["param_groups"][0]["params"] == group["params"]
    assert ours["epoch"] == theirs["epoch"]
    assert ours["best_acc1"] == theirs["best_acc1"]


def test_state_of_the_generator_is_that_of_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = cfg_of()
    learner = new_learner(cfg, seed=0)
    states = [{"cpu": torch.Generator().manual_seed(seed).get_state()} for seed in (5, 6)]
    parts = [(state, (), {}) for state in states]
    monkeypatch.setattr("engine.checkpoints.gather_objects", lambda item, world: parts)
    path = saved(cfg, learner, tmp_path / "last.pth")
    for rank in range(2):
        torch.manual_seed(0)
        resume(learner, str(path), World(rank, 2, rank, torch.device("cpu")))
        assert torch.equal(torch.get_rng_state(), states[rank]["cpu"])
    torch.manual_seed(0)
    before = torch.get_rng_state()
    resume(learner, str(path), World(0, 3, 0, torch.device("cpu")))  # other number of processes
    assert torch.equal(torch.get_rng_state(), before)


def test_only_rank_0_builds_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.checkpoints.gather_objects", lambda item, world: None)
    cfg = cfg_of()
    world = World(1, 2, 1, torch.device("cpu"))
    learner = new_learner(cfg, seed=0)
    assert build_checkpoint(cfg, learner, Position(1), 1.0, LISTED, world) is None


def test_trained_weights_go_on_and_not_their_average(tmp_path: Path) -> None:
    cfg = cfg_of("TRAIN.EMA_DECAY", "0.5")
    learner, other = new_learner(cfg, seed=0), new_learner(cfg, seed=1)
    train(learner, 0, 1)
    assert not equal(learner.model.state_dict(), learner.evaluated.state_dict())
    resume(other, str(saved(cfg, learner, tmp_path / "last.pth")), WORLD)
    assert equal(other.model.state_dict(), learner.model.state_dict())
    assert equal(other.evaluated.state_dict(), learner.evaluated.state_dict())


def test_average_may_be_switched_on_and_off_between_runs(tmp_path: Path) -> None:
    plain, averaging = cfg_of(), cfg_of("TRAIN.EMA_DECAY", "0.5")
    for first, second in ((plain, averaging), (averaging, plain)):
        learner, other = new_learner(first, seed=0), new_learner(second, seed=1)
        train(learner, 0, 1)
        resume(other, str(saved(first, learner, tmp_path / "last.pth")), WORLD)
        assert equal(other.model.state_dict(), learner.model.state_dict())
        assert equal(other.evaluated.state_dict(), learner.model.state_dict())


@pytest.mark.parametrize("kind", ["npz", "state dict", "released", "state dict in a dict"])
def test_weights_alone_cannot_be_resumed_and_the_error_names_tune_from(
    kind: str, tmp_path: Path
) -> None:
    learner = new_learner(cfg_of(), seed=0)
    state = learner.model.state_dict()
    path = tmp_path / ("ViT.npz" if kind == "npz" else "weights.pth")
    if kind == "npz":
        path.touch()
    else:
        contents = {
            "state dict": state,
            "released": {"state_dict": to_released(state), "epoch": 18},
            "state dict in a dict": {"state_dict": state},
        }
        torch.save(contents[kind], path)
    with pytest.raises(ValueError, match=f"--tune_from {path}") as caught:
        resume(learner, str(path), WORLD)
    assert str(caught.value).startswith(f"{path} holds ")
    if kind == "released":
        assert "holds no optimizer." in str(caught.value)


def test_checkpoint_of_another_image_size_cannot_be_resumed(tmp_path: Path) -> None:
    cfg = cfg_of("DATA.IMAGE_SIZE", "24")
    path = saved(cfg, new_learner(cfg, seed=0), tmp_path / "last.pth")
    with pytest.raises(ValueError, match=r"trained at another image size.*--tune_from"):
        resume(new_learner(cfg_of(), seed=0), str(path), WORLD)


def test_checkpoint_of_another_number_of_frames_cannot_be_resumed(tmp_path: Path) -> None:
    cfg = cfg_of("MODEL.NAME", "timesformer")
    path = saved(cfg, new_learner(cfg, seed=0), tmp_path / "last.pth")
    longer = cfg_of("MODEL.NAME", "timesformer", "DATA.NUM_FRAMES", "8")
    with pytest.raises(ValueError, match=r"or number of frames; .*--tune_from"):
        resume(new_learner(longer, seed=0), str(path), WORLD)


def test_checkpoint_for_other_classes_cannot_be_resumed(tmp_path: Path) -> None:
    cfg = cfg_of("MODEL.NUM_CLASSES", "4")
    path = saved(cfg, new_learner(cfg, seed=0), tmp_path / "last.pth")
    with pytest.raises(ValueError, match=r"head.bias: \(4,\) in the file, \(3,\) in the model"):
        resume(new_learner(cfg_of(), seed=0), str(path), WORLD)


@pytest.mark.parametrize(("first", "second"), [("sgd", "adamw"), ("adamw", "sgd")])
def test_checkpoint_of_another_optimizer_cannot_be_resumed(
    first: str, second: str, tmp_path: Path
) -> None:
    cfg = cfg_of("OPTIM.NAME", first)
    learner = new_learner(cfg, seed=0)
    train(learner, 0)
    path = saved(cfg, learner, tmp_path / "last.pth")
    with pytest.raises(ValueError, match="optimizer"):
        resume(new_learner(cfg_of("OPTIM.NAME", second), seed=0), str(path), WORLD)


@pytest.mark.parametrize("kind", [".npz", ".pdparams", ".safetensors"])
def test_file_of_weights_alone_cannot_be_resumed(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{kind}"
    with pytest.raises(ValueError, match=rf"{kind} holds weights only\. .*--tune_from {path}"):
        read_training_checkpoint(str(path))


def test_missing_checkpoint_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.pth.* is not a file"):
        read_training_checkpoint(str(tmp_path / "absent.pth"))


def test_checkpoint_that_remembers_no_best_counts_as_worse_than_any() -> None:
    assert best_of({}) == -1
    assert best_of({"best_acc1": 12.5}) == 12.5
