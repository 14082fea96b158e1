# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Train a network, one ROS 2 node per layer, and print what it reached."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dff_nodes.cli.view import View, make_view, print_summary
from dff_nodes.data.facts import DataError, data_warnings, read_facts
from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import RunFolder, create_run, default_name, open_run
from dff_nodes.runs.unused_settings import unused_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        'config', nargs='?', help='configuration file; default: the handwritten digits'
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='override one setting, for example training.epochs=5 or network.1.units=300',
    )
    parser.add_argument('--name', help='name of the run; default: configuration and time')
    parser.add_argument('--runs', default='runs', help='folder of the run folders (runs)')
    parser.add_argument(
        '--resume',
        metavar='RUN',
        help='continue the run of this folder; settings that change no result may be new',
    )
    parser.add_argument(
        '--reference', action='store_true', help='train in this process, without ROS'
    )
    parser.add_argument(
        '--log-level', default='info', choices=['debug', 'info', 'warn', 'error'], help='of nodes'
    )


def run(arguments: argparse.Namespace) -> int:
    """Train."""
    began = time.monotonic()
    folder = run_folder(arguments)
    view = make_view(sys.stderr)
    try:
        with discarded_if_refused(folder, arguments):
            result = _train(folder, arguments, view, began)
    finally:
        view.close()
    print_summary(result, shown_path(folder.path))
    if arguments.json:
        print(json.dumps(result | {'run': str(folder.path)}))
    return 0


def _train(folder: RunFolder, arguments: argparse.Namespace, view: View, began: float) -> Any:
    if arguments.reference:
        from dff_nodes.schedules.run_reference import run_reference

        with folder.in_use('train --reference'):
            return run_reference('train', folder, [], view.handle, began)
    from dff_nodes.nodes.local_run import local_run

    return local_run('train', folder, view.handle, log_level=arguments.log_level)


@contextmanager
def discarded_if_refused(folder: RunFolder, arguments: argparse.Namespace) -> Iterator[None]:
    """Remove a new run's folder where its request is refused: the name is free again."""
    try:
        yield
    except (ConfigError, DataError):
        if not arguments.resume:
            folder.discard()
        raise


def run_folder(arguments: argparse.Namespace) -> RunFolder:
    """Make the run folder of a new run, or open that of one to continue."""
    if arguments.resume:
        return _resumed(arguments)
    config = _with_whole_path(load_config(arguments.config, arguments.set))
    resolved = resolve(config, read_facts(config.data))
    for each in unused_settings(resolved) + data_warnings(resolved.config.data):
        print(f'warning: {each}', file=sys.stderr)
    name = arguments.name or default_name(arguments.config)
    return create_run(Path(arguments.runs).resolve(), name, resolved)


def _with_whole_path(config: Config) -> Config:
    """Name an .npz from the root on, so that the run can be continued from any folder."""
    dataset = config.data.dataset
    if not dataset.endswith('.npz'):
        return config
    data = config.data.model_copy(update={'dataset': str(Path(dataset).resolve())})
    return config.model_copy(update={'data': data})


def _resumed(arguments: argparse.Namespace) -> RunFolder:
    if arguments.name:
        raise ConfigError(f'--resume continues the run {arguments.resume}: leave out --name')
    folder = open_run(arguments.resume)
    if folder.result_file.exists():
        raise ConfigError(
            f'run {folder.path} has finished: look at it with dff report {arguments.resume}'
        )
    if arguments.config or arguments.set:
        config = load_config(arguments.config or folder.config_file, arguments.set)
        folder.change_config(_with_whole_path(config), arguments.config or '--set')
    return folder


def shown_path(path: Path) -> str:
    """Give a path as short as it can be typed here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
