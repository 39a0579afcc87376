"""From a yml file and overrides of its keys to a checked, frozen config."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config.base_files import YmlFile, read_files
from config.checks import COMMAND_LINE, check_cfg, value_at
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
from config.model_checks import check_backbone, inherited_sizes
from config.overrides import override_pairs
from config.shell_paths import PATH_KEYS, expanded
from config.smoke_run import shorten
from config.values import coerced, decoded, shown
from config.yaml_tree import parse_yaml

MAX_KEY = 100  # characters of an unknown key that its nearest is looked for by


def load_cfg(path: str | Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Return the config of a yml file: defaults, the file, then the overrides; checked and frozen.

    The file may inherit from another by ``_BASE_: OTHER.yml``, relative to itself or to `config/`.
    The flat upper-case yml files of the TokShift release load too, and so do their keys as
    overrides; see `config.legacy`. The sizes under MODEL.VIT are filled in; ``~`` and variables in
    paths become what they stand for.

    Args:
        path: Path of a yml file.
        overrides: Flat list KEY VALUE KEY=VALUE ..., in either form.

    Raises:
        ValueError: A file cannot be read, a key is unknown, a value has the wrong type or does not
            go with another; the text names the place, the key and what is allowed.
    """
    return load_with_sources(path, overrides)[0]


def load_with_sources(
    path: str | Path, overrides: Sequence[str] = ()
) -> tuple[CfgNode, dict[str, str]]:
    """Do what `load_cfg` does.

    Returns:
        The config; and where each key was set that is not as by default, the last one that set it.
    """
    return _load(read_files(path), overrides, is_written_by_hand=True)


def load_cfg_text(text: str, source: str, overrides: Sequence[str] = ()) -> CfgNode:
    """Do what `load_cfg` does for the text of a yml file, that of a checkpoint say.

    Args:
        text: Text in YAML; it inherits from no other.
        source: Name of the text, for the messages.
        overrides: Flat list of overrides, as in `load_cfg`.

    Raises:
        ValueError: The text or an override is at fault, as in `load_cfg`.
    """
    files = [YmlFile(source, parse_yaml(text, source))]
    return _load(files, overrides, is_written_by_hand=False)[0]


def _load(
    files: Sequence[YmlFile], overrides: Sequence[str], is_written_by_hand: bool
) -> tuple[CfgNode, dict[str, str]]:
    cfg, sources = get_defaults(), dict[str, str]()
    for source, tree in files:
        is_released = is_legacy(tree)
        values = _values(convert_legacy(tree, source) if is_released else tree, source)
        # a released yml and the saved config of a run stay readable whatever they say
        is_written_by_hand &= not is_released and len(values) < len(KEYS) // 2
        for key in inherited_sizes(cfg, values):
            cfg.MODEL.VIT[key] = KEYS[f"MODEL.VIT.{key}"]
        for key, value in values.items():
            _set(cfg, key, value, source)
            sources[key] = source
    source = files[-1].source
    if is_written_by_hand and "MODEL.BACKBONE" in sources:
        check_backbone(cfg, sources["MODEL.BACKBONE"])
    for name, value in _override_pairs(overrides):
        key, value = renamed(name, value, COMMAND_LINE)
        _set(cfg, key, value, COMMAND_LINE)
        sources[key] = COMMAND_LINE
    for key in PATH_KEYS:
        place = sources.get(key, source)
        is_strict = is_written_by_hand or place == COMMAND_LINE
        _put(cfg, key, expanded(value_at(cfg, key), f"{place}: {key}", is_strict))
    check_cfg(cfg, source, sources)
    cfg.OUTPUT_DIR = cfg.OUTPUT_DIR or f"runs/{released_run_name(cfg)}"
    sources |= shorten(cfg)
    cfg.freeze()
    return cfg, sources


def _values(tree: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the leaves of a tree by their keys of now."""
    names: dict[str, str] = {}
    values = {}
    for name, value in _leaves(tree, get_defaults(), source):
        known = decoded(value) if name in RENAMED_KEYS else value
        key, value = renamed(name, known, source)
        if key in names:
            raise ValueError(f"{source}: {key} is given twice, as {names[key]} and as {name}")
        names[key] = name
        values[key] = value
    return values


def is_key(name: str) -> bool:
    """Tell whether a word is a key of the config, ours or released."""
    return name in {**LEGACY_KEYS, **RENAMED_KEYS} or name in KEYS


def keys_set_by(name: str) -> tuple[str, ...]:
    """Return the keys of ours that a name on a command line sets: itself, or by its old name."""
    known = {**LEGACY_KEYS, **RENAMED_KEYS}
    return known[name].keys if name in known else (name,)


def begins_override(word: str) -> bool:
    """Tell whether a word of a command line is a key, or KEY=VALUE."""
    return is_key(word.partition("=")[0])


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
    pairs = override_pairs(overrides)
    sizes = {key: decoded(value) for key, value in pairs if key in PATCH_SIZES}
    check_patch_sizes(sizes, COMMAND_LINE)
    for key, value in pairs:  # in order: a later one wins, whichever of two names it has
        if key in LEGACY_KEYS:
            tree = convert_legacy({key: value}, COMMAND_LINE)
            yield from _leaves(tree, get_defaults(), COMMAND_LINE)
        else:
            yield key, value


def _set(cfg: CfgNode, key: str, value: Any, source: str) -> None:
    """Set one leaf, if it exists and the type fits that of its default."""
    if key not in KEYS:
        (nearest,) = nearest_keys(key, num=1)
        raise ValueError(f"{source}: unknown key {shown(key)}; the nearest valid key is {nearest}")
    _put(cfg, key, coerced(value, KEYS[key], key, source))


def _put(cfg: CfgNode, key: str, value: Any) -> None:
    *sections, name = key.split(".")
    node = cfg
    for section in sections:
        node = node[section]
    node[name] = value


def nearest_keys(key: str, num: int) -> list[str]:
    """Return the valid keys, released or ours, most like an unknown one or its last word."""
    key = key[:MAX_KEY]

    def likeness(known: str) -> float:
        pairs = ((key, known), (key.rpartition(".")[2], known.rpartition(".")[2]))
        return max(difflib.SequenceMatcher(None, a.upper(), b).ratio() for a, b in pairs)

    known_keys = [*KEYS]
    candidates = [*known_keys, *LEGACY_KEYS] if "." not in key else known_keys
    return sorted(candidates, key=likeness, reverse=True)[:num]


def all_leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf of a config."""
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from all_leaves(value, prefix=f"{prefix}{name}.")
        else:
            yield prefix + name, value


KEYS = dict(all_leaves(get_defaults()))
