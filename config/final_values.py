"""The final values of a config as yml that loads again, each with where it was set."""

import math
from collections.abc import Mapping
from typing import Any

import yaml
from yacs.config import CfgNode

from config.defaults import get_defaults

DEFAULT = "default"


def final_values(cfg: CfgNode, sources: Mapping[str, str], title: str) -> str:
    """Return the yml text of a config with a comment behind each value.

    Args:
        cfg: Config with its sizes and paths filled in.
        sources: Place where each key was set, as far as it was.
        title: Text of the first line.
    """
    lines = [f"# {_on_one_line(title)}", *_lines(cfg, get_defaults(), sources)]
    return "\n".join(lines) + "\n"


def _lines(
    cfg: CfgNode, defaults: CfgNode, sources: Mapping[str, str], prefix: str = ""
) -> list[str]:
    indent, lines = "  " * prefix.count("."), list[str]()
    for name, default in defaults.items():
        key, value = f"{prefix}{name}", cfg[name]
        if isinstance(value, CfgNode):
            lines += [f"{indent}{name}:", *_lines(value, default, sources, prefix=f"{key}.")]
        else:
            source = sources.get(key) or _filled_in(key, value != default)
            lines.append(f"{indent}{_as_yaml(name, value)}  # {_on_one_line(source)}")
    return lines


def _filled_in(key: str, is_other: bool) -> str:
    """Return in words where a value comes from that nothing has set."""
    if not is_other:
        return DEFAULT
    return "MODEL.BACKBONE" if key.startswith("MODEL.VIT.") else "the name of the experiment"


def _as_yaml(name: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{name}: {yaml.safe_dump(value, default_flow_style=True, width=math.inf).rstrip()}"
    return yaml.safe_dump({name: value}, width=math.inf).rstrip()


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)
