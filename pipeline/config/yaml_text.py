"""Read and write YAML so that a value has one meaning: numbers as everybody writes them, and no key twice."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

NUMBER = re.compile(
    r"""^[-+]?(?: [0-9][0-9_]*\.[0-9_]* (?:[eE][-+]?[0-9]+)?
                | [0-9][0-9_]* [eE][-+]?[0-9]+
                | \.[0-9][0-9_]* (?:[eE][-+]?[0-9]+)?
                | \.(?:inf|Inf|INF) )$
        | ^\.(?:nan|NaN|NAN)$""",
    re.VERBOSE,
)
"""Numbers with a point or an exponent. YAML 1.1 takes 1e-2 and 1.0e3 as text, and 1.0e-2 as a number."""

LEADING_ZERO = re.compile(r"^[-+]?0[0-9_]+$")
"""Whole numbers with a leading zero, which YAML 1.1 reads in base 8 where it can."""

WITH_COLONS = re.compile(r"^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$")
"""Numbers such as 1:30, which YAML 1.1 reads in base 60."""

FLOAT_TAG = "tag:yaml.org,2002:float"
KEY_TAGS = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"

Place = tuple[str | int, ...]
"""The keys and list indices that lead to a value of a document."""


class _Loader(yaml.SafeLoader):
    """The loader of YAML 1.1, with the numbers of `NUMBER`."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != FLOAT_TAG]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(FLOAT_TAG, NUMBER, list("-+.0123456789"))


class _Dumper(yaml.SafeDumper):
    """The writer for `_Loader`: it quotes the texts that would be read as something else."""


_Dumper.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
for _pattern in (LEADING_ZERO, WITH_COLONS):
    _Dumper.add_implicit_resolver("tag:yaml.org,2002:int", _pattern, list("-+0123456789"))


def write(value: Any) -> str:
    """Return the YAML text that `parse` reads as `value`: keys in their order, short lists on one line."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )


def parse_tree(text: str) -> yaml.Node | None:
    """Return the parse tree of a YAML text, which knows the lines; None of an empty text.

    Raises:
        yaml.YAMLError: It is not YAML.
        RecursionError: Its brackets are too deep.
    """
    return yaml.compose(text, Loader=_Loader)


def parse(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        yaml.YAMLError: It is not YAML.
        ValueError: A number or a date is impossible.
        RecursionError: Its brackets are too deep.
    """
    return yaml.load(text, Loader=_Loader)


def ambiguities(root: yaml.Node) -> Iterator[tuple[Place, int, str]]:
    """Find what readers of YAML understand in different ways: 010, 1:30, and repeated or odd keys.

    Yields:
        The place, its line (from 1), and what is wrong there.
    """
    stack: list[tuple[yaml.Node, Place]] = [(root, ())]
    seen: set[int] = set()  # an alias is the node that it names
    while stack:
        node, place = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            problem = _ambiguity(node)
            if problem:
                yield place, node.start_mark.line + 1, problem
        elif isinstance(node, yaml.SequenceNode):
            stack += [(value, (*place, index)) for index, value in reversed(list(enumerate(node.value)))]
        elif isinstance(node, yaml.MappingNode):
            children: list[tuple[yaml.Node, Place]] = []
            first_lines: dict[str, int] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    children.append((value, place))
                    continue
                inside, line = (*place, str(key.value)), key.start_mark.line + 1
                children.append((value, inside))
                if key.tag not in KEY_TAGS:
                    yield inside, line, f"this key is not read as text; quote it: {key.value!r}"
                if key.value in first_lines:
                    first = first_lines[key.value]
                    yield inside, line, f"this key is repeated (first on line {first}); state it once"
                first_lines.setdefault(key.value, line)
            stack += reversed(children)


def _ambiguity(node: yaml.ScalarNode) -> str:
    """Return what is wrong with a value that stands without quotes; empty if nothing is."""
    text = str(node.value)
    if node.style is not None:
        return ""
    if LEADING_ZERO.match(text):
        number = text.replace("_", "").lstrip("-+").lstrip("0") or "0"
        return f"{text} has a leading zero, which some readers take for base 8; write {number}, or {text!r}"
    if WITH_COLONS.match(text):
        return f"{text} is a number in base 60 to some readers; write a plain number, or {text!r}"
    return ""
