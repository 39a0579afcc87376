"""A yml text as a tree of mappings, lists and texts: bounded, each key once, no other objects."""

from typing import Any

import yaml

MAX_CHARACTERS = 100_000  # the longest recipe has 3,000
MAX_DEPTH = 20
MAX_NODES = 10_000  # what an alias stands for counts as often as the alias stands there

_YAML = "tag:yaml.org,2002:"
_TAGS = tuple(_YAML + name for name in ("str", "null", "map", "seq", "merge"))
_READ_BY_KEY = tuple(_YAML + name for name in ("int", "float", "bool"))


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with limits; all scalars but null stay the texts that the file has.

    YAML 1.1 makes 12:30 a number, 010 an eight and 2001-02-03 a date: what a text stands for is
    left to the key that takes it.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML declares it
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.num_nodes: dict[int, int] = {}  # by identity: of a node and all below

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.depth > MAX_DEPTH:
            raise _fault(f"it is nested more than {MAX_DEPTH} levels deep", mark)
        is_alias = self.check_event(yaml.AliasEvent)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if is_alias and id(node) not in self.num_nodes:
            raise _fault("an alias stands inside of what it stands for", mark)
        if not is_alias:
            self._check(node, mark)
            self.num_nodes[id(node)] = 1 + sum(self.num_nodes[id(n)] for n in _children(node))
        if self.num_nodes[id(node)] > MAX_NODES:
            raise _fault(f"it holds more than {MAX_NODES} entries, aliases written out", mark)
        return node

    def _check(self, node: Any, mark: Any) -> None:
        if node.tag in _READ_BY_KEY and isinstance(node, yaml.ScalarNode):
            node.tag = f"{_YAML}str"
        if node.tag not in _TAGS:
            raise _fault(f"the tag {node.tag[:80]!r}; values are texts, numbers and lists", mark)
        if not isinstance(node, yaml.MappingNode):
            return
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault("a key that is no word", key.start_mark)
            line = key.start_mark.line + 1
            if key.value in lines:
                raise _fault(
                    f"{key.value[:80]!r} stands in line {lines[key.value]} already; write its "
                    "parts under one",
                    key.start_mark,
                )
            lines[key.value] = line
            if key.tag != f"{_YAML}merge":
                key.tag = f"{_YAML}str"


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Return the tree of a yml text.

    Args:
        text: Text in YAML.
        source: Name of the text, for the messages.

    Returns:
        Mappings of texts to mappings, lists, texts and None; {} for an empty text.

    Raises:
        ValueError: The text is no YAML or no mapping, holds a key twice in one place, other objects
            than these, or more than a config can.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"{source} has {len(text)} characters; a config has at most {MAX_CHARACTERS}"
        )
    try:
        tree = _load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = " ".join(str(error.problem or error.context).split())
        raise ValueError(f"{source} is not YAML: {place}{problem[:300]}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(
            f"{source} is not YAML: line {line}: the character {error.character:#06x}: "
            f"{error.reason}"
        ) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ValueError(f"{source} holds a {type(tree).__name__}; a config is KEY: value lines")
    return tree


def _load(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _fault(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
