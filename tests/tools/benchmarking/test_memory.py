import pytest
import torch
import torch.nn.functional as F
from yacs.config import CfgNode

from config import load_cfg_text
from models import build_model
from tools.benchmarking.memory import TrainingMemory, training_memory
from tools.diagnosis.speed_findings import bytes_kept, bytes_of_weights

TINY = """
DATA: {NUM_FRAMES: 4, IMAGE_SIZE: 32, TEST_SHORT_SIDE: 32}
MODEL:
  {NAME: %s, NUM_CLASSES: 3, BACKBONE: small, TSM: {WIDTH: 8},
   VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 32, MLP_DIM: 64, NUM_HEADS: 2, NUM_LAYERS: 3}}
"""


def tiny(name: str, *words: str) -> CfgNode:
    backbone = ["MODEL.BACKBONE", "resnet18"] if name == "tsm" else []
    return load_cfg_text(TINY % name, "tiny", [*backbone, *words])


@pytest.mark.parametrize("name", ["tokshift", "timesformer", "tsm"])
def test_estimate_is_what_a_real_pass_keeps(name: str) -> None:
    cfg = tiny(name)
    model = build_model(cfg).train()

    def loss() -> torch.Tensor:
        clips = torch.zeros(2, 4, 3, 32, 32)
        return F.cross_entropy(model(clips), torch.zeros(2, dtype=torch.long))

    expected = bytes_of_weights(cfg, model) + bytes_kept(loss, model)
    # the CPU's attention saves other sums than a GPU's
    assert training_memory(cfg).total(2) == pytest.approx(expected, rel=0.1)


def test_lower_precision_and_recomputing_take_less_for_a_clip() -> None:
    full = training_memory(tiny("tokshift"))
    half = training_memory(tiny("tokshift", "TRAIN.AMP", "bf16"))
    recomputed = training_memory(tiny("tokshift", "MODEL.CHECKPOINTS_BLOCKS", "True"))
    assert 0.5 * full.of_clip < half.of_clip < 0.9 * full.of_clip
    assert half.fixed > full.fixed  # copies of the weights
    # of two blocks, the last of which keeps its class tokens alone
    assert recomputed.of_clip < 0.6 * full.of_clip
    assert not torch.is_autocast_enabled("cuda")


def test_clips_that_fit() -> None:
    memory = TrainingMemory(fixed=100, of_clip=30)
    assert [memory.clips_that_fit(size) for size in (50, 129, 130, 190)] == [0, 0, 1, 3]
