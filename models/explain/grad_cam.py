"""Grad-CAM of a TSM: where in each frame the evidence for a class lies (arXiv:1610.02391)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.resnet_tsm import ResNetTSM

STAGES = ("layer1", "layer2", "layer3", "layer4")


def grad_cam(maps: Tensor, gradients: Tensor) -> Tensor:
    """Return ``relu(sum_c a_c A_c)``, a_c the mean over places of channel c's gradient (eq. 1, 2).

    Args:
        maps: A, the maps of each frame, (..., C, H, W).
        gradients: Gradients of the class's logit with respect to A, (..., C, H, W).

    Returns:
        (..., H, W), not negative. The places of each frame are averaged by themselves, so that a
        frame has its own weights a_c.
    """
    weights = gradients.mean((-2, -1), keepdim=True)  # (..., C, 1, 1)
    return F.relu((weights * maps).sum(-3))


def clip_grad_cam(model: ResNetTSM, clips: Tensor, labels: Tensor, stage: str = "layer4") -> Tensor:
    """Return where the evidence for each clip's class lies, (B, T, rows, columns).

    Behind layer4 nothing moves along time, so that its gradients are the classifier's weights, the
    same in every frame; those of earlier stages come through the shifts.

    Args:
        model: Model in evaluation mode, or else batch norm's statistics would change.
        clips: Normalised clips, (B, T, 3, H, W).
        labels: The class of each clip, (B,).
        stage: Stage whose output is looked at.

    Raises:
        ValueError: There is no such stage.
    """
    if stage not in STAGES:
        raise ValueError(f"Grad-CAM's stage is one of {STAGES}, got {stage!r}")
    stages = dict(
        zip(STAGES, (model.layer1, model.layer2, model.layer3, model.layer4), strict=True)
    )
    maps: list[Tensor] = []

    def cut(module: object, inputs: object, output: Tensor) -> Tensor:
        maps.append(output.detach().requires_grad_())  # nothing before it needs a gradient
        return maps[0].clone()  # what follows may write into it

    handle = stages[stage][-1].register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = model.frame_logits(clips).mean(1)  # (B, K)
            chosen = logits.gather(1, labels[:, None]).sum()  # clips do not meet each other
    finally:
        handle.remove()
    (gradients,) = torch.autograd.grad(chosen, maps)
    cams = grad_cam(maps[0].detach(), gradients).unflatten(0, (len(clips), -1))
    return cams.repeat_interleave(clips.shape[1] // cams.shape[1], dim=1)
