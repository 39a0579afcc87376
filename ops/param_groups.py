"""Optimizer groups: which parameters learn faster than others, and which are not decayed."""

from typing import Any

from torch import nn

POLICIES = ("one", "tsm", "paddle")
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
) -> Groups:
    """Return the groups of a policy for a torch optimizer; frozen parameters are left out.

    Each has ``params``, ``weight_decay``, a ``name``, and ``lr_mult``, the factor on the schedule's
    learning rate.

    Args:
        model: Of convolutions, linear layers and batch norms; for ``one`` of anything.
        policy: ``one``: all alike; ``tsm``: the TSM release's eight groups, in its order;
            ``paddle``: PaddleVideo's for TSM.
        weight_decay: Of what is decayed.
        boosts_head: Under ``tsm``, the linear weight learns 5 times as fast and its bias 10 times.
        is_flow: Under ``tsm``, the first convolution learns 5 times as fast, its bias 10 times.

    Raises:
        ValueError: The policy is unknown, or has no rule for a parameter of the model.
    """
    if policy == "one":
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]
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


def _group(name: str, params: list, lr_mult: int, weight_decay: float) -> dict[str, Any]:
    return {"name": name, "params": params, "lr_mult": lr_mult, "weight_decay": weight_decay}
