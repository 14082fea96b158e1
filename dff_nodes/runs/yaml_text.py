# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Reads YAML of settings, and refuses what YAML would take silently as something else."""

from __future__ import annotations

import re
from typing import Any

import yaml

from dff_nodes.runs.errors import ConfigError, shown


def load_yaml(text: str, source: str) -> Any:
    """
    Read one YAML document.

    :param source: the file or option that the text is of, for messages.
    :raises ConfigError: naming the source, and the line where there is one.
    """
    try:
        loader = _Loader(text)
        loader.source = source
        return loader.get_single_data()
    except yaml.YAMLError as error:
        raise ConfigError(f'{source} is not valid YAML: {_one_line(error)}') from error


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, 'problem_mark', None)
    if mark is None:
        return ' '.join(str(error).split())
    what = ', '.join(filter(None, (error.context, error.problem)))
    return f'line {mark.line + 1}, column {mark.column + 1}: {what}'


MOST_DEPTH = 50
MOST_VALUES = 100_000
"""of a document whose anchors are written out; a layer with all its settings has about 50"""
_DATE = 'tag:yaml.org,2002:timestamp'
_PLAIN_NUMBERS = {
    'tag:yaml.org,2002:int': re.compile(
        r'[-+]?(?:0|[1-9][0-9_]*|0b[01][01_]*|0x[0-9a-fA-F][0-9a-fA-F_]*)$'
    ),
    'tag:yaml.org,2002:float': re.compile(
        r'[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?$|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?$'
        r'|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$'
    ),
}
"""YAML 1.1's patterns without base 60 and base 8"""


class _Loader(yaml.SafeLoader):
    """
    Plain data, as yaml.safe_load gives it, but a key stands once in a mapping.

    What reads otherwise than it is written is text: dates, 1:30 (90 to YAML 1.1), 010 (8). Bounds
    on depth and on values keep whoever walks the result from running out of stack or time.
    """

    source = ''
    yaml_implicit_resolvers = {
        first: [
            (tag, _PLAIN_NUMBERS.get(tag, pattern)) for tag, pattern in resolvers if tag != _DATE
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002
        try:
            return super().construct_object(node, deep)
        except ConfigError:
            raise
        except (ValueError, LookupError, AttributeError) as error:
            # What yaml's own constructors raise: !!int five, !!bool maybe, !!timestamp now.
            kind = node.tag.rpartition(':')[2]
            raise self._refused(
                node.start_mark, f'{shown(node.value)} cannot be read as {kind}'
            ) from error

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = 0
        self.values_of: dict[str, int] = {}
        """by anchor, once it is complete"""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        before = self.values
        self.values += self._values_at(event)
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise self._refused(event.start_mark, f'more than {MOST_DEPTH} levels of settings')
        if self.values > MOST_VALUES:
            raise self._refused(
                event.start_mark, f'more than {MOST_VALUES} values, anchors written out'
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        if event.anchor is not None and not isinstance(event, yaml.AliasEvent):
            self.values_of[event.anchor] = self.values - before
        return node

    def _values_at(self, event: yaml.NodeEvent) -> int:
        """Count the value that begins here, or all those of the anchor that is repeated here."""
        if not isinstance(event, yaml.AliasEvent) or event.anchor not in self.anchors:
            return 1
        if event.anchor not in self.values_of:
            raise self._refused(event.start_mark, f'*{event.anchor} stands inside &{event.anchor}')
        return self.values_of[event.anchor]

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        # Here and not where mappings are built: by then << has put the merged keys among the
        # mapping's own, and a key may override a merged one.
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            word, line = (key.tag, key.value), key.start_mark.line + 1
            if word in first:
                raise self._refused(
                    key.start_mark, f'{key.value} is there twice (first on line {first[word]})'
                )
            first[word] = line
        return node

    def _refused(self, mark: yaml.Mark, problem: str) -> ConfigError:
        return ConfigError(f'{self.source}, line {mark.line + 1}: {problem}')
