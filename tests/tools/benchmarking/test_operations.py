import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from yacs.config import CfgNode

from config import load_cfg, load_cfg_text
from models import build_model
from tools.benchmarking.operations import count_operations, count_views

TINY = """
DATA: {NUM_FRAMES: 2, IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16}
MODEL:
  {NAME: %s, NUM_CLASSES: 3, BACKBONE: small,
   VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 8, MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 1}}
"""


def tiny(name: str) -> CfgNode:
    return load_cfg_text(TINY % name, "tiny")


def test_one_block_by_hand() -> None:
    T, N, C, M, K = 2, 5, 8, 16, 3
    patches = T * (N - 1) * 3 * 8 * 8 * C
    layers = T * N * (4 * C * C + 2 * C * M)
    counted = count_operations(tiny("tokshift"))
    assert counted.published == patches + layers + T * C * K
    assert counted.attention <= 2 * T * N * N * C
    assert counted.forward <= counted.published + 2 * T * N * N * C
    assert counted.training == 3 * counted.forward
    assert counted.parameters == sum(p.numel() for p in build_model(tiny("tokshift")).parameters())


@pytest.mark.parametrize("name", ["vit", "tokshift", "timesformer"])
def test_what_runs_is_what_torch_counts_of_a_real_forward_pass(name: str) -> None:
    cfg = tiny(name)
    counter = FlopCounterMode(display=False)  # which does not know the CPU's own attention
    with counter, torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        build_model(cfg).eval()(torch.zeros(1, 2, 3, 16, 16))
    assert count_operations(cfg).forward == counter.get_total_flops() // 2


def test_training_takes_three_forward_passes() -> None:
    """All but the first layer's gradient by its input, which nobody reads."""
    cfg = tiny("tokshift")
    counter = FlopCounterMode(display=False)
    with torch.device("meta"):
        model, clips = build_model(cfg), torch.empty(1, 2, 3, 16, 16)
    with counter:
        model(clips).sum().backward()
    counted = count_operations(cfg)
    patches = 2 * 4 * 3 * 8 * 8 * 8
    run = counter.get_total_flops() // 2
    assert run in (counted.training, counted.training - patches)


def test_views_are_those_of_the_protocol() -> None:
    cfg = load_cfg("config/k400/k400_tokshift_div4_8x32_base_224.yml", [])
    test = count_views(cfg, 300, (331, 588))
    assert (test.num_views, test.num_distinct, test.num_frames) == (30, 9, 24)
    assert count_views(cfg, 300, (331, 331)).num_distinct == 3  # a square has one crop
    mirrored = load_cfg("config/k400/k400_tokshift_div4_8x32_base_224.yml", ["TEST.FLIP", "True"])
    assert count_views(mirrored, 300, (331, 588)).num_distinct == 18
