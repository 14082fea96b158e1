# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What came of a run, printed after it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from dff_nodes.cli.tables import facts, table, title
from dff_nodes.runs import units

Result = dict[str, Any]


def show_summary(result: Result, folder: str | None, console: Console) -> None:
    """
    Print the accuracy, time, memory and traffic of a run, and what to do next.

    :param result: as result.json has it; whatever it lacks is a dash or left out.
    :param folder: of the run, None if it has none.
    """
    title(console, 'Result')
    console.print(facts(console, _facts(result)))
    workers = _workers(result)
    layers = _layers(result, plain=workers is not None)
    for name, found in (('Layers', layers), ('Workers', workers)):
        if found:
            title(console, name)
            console.print(table(console, *found))
    for name, count in _troubles(result):
        console.print(Text(f' {name}: {count}', style='yellow'))
    if folder:
        title(console, 'Run folder')
        for line in (folder, f'dff report {folder}', f'dff evaluate {folder}'):
            console.print(Text(f' {line}'), soft_wrap=True)


def _facts(result: Result) -> dict[str, str]:
    # Results of older versions do not say.
    tested = f'{result.get("tested_on", "test")} accuracy'
    named = {tested: units.percent(result.get('test_accuracy'), 2)}
    if result.get('train_accuracy') is not None:
        named['train accuracy'] = units.percent(result['train_accuracy'], 2)
    named['time'] = (
        f'{units.duration(result.get("seconds"))} '
        f'(and {units.duration(result.get("setup_seconds"))} to set up)'
    )
    named['speed'] = f'{units.number(result.get("samples_per_second"))} samples/s'
    memory = (result.get('peak_rss_mb') or {}).get('coordinator')
    if memory is not None and not is_one_process(result):
        named['coordinator'] = f'{units.megabytes(memory)} of memory at its peak'
    return named


def is_one_process(result: Result) -> bool:
    """Whether all layers ran in one process (`--reference`): nothing crossed a network."""
    return bool(result) and not any((result.get('wire_bytes') or {}).values())


Table = tuple[list[str], list[list[str]]]


def _workers(result: Result) -> Table | None:
    """Give headings and rows of a schedule with chapters, a row for each worker."""
    if 'computing_seconds' not in result or is_one_process(result):
        return None
    columns = ['worker', 'peak memory >', 'over PyTorch >', 'received >', 'trained >', 'waited >']
    own = result.get('shard_accuracy') or {}
    rows = [
        [
            name,
            units.megabytes(_of(result, 'peak_rss_mb', name)),
            units.megabytes(memory_above_base(result, name)),
            units.size(_of(result, 'wire_bytes', name)),
            units.duration(seconds),
            units.duration(_of(result, 'waiting_seconds', name)),
            *([units.percent(own.get(name), 2)] if own else []),
        ]
        for name, seconds in result['computing_seconds'].items()
    ]
    return [*columns, *(['own data >'] if own else [])], rows


def _layers(result: Result, plain: bool) -> Table | None:
    """
    Give headings and rows, a row for each layer.

    :param plain: whether layers have accuracies only, as other nodes trained them.
    """
    names = list(result.get('weights_sha256') or result.get('wire_bytes') or {})
    accuracy = dict(zip(names, result.get('layer_accuracy') or [], strict=False))
    if not names:
        return None
    columns = ['layer', 'accuracy >']
    if plain or is_one_process(result):
        return columns, [[name, units.percent(accuracy.get(name), 2)] for name in names]
    columns += ['peak memory >', 'over PyTorch >', 'received >', 'scores sent >']
    return columns, [
        [
            name,
            units.percent(accuracy.get(name), 2),
            units.megabytes(_of(result, 'peak_rss_mb', name)),
            units.megabytes(memory_above_base(result, name)),
            units.size(_of(result, 'wire_bytes', name)),
            units.size(_of(result, 'goodness_bytes', name)),
        ]
        for name in names
    ]


def _of(result: Result, key: str, name: str) -> Any:
    return (result.get(key) or {}).get(name)


def memory_above_base(result: Result, name: str) -> float | None:
    """Give the memory that a process took beyond PyTorch itself, MB."""
    peak, base = _of(result, 'peak_rss_mb', name), _of(result, 'base_rss_mb', name)
    return None if peak is None or base is None else max(0.0, peak - base)


def _troubles(result: Result) -> list[tuple[str, str]]:
    """Name what went wrong on the way and was put right: only what is not zero."""
    words = {
        'restarts': 'restarted',
        'resent_items': 'items sent again',
        'rejected_messages': 'messages refused',
    }
    found = []
    for key, word in words.items():
        counts = {name: count for name, count in (result.get(key) or {}).items() if count}
        if counts:
            found.append((word, ', '.join(f'{name} {count}' for name, count in counts.items())))
    return found
