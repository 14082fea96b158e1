# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The dff command line."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import traceback

import dff_nodes
from dff_nodes.runs.errors import ConfigError

VERBS = {
    'train': 'train a network, one ROS 2 node per layer, and print what it reached',
    'lab': 'train on emulated devices of this machine, with limited links, cores and memory',
    'evaluate': 'measure the accuracy of a trained run on the test set',
    'calibrate': 'choose how sure a layer must be to answer by itself (early exit)',
    'classify': 'find the class of images with a trained run',
    'check': 'check a configuration and print the run that it describes',
    'plan': 'predict time, memory and bytes of each schedule on devices of your choice',
    'compare': 'print finished runs side by side',
    'report': 'write one HTML page with the plots of a run',
    'doctor': 'print what this machine has, and what is wrong with it',
    'run-node': 'run a single node of a configuration on this device',
    'test': 'run all tests; more arguments go to pytest',
}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; give the exit status: 0 done, 1 failed, 2 the request was wrong."""
    words = sys.argv[1:] if arguments is None else arguments
    verb = next((word for word in words if word in VERBS), None)
    wanted = argparse.Namespace(verb=verb, json='--json' in words)
    try:
        return _main(words, wanted)
    except KeyboardInterrupt:
        # Also while the verb is imported, which takes most of a short command's time.
        return _fail('stopped', 1, wanted)


def _main(words: list[str], wanted: argparse.Namespace) -> int:
    try:
        parser = _parser(wanted.verb)
    except ConfigError as error:
        # Rules of other packages are part of the settings, which most verbs import.
        return _fail(str(error), 2, wanted)
    parsed, parsed.more = parser.parse_known_args(words)
    if parsed.verb is None and not parsed.more:
        parser.print_help(sys.stderr)
        return 2
    if parsed.more and not (parsed.verb and getattr(_module(parsed.verb), 'TAKES_MORE', False)):
        parser.error(f'unrecognized arguments: {" ".join(parsed.more)}')
    return _run(_module(parsed.verb), parsed)


def _module(verb: str):  # noqa: ANN202 - a module
    name = verb.replace('-', '_')
    return importlib.import_module(f'dff_nodes.cli.{name}')


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """Make the parser; only the chosen verb is imported, so that the command starts fast."""
    parser = argparse.ArgumentParser(
        prog='dff', description='Forward-Forward networks trained layer by layer over ROS 2.'
    )
    parser.add_argument('--version', action='version', version=dff_nodes.__version__)
    verbs = parser.add_subparsers(dest='verb', metavar='VERB')
    for verb, text in VERBS.items():
        child = verbs.add_parser(verb, help=text, description=text)
        child.add_argument(
            '--json',
            action='store_true',
            help='print one JSON object as the last line of standard output, all else on '
            'standard error',
        )
        child.add_argument('--debug', action='store_true', help='show the traceback of an error')
        if verb == chosen:
            _module(verb).add_arguments(child)
    return parser


def _run(module, arguments: argparse.Namespace) -> int:  # noqa: ANN001
    """Run a verb and turn its errors into one paragraph."""
    try:
        return module.run(arguments)
    except BrokenPipeError:
        # The reader of our output has gone, as with `dff check | head`.
        return 1
    except Exception as error:  # noqa: BLE001 - the command's boundary
        if arguments.debug:
            traceback.print_exc()
        return _fail(_message(error), _status(error), arguments)


def _message(error: Exception) -> str:
    if isinstance(error, (ValueError, RuntimeError)):
        return str(error)
    return f'{type(error).__name__}: {error}'


def _status(error: Exception) -> int:
    """Requests that are wrong are ConfigError and DataError, which are ValueErrors."""
    from dff_nodes.data.facts import DataError

    return 2 if isinstance(error, (ConfigError, DataError)) else 1


def _fail(text: str, status: int, arguments: argparse.Namespace) -> int:
    print(f'dff {arguments.verb}: {text}' if arguments.verb else f'dff: {text}', file=sys.stderr)
    if arguments.json:
        print(json.dumps({'error': text, 'status': status}))
    return status


if __name__ == '__main__':
    sys.exit(main())
