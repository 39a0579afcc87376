"""From a yml file and KEY VALUE overrides to a checked, frozen config."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config.checks import check_cfg
from config.defaults import get_defaults
from config.legacy import (
    LEGACY_KEYS,
    PATCH_SIZES,
    RENAMED_KEYS,
    check_patch_sizes,
    convert_legacy,
    is_legacy,
    released_run_name,
    renamed,
)
from config.text_files import read_text
from config.values import coerced, decoded, shown
from config.yaml_tree import MAX_CHARACTERS, parse_yaml

MAX_KEY = 100  # characters of an unknown key that its nearest is looked for by


def load_cfg(path: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Return the config of a yml file: defaults, the file, then the overrides; checked and frozen.

    The flat upper-case yml files of the TokShift release load too, and so do their keys as
    overrides; see `config.legacy`. The sizes under MODEL.VIT are filled in.

    Args:
        path: A yml file.
        overrides: A flat list KEY VALUE KEY VALUE ...

    Raises:
        ValueError: The file cannot be read, a key is unknown, a value has the wrong type or does
            not go with another; the text names the place, the key and what is allowed.
    """
    text = read_text(path, "the config", max_bytes=4 * MAX_CHARACTERS)
    return load_cfg_text(text, str(path), overrides)


def load_cfg_text(text: str, source: str, overrides: Sequence[str] = ()) -> CfgNode:
    """Do what `load_cfg` does for the text of a yml file, that of a checkpoint say.

    Args:
        text: YAML.
        source: What to call the text in messages.
        overrides: As in `load_cfg`.

    Raises:
        ValueError: As `load_cfg`.
    """
    cfg = get_defaults()
    tree = parse_yaml(text, source)
    if is_legacy(tree):
        tree = convert_legacy(tree, source)
    names: dict[str, str] = {}
    for name, value in _leaves(tree, cfg, source):
        known = decoded(value) if name in RENAMED_KEYS else value
        key, value = renamed(name, known, source)
        if key in names:
            raise ValueError(f"{source}: {key} is given twice, as {names[key]} and as {name}")
        names[key] = name
        _set(cfg, key, value, source)
    for key, value in _override_pairs(overrides):
        _set(cfg, *renamed(key, value, "the command line"), "the command line")
    check_cfg(cfg, source)
    cfg.OUTPUT_DIR = cfg.OUTPUT_DIR or f"runs/{released_run_name(cfg)}"
    cfg.freeze()
    return cfg


def is_key(name: str) -> bool:
    """Tell whether a word is a key of the config, ours or released."""
    return name in {**LEGACY_KEYS, **RENAMED_KEYS} or name in dict(all_leaves(get_defaults()))


def _leaves(
    tree: dict[str, Any], node: CfgNode, source: str, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for each leaf; a mapping stands where the defaults have one."""
    for name, value in tree.items():
        key = f"{prefix}{name}"
        child = node.get(str(name))
        if isinstance(child, CfgNode) and isinstance(value, dict):
            yield from _leaves(value, child, source, prefix=f"{key}.")
        elif isinstance(child, CfgNode) and value is not None:
            raise ValueError(
                f"{source}: {key} is a section with keys {sorted(child)}, got {shown(value)}"
            )
        elif not isinstance(child, CfgNode):
            yield key, value


def _override_pairs(overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if len(overrides) % 2:
        raise ValueError(f"overrides come as KEY VALUE pairs; {shown(overrides[-1])} has no value")
    pairs = list(zip(overrides[::2], overrides[1::2], strict=True))
    sizes = {key: decoded(value) for key, value in pairs if key in PATCH_SIZES}
    check_patch_sizes(sizes, "the command line")
    for key, value in pairs:  # in order: a later one wins, whichever of two names it has
        if key in LEGACY_KEYS:
            tree = convert_legacy({key: value}, "the command line")
            yield from _leaves(tree, get_defaults(), "the command line")
        else:
            yield key, value


def _set(cfg: CfgNode, key: str, value: Any, source: str) -> None:
    """Set one leaf, if it exists and the type fits that of its default."""
    defaults = dict(all_leaves(get_defaults()))
    if key not in defaults:
        nearest = _nearest(key[:MAX_KEY])
        raise ValueError(f"{source}: unknown key {shown(key)}; the nearest valid key is {nearest}")
    *sections, name = key.split(".")
    node = cfg
    for section in sections:
        node = node[section]
    node[name] = coerced(value, defaults[key], key, source)


def _nearest(key: str) -> str:
    """Return the valid key, released or ours, most like an unknown one or its last word."""

    def likeness(known: str) -> float:
        pairs = ((key, known), (key.rpartition(".")[2], known.rpartition(".")[2]))
        return max(difflib.SequenceMatcher(None, a.upper(), b).ratio() for a, b in pairs)

    known_keys = [known for known, _ in all_leaves(get_defaults())]
    return max([*known_keys, *LEGACY_KEYS] if "." not in key else known_keys, key=likeness)


def all_leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of a config."""
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from all_leaves(value, prefix=f"{prefix}{name}.")
        else:
            yield prefix + name, value
