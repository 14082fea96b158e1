# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The folder of one run: configuration, journal, metrics, checkpoints/, log/, result."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dff_nodes.runs.atomic import write_atomically
from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import check_config, differences, load_config, to_yaml
from dff_nodes.runs.errors import ConfigError, shown
from dff_nodes.runs.journal import read_journal
from dff_nodes.runs.resolve import ResolvedRun

NAME_CHARACTERS = 100
NAME = re.compile(rf'[A-Za-z][A-Za-z0-9_]{{0,{NAME_CHARACTERS - 1}}}')


@dataclass(frozen=True)
class RunIdentity:
    """What tells this run from every other."""

    name: str
    run_id: str
    """32 hexadecimal digits"""
    config_hash: str
    config: dict[str, Any] = field(default_factory=dict)
    """all settings that the run began with"""


class RunFolder:
    """
    Files of one run.

    The name of the folder is the run's name and its ROS namespace, so it is made of letters,
    digits and underscores.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / 'config.yaml'
        self.identity_file = path / 'run.json'
        self.metrics_file = path / 'metrics.csv'
        self.checkpoints = path / 'checkpoints'
        self.log = path / 'log'
        self.journal_file = path / 'journal'
        self.result_file = path / 'result.json'
        self.early_exit_file = path / 'early_exit.json'
        self.lock_file = path / '.lock'

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.name

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json whole."""
        write_atomically(self.result_file, (json.dumps(result, indent=2) + '\n').encode())

    def result(self) -> dict[str, Any]:
        """Read result.json; raises ConfigError if the run did not finish."""
        return _read_json(self.result_file, f'run {self.name} has not finished')

    def check_not_over(self) -> None:
        """
        See that there is something left to do.

        :raises ConfigError: if the run has its result, and its coordinator has told the nodes.
        """
        # Of a run in one process the journal says nothing: there was nobody to tell.
        told = True
        for record in read_journal(self.journal_file):
            told = record.get('told', told)
        if self.result_file.exists() and told:
            raise ConfigError(
                f'run {self.path} has finished: choose another name for a new one (--name, or '
                'run:= of the launch file, the same on every device)'
            )

    def write_early_exit(self, calibration: dict[str, Any]) -> None:
        """Write early_exit.json whole."""
        text = json.dumps(calibration, indent=2) + '\n'
        write_atomically(self.early_exit_file, text.encode())

    def early_exit(self) -> dict[str, Any]:
        """
        Read early_exit.json.

        :raises ConfigError: if the run was not calibrated, or trained on since.
        """
        tree = _read_json(
            self.early_exit_file,
            f'run {self.path} is not calibrated, choose its thresholds with '
            f'dff calibrate {self.path}',
        )
        if tree.get('weights_sha256') != self.result().get('weights_sha256'):
            raise ConfigError(
                f'{self.early_exit_file} is of other weights than the run has now: choose its '
                f'thresholds again with dff calibrate {self.path}'
            )
        return tree

    def history(self) -> list[dict[str, Any]]:
        """Read the evaluations of a run so far."""
        if self.result_file.exists():
            return self.result().get('history', [])
        records = read_journal(self.journal_file)
        return [record['evaluation'] for record in records if 'evaluation' in record]

    def identity(self) -> RunIdentity:
        """Read run.json; raises ConfigError naming the file."""
        tree = _read_json(self.identity_file, f'{self.path} is not a run folder')
        kinds = {'name': str, 'run_id': str, 'config_hash': str, 'config': dict}
        for name, kind in kinds.items():
            if not isinstance(tree.get(name), kind):
                right = 'text' if kind is str else 'settings'
                raise ConfigError(
                    f'{self.identity_file} is not of a run: {name} must be {right}, got '
                    f'{shown(tree.get(name))}'
                )
        return RunIdentity(**{name: tree[name] for name in kinds})

    def config(self) -> Config:
        """Read config.yaml; raises ConfigError if what can change the result was edited."""
        config = load_config(self.config_file)
        self.check_same(config, str(self.config_file))
        return config

    def check_same(self, config: Config, source: str) -> None:
        """
        Refuse a configuration that would not give this run's result.

        Timeouts, logging, placement and whatever else changes no result may differ.

        :param source: where the configuration is from.
        :raises ConfigError: with the list of differences.
        """
        began = check_config(self.identity().config, str(self.identity_file))
        # Not by the digest: a later version has settings more, which say their default here.
        other = differences(config, began)
        if not other:
            return
        raise ConfigError(
            f'run {self.path} was begun with another configuration than {source}: '
            f'{"; ".join(other)}. Continue it with its own settings, or begin a new run'
        )

    @contextmanager
    def in_use(self, purpose: str) -> Iterator[None]:
        """
        Keep the run's folder and its namespace to this process, however it ends.

        :param purpose: what for, as others are told.
        :raises ConfigError: if another process of this machine has it, or nothing can be written.
        """
        try:
            lock = self.lock_file.open('a+', encoding='utf-8')
        except OSError as error:
            raise ConfigError(
                f'{self.path} cannot be written: {error.strerror}; what writes nothing there is '
                'dff report --output, and dff evaluate or classify with --reference'
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise ConfigError(
                    f'run {self.path} is in use by {lock.read().strip() or "another process"}: '
                    'wait for its end; dff report, and dff evaluate or classify with --reference, '
                    'can look at it meanwhile'
                ) from None
            except OSError as error:
                raise ConfigError(
                    f'{self.lock_file} cannot be locked: {error.strerror}; choose a place with '
                    '--runs whose disk has locks'
                ) from error
            with suppress(OSError):  # on a full disk the lock holds, without a name
                os.truncate(lock.fileno(), 0)
                os.write(lock.fileno(), f'dff {purpose}, process {os.getpid()}\n'.encode())
            yield

    @property
    def has_begun(self) -> bool:
        """Whether anything of the run was saved."""
        return self.result_file.exists() or any(self.checkpoints.glob('*.ckpt'))

    def discard(self) -> None:
        """Remove a run that was refused, unless it has begun or somebody else has taken it up."""
        with suppress(ConfigError), self.in_use('train'):
            if not self.has_begun:
                shutil.rmtree(self.path, ignore_errors=True)

    def change_config(self, config: Config, source: str) -> None:
        """Go on with settings that change no result; raises ConfigError for others."""
        self.check_same(config, source)
        write_atomically(self.config_file, to_yaml(config).encode())


def check_name(name: str) -> str:
    """Give the name back if it can be a folder and a ROS namespace, else raise ConfigError."""
    if not NAME.fullmatch(name):
        long = len(name) > NAME_CHARACTERS
        raise ConfigError(
            f'a run name is made of letters, digits and _, begins with a letter and has at most '
            f'{NAME_CHARACTERS} characters, got {shown(name)}{f" ({len(name)})" if long else ""}: '
            f"try '{_as_name(name)}'"
        )
    return name


def _as_name(text: str, characters: int = NAME_CHARACTERS) -> str:
    cleaned = re.sub(r'[^A-Za-z0-9_]+', '_', text).strip('_')
    if not cleaned[:1].isalpha():
        cleaned = f'run_{cleaned}'
    return cleaned[:characters].rstrip('_')


def default_name(config_path: str | None) -> str:
    """Make a name from the configuration's file and the time: `mnist_20261121_091500`."""
    stem = Path(config_path).stem if config_path else 'digits'
    began = time.strftime('_%Y%m%d_%H%M%S')
    return _as_name(stem, NAME_CHARACTERS - len(began)) + began


def create_run(runs: Path, name: str, resolved: ResolvedRun) -> RunFolder:
    """
    Make the folder of a new run.

    :raises ConfigError: if there is a run of that name, or no folder can be made there.
    """
    folder = RunFolder(runs / check_name(name))
    settings = resolved.config.model_dump(mode='json')
    identity = RunIdentity(name, uuid.uuid4().hex, resolved.hash, settings)
    try:
        _check_place(runs)
        runs.mkdir(parents=True, exist_ok=True)
        folder.path.mkdir()
        folder.log.mkdir()
        folder.checkpoints.mkdir()
        write_atomically(folder.config_file, to_yaml(resolved.config).encode())
        write_atomically(folder.identity_file, json.dumps(asdict(identity)).encode())
    except FileExistsError:
        raise ConfigError(
            f'there is a run {folder.path} already: choose another --name, '
            f'or continue it with --resume {folder.path}'
        ) from None
    except OSError as error:
        raise ConfigError(
            f'the run folder {folder.path} cannot be written: {error.strerror}; '
            'free space there or choose another place with --runs'
        ) from error
    return folder


def _check_place(runs: Path) -> None:
    """Refuse a place for run folders that is no folder, nor can become one."""
    for place in (runs, *runs.parents):
        # A link to nothing does not exist, and yet no folder can be made there.
        if (place.exists() or place.is_symlink()) and not place.is_dir():
            raise ConfigError(
                f'--runs must be a folder, got {runs}: {place} is none, choose another'
            )


def open_run(path: str | Path) -> RunFolder:
    """Open an existing run folder; raises ConfigError if it is none."""
    folder = RunFolder(Path(path).resolve())
    if not folder.path.is_dir():
        near = sorted(str(each.parent) for each in folder.path.parent.glob('*/run.json'))
        hint = f'there are: {", ".join(near[-5:])}' if near else 'there are none beside it'
        raise ConfigError(f'there is no run folder {path}; {hint}')
    folder.identity()
    return folder


def _read_json(path: Path, otherwise: str) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise ConfigError(f'{otherwise}: there is no {path}') from None
    except (OSError, ValueError) as error:
        raise ConfigError(f'{path} cannot be read: {error}') from error
    if not isinstance(tree, dict):
        raise ConfigError(f'{path} must hold a mapping, got {shown(tree)}')
    return tree
