# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Files of a run folder that were changed or cut off are named by the verbs that read them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dff_nodes.cli.__main__ import main
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.result_file import read_result
from dff_nodes.runs.run_folder import open_run

VERBS = [['report'], ['compare'], ['evaluate', '--reference']]


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run once."""
    runs = tmp_path_factory.mktemp('runs')
    few = ['--set', 'training.epochs=1', '--set', 'network=[{units: 8}]']
    assert main(['train', '--reference', '--runs', str(runs), '--name', 'run', *few]) == 0
    return runs / 'run'


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / 'run'))


def test_a_whole_result_is_given_as_it_is(run: Path) -> None:
    result = json.loads((run / 'result.json').read_text())
    assert read_result(open_run(run), list(result)) == result


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda result: {}, 'result.json has no seconds'),
        (dict.fromkeys, 'result.json has no seconds'),
        (lambda result: result | {'seconds': '3'}, "seconds must be a number, got '3'"),
        (lambda result: result | {'wire_bytes': {'layer_0': None}}, r'wire_bytes\.layer_0 must'),
        (lambda result: result | {'history': [{}]}, r'history\[0\]\.epoch is missing'),
        (lambda result: result | {'layer_accuracy': [None]}, r'layer_accuracy\[0\] must be a num'),
    ],
)
def test_what_is_no_result_is_named(
    run: Path, change: Callable[[dict], dict], message: str
) -> None:
    file = run / 'result.json'
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(ConfigError, match=message):
        read_result(open_run(run), ['seconds'])


@pytest.mark.parametrize('verb', VERBS)
@pytest.mark.parametrize('kept', ['nothing', 'nulls', 'half', 'a folder'])
def test_a_broken_result_is_named_by_every_verb(
    run: Path, verb: list[str], kept: str, capsys: pytest.CaptureFixture
) -> None:
    file = run / 'result.json'
    text = file.read_text()
    file.unlink()
    if kept == 'a folder':
        file.mkdir()
    else:
        nulls = json.dumps(dict.fromkeys(json.loads(text)))
        file.write_text({'nothing': '{}', 'nulls': nulls, 'half': text[:300]}[kept])
    assert_named(main([*verb, str(run)]), str(file), capsys)


@pytest.mark.parametrize('verb', VERBS)
def test_a_broken_identity_is_named_by_every_verb(
    run: Path, verb: list[str], capsys: pytest.CaptureFixture
) -> None:
    (run / 'run.json').write_text('{"name": 3}')
    assert_named(main([*verb, str(run)]), str(run / 'run.json'), capsys)


@pytest.mark.parametrize('name', ['metrics.csv', 'config.yaml'])
def test_a_file_that_is_no_text_is_named_by_the_report(
    run: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    (run / name).write_bytes(b'seconds\n\xff\xfe\n')
    assert_named(main(['report', str(run)]), str(run / name), capsys)


@pytest.mark.parametrize('name', ['metrics.csv', 'config.yaml', 'journal'])
def test_a_folder_in_a_file_s_place_is_named_by_the_report(
    run: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    (run / 'result.json').unlink()
    (run / name).unlink()
    (run / name).mkdir()
    assert_named(main(['report', str(run)]), str(run / name), capsys)


def assert_named(status: int, file: str, capsys: pytest.CaptureFixture) -> None:
    said = capsys.readouterr().err
    assert status in (1, 2)
    assert len(said.splitlines()) == 1
    assert file in said
    assert 'KeyError' not in said and 'TypeError' not in said and 'AttributeError' not in said
