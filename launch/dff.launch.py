# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Starts the nodes of one device: `ros2 launch dff_nodes dff.launch.py config:=FILE host:=NAME`.

The same command with another host starts the rest of the cluster. The launch ends when its nodes
have ended: with exit status 0 after a run, with 1 if a node failed. A node that another one has
replaced (exit status 3) has not failed.
"""

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, TimerAction
from launch_ros.actions import Node

DIGITS = Path(__file__).parent.parent / 'config' / 'digits.yaml'
REQUEST_WAS_WRONG = 2
REPLACED = 3
REQUEST = ('config', 'host', 'run', 'runs', 'namespace', 'log_level')


def generate_launch_description():
    """Declare the arguments; what to start is known once they have values."""
    levels = ['debug', 'info', 'warn', 'error']
    arguments = [
        argument('config', DIGITS, 'configuration file, the same on every device'),
        argument(
            'host',
            '',
            "device of the file's placement whose nodes are started; empty: the one with this "
            "machine's name, or all nodes if the file has no placement",
        ),
        argument(
            'run',
            '',
            'name of the run, the same on every device; empty: that of the configuration file. '
            'An unfinished run of this name is continued',
        ),
        argument('runs', 'runs', 'folder of the run folders'),
        argument('namespace', '', 'of the nodes; empty: the name of the run'),
        argument(
            'respawn',
            'false',
            'start a node again that died or failed, but not one that has finished (exit status '
            '0), whose request was wrong (2), or that another one has replaced (3)',
            choices=['true', 'false'],
        ),
        argument('respawn_delay_s', '5.0', 'time before a node is started again, s'),
        argument('log_level', 'info', 'of the nodes', choices=levels),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start_nodes)])


def argument(name, default, description, **more):
    """Declare one launch argument."""
    return DeclareLaunchArgument(name, default_value=str(default), description=description, **more)


def start_nodes(context):
    """Give the actions that start this device's nodes."""
    # Taken now: where this file is included, its arguments are gone when a node ends.
    arguments = dict(context.launch_configurations)
    delay_s = respawn_delay_s(arguments)
    deployment = read_deployment({key: arguments[key] for key in REQUEST})
    return [start(node, deployment['environment'], delay_s) for node in deployment['nodes']]


def respawn_delay_s(arguments):
    """Give the time before a failed node is started again, None for never."""
    try:
        delay_s = float(arguments['respawn_delay_s'])
    except ValueError:
        text = arguments['respawn_delay_s']
        raise RuntimeError(f'respawn_delay_s must be a number, got {text!r}') from None
    return delay_s if arguments['respawn'] == 'true' else None


def read_deployment(request):
    """
    Ask dff_nodes what to start; raises RuntimeError with its answer if the request was wrong.

    In the Python that the nodes start with: `ros2 launch` itself often runs in the system's,
    where the packages of a virtual environment are not found.
    """
    done = subprocess.run(
        ['python3', '-m', 'dff_nodes.nodes.deployment', json.dumps(request)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # launch reports an exception in one line, shuts down and ends with exit status 1.
    if done.returncode == REQUEST_WAS_WRONG:
        raise RuntimeError(done.stderr.strip())
    if done.returncode != 0:
        reason = (done.stderr.strip() or f'exit status {done.returncode}').splitlines()[-1]
        raise RuntimeError(
            f'{shutil.which("python3")} cannot run dff_nodes: {reason}; source the environment '
            'that has its Python packages (`dff doctor` tells what is missing)'
        )
    return json.loads(done.stdout)


def start(node, environment, delay_s):
    """Give the action that starts a node."""
    program, *arguments = node['command']
    return Node(
        # Not `package`, so that this file works from a source tree too; and not `parameters`, in
        # which launch_ros takes a run named `on` for a boolean.
        executable=program,
        arguments=arguments,
        exec_name=node['name'],
        additional_env=environment,
        output='screen',
        on_exit=partial(
            on_exit, again=partial(start, node, environment, delay_s), node=node, delay_s=delay_s
        ),
    )


def on_exit(event, context, again, node, delay_s):
    """
    Start a node again that failed, or end the launch.

    launch's own `respawn` starts a node again whatever its exit status: every layer that has
    finished the run, for ever.
    """
    status = event.returncode
    if context.is_shutdown or status == 0:
        return None
    how = f'was ended by signal {-status}' if status < 0 else f'ended with exit status {status}'
    ended = f'{node["name"]} {how}'
    if status == REPLACED:
        return [LogInfo(msg=f'{ended}: another node has its place now')]
    if delay_s is None or status == REQUEST_WAS_WRONG:
        raise RuntimeError(f'{ended}, so the nodes of this device are stopped')
    text = f'{ended}, it is started again in {delay_s:g} s'
    # An action of launch runs once only, so the node is a new one.
    return [LogInfo(msg=text), TimerAction(period=delay_s, actions=[again()])]
