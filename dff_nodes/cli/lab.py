# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Run a configuration's nodes on emulated devices with limited links, cores and memory."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dff_nodes.cli import train
from dff_nodes.cli.lab_summary import print_lab
from dff_nodes.cli.view import make_view, print_summary
from dff_nodes.lab.chaos_plan import ChaosPlan
from dff_nodes.lab.devices import devices_of, single_device
from dff_nodes.lab.lab import Lab, clean
from dff_nodes.lab.network import LinkLimits
from dff_nodes.lab.options import lab_overrides
from dff_nodes.lab.reference import run_reference_on
from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import apply_override, check_config, load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.run_folder import open_run
from dff_nodes.runs.signals import ending_in_order

OPTIONS = {
    'devices': ('N', 'spread the layers over so many devices; default one for each layer'),
    'cpu': ('CORES', 'cores of a device, for example 0.4'),
    'memory': ('SIZE', 'memory of a device, for example 600M'),
    'link': ('RATE', "rate of a device's link each way, for example 100mbit"),
    'loss': ('SHARE', 'frames that are lost on the way to a device, for example 1%%'),
}
"""short for the settings of the configuration's lab section"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments: those of train, and its own."""
    train.add_arguments(parser)
    for name, (value, text) in OPTIONS.items():
        parser.add_argument(f'--{name}', metavar=value, help=text)
    parser.add_argument(
        '--chaos',
        metavar='PLAN',
        help="inject seeded faults, for example 'every=3s seed=1 faults=kill,stop,link'",
    )
    parser.add_argument(
        '--clean', action='store_true', help='remove what labs that were killed left, and end'
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the lab, or remove what others left."""
    with ending_in_order():
        if arguments.clean:
            return _clean(arguments)
        overrides = lab_overrides(**{name: getattr(arguments, name) for name in OPTIONS})
        chaos = ChaosPlan.parse(arguments.chaos) if arguments.chaos else None
        if arguments.reference and chaos is not None:
            raise ConfigError('--chaos is for nodes, --reference has none: leave one of both out')
        if arguments.reference:
            return _reference(arguments, overrides)
        return _train(arguments, overrides, chaos)


def _clean(arguments: argparse.Namespace) -> int:
    removed = clean()
    print(f'removed: {", ".join(removed) or "nothing was left"}', file=sys.stderr)
    if arguments.json:
        print(json.dumps({'removed': removed}))
    return 0


def _train(arguments: argparse.Namespace, overrides: list[str], chaos: ChaosPlan | None) -> int:
    from dff_nodes.lab.lab_run import lab_run  # deferred: --reference and --clean need no ROS

    config = _config(arguments, overrides)
    # The lab comes first: without root there is no run folder that nothing ran in.
    with Lab(devices_of(config), _link(config)) as lab:
        folder = train.run_folder(arguments)
        with _shown(lab) as emit, train.discarded_if_refused(folder, arguments):
            result = lab_run(lab, folder, emit, chaos, arguments.log_level)
    print_summary(result, train.shown_path(folder.path))
    if arguments.json:
        print(json.dumps(result | {'run': str(folder.path)}))
    return 0


def _reference(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Train on one device as a cluster has them, without ROS."""
    config = _config(arguments, overrides)
    words = _words_for_train(arguments)
    with Lab([single_device(config)], _link(config)) as lab:
        try:
            done = run_reference_on(lab, 'pi0', words)
            report = lab.report()
        finally:
            print_lab(lab.report(), sys.stderr)
    if arguments.json and done.output.strip():
        print(json.dumps(json.loads(done.output.splitlines()[-1]) | {'lab': report}))
    return done.status


@contextmanager
def _shown(lab: Lab) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a run's events while it goes on, and behind it what its devices used."""
    view = make_view(sys.stderr)
    try:
        yield view.handle
    finally:
        view.close()
        print_lab(lab.report(), sys.stderr)


def _config(arguments: argparse.Namespace, overrides: list[str]) -> Config:
    """Give the configuration to run; a run that is resumed keeps all of its own but the lab."""
    if not arguments.resume:
        arguments.set = [*arguments.set, *overrides]
        return load_config(arguments.config, arguments.set)
    tree = open_run(arguments.resume).config().model_dump()
    for override in overrides:
        apply_override(tree, override)
    return check_config(tree, arguments.resume)


def _link(config: Config) -> LinkLimits:
    return LinkLimits(config.lab.link_mbit, config.lab.loss_percent / 100)


def _words_for_train(arguments: argparse.Namespace) -> list[str]:
    """Write what `dff train` needs to know of our arguments."""
    words = [arguments.config] if arguments.config else []
    for override in arguments.set:
        words += ['--set', override]
    for name in ('name', 'runs', 'resume'):
        if getattr(arguments, name):
            words += [f'--{name}', getattr(arguments, name)]
    return words
