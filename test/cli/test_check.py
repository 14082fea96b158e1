# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""`dff check` says what a run will need, and refuses what cannot work."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dff_nodes.cli import check
from dff_nodes.data.facts import DataError
from dff_nodes.runs.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / 'config'
PLACEMENT = (
    'placement={pi1: {nodes: [coordinator, layer_0], memory_mb: %s}, pi2: [layer_1, layer_2]}'
)


def run_check(*words: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--json', action='store_true')
    check.add_arguments(parser)
    return check.run(parser.parse_args(list(words)))


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert run_check('--json', *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def test_the_resolved_run_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check('--set', 'network.1.units=77', '--set', 'training.epochs=2') == 0
    text = capsys.readouterr().out
    for words in ('digits', '1437', 'layer_1', '77', 'swish', 'coordinator → layer_0', 'here'):
        assert words in text, words


def test_json_tells_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    tree = as_json(capsys, '--set', 'training.epochs=2')
    assert tree['config']['training']['epochs'] == 2
    assert tree['data']['classes'] == 10
    assert tree['items']['train_items'] == 2 * 23
    assert tree['items_per_epoch'] == 24
    assert [layer['inputs'] for layer in tree['layers']] == [64, 500, 500]
    assert tree['layers'][1]['parameters'] == 500 * 500 + 500
    assert tree['layers'][1]['state_bytes'] == 16 * tree['layers'][1]['parameters']
    assert tree['layers'][1]['item_bytes']['train'] == 2 * 64 * 500 * 4
    assert [node['node'] for node in tree['nodes']] == [
        'coordinator', 'layer_0', 'layer_1', 'layer_2',
    ]  # fmt: skip
    assert len(tree['config_hash']) == 64
    assert 'settings' not in tree


def test_workers_of_chapters_are_told_with_their_parts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ['--set', 'schedule=all_layers', '--set', 'training.epochs=6']
    tree = as_json(capsys, *words)
    assert (tree['chapters'], tree['parts']) == (6, 18)
    nodes = ['coordinator', 'worker_0', 'worker_1', 'worker_2']
    assert [node['node'] for node in tree['nodes']] == nodes
    assert [node['node'] for node in tree['traffic']] == nodes
    assert tree['layers'][1]['part_bytes'] == 3 * tree['layers'][1]['learned_bytes']
    run_check(*words)
    text = capsys.readouterr().out
    for part in ('all_layers, chapters: 6 of 1 epoch; 18 parts made by 3 workers', 'worker_2'):
        assert part in text, part


def test_schedules_are_compared_on_a_link(capsys: pytest.CaptureFixture[str]) -> None:
    tree = as_json(capsys, '--link', '100mbit')
    assert tree['link_mbit'] == 100
    stream = tree['schedules'][0]
    assert stream['chosen']
    assert stream['bytes'] == sum(node['received'] for node in tree['traffic'])
    busy = max(stream['busiest']['received'], stream['busiest']['sent'])
    assert stream['link_seconds'] == pytest.approx(8 * busy / 100e6)
    names = [each['schedule'] for each in tree['schedules']]
    assert names == ['stream', 'single_layer', 'all_layers']
    run_check('--link', '100mbit')
    text = capsys.readouterr().out
    assert 'moves least' in text
    assert 'at 100 Mbit/s' in text
    run_check()
    assert '--link 100mbit tells' in capsys.readouterr().out


def test_a_file_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'run.yaml'
    path.write_text('network: [{units: 33}]\n')
    assert [layer['units'] for layer in as_json(capsys, str(path))['layers']] == [33]


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['missing.yaml'], 'no configuration file missing.yaml'),
        (['--set', 'training.batch_size=5000'], r'batch_size must be at most the 1437'),
        (['--set', PLACEMENT % 300], r'placement\.pi1 needs .* coordinator .* layer_0 .* 300'),
        (['--link', 'fast'], "--link takes a number with its unit.*'fast'"),
        (['--link', '0mbit'], '--link must be more than 0'),
        (['--host', 'pi1'], 'pi1: this configuration has no placement'),
        (['--set', PLACEMENT % 900, '--host', 'pi3'], r'pi3 is no device.*did you mean pi'),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_check(*words)


def test_data_that_is_not_known_is_refused() -> None:
    with pytest.raises(DataError, match='did you mean'):
        run_check('--set', 'data.dataset=mnits')


def test_a_host_shows_its_own_nodes(capsys: pytest.CaptureFixture[str]) -> None:
    tree = as_json(capsys, '--set', PLACEMENT % 900, '--host', 'pi2')
    assert [node['node'] for node in tree['nodes']] == ['layer_1', 'layer_2']
    assert {device['device'] for device in tree['devices']} == {'pi1', 'pi2'}


def test_memory_that_may_not_do_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_check('--set', PLACEMENT % 600) == 0
    text = capsys.readouterr().out
    assert 'warning: placement.pi1' in text
    assert 'stream.replay_mb' in text


def test_a_precision_that_the_processor_lacks_is_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = 'compute.precision=bfloat16', 'network=[{units: 9, rule: softmax_head}]'
    set_both = [word for setting in settings for word in ('--set', setting)]
    for native, warned in ((True, 0), (False, 1)):
        monkeypatch.setattr('dff_nodes.cli.check.computes_bfloat16', lambda native=native: native)
        warnings = as_json(capsys, *set_both)['warnings']
        assert sum('no instructions for it' in warning for warning in warnings) == warned


def test_a_class_without_training_samples_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, x, y = tmp_path / 'own.npz', np.zeros((64, 8), np.uint8), np.arange(64) % 2 + 1
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    (warning,) = as_json(capsys, '--set', f'data.dataset={file}')['warnings']
    assert 'no sample of class 0' in warning


def test_a_setting_that_the_schedule_has_no_use_for_is_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = '--set', 'checkpoint.every_s=5', '--set', 'stream.dtype=float16'
    assert not as_json(capsys, *given)['warnings']
    (warning,) = as_json(capsys, *given, '--set', 'schedule=all_layers')['warnings']
    assert warning.startswith("checkpoint.every_s has no effect with the schedule 'all_layers'")


def test_explain_tells_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    settings = as_json(capsys, '--explain')['settings']
    keys = {setting['key']: setting for setting in settings}
    assert keys['training.epochs']['default'] == '20'
    assert 'passes over the training set' in keys['training.epochs']['documentation']
    run_check('--explain')
    assert 'stream.window_items' in capsys.readouterr().out


def test_the_command_line_imports_neither_torch_nor_ros() -> None:
    code = (
        'import argparse, sys\n'
        'from dff_nodes.cli import check, report, view\n'
        "assert 'rich' not in sys.modules\n"
        'parser = argparse.ArgumentParser()\n'
        "parser.add_argument('--json', action='store_true')\n"
        'check.add_arguments(parser)\n'
        'assert check.run(parser.parse_args([])) == 0\n'
        "assert not {'torch', 'rclpy', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize('path', sorted(CONFIGS.rglob('*.yaml')), ids=lambda path: path.stem)
def test_every_configuration_that_comes_with_the_package_is_right(path: Path) -> None:
    assert run_check(str(path)) == 0


def test_a_graph_is_shown_as_one(
    capsys: pytest.CaptureFixture[str], save_graph: Callable[..., Path]
) -> None:
    words = ['--set', f'data.dataset={save_graph()}', '--set', 'network=graph']
    assert run_check(*words) == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert '24 training and 24 test of 60 nodes' in text
    assert 'the whole graph at once' in text
    tree = as_json(capsys, *words)
    edges = tree['data']['edges']
    train = tree['layers'][0]['item_bytes']['train']
    assert train == 60 * (7 * 4 + 2) + 8 * edges
