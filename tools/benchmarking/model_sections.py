"""Sections of the benchmark that need no data: the shift, the model, and its training step."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

from engine.learner import autocast
from engine.run import to_device
from models.vit import VisionTransformer, ViTSize
from ops.token_shift import token_shift
from tools.benchmarking.memory import training_memory
from tools.benchmarking.plain_tokshift import PlainTokShift, load_ours, plain_shift
from tools.benchmarking.setting import Setting, precision, precision_name, random_clips
from tools.benchmarking.timing import time_side_by_side

SHIFTED = (64, 197, 768)  # tokens of eight clips of ViT-B at 224 pixels
NUM_FRAMES, FOLD_DIV = 8, 4
# largest difference of logits over the largest logit; sums in another order make some
TOLERANCES = {"none": 1e-4, "bf16": 5e-2, "fp16": 1e-2}

Call = Callable[[], object]


def measure_shift(setting: Setting) -> None:
    """Time the token shift, forward and backward, beside an addition and the plain shift."""
    shape = (16, 5, 32) if setting.is_tiny else SHIFTED
    x = torch.randn(shape, device=setting.device, requires_grad=True)
    gradient = torch.randn(shape, device=setting.device)
    check_close(
        token_shift(x, NUM_FRAMES, FOLD_DIV), plain_shift(x, NUM_FRAMES, FOLD_DIV), "none", "shift"
    )

    def both_ways(function: Callable[[Tensor], Tensor]) -> Call:
        return lambda: torch.autograd.grad(function(x), x, gradient)

    calls = {
        "ours": both_ways(lambda x: token_shift(x, NUM_FRAMES, FOLD_DIV)),
        "an addition": both_ways(lambda x: x + x),
        "plain": both_ways(lambda x: plain_shift(x, NUM_FRAMES, FOLD_DIV)),
    }
    times = time_side_by_side(calls, setting.device, setting.seconds)
    addition, plain = (("an addition", times["an addition"]), ("the plain shift", times["plain"]))
    setting.report.times("shift", "forward and backward", times["ours"], addition)
    setting.report.times("shift", "both ways, plain", times["ours"], plain)


def measure_model(setting: Setting) -> None:
    """Time forward pass and training step beside the plain network, and what they cost more."""
    cfg = setting.cfg()
    model = setting.model(cfg)
    if isinstance(model, VisionTransformer) and cfg.MODEL.NAME in ("vit", "tokshift"):
        plain = plain_network(cfg, model).to(setting.device)
        for amp in setting.precisions:
            _beside_plain(setting, cfg, model, plain, amp)
        if cfg.MODEL.NAME == "tokshift":
            _beside_no_shift(setting, cfg)
        _recomputing(setting, cfg)
        if setting.compares_timm:
            _beside_timm(setting, cfg)
    else:
        for amp in setting.precisions:
            name, clips = precision_name(amp), _clips(setting, cfg)
            calls = {"forward": forward(model, clips, amp), "step": step(model, clips, amp)}
            for what, times in time_side_by_side(calls, setting.device, setting.seconds).items():
                setting.report.times("model", f"{what} {name}", times)


def plain_network(cfg: CfgNode, model: nn.Module) -> PlainTokShift:
    """Return the plain network with the weights of ours, in training as that is."""
    size = ViTSize(**{key.lower(): value for key, value in cfg.MODEL.VIT.items()})
    plain = PlainTokShift(
        size,
        image_size=cfg.DATA.IMAGE_SIZE,
        num_classes=cfg.MODEL.NUM_CLASSES,
        num_frames=cfg.DATA.NUM_FRAMES,
        fold_div=cfg.MODEL.SHIFT.FOLD_DIV if cfg.MODEL.NAME == "tokshift" else 0,
    )
    return load_ours(plain, model.state_dict()).train(model.training)


def forward(model: nn.Module, clips: Tensor, amp: str) -> Call:
    """Return a call that classifies clips without gradients."""

    def call() -> Tensor:
        with precision(amp, clips.device):
            return model.eval()(clips)

    return call


def step(model: nn.Module, clips: Tensor, amp: str) -> Call:
    """Return a call that trains on clips: forward, backward and a step of SGD."""
    labels = torch.arange(len(clips), device=clips.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)

    def call() -> Tensor:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast(amp, clips.device):
            logits = model(clips)
        loss = F.cross_entropy(logits.float(), labels % logits.shape[-1])
        loss.backward()
        optimizer.step()
        return loss.detach()

    return call


def check_close(ours: Tensor, plain: Tensor, amp: str, what: str) -> None:
    """Raise RuntimeError unless both came to the same: a speed-up of something else is none."""
    difference = (ours.float() - plain.float()).abs().max() / plain.float().abs().max()
    if not difference.item() <= TOLERANCES[amp]:  # not a number is no result either
        raise RuntimeError(
            f"the {what} in {precision_name(amp)} differs from the plain computation by "
            f"{difference.item():.2g} of its largest value; {TOLERANCES[amp]:g} is allowed"
        )


def _clips(setting: Setting, cfg: CfgNode) -> Tensor:
    number = cfg.TRAIN.CLIPS_PER_GPU if setting.device.type == "cuda" else 1
    return to_device(random_clips(cfg, number), cfg, setting.world)


def _beside_plain(
    setting: Setting, cfg: CfgNode, model: nn.Module, plain: nn.Module, amp: str
) -> None:
    clips, name = _clips(setting, cfg), precision_name(amp)
    for what, kind in (("forward", forward), ("step", step)):
        ours, theirs = kind(model, clips, amp), kind(plain, clips, amp)
        mine, its = ours(), theirs()
        assert isinstance(mine, Tensor)
        assert isinstance(its, Tensor)
        check_close(mine, its, amp, f"model's {what}")
        calls: dict[str, Call] = {"ours": ours, "plain": theirs}
        times = time_side_by_side(calls, setting.device, setting.seconds)
        speed: dict[str, Any] = {}
        if what == "step":
            speed["clips_per_s"] = len(clips) / times["ours"].median
        setting.report.times(
            *("model", f"{what} {name}", times["ours"], ("the plain network", times["plain"])),
            precision=name,
            clips=len(clips),
            **speed,
        )


def _beside_no_shift(setting: Setting, cfg: CfgNode) -> None:
    clips = _clips(setting, cfg)
    models = {"ours": setting.model(cfg), "ViT": setting.model(setting.cfg("MODEL.NAME", "vit"))}
    amp = "bf16" if setting.device.type == "cuda" else "none"
    calls = {name: step(model, clips, amp) for name, model in models.items()}
    times = time_side_by_side(calls, setting.device, setting.seconds)
    baseline = ("the same without shift", times["ViT"])
    setting.report.times("model", "step with shift", times["ours"], baseline)


def _recomputing(setting: Setting, cfg: CfgNode) -> None:
    """Compare time and activations of a training that recomputes its blocks with one that keeps."""
    recomputed = setting.cfg("MODEL.CHECKPOINTS_BLOCKS", "True")
    clips, calls = _clips(setting, cfg), {}
    for name, one in (("kept", cfg), ("recomputed", recomputed)):
        calls[name] = step(setting.model(one), clips, "none")
    times = time_side_by_side(calls, setting.device, setting.seconds)
    setting.report.times(
        "model", "recomputing blocks, time", times["recomputed"], ("keeping all", times["kept"])
    )
    kept, less = training_memory(cfg).of_clip, training_memory(recomputed).of_clip
    setting.report.ratio(
        "model", "recomputing blocks, memory", less / kept, mib=less / 2**20, kept_mib=kept / 2**20
    )


def _beside_timm(setting: Setting, cfg: CfgNode) -> None:
    """Set our image ViT beside timm's of the same size, on the frames of a clip."""
    import timm  # for development alone

    size, side = cfg.MODEL.VIT, cfg.DATA.IMAGE_SIZE
    theirs = timm.models.VisionTransformer(
        img_size=side,
        patch_size=size.PATCH_SIZE,
        embed_dim=size.HIDDEN_SIZE,
        depth=size.NUM_LAYERS,
        num_heads=size.NUM_HEADS,
        mlp_ratio=size.MLP_DIM / size.HIDDEN_SIZE,
        num_classes=cfg.MODEL.NUM_CLASSES,
    ).to(setting.device)
    ours, clips = setting.model(setting.cfg("MODEL.NAME", "vit")), _clips(setting, cfg)
    theirs.load_state_dict(ours.state_dict())
    frames = clips.flatten(0, 1)
    for amp in setting.precisions:
        mine = forward(ours, clips, amp)()
        its = forward(theirs, frames, amp)()
        assert isinstance(mine, Tensor)
        assert isinstance(its, Tensor)
        mean = its.unflatten(0, clips.shape[:2]).mean(1)
        check_close(mine, mean, amp, "ViT beside timm's")
        for what, kind in (("forward", forward), ("step", step)):
            calls = {"ours": kind(ours, clips, amp), "timm": kind(theirs, frames, amp)}
            times = time_side_by_side(calls, setting.device, setting.seconds)
            name = f"ViT {what} {precision_name(amp)}"
            setting.report.times("model", name, times["ours"], ("timm's", times["timm"]))
