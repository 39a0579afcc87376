"""Every model compiles without a break, its blocks share kernels, and no batch asks for another."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from yacs.config import CfgNode

from config import load_cfg_text
from engine.compiling import compile_blocks, is_compiled, run_filled
from engine.distributed import World
from engine.learner import Learner
from engine.mutual import MutualPair
from models import MODELS, build_model

CPU = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
SMALL = (
    "{DATA: {NUM_FRAMES: 4, IMAGE_SIZE: 32}, MODEL: {NUM_CLASSES: 6, VIT: {PATCH_SIZE: 16,"
    " HIDDEN_SIZE: 16, MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 3, DROPOUT: 0.0},"
    " TSM: {LAYERS: [1, 2, 1, 1], WIDTH: 8, DROPOUT: 0.0}}}"
)
TSM = ("MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet50")
VARIANTS = {
    "vit": ("MODEL.NAME", "vit"),
    "tokshift": ("MODEL.NAME", "tokshift"),
    "tokshift_recomputed": ("MODEL.NAME", "tokshift", "MODEL.CHECKPOINTS_BLOCKS", "True"),
    "tokshift_online": ("MODEL.SHIFT.DIRECTION", "past", "MODEL.SHIFT.ON_RESIDUAL", "False"),
    "divided": ("MODEL.NAME", "timesformer"),
    "joint": ("MODEL.NAME", "timesformer", "MODEL.TIMESFORMER.ATTENTION", "joint"),
    "space_only": ("MODEL.NAME", "timesformer", "MODEL.TIMESFORMER.ATTENTION", "space_only"),
    "tsm": TSM,
    "tsm_18": (*TSM[:2], "MODEL.BACKBONE", "resnet18", "MODEL.TSM.PLACEMENT", "block"),
    "tsm_pooled": (*TSM, "MODEL.TSM.TEMPORAL_POOL", "True", "MODEL.TSM.NON_LOCAL", "True"),
    "tsm_blend": (*TSM, "MODEL.TSM.OP", "blend", "MODEL.PARTIAL_BN", "True"),
    "tsm_squeezed": (*TSM, "MODEL.TSM.OP", "squeezed_conv"),
    "tsm_depthwise": (*TSM, "MODEL.TSM.OP", "depthwise_conv"),
}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    torch._dynamo.reset()


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    """Counts what is compiled, by a backend that is quick."""
    counter = CompileCounterWithBackend("eager")
    compile_module = nn.Module.compile
    monkeypatch.setattr(
        nn.Module,
        "compile",
        lambda *args, **kwargs: compile_module(*args, backend=counter, **kwargs),
    )
    return counter


def model_of(*words: str) -> tuple[nn.Module, CfgNode]:
    torch.manual_seed(0)
    cfg = load_cfg_text(SMALL, "small", list(words))
    return build_model(cfg), cfg


def clips_of(num: int = 2) -> Tensor:
    return torch.randn(num, 4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def gradients(model: nn.Module, clips: Tensor) -> list[Tensor]:
    logits = model(clips)
    logits.square().sum().backward()
    return [logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


def test_every_model_has_a_variant_here() -> None:
    assert {model_of(*words)[1].MODEL.NAME for words in VARIANTS.values()} == MODELS.keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_whole_model_is_one_graph(name: str) -> None:
    model, _ = model_of(*VARIANTS[name])
    compiled = torch.compile(model.eval(), backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(clips_of()), model(clips_of()), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", VARIANTS)
def test_compiled_blocks_give_the_logits_and_gradients_of_the_model(
    name: str, counter: CompileCounterWithBackend
) -> None:
    model, _ = model_of(*VARIANTS[name])
    compiled = deepcopy(model)
    compile_blocks(compiled)
    assert is_compiled(compiled)
    assert list(compiled.state_dict()) == list(model.state_dict())
    results = [gradients(one, clips_of()) for one in (model, compiled)]
    assert counter.frame_count > 0
    for expected, ours in zip(*results, strict=True):
        # float32; fused kernels add up in another order
        torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["tokshift", "divided"])
def test_rates_of_stochastic_depth_compile_no_block_anew(
    name: str, counter: CompileCounterWithBackend
) -> None:
    words = ("MODEL.DROP_PATH", "0.3", "MODEL.VIT.NUM_LAYERS", "12")
    model, _ = model_of(*VARIANTS[name], *words)
    compile_blocks(model)
    model.train()(clips_of())
    # the first block's rate is 0, and the last computes the class token alone
    assert counter.frame_count == 3


def learner_of(model: nn.Module) -> Learner:
    return Learner(model, torch.optim.SGD(model.parameters(), 0.1), CPU, compiles=True)


def test_short_batch_is_filled_and_compiles_nothing(counter: CompileCounterWithBackend) -> None:
    model, _ = model_of()
    plain = deepcopy(model)
    learner = learner_of(model)
    learner.logits(clips_of(3))
    compiled = counter.frame_count
    logits = learner.logits(clips_of(3)[:1])
    torch.testing.assert_close(logits, plain(clips_of(3)[:1]), atol=1e-5, rtol=1e-4)
    learner.accumulate_nothing(clips_of().shape[1:], is_last=True)
    assert counter.frame_count == compiled
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_black_clips_do_not_reach_the_statistics_of_batch_norms(
    counter: CompileCounterWithBackend,
) -> None:
    model, _ = model_of(*TSM)
    plain = deepcopy(model)
    learner = learner_of(model)
    for num in (3, 2):
        expected = plain(clips_of(3)[:num])
        torch.testing.assert_close(
            learner.logits(clips_of(3)[:num]), expected, atol=1e-4, rtol=1e-3
        )
    compiled = counter.frame_count
    for tensor, expected in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(tensor, expected, atol=1e-5, rtol=1e-4)
    learner.logits(clips_of(3)[:1])
    assert counter.frame_count == compiled


def test_averages_are_compiled_too_and_share_the_kernels(
    counter: CompileCounterWithBackend,
) -> None:
    model, _ = model_of()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    learner = Learner(model, optimizer, CPU, compiles=True, ema_decay=0.9)
    with torch.inference_mode():
        for evaluated in (model, learner.evaluated):
            evaluated.eval()(clips_of())
    assert is_compiled(learner.evaluated)
    assert counter.frame_count == 2  # the last block is another one


def test_pair_is_filled_in_the_batch_and_not_among_the_models() -> None:
    pair = MutualPair(model_of()[0], model_of("MODEL.NAME", "vit")[0])
    logits = run_filled(pair, clips_of(3)[:2], size=3)
    assert logits.shape == (2, 2, 6)
    torch.testing.assert_close(logits, pair(clips_of(3)[:2]), atol=1e-5, rtol=1e-4)


def test_model_without_lists_of_blocks_is_compiled_as_a_whole() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    compile_blocks(model)
    assert model._compiled_call_impl is not None
    assert model[0]._compiled_call_impl is None


@pytest.mark.gpu
@pytest.mark.parametrize("name", VARIANTS)
def test_compiled_blocks_agree_on_a_gpu(name: str) -> None:
    model, _ = model_of(*VARIANTS[name])
    model = model.cuda()
    compiled = deepcopy(model)
    compile_blocks(compiled)
    results = [gradients(one, clips_of().cuda()) for one in (model, compiled)]
    for expected, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-2, rtol=1e-2)
