import pytest
import torch

from config import load_cfg_text
from models import build_model
from ops.token_shift import token_shift
from tools.benchmarking.model_sections import check_close, plain_network
from tools.benchmarking.plain_tokshift import plain_shift

TINY = """
DATA: {NUM_FRAMES: 4, IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16}
MODEL:
  {NAME: %s, NUM_CLASSES: 3, BACKBONE: small,
   VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 32, NUM_HEADS: 2, NUM_LAYERS: 2}}
"""


def test_plain_shift_is_the_shift() -> None:
    x = torch.randn(8, 5, 16)
    torch.testing.assert_close(plain_shift(x, 4, 4), token_shift(x, 4, 4), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["vit", "tokshift"])
def test_plain_network_gives_our_logits_and_gradients(name: str) -> None:
    cfg = load_cfg_text(TINY % name, "tiny")
    torch.manual_seed(0)
    model = build_model(cfg).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    plain = plain_network(cfg, model).double()
    clips = torch.randn(2, 4, 3, 16, 16, dtype=torch.double)
    ours, theirs = model(clips), plain(clips)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    plain_qkv = plain.blocks[0].attn
    grads = [getattr(plain_qkv, part).weight.grad for part in ("query", "key", "value")]
    torch.testing.assert_close(model.blocks[0].attn.qkv.weight.grad, torch.cat(grads))
    torch.testing.assert_close(model.cls_token.grad, plain.cls_token.grad)


def test_a_baseline_of_something_else_is_refused() -> None:
    one = torch.ones(3)
    check_close(one, one, "none", "sum")
    for other in (1.1 * one, torch.full((3,), torch.nan)):
        with pytest.raises(RuntimeError, match="the sum in fp32 differs"):
            check_close(other, one, "none", "sum")
