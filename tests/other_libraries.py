"""Golden weights of other libraries: by a rule, from the names and shapes that a case lists."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

_TOKENS = ("position", "class_embedding", "pos_embed", "time_embed", "_token", "register")
_SCALES = ("lambda1", "gamma", "layer_scale", "ls1", "ls2")


def weights_by_rule(shapes: Mapping[str, Sequence[int]], salt: str = "") -> dict[str, Tensor]:
    """Return the tensors that golden/other has under these names and shapes, in their order."""
    return {name: torch.from_numpy(_values(name, shape, salt)) for name, shape in shapes.items()}


def _values(name: str, shape: Sequence[int], salt: str) -> np.ndarray:
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32((salt + name).encode())))
    return np.asarray(_drawn(name, shape, rng.standard_normal(size=tuple(shape))), np.float32)


def _drawn(name: str, shape: Sequence[int], n: np.ndarray) -> np.ndarray:
    if name.endswith("running_mean"):
        return 0.1 * n
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(n)
    if "patch_embed" not in name and any(part in name for part in _TOKENS):
        return 0.5 * n
    if len(shape) >= 2:
        share = 0.1 if "theta" in name or "phi" in name else 1.0
        return share * (n / np.sqrt(np.prod(shape[1:])))
    if name.endswith("bias"):
        return 0.1 * n
    if any(part in name for part in _SCALES):
        return 0.5 + 0.1 * n
    return 2.0 + 0.0 * n if name.endswith("logit_scale") else 1 + 0.1 * n
