"""The parameter names of ResNets elsewhere: torchvision's and the TSM release's.

torchvision's names are ours. The release wraps modules, and each wrapper shows in the names:
``.net`` for a shift or a temporal pool, ``.block`` and ``.nl`` for a non-local block.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from models.resnet_tsm import LAYERS

_PREFIX = "base_model."
_HEAD = "new_fc."  # `base_model.fc.` in a model without dropout
_NON_LOCAL = (  # released, ours
    (".nl.g.0.", ".non_local.g."),
    (".nl.g.", ".non_local.g."),
    (".nl.phi.0.", ".non_local.phi."),
    (".nl.phi.", ".non_local.phi."),
    (".nl.theta.", ".non_local.theta."),
    (".nl.W.0.", ".non_local.out."),
    (".nl.W.1.", ".non_local.norm."),
)


def is_released_tsm(names: Iterable[str]) -> bool:
    """Tell whether a state dict is a ResNet's under the TSM release's names, sans ``module.``."""
    return f"{_PREFIX}layer1.0.bn1.weight" in {_plain(name) for name in names}


def from_released_tsm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the TSM release's tensors to ours, which are torchvision's."""
    return {_ours(name): value for name, value in state.items()}


def shifts_branches(names: Iterable[str]) -> bool:
    """Tell whether a released model was trained with the shift placed ``blockres``."""
    return any(".conv1.net." in name for name in names)


def shifts_blocks(names: Iterable[str]) -> bool:
    """Tell whether a released model was trained with the shift placed ``block``."""
    return any(re.search(r"layer1\.\d+\.net\.", name) for name in names)


def describe_resnet(names: Iterable[str]) -> str:
    """Name the ResNet that parameters under our names belong to; empty if they are no ResNet's."""
    found = [re.match(r"layer([1-4])\.(\d+)\.(conv3?)", name) for name in names]
    layers = [0, 0, 0, 0]
    for match in found:
        if match:
            stage = int(match[1]) - 1
            layers[stage] = max(layers[stage], int(match[2]) + 1)
    if not any(layers):
        return ""
    is_bottleneck = any(match and match[3] == "conv3" for match in found)
    depths = [d for d, n in LAYERS.items() if n == tuple(layers) and (d >= 50) == is_bottleneck]
    blocks = f"blocks {tuple(layers)}, {'three' if is_bottleneck else 'two'} convolutions each"
    return f"ResNet-{depths[0]} ({blocks})" if depths else f"a ResNet of {blocks}"


def _plain(name: str) -> str:
    return name.replace(".net.", ".").replace(".block.", ".")


def _ours(name: str) -> str:
    name = _plain(name.removeprefix(_PREFIX))
    if name.startswith(_HEAD):
        return "fc." + name.removeprefix(_HEAD)
    for released, ours in _NON_LOCAL:
        if released in name:
            return name.replace(released, ours)
    return name
