# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: made once, opened again, and never confused with another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.journal import Journal
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.run_folder import NAME, check_name, create_run, default_name, open_run


@pytest.fixture
def resolved() -> ResolvedRun:
    config = load_config(None, ['training.epochs=3'])
    return resolve(config, read_facts(config.data))


def test_a_new_run_can_be_opened_again(tmp_path: Path, resolved: ResolvedRun) -> None:
    made = create_run(tmp_path / 'runs', 'first', resolved)
    opened = open_run(tmp_path / 'runs' / 'first')
    assert opened.name == 'first'
    assert opened.config() == resolved.config
    assert opened.identity() == made.identity()
    assert opened.identity().config_hash == resolved.hash
    assert len(bytes.fromhex(opened.identity().run_id)) == 16
    assert opened.log.is_dir()
    assert opened.checkpoints.is_dir()


def test_two_runs_have_two_identities(tmp_path: Path, resolved: ResolvedRun) -> None:
    first = create_run(tmp_path, 'first', resolved).identity()
    second = create_run(tmp_path, 'second', resolved).identity()
    assert first.run_id != second.run_id
    assert first.config_hash == second.config_hash


def test_a_run_is_not_overwritten(tmp_path: Path, resolved: ResolvedRun) -> None:
    identity = create_run(tmp_path, 'first', resolved).identity()
    with pytest.raises(ConfigError, match=r'there is a run .*first already.*--name.*--resume'):
        create_run(tmp_path, 'first', resolved)
    assert open_run(tmp_path / 'first').identity() == identity


@pytest.mark.parametrize('place', ['file', 'file/under/it', 'link'])
def test_a_place_that_is_no_folder_is_named(
    tmp_path: Path, resolved: ResolvedRun, place: str
) -> None:
    (tmp_path / 'file').write_text('')
    (tmp_path / 'link').symlink_to('nowhere')
    with pytest.raises(ConfigError, match=rf'--runs must be a folder, .*{place}: .* is none'):
        create_run(tmp_path / place, 'first', resolved)


@pytest.mark.parametrize(
    ('name', 'better'),
    [
        ('my run', 'my_run'),
        ('7up', 'run_7up'),
        ('a/b', 'a_b'),
        ('../x', 'x'),
        ('', 'run'),
        ('9' * 200, 'run_' + '9' * 96),
    ],
)
def test_a_name_that_ros_cannot_have_is_refused(name: str, better: str) -> None:
    with pytest.raises(ConfigError, match=f"try '{better}'"):
        check_name(name)
    assert check_name(better) == better


def test_a_name_that_is_too_long_is_refused_with_the_limit() -> None:
    assert check_name('a' * 100)
    with pytest.raises(
        ConfigError, match=r"at most 100 characters, got '.*' \(101\): try 'a{100}'"
    ):
        check_name('a' * 101)


@pytest.mark.parametrize(
    'path',
    [None, 'config/mnist.yaml', 'some where/2 layers.yaml', '--.yaml', f'{"long" * 60}.yaml'],
)
def test_a_default_name_is_a_valid_one(path: str | None) -> None:
    assert NAME.fullmatch(default_name(path))


def test_what_is_no_run_is_named_with_those_there_are(
    tmp_path: Path, resolved: ResolvedRun
) -> None:
    create_run(tmp_path, 'first', resolved)
    with pytest.raises(ConfigError, match=r'no run folder .*frist; there are: .*first'):
        open_run(tmp_path / 'frist')
    (tmp_path / 'other').mkdir()
    with pytest.raises(ConfigError, match='not a run folder'):
        open_run(tmp_path / 'other')


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('', 'cannot be read'),
        ('{', 'cannot be read'),
        ('[]', r'must hold a mapping, got \[\]'),
        ('{"name": "first"}', 'run_id must be text, got null'),
        ('{"name": 3}', 'name must be text, got 3'),
    ],
)
def test_a_damaged_identity_is_named(
    tmp_path: Path, resolved: ResolvedRun, text: str, said: str
) -> None:
    folder = create_run(tmp_path, 'first', resolved)
    folder.identity_file.write_text(text)
    with pytest.raises(ConfigError, match=rf'run\.json .*{said}'):
        open_run(folder.path)


def test_the_result_is_there_once_the_run_has_finished(
    tmp_path: Path, resolved: ResolvedRun
) -> None:
    folder = create_run(tmp_path, 'first', resolved)
    with pytest.raises(ConfigError, match='first has not finished'):
        folder.result()
    folder.result_file.write_text('{"test_accuracy": 0.')
    with pytest.raises(ConfigError, match=r'result\.json cannot be read'):
        folder.result()
    folder.write_result({'test_accuracy': 0.5})
    assert folder.result() == {'test_accuracy': 0.5}
    assert json.loads(folder.result_file.read_text()) == {'test_accuracy': 0.5}


def test_the_history_is_that_of_the_journal_until_there_is_a_result(
    tmp_path: Path, resolved: ResolvedRun
) -> None:
    folder = create_run(tmp_path, 'first', resolved)
    assert folder.history() == []
    journal = Journal(folder.journal_file, folder.identity().run_id)
    for epoch in (0, 1):
        journal.append({'item': 10 * epoch, 'correct': [1, 2]})
        journal.append({'evaluation': {'epoch': epoch}})
    assert folder.history() == [{'epoch': 0}, {'epoch': 1}]
    journal.close()
    folder.write_result({'history': [{'epoch': 7}]})
    assert folder.history() == [{'epoch': 7}]


def test_a_run_goes_on_that_began_before_a_setting_was_known(
    tmp_path: Path, resolved: ResolvedRun
) -> None:
    folder = create_run(tmp_path, 'first', resolved)
    identity = json.loads(folder.identity_file.read_text())
    del identity['config']['training']['optimizer']['course']
    folder.identity_file.write_text(json.dumps(identity | {'config_hash': '0' * 64}))
    assert open_run(folder.path).config() == resolved.config
    folder.config_file.write_text(folder.config_file.read_text().replace('seed: 0', 'seed: 3'))
    with pytest.raises(ConfigError, match='seed: 3 here, 0 there'):
        open_run(folder.path).config()


def test_a_refused_run_that_somebody_took_up_is_not_removed(
    tmp_path: Path, resolved: ResolvedRun
) -> None:
    folder = create_run(tmp_path, 'first', resolved)
    with open_run(folder.path).in_use('train'):
        folder.discard()
    (folder.checkpoints / 'layer_0-000000003.ckpt').touch()
    folder.discard()
    assert open_run(folder.path).identity() == folder.identity()
    (folder.checkpoints / 'layer_0-000000003.ckpt').unlink()
    folder.discard()
    assert not folder.path.exists()


def test_a_run_is_in_use_by_one_process(tmp_path: Path, resolved: ResolvedRun) -> None:
    folder = create_run(tmp_path, 'first', resolved)
    with folder.in_use('train'):
        said = f'is in use by dff train, process {os.getpid()}: wait .*--reference'
        with pytest.raises(ConfigError, match=said), open_run(folder.path).in_use('evaluate'):
            pytest.fail('it was given to both')
    with open_run(folder.path).in_use('evaluate'):
        assert folder.lock_file.read_text() == f'dff evaluate, process {os.getpid()}\n'
