"""From a yml file and KEY VALUE overrides to a checked, frozen config."""

import ast
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from yacs.config import CfgNode

from config.checks import check_cfg
from config.defaults import get_defaults
from config.legacy import (
    LEGACY_KEYS,
    RENAMED_KEYS,
    check_patch_sizes,
    convert_legacy,
    is_legacy,
    released_run_name,
    renamed,
)


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
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot read the config {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"the config {str(path)!r} is not UTF-8 text: {error}") from error
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
    tree = _parse(text, source)
    if is_legacy(tree):
        tree = convert_legacy(tree, source)
    for key, value in _leaves(tree, cfg, source):
        _set(cfg, *renamed(key, value, source), source)
    for key, value in _override_pairs(overrides):
        _set(cfg, *renamed(key, value, "the command line"), "the command line")
    check_cfg(cfg, source)
    cfg.OUTPUT_DIR = cfg.OUTPUT_DIR or f"runs/{released_run_name(cfg)}"
    cfg.freeze()
    return cfg


def is_key(name: str) -> bool:
    """Tell whether a word is a key of the config, ours or released."""
    return name in {**LEGACY_KEYS, **RENAMED_KEYS} or name in dict(all_leaves(get_defaults()))


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{source} holds a {type(tree).__name__}; a config is KEY: value lines")
    return tree


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
                f"{source}: {key} is a section with keys {sorted(child)}, got {value!r}"
            )
        elif not isinstance(child, CfgNode):
            yield key, value


def _override_pairs(overrides: Sequence[str]) -> Iterator[tuple[str, Any]]:
    if len(overrides) % 2:
        raise ValueError(f"overrides come as KEY VALUE pairs; {overrides[-1]!r} has no value")
    pairs = list(zip(overrides[::2], overrides[1::2], strict=True))
    check_patch_sizes({key: _decoded(value) for key, value in pairs}, "the command line")
    for key, value in pairs:  # in order: a later one wins, whichever of two names it has
        if key in LEGACY_KEYS:
            tree = convert_legacy({key: _decoded(value)}, "the command line")
            yield from _leaves(tree, get_defaults(), "the command line")
        else:
            yield key, value


def _set(cfg: CfgNode, key: str, value: Any, source: str) -> None:
    """Set one leaf, if it exists and the type fits that of its default."""
    defaults = dict(all_leaves(get_defaults()))
    if key not in defaults:
        raise ValueError(f"{source}: unknown key {key!r}; the nearest valid key is {_nearest(key)}")
    *sections, name = key.split(".")
    node = cfg
    for section in sections:
        node = node[section]
    node[name] = _coerced(value, defaults[key], key, source)


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


def _coerced(value: Any, default: Any, key: str, source: str) -> Any:
    """Return the value in the type of the default; an int may stand for a float, nothing else."""
    wanted = float if default is None else type(default)
    if wanted is str and not isinstance(value, list | tuple | dict):
        return str(value) if value is not None else ""
    value = _decoded(value)
    if wanted is list and isinstance(value, list | tuple):
        item_type = type(default[0])
        items = [_as_float(item) if item_type is float else item for item in value]
        if all(type(item) is item_type for item in items):
            return items
    if wanted is float:
        value = _as_float(value)
    if (type(value) is wanted and wanted is not list) or value is default is None:
        return value
    allowed = f"a list of {type(default[0]).__name__}" if wanted is list else f"a {wanted.__name__}"
    raise ValueError(
        f"{source}: {key} takes {allowed} (default {default!r}), "
        f"got {value!r} ({type(value).__name__})"
    )


def _as_float(value: Any) -> Any:
    value = _decoded(value)
    return float(value) if type(value) is int else value


def _decoded(value: Any) -> Any:
    """Read a text as a Python or YAML literal where it is one (5e-4 is text to YAML 1.1)."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        words = {"true": True, "false": False, "null": None, "none": None}
        return words.get(value.lower(), value)
