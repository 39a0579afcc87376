"""Which parameters a training leaves as they are, and the norms that rest with them."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from models.video_model import VideoModel

NOTHING, BACKBONE = "nothing", "backbone"
LAST_BLOCKS = re.compile(r"all but last (\d+)")

_BatchNorm = nn.modules.batchnorm._BatchNorm


def freeze(model: nn.Module, rule: str) -> None:
    """Freeze parameters of a model; those that are already frozen stay frozen.

    Args:
        model: A video model; its head, and what lies beside it, is never a block.
        rule: ``nothing``; ``backbone``: all but the head; ``all but last N``: the embedding or stem
            and the blocks (of a ResNet: stages) below the last N, so that these, the final norm and
            the head learn; else patterns of names, by commas, in which * stands for anything:
            ``patch_embed.*, *.norm1.*``.

    Raises:
        ValueError: N is more than the blocks, a pattern fits no parameter, or all are frozen.
    """
    assert isinstance(model, VideoModel)
    names = [name for name, _ in model.named_parameters()]
    frozen = set(_frozen_names(names, rule, model.head_name, model.layer_names))
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"TRAIN.FREEZE={rule!r} freezes all parameters; nothing is left to train")


def start_training(model: nn.Module) -> None:
    """Switch a model to training; batch norms whose parameters are all frozen keep evaluating."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            own = list(module.parameters())
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()


def count_trained(model: nn.Module) -> int:
    """Count the numbers of a model that a training changes, without statistics of norms."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _frozen_names(
    names: Sequence[str], rule: str, head: str, layers: Sequence[tuple[str, ...]]
) -> list[str]:
    if rule == NOTHING:
        return []
    if rule == BACKBONE:
        return [name for name in names if not name.startswith(f"{head}.")]
    if match := LAST_BLOCKS.fullmatch(rule):
        num_trained, num_blocks = int(match[1]), len(layers) - 1
        if num_trained > num_blocks:
            raise ValueError(f"TRAIN.FREEZE={rule!r}; the model has {num_blocks} blocks")
        below = tuple(start for layer in layers[: len(layers) - num_trained] for start in layer)
        return [name for name in names if name.startswith(below)]
    patterns = [pattern.strip() for pattern in rule.split(",")]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(
                f"TRAIN.FREEZE={rule!r}: {pattern!r} fits no parameter; it takes 'nothing', "
                "'backbone', 'all but last N', or patterns of names such as 'blocks.0.*'; "
                f"the names begin with {names[0]}, {names[1]} and end with {names[-1]}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
