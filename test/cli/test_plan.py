# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""`dff plan` predicts runs from measured times, and names what is wrong with a request."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from dff_nodes.cli import plan
from dff_nodes.data.facts import read_facts
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import resolve
from dff_nodes.schedules.measure_steps import StepMeasurement
from dff_nodes.schedules.step_times import (
    LayerTimes,
    MessageTimes,
    StepTimes,
    load_times,
    save_times,
)

SMALL = ['--set', 'training.epochs=6', '--set', 'network=[{units: 20}, {units: 20}]']


def run_plan(*words: str) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument('--json', action='store_true')
    plan.add_arguments(parser)
    return plan.run(parser.parse_args([*SMALL, *words]))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr('dff_nodes.schedules.scaling.SIZES', (1, 2, 4))


@pytest.fixture
def measured() -> StepTimes:
    """Times that are kept as if they had been measured."""
    config = load_config(None, SMALL[1::2])
    layer = LayerTimes(**dict.fromkeys(LayerTimes.__dataclass_fields__, 0.001))
    costs = {'0.5x2': 1.2}
    far, near = MessageTimes(1e-4, 1e-9), MessageTimes(1e-5, 1e-10)
    times = StepTimes([layer] * 2, 0.0, far, near, 2048, 1, 'made up', 0.1, 'cable', costs)
    save_times(resolve(config, read_facts(config.data)), times)
    return times


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run_plan('--json', *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


@pytest.mark.usefixtures('measured')
def test_every_schedule_is_predicted_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    tree = as_json(capsys, '--devices', 'lab0.5x2', '--link', '100mbit')
    assert (tree['link_mbit'], tree['latency_s']) == (100, pytest.approx(3e-4))
    candidates = {each['schedule']: each for each in tree['candidates']}
    assert [*candidates] == ['sequential', 'stream', 'single_layer', 'all_layers']
    for each in candidates.values():
        assert each['epoch_seconds'] == pytest.approx(each['seconds'] / 6)
        assert each['bytes'] > 0
        assert each['placement']['desk'] == ['coordinator']
    assert candidates['sequential']['speed_up'] == 1
    assert candidates['stream']['placement']['lab0.5_1'] == ['layer_1']
    sizes = {point['devices'] for point in tree['scaling'] if 'all_layers' in point['way']}
    assert sizes == {1, 2, 4}
    assert tree['warnings'] == []


@pytest.mark.usefixtures('measured')
def test_the_text_has_units_and_says_what_is_an_estimate(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    chart = tmp_path / 'chart.html'
    assert run_plan('--devices', 'pi5x2', '--chart', str(chart)) == 0
    text = capsys.readouterr().out
    for words in ('Schedules on 2 pi5', 'all_layers', ' MB', ' s ', 'pi5_1: layer_1'):
        assert words in text, words
    assert 'the speed of pi5 is an estimate' in text
    assert 'Predicted speed-up on devices of kind pi5' in chart.read_text()


@pytest.mark.usefixtures('measured')
def test_a_device_that_is_too_small_is_a_warning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text('tiny: {speed: 1, memory_mb: 100, estimate: false}\n')
    tree = as_json(capsys, '--devices', 'tinyx2', '--profiles', str(path))
    assert any('stream: tiny_0 needs' in warning for warning in tree['warnings'])


@pytest.mark.usefixtures('measured')
def test_a_share_whose_cost_was_not_measured_is_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (warning,) = as_json(capsys, '--devices', 'lab0.3x2', '--link', '100mbit')['warnings']
    assert warning.startswith('lab0.3: ')
    assert 'measure as root' in warning


@pytest.mark.usefixtures('measured')
def test_adaptive_negatives_of_other_chapters_are_a_warning() -> None:
    config = load_config(None, ['training.negatives.mode=adaptive'])
    (text,) = plan._lag_warning(resolve(config, read_facts(config.data)))
    assert 'lag_chapters' in text


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'needs --devices, as pi5x4, or --measure'),
        (['--devices', 'pi5x2'], 'no step times .* dff plan --measure'),
        (['--devices', 'pi6x2'], "no profile 'pi6'"),
        (['--devices', 'pi5', '--link', 'fast'], "--link takes .*'fast'"),
        (['--devices', 'pi5', '--latency', '3'], "--latency takes .*'3'"),
        (['--measure', '--chart', 'x.html'], 'say which devices'),
        (['--devices', 'pi5', '--profiles', 'none.yaml'], r'no configuration file none\.yaml'),
    ],
)
def test_wrong_requests_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_plan(*words)


def test_times_are_kept_for_the_same_network_only(measured: StepTimes) -> None:
    def resolved(*overrides: str) -> Any:
        config = load_config(None, [*SMALL[1::2], *overrides])
        return resolve(config, read_facts(config.data))

    assert load_times(resolved('training.epochs=3', 'seed=5'), None) == measured
    for other in ('training.batch_size=32', 'network.1.units=21', 'compute.threads=2'):
        with pytest.raises(ConfigError, match='no step times'):
            load_times(resolved(other), 'x.yaml')


@pytest.mark.parametrize(
    'overrides',
    [
        [],
        ['training.negatives.mode=adaptive', 'stream.dtype=float16'],
        ['network=[{units: 20, rule: softmax_head}]'],
        ['training.negatives.mode=hybrid', 'classification.mode=one_pass'],
    ],
)
def test_every_step_of_a_network_is_timed(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('dff_nodes.schedules.measure_steps.ROUND_S', 0.0)
    config = load_config(None, [*SMALL[1::2], *overrides])
    times = StepMeasurement(resolve(config, read_facts(config.data))).times(lambda what: None)
    assert len(times.layers) == len(config.network)
    readout = {'score', 'pass_neutral'}
    for layer in times.layers:
        for name in LayerTimes.__dataclass_fields__:
            seconds = getattr(layer, name)
            assert seconds > 0 or (name in readout and not config.has_readout), name
    assert StepTimes.from_dict(json.loads(json.dumps(times.as_dict()))) == times
