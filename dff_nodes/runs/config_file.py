# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Reads a configuration file and its overrides, and says plainly what is wrong in it."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from dff_nodes.runs.config import Config, named_network
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.section import Section


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
        tree = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ConfigError(_missing_file(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path} cannot be read: {error}') from error
    except yaml.YAMLError as error:
        raise ConfigError(f'{path} is not valid YAML: {error}') from error
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
            f'--set takes key=value, for example training.epochs=5, got {override!r}'
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f'--set {override!r}: the value is not valid YAML: {error}') from error
    node: Any = tree
    steps = key.strip().split('.')
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        node = _descend(node, step, following, value, override)


def _descend(node: Any, step: str, following: str | None, value: Any, override: str) -> Any:
    """Go one step down in the tree, or set the value at the last step."""
    if isinstance(node, list):
        if not step.isdigit() or int(step) >= len(node):
            raise ConfigError(
                f'--set {override!r}: {step!r} is not the number of an entry, '
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
        raise ConfigError(f'--set {override!r}: {step!r} holds a single value, not settings')
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
        lines = [_explain(issue) for issue in error.errors()]
        raise ConfigError(f'{source}: ' + '\n'.join(lines)) from None


def _explain(issue: dict[str, Any]) -> str:
    """One line for one validation error: the field, what would be right, the value."""
    field = field_name(issue['loc'])
    if issue['type'] == 'extra_forbidden':
        return _explain_unknown(issue['loc'])
    if issue['type'] in ('union_tag_invalid', 'union_tag_not_found'):
        expected = issue['ctx'].get('expected_tags', '')
        key = issue['ctx']['discriminator'].strip("'")
        right = f'must have a {key} among {expected}' if expected else f'must have a {key}'
        return f'{field} {right}, got {issue["input"]!r}'
    if issue['type'] == 'value_error':
        message = str(issue['ctx']['error'])
        return f'{field}: {message}' if field else message
    message = issue['msg']
    message = message.removeprefix('Input should be ').removeprefix('a ')
    return f'{field} must be {message}, got {issue["input"]!r}'


def _explain_unknown(location: tuple[str | int, ...]) -> str:
    known = sorted(_section_at(location[:-1]).model_fields)
    key = str(location[-1])
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f'did you mean {near[0]!r}?' if near else f'known here: {", ".join(known)}'
    return f'{field_name(location)} is not a setting; {hint}'


def field_name(location: tuple[str | int, ...]) -> str:
    """Write a path as `network[2].units`, without pydantic's union tags."""
    text = ''
    for step, _, is_tag in _walk(location):
        if isinstance(step, int):
            text += f'[{step}]'
        elif not is_tag:
            text += f'.{step}' if text else str(step)
    return text


def _section_at(location: tuple[str | int, ...]) -> type[BaseModel]:
    """Find the section class at a path of the configuration."""
    section: type[BaseModel] = Config
    for _, sections, _ in _walk(location):
        section = sections[0] if sections else section
    return section


def _walk(
    location: tuple[str | int, ...],
) -> Iterator[tuple[str | int, list[type[BaseModel]], bool]]:
    """Give each step of a path, the section classes that may be there, and if it is a tag."""
    sections: list[type[BaseModel]] = [Config]
    for step in location:
        tagged = [each for each in sections if step == tag_of(each)]
        if len(sections) > 1 and tagged:
            sections = tagged
            yield step, sections, True
            continue
        if isinstance(step, str):
            sections = [
                child
                for each in sections
                if step in each.model_fields
                for child in sections_in(each.model_fields[step].annotation)
            ]
        yield step, sections, False


def tag_of(section: type[BaseModel]) -> str | None:
    """Give the word that chooses a section among those that may stand at a place."""
    for key in ('name', 'type'):
        if key in section.model_fields and section.model_fields[key].default is not None:
            return str(section.model_fields[key].default)
    return None


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """Section classes inside an annotation, through Optional, list, dict and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_in(part)]


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
