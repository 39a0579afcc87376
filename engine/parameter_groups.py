"""Optimizer groups: which parameters learn faster than others, and which are not decayed."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from models.video_model import VideoModel

POLICIES = ("one", "vit", "pp_timesformer", "tsm", "paddle")
LAYERED_POLICIES = ("one", "vit", "pp_timesformer")
EMBEDDINGS = ("cls_token", "reg_token", "pos_embed", "time_embed")
PADDLE_HEAD_DECAY = 1e-4  # PaddleVideo's TSM head has its own, whatever the optimizer's
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Groups = list[dict[str, Any]]


def parameter_groups(
    model: nn.Module,
    policy: str,
    weight_decay: float,
    boosts_head: bool = True,
    is_flow: bool = False,
    layer_decay: float = 1.0,
) -> Groups:
    """Return the groups of a policy for a torch optimizer; frozen parameters are left out.

    Each has ``params``, ``weight_decay``, a ``name``, and ``lr_mult``, the factor on the schedule's
    learning rate.

    Args:
        model: Transformer or ResNet of ours; for ``tsm`` and ``paddle`` of convolutions, linear
            layers and batch norms; for ``one`` without layer decay any module.
        policy: Rule for the groups. ``one``: all alike; ``vit``: no decay on vectors, class token
            and embeddings; ``pp_timesformer``: none on class token, embeddings and the head's bias,
            as in PaddleVideo; ``tsm``: the TSM release's eight groups, in its order; ``paddle``:
            PaddleVideo's for TSM.
        weight_decay: Decay rate of the parameters that are decayed at all.
        boosts_head: Whether, under ``tsm``, the linear weight learns 5 times as fast and its bias
            10.
        is_flow: Whether, under ``tsm``, the first convolution learns 5 times as fast, its bias 10.
        layer_decay: Factor on the learning rate from each layer to the one below it.

    Raises:
        ValueError: The policy is unknown, has no rule for a parameter of the model, or has its own
            learning rates beside those of the layers.
    """
    if policy == "one" and layer_decay == 1:
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]
    if policy in LAYERED_POLICIES:
        return _layered_groups(model, policy, weight_decay, layer_decay)
    if layer_decay != 1:
        raise ValueError(
            f"OPTIM.GROUPS {policy} has its own learning rates; for OPTIM.LAYER_DECAY="
            f"{layer_decay} choose one of {LAYERED_POLICIES}"
        )
    if policy == "tsm":
        groups = _tsm_groups(model, weight_decay, boosts_head, is_flow)
    elif policy == "paddle":
        groups = _paddle_groups(model, weight_decay)
    else:
        raise ValueError(f"optimizer groups are one of {POLICIES}, got {policy!r}")
    for group in groups:
        group["params"] = [p for p in group["params"] if p is not None and p.requires_grad]
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    left = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in grouped]
    if left:
        raise ValueError(
            f"OPTIM.GROUPS {policy} is for MODEL.NAME tsm; it has no rule for "
            f"{', '.join(left[:5])}; choose OPTIM.GROUPS one"
        )
    return groups


def layer_of(name: str, layer_names: Sequence[tuple[str, ...]]) -> int:
    """Return how deep a parameter lies, as BEiT counts (arXiv:2106.08254).

    Args:
        name: Name of the parameter.
        layer_names: Names of its model's layers, see `models.video_model.VideoModel`.

    Returns:
        0 for the embedding or stem, up to len(layer_names) for the final norm and the head.
    """
    layers = (i for i, starts in enumerate(layer_names) if name.startswith(starts))
    return next(layers, len(layer_names))


def is_decayed(name: str, parameter: Tensor, policy: str) -> bool:
    """Tell whether a parameter is decayed under a policy that goes by names."""
    if policy == "vit":
        return parameter.dim() > 1 and name not in EMBEDDINGS
    return policy == "one" or name not in (*EMBEDDINGS, "head.bias")


def _layered_groups(model: nn.Module, policy: str, decay: float, layer_decay: float) -> Groups:
    """Group by learning rate and decay; within a group, in the model's order."""
    assert isinstance(model, VideoModel)
    layer_names = model.layer_names
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays, layer = is_decayed(name, parameter, policy), layer_of(name, layer_names)
        lr_mult = layer_decay ** (len(layer_names) - layer)
        label = ("decayed" if decays else "not decayed") + f", rate x {lr_mult:.4g}"
        new = _group(label, [], lr_mult, decay if decays else 0.0)
        groups.setdefault((lr_mult, decays), new)["params"].append(parameter)
    return list(groups.values())


def _tsm_groups(model: nn.Module, decay: float, boosts_head: bool, is_flow: bool) -> Groups:
    first, *convolutions = [m for m in model.modules() if isinstance(m, _CONVOLUTIONS)]
    norms = [m for m in model.modules() if isinstance(m, _NORMS)]
    heads = [m for m in model.modules() if isinstance(m, nn.Linear)]
    normal = convolutions if boosts_head else [*convolutions, *heads]
    boosted = heads if boosts_head else []
    first_mult = 5 if is_flow else 1
    return [
        _group("first_conv_weight", [first.weight], first_mult, decay),
        _group("first_conv_bias", [first.bias], 2 * first_mult, 0.0),
        _group("normal_weight", [m.weight for m in normal], 1, decay),
        _group("normal_bias", [m.bias for m in normal], 2, 0.0),
        _group("BN scale/shift", [p for m in norms for p in (m.weight, m.bias)], 1, 0.0),
        _group("custom_ops", [], 1, decay),  # always empty; kept so that checkpoints fit
        _group("lr5_weight", [m.weight for m in boosted], 5, decay),
        _group("lr10_bias", [m.bias for m in boosted], 10, 0.0),
    ]


def _paddle_groups(model: nn.Module, decay: float) -> Groups:
    convolutions = [m for m in model.modules() if isinstance(m, _CONVOLUTIONS)]
    norms = [m for m in model.modules() if isinstance(m, _NORMS)]
    heads = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return [
        _group("conv", [p for m in convolutions for p in (m.weight, m.bias)], 1, decay),
        _group("norm", [p for m in norms for p in (m.weight, m.bias)], 1, 0.0),
        _group("head_weight", [m.weight for m in heads], 5, PADDLE_HEAD_DECAY),
        _group("head_bias", [m.bias for m in heads], 10, 0.0),
    ]


def _group(name: str, params: list, lr_mult: float, weight_decay: float) -> dict[str, Any]:
    return {"name": name, "params": params, "lr_mult": lr_mult, "weight_decay": weight_decay}
