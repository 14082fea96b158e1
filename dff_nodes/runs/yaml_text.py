# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Reads YAML of settings, and refuses what YAML would take silently as something else."""

from __future__ import annotations

from typing import Any

import yaml

from dff_nodes.runs.errors import ConfigError


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
        raise ConfigError(f'{source} is not valid YAML: {error}') from error


class _Loader(yaml.SafeLoader):
    """Plain data, as yaml.safe_load gives it, but a key stands once in a mapping."""

    source = ''

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
