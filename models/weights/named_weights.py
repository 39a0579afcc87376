"""Weights by their name in timm or torchvision, which hold or fetch them."""

from collections.abc import Callable
from typing import Any

from torch import nn

TIMM, TORCHVISION = "timm:", "torchvision:"
COMPUTES = "computes"  # key of what weights do not show, by fields of `models.vit.ViTSize`
_ACTIVATIONS = {"GELU": "gelu", "QuickGELU": "quick_gelu", "SiLU": "swiglu"}
_DEFAULT = "DEFAULT"


def is_named(path: object) -> bool:
    """Tell whether a path is no path but a name, ``timm:NAME`` or ``torchvision:NAME``."""
    return str(path).startswith((TIMM, TORCHVISION))


def read_named(name: str) -> dict[str, Any]:
    """Return the weights of a name as the content of a checkpoint, with what the library tells.

    Args:
        name: ``timm:vit_base_patch16_clip_quickgelu_224.openai``; ``torchvision:resnet50``, its
            best weights, or ``torchvision:resnet50.IMAGENET1K_V1``.

    Returns:
        ``state_dict``, ``preprocessing`` (mean and std of the pixels) and ``computes``.

    Raises:
        ValueError: The library is not installed, has no such name, or cannot fetch the weights.
    """
    library, _, rest = name.partition(":")
    read: Callable[[str], dict[str, Any]] = _of_timm if name.startswith(TIMM) else _of_torchvision
    try:
        return read(rest)
    except ImportError as error:
        raise ValueError(f"{name} takes a library: pip install {library}") from error
    except (RuntimeError, OSError, ValueError, KeyError) as error:  # unknown, or out of reach
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"{name} cannot be had from {library}: {reason}; a file of these weights does as well"
        ) from error


def _of_timm(name: str) -> dict[str, Any]:
    import timm  # here: it takes seconds, and few need it

    model = timm.create_model(name, pretrained=True)
    told: Any = model.pretrained_cfg
    return {
        "state_dict": model.state_dict(),
        "preprocessing": {key: [*map(float, told[key])] for key in ("mean", "std")},
        COMPUTES: _computation(model),
    }


def _of_torchvision(name: str) -> dict[str, Any]:
    from torchvision import models

    name, _, version = name.partition(".")
    weights = models.get_model_weights(name)[version or _DEFAULT]
    pixels = weights.transforms()
    return {
        "state_dict": weights.get_state_dict(progress=False, check_hash=True),
        "preprocessing": {"mean": [*pixels.mean], "std": [*pixels.std]},
    }


def _computation(model: nn.Module) -> dict[str, Any]:
    """Return heads, eps and activation of a ViT of timm; {} of another network."""
    parts = dict(model.named_modules())
    norm, act = parts.get("blocks.0.norm1"), parts.get("blocks.0.mlp.act")
    num_heads = getattr(parts.get("blocks.0.attn"), "num_heads", None)
    found: dict[str, Any] = {"num_heads": num_heads} if num_heads else {}
    if isinstance(norm, nn.LayerNorm):
        found["norm_eps"] = norm.eps
    if act is not None:
        found["activation"] = _ACTIVATIONS.get(type(act).__name__, type(act).__name__)
    return found
