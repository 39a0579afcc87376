"""How a config differs from the one in a checkpoint."""

from typing import Any

from yacs.config import CfgNode

from config.loading import KEYS, all_leaves

# Of the keys of the model and of the data, those that do not shape the answer to a video.
_OTHERS = (
    "MODEL.CHECKPOINTS_BLOCKS",
    "MODEL.DROP_PATH",
    "MODEL.HEAD_INIT",
    "MODEL.PARTIAL_BN",
    "MODEL.TSM.DROPOUT",
    "MODEL.VIT.DROPOUT",
)
_OF_DATA = (
    "DATA.FPS",
    "DATA.FRAME_STRIDE",
    "DATA.IMAGE_SIZE",
    "DATA.MULTI_LABEL",
    "DATA.NUM_FRAMES",
    "DATA.PIXEL_MEAN",
    "DATA.PIXEL_STD",
    "DATA.SAMPLING",
    "DATA.TEST_SHORT_SIDE",
    "DATA.UNIFORM_AS_RELEASED",
    "DATA.UNIFORM_TWICE",
    "DATA.WINDOW",
)


def changed_keys(text: str, cfg: CfgNode) -> dict[str, tuple[Any, Any]]:
    """Return the values in the config of a checkpoint and those of now, by key, where they differ.

    Args:
        text: Config in the checkpoint, YAML; empty where it holds none.
        cfg: Config of this run.
    """
    if not text:
        return {}
    theirs = dict(all_leaves(CfgNode.load_cfg(text)))
    ours = dict(all_leaves(cfg))  # a key that one of them lacks is younger than the checkpoint
    return {
        key: (theirs[key], value)
        for key, value in ours.items()
        if key in theirs and theirs[key] != value
    }


def value_before(text: str, key: str) -> Any:
    """Return the value of a key in the config of a checkpoint; an older one went by the default.

    Args:
        text: Config in the checkpoint, as for `changed_keys`.
        key: Dotted key.
    """
    theirs = dict(all_leaves(CfgNode.load_cfg(text))) if text else {}
    return theirs.get(key, KEYS[key])


def changed_answers(text: str, cfg: CfgNode) -> dict[str, tuple[Any, Any]]:
    """Return what `changed_keys` does, of the keys that shape the answer: model, frames, pixels."""
    return {
        key: values
        for key, values in changed_keys(text, cfg).items()
        if key in _OF_DATA or (key.startswith("MODEL.") and key not in _OTHERS)
    }
