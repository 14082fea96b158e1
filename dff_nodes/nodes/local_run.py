# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Runs a task with all its nodes on this machine."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from dff_nodes.data.facts import read_facts
from dff_nodes.nodes.deployment import deployed_nodes
from dff_nodes.nodes.middleware import large_message_profile, this_machine_only
from dff_nodes.nodes.process import LAST_EVENTS
from dff_nodes.nodes.shared_memory import remove_left_overs
from dff_nodes.nodes.supervisor import Place, Restarts, Supervisor
from dff_nodes.runs.config import Config, worker_names
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import RunFolder, check_name
from dff_nodes.runs.segment import largest_message_bytes

PRELOAD = ('dff_nodes.schedules.task', 'dff_nodes.schedules.layer_worker')
"""what nodes import beside ROS 2, PyTorch above all"""

LAST_DOMAIN = 232
"""for which there are UDP ports; above 101 other programs may have them"""


class RunError(RuntimeError):
    """The nodes could not finish; the message says why."""


def local_run(
    task: str,
    folder: RunFolder,
    emit: Callable[[dict[str, Any]], None],
    overrides: list[str] | None = None,
    images: str = '',
    log_level: str = 'info',
    place: Place | None = None,
    environment: dict[str, str] | None = None,
    on_start: Callable[[Supervisor], None] | None = None,
) -> dict[str, Any]:
    """
    Start the nodes, pass on their events and give the last: the result, or the answers.

    :param place: changes how a node is started, see Supervisor.
    :param environment: of the nodes instead of that for nodes of one machine.
    :param on_start: called once the nodes were started.
    :raises ConfigError: if a node says that the request was wrong, or the run is in use.
    :raises RunError: if the run failed.
    """
    last: dict[str, Any] = {}

    def keep(event: dict[str, Any]) -> None:
        if event['event'] in LAST_EVENTS:
            last.update(event)
        emit(event)

    _require_ros()
    config = folder.config()
    common = {'runs': str(folder.path.parent), 'run_id': folder.identity().run_id}
    task_parameters = {
        'run': folder.name,
        'task': task,
        'set': json.dumps(overrides or []),
        'images': images,
    }
    supervisor = Supervisor(
        deployed_nodes(config, common, task_parameters),
        f'/{check_name(folder.name)}',
        folder.log,
        _environment(config) if environment is None else environment,
        keep,
        log_level,
        place,
        Restarts(config.restart.max_per_minute, config.restart.backoff_s),
        PRELOAD,
    )
    try:
        with folder.in_use(task):
            status = supervisor.run(on_start)
    finally:
        remove_left_overs()
    if status != 0 and task == 'train' and folder.result_file.exists():
        # Whatever died after that, the run has its result.
        emit({'event': 'result', 'result': folder.result(), 'folder': str(folder.path)})
        return folder.result()
    if status == 2:
        raise ConfigError(supervisor.failed['text'])
    if status != 0:
        text = supervisor.failed['text'] if supervisor.failed else f'exit status {status}'
        raise RunError(f'{text} (logs in {folder.log})')
    return last.get('result', last)


def _environment(config: Config) -> dict[str, str]:
    """Keep the nodes to this machine, with the shared memory and threads that they need."""
    largest = largest_message_bytes(resolve(config, read_facts(config.data)))
    nodes = 1 + len(worker_names(config))
    return {
        **this_machine_only(os.environ),
        **large_message_profile(os.environ, nodes, largest),
        'OMP_NUM_THREADS': str(config.compute.threads),
    }


def _require_ros() -> None:
    """Say what is missing or wrong before a node fails to start, and is started again."""
    domain = os.environ.get('ROS_DOMAIN_ID', '')
    if domain and not (domain.isascii() and domain.isdecimal() and int(domain) <= LAST_DOMAIN):
        raise ConfigError(
            'the environment variable ROS_DOMAIN_ID must be a number from 0 to 101, got '
            f'{domain!r}'
        )
    for package in ('rclpy', 'dff_msgs'):
        if importlib.util.find_spec(package) is None:
            raise RunError(
                f'the ROS 2 package {package} cannot be imported by {sys.executable}: start with '
                './dff, which sets ROS 2 up, or source your ROS 2 and this workspace first; '
                '`dff train --reference` trains without ROS'
            )
    _check_middleware()


def _check_middleware() -> None:
    """See that rclpy works with the middleware that the user chose."""
    chosen = os.environ.get('RMW_IMPLEMENTATION', '')
    if not chosen:
        return
    # rcl ends the process that loads it with another one.
    done = subprocess.run(
        [sys.executable, '-c', 'import rclpy; rclpy.get_rmw_implementation_identifier()'],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        encoding='utf-8',
        errors='replace',
    )
    if done.returncode:
        said = ' '.join(done.stderr.split()[-60:])
        raise ConfigError(
            f'the environment variable RMW_IMPLEMENTATION is {chosen!r}, which this ROS 2 does '
            f'not work with: unset it, or install that middleware ({said})'
        )
