# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Reads a configuration file and its overrides, and says plainly what is wrong in it."""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from dff_nodes.runs.config import Config, named_network
from dff_nodes.runs.errors import ConfigError, shown
from dff_nodes.runs.validation_messages import message
from dff_nodes.runs.yaml_text import load_yaml

MOST_MISTAKES = 20
"""that are told at once"""


def load_config(path: str | Path | None, overrides: list[str] | None = None) -> Config:
    """
    Read, override and check a configuration.

    :param path: YAML file; None for the defaults (digits).
    :param overrides: `key.path=value` strings; the value is read as YAML.
    :raises ConfigError: naming the field, its value and what would be right.
    """
    tree = {} if path is None else read_yaml(Path(path))
    for override in overrides or []:
        apply_override(tree, override)
    return check_config(tree, str(path) if path else 'the command line')


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping from a file."""
    try:
        text = path.read_text(encoding='utf-8')
    except FileNotFoundError:
        raise ConfigError(_missing_file(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path} cannot be read: {error}') from error
    tree = load_yaml(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f'{path} must hold a mapping of settings, got {type(tree).__name__}')
    return tree


def _missing_file(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path('config')
    files = sorted(str(file) for file in folder.glob('*.yaml'))
    near = difflib.get_close_matches(str(path), files, n=1)
    hint = f', did you mean {near[0]}?' if near else f'; there are: {", ".join(files) or "none"}'
    return f'there is no configuration file {path}{hint}'


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one value in a tree of settings, as `network.1.units=500`."""
    key, equals, text = override.partition('=')
    if not equals or not key.strip():
        raise ConfigError(
            f'--set takes key=value, for example training.epochs=5, got {shown(override)}'
        )
    value = load_yaml(text, f'--set {shown(override)}')
    node: Any = tree
    steps = key.strip().split('.')
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        node = _descend(node, step, following, value, override)


def _descend(node: Any, step: str, following: str | None, value: Any, override: str) -> Any:
    """Go one step down in the tree, or set the value at the last step."""
    if isinstance(node, list):
        # Not isdigit: it takes ², of which int makes no number.
        if not re.fullmatch('[0-9]{1,9}', step) or int(step) >= len(node):
            raise ConfigError(
                f'--set {shown(override)}: {step!r} is not the number of an entry, '
                f'there are {len(node)} (0 to {len(node) - 1})'
            )
        step = int(step)
    if following is None:
        node[step] = value
        return None
    child = node[step] if isinstance(node, list) else node.get(step)
    if isinstance(child, str) and step in ('rule', 'optimizer'):
        child = {'name': child}
    if child == 'graph' and step == 'network':
        child = named_network(child)
    if not isinstance(child, (dict, list)):
        child = _default_of(step, override) if child is None else None
    if child is None:
        raise ConfigError(f'--set {shown(override)}: {step!r} holds a single value, not settings')
    # An anchor's settings are one object wherever they are repeated; only this place changes.
    child = copy.copy(child)
    node[step] = child
    return child


def _default_of(step: str, override: str) -> Any:
    """What stands at a key that the file does not mention: only lists need their default."""
    if step == 'network':
        return [layer.model_dump() for layer in Config().network]
    return {}


def check_config(tree: dict[str, Any], source: str) -> Config:
    """Turn a tree of settings into a Config, or say which field is wrong and why."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        issues = error.errors(include_url=False)
        lines = [message(issue) for issue in issues[:MOST_MISTAKES]]
        if len(issues) > MOST_MISTAKES:
            lines.append(f'and {len(issues) - MOST_MISTAKES} more')
        raise ConfigError(f'{source}: ' + '\n'.join(lines)) from None


def result_settings(config: Config) -> dict[str, Any]:
    """All settings that can change what a run learns, flat: `training.epochs` to its value."""
    flat: dict[str, Any] = {}
    _flatten(config, '', flat)
    return flat


def _flatten(value: Any, prefix: str, flat: dict[str, Any]) -> None:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            extra = field.json_schema_extra
            if not (isinstance(extra, dict) and extra.get('affects_result') is False):
                _flatten(getattr(value, name), f'{prefix}.{name}' if prefix else name, flat)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            _flatten(entry, f'{prefix}[{index}]', flat)
    else:
        flat[prefix] = value


def config_hash(config: Config) -> str:
    """Digest of all settings that can change what a run learns."""
    text = json.dumps(result_settings(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(ours: Config, theirs: Config) -> list[str]:
    """Settings that can change the result and differ, as `key: ours here, theirs there`."""
    left, right = result_settings(ours), result_settings(theirs)
    keys = [key for key in {**left, **right} if left.get(key) != right.get(key)]
    return [f'{key}: {left.get(key)!r} here, {right.get(key)!r} there' for key in keys]


def to_yaml(config: Config) -> str:
    """Write the whole configuration, defaults included."""
    return yaml.safe_dump(config.model_dump(mode='json'), sort_keys=False)
