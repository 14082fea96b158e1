# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Every mistake in a configuration is named: the field, the value, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import check_config, config_hash, differences, load_config, to_yaml
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.explain import explain_settings


def message(tree: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        check_config(tree, 'run.yaml')
    return str(caught.value)


def override_message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, list(overrides))
    return str(caught.value)


@pytest.mark.parametrize(
    ('tree', 'words'),
    [
        ({'trainin': {}}, ['run.yaml', 'trainin is not a setting', "did you mean 'training'"]),
        (
            {'training': {'epoch': 3}},
            ['training.epoch is not a setting', "did you mean 'epochs'"],
        ),
        ({'data': {'qqqq': 1}}, ['data.qqqq is not a setting', 'known here:', 'dataset']),
        (
            {'network': [{'rule': {'name': 'swish', 'alfa': 2}}]},
            ['network[0].rule.alfa', "'alpha'"],
        ),
        (
            {'network': [{}, {'units': 1}]},
            ['network[1].units', 'greater than or equal to 2', 'got 1'],
        ),
        ({'training': {'epochs': 0}}, ['training.epochs', '1', 'got 0']),
        ({'training': {'epochs': 2.5}}, ['training.epochs', 'a whole number', 'got 2.5']),
        ({'training': {'epochs': 'many'}}, ['training.epochs', 'a whole number', "got 'many'"]),
        (
            {'training': {'optimizer': {'learning_rate': float('nan')}}},
            ['training.optimizer.learning_rate', 'finite', 'got nan'],
        ),
        ({'stream': {'resend_s': float('inf')}}, ['stream.resend_s', 'finite', 'got inf']),
        (
            {'stream': {'dtype': 'int8'}},
            ['stream.dtype', "'float32', 'float16' or 'uint8'", "'int8'"],
        ),
        ({'training': {'epochs': True}}, ['training.epochs must be a whole number, got true']),
        (
            {'training': {'learning_rate': {'warmup': True}}},
            ['training.learning_rate.warmup must be a number, got true'],
        ),
        ({'network': [{'epochs': [0, True]}]}, ['network[0].epochs[1] must be a whole', 'true']),
        ({'early_exit': {'thresholds': [False]}}, ['early_exit.thresholds[0]', 'got false']),
        (
            {'network': [{'rule': {'name': 'threshold', 'theta': True}}]},
            ['network[0].rule.theta must be a number, got true'],
        ),
        ({'seed': '010'}, ["seed must be written without leading zeros, got '010'"]),
        ({'training': {1: 2, None: 3}}, ['key 1 in training must be text', 'key null in train']),
        ({None: 3}, ['run.yaml: key null must be text']),
        ({'placement': {1: ['layer_0']}}, ['key 1 in placement must be text']),
        ({'network': []}, ['network must have at least 1 entry', 'got []']),
        ({'network': 5}, ['network must be a list', 'got 5']),
        ({'network': [7]}, ['network[0] must be settings', 'got 7']),
        ({'network': [{'epochs': 2}]}, ['network[0].epochs must be a list', 'got 2']),
        (
            {'network': [{'epochs': [0, 1, 2]}]},
            ['network[0].epochs must have at most 2 entries', 'got [0, 1, 2]'],
        ),
        (
            {'network': [{'stem': 'whiten'}]},
            ['network[0].stem is not a setting of dense, but of conv and block'],
        ),
        (
            {'network': [{'type': 'conv', 'auxiliary': [{'type': 'pool', 'units': 3}]}]},
            ['network[0].auxiliary[0].units is not a setting of pool, but of dense'],
        ),
        (
            {'network': [{'rule': {'name': 'swish', 'theta': 1}}]},
            ['network[0].rule.theta is not a setting of swish, but of threshold'],
        ),
        ({'network': [{'rule': 'pred_simm'}]}, ["(did you mean 'pred_sim'?)", 'pred_simm']),
        (
            {'network': [{'rule': {'alpha': 2}}]},
            ["network[0].rule must have a name among 'swish'", 'got {alpha: 2}'],
        ),
        ({'data': {'flip': 'maybe'}}, ["data.flip must be true or false, got 'maybe'"]),
        (
            {'training': {'optimizer': {'nesterov': True}}},
            ['training.optimizer', 'nesterov must be false', 'got true for adam'],
        ),
        ({'network': [{'rule': 'hinton'}]}, ['network[0].rule', "'threshold'", 'hinton']),
        ({'placement': {'pi1': {'nodes': []}}}, ['placement.pi1.nodes', 'at least 1', 'got []']),
        (
            {'training': {'learning_rate': {'warmup': 0.5, 'hold': 0.1}}},
            ['training.learning_rate', 'warmup (0.5)', 'hold (0.1)'],
        ),
        (
            {'network': [{}], 'classification': {'layers': 'without_first'}},
            ['classification.layers', "'all'", "'without_first'"],
        ),
    ],
)
def test_a_wrong_setting_is_named(tree: dict, words: list[str]) -> None:
    text = message(tree)
    for word in words:
        assert word in text, text


def test_every_wrong_setting_is_named_at_once() -> None:
    text = message({'training': {'epochs': 0, 'batch_size': 0}})
    assert 'training.epochs' in text
    assert 'training.batch_size' in text


def test_of_very_many_wrong_settings_the_first_are_named() -> None:
    lines = message({'network': [7] * 100}).splitlines()
    assert len(lines) == 21
    assert lines[-1] == 'and 80 more'


@pytest.mark.parametrize(
    ('placement', 'words'),
    [
        ({'a': ['coordinator', 'layer_0', 'layer_7']}, ["'layer_7'", 'coordinator, layer_0']),
        ({'a': ['coordinator', 'layer_0', 'layer_0']}, ["'layer_0'", 'exactly one', 'to 2']),
        ({'a': ['coordinator', 'layer_0'], 'b': ['layer_0']}, ["'layer_0'", 'to 2']),
        ({'a': ['layer_0']}, ["'coordinator'", 'exactly one', 'to 0']),
    ],
)
def test_a_placement_gives_every_node_to_one_device(placement: dict, words: list[str]) -> None:
    text = message({'network': [{}], 'placement': placement})
    for word in ['placement', *words]:
        assert word in text, text


@pytest.mark.parametrize(
    ('override', 'words'),
    [
        ('training.epochs', ['key=value', "'training.epochs'"]),
        ('=5', ['key=value', "'=5'"]),
        ('network.7.units=5', ["'network.7.units=5'", "'7'", '0 to 2']),
        ('network.x.units=5', ["'x'", '0 to 2']),
        ('network.².units=5', ["'²'", '0 to 2']),
        ('network.-1.units=5', ["'-1'", '0 to 2']),
        ('seed.more=1', ['seed']),
        ('training.epochs=[1', ['training.epochs=[1', 'not valid YAML']),
        ('training.epochs=none', ['training.epochs', "got 'none'"]),
        ('training.epochz=3', ['training.epochz', "did you mean 'epochs'"]),
    ],
)
def test_a_wrong_override_is_named(override: str, words: list[str]) -> None:
    text = override_message(override)
    for word in words:
        assert word in text, text


def test_overrides_reach_lists_and_short_forms() -> None:
    config = load_config(
        None, ['network.1.units=77', 'network.0.rule=symba', 'network.0.rule.alpha=9']
    )
    assert [layer.units for layer in config.network] == [500, 77, 500]
    assert config.network[0].rule.name == 'symba'
    assert config.network[0].rule.alpha == 9


def test_an_override_changes_one_use_of_an_anchor(tmp_path: Path) -> None:
    path = tmp_path / 'run.yaml'
    path.write_text('network: [&a {units: 9, rule: {name: swish}}, *a]\n')
    config = load_config(path, ['network.0.units=8', 'network.1.rule.alpha=2'])
    assert [layer.units for layer in config.network] == [8, 9]
    assert [layer.rule.alpha for layer in config.network] == [6, 2]


@pytest.mark.parametrize(
    ('text', 'rate'), [('1e-3', 0.001), ("'0.01'", 0.01), ('1.0e-3', 0.001), ('1', 1)]
)
def test_numbers_may_be_text(text: str, rate: float) -> None:
    config = load_config(None, [f'training.optimizer.learning_rate={text}', "seed='5'"])
    assert config.training.optimizer.learning_rate == rate
    assert config.seed == 5


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / 'mnist.yaml').write_text('seed: 1\n')
    with pytest.raises(ConfigError, match=r'no configuration file .*mnits.yaml.*mnist\.yaml'):
        load_config(tmp_path / 'mnits.yaml')


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('a: [', 'not valid YAML'),
        ('- 1', 'must hold a mapping of settings, got list'),
        ('\x00', 'not valid YAML'),
    ],
)
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match='bad.yaml') as caught:
        load_config(path)
    assert words in str(caught.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'bad.yaml'
    path.write_bytes(b'\xff\xfe\xfa')
    with pytest.raises(ConfigError, match='bad.yaml cannot be read'):
        load_config(path)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / 'empty.yaml'
    path.write_text('')
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    'override',
    [
        'data.root=/somewhere',
        'data.download=false',
        'stream.window_items=9',
        'stream.replay_mb=1',
        'stream.silence_s=5',
        'metrics.every_s=9',
        'placement={a: [coordinator, layer_0, layer_1, layer_2]}',
    ],
)
def test_what_cannot_change_the_result_does_not_change_the_hash(override: str) -> None:
    assert config_hash(load_config(None, [override])) == config_hash(Config())


@pytest.mark.parametrize(
    'override',
    [
        'seed=1',
        'training.epochs=7',
        'network.2.units=501',
        'network.0.rule.alpha=6.5',
        'network.1.optimizer={name: sgd}',
        'stream.dtype=float16',
        'compute.threads=2',
        'data.label.amplitude=2',
    ],
)
def test_what_can_change_the_result_changes_the_hash_and_is_named(override: str) -> None:
    changed = load_config(None, [override])
    assert config_hash(changed) != config_hash(Config())
    named = differences(changed, Config())
    first_key = override.partition('=')[0].replace('.0.', '[0].').replace('.1.', '[1].')
    assert any(line.startswith(first_key.replace('.2.', '[2].')) for line in named), named


RULES = st.one_of(
    st.builds(
        lambda alpha, goodness: {'name': 'swish', 'alpha': alpha, 'goodness': goodness},
        st.floats(0.001, 1000),
        st.sampled_from(['sum', 'mean']),
    ),
    st.builds(lambda theta: {'name': 'threshold', 'theta': theta}, st.floats(0.001, 1e9)),
    st.just('symba'),
)
TREES = st.fixed_dictionaries(
    {
        'seed': st.integers(0, 2**63 - 1),
        'network': st.lists(
            st.fixed_dictionaries({'units': st.integers(2, 65536), 'rule': RULES}),
            min_size=1,
            max_size=4,
        ),
        'training': st.fixed_dictionaries(
            {
                'epochs': st.integers(1, 100000),
                'optimizer': st.one_of(
                    st.sampled_from(['adam', 'sgd']),
                    st.builds(lambda rate: {'learning_rate': rate}, st.floats(1e-9, 10)),
                ),
            }
        ),
        'data': st.fixed_dictionaries({'dataset': st.text(min_size=1, max_size=20)}),
    }
)


@settings(max_examples=40, deadline=None)
@given(tree=TREES)
def test_what_is_written_reads_back_the_same(
    tree: dict, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = check_config(tree, 'generated')
    path = tmp_path_factory.mktemp('config') / 'run.yaml'
    path.write_text(to_yaml(config), encoding='utf-8')
    again = load_config(path)
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_every_setting_is_explained() -> None:
    found = {setting.key: setting for setting in explain_settings()}
    assert found['training.epochs'].type == 'whole number, at least 1, at most 100000'
    assert found['training.epochs'].default == '20'
    assert found['stream.dtype'].type == 'float32 | float16 | uint8'
    assert found['data.download'].default == 'true'
    assert found['data.root'].default == 'null'
    assert found['network[N](dense).rule'].default == 'swish'
    assert found['network[N](dense).rule(symba).alpha'].default == '4.0'
    assert found['placement.DEVICE.nodes'].default == '(required)'
    undocumented = [key for key, each in found.items() if not each.documentation]
    assert [key for key in undocumented if not key.endswith('.name')] == []


@pytest.mark.parametrize(
    ('network', 'message'),
    [
        ('[{type: graph}, {units: 9}]', "network[1].type must be 'graph'"),
        ('[{type: conv, rule: softmax_head}, {type: graph}]', "network[1].type must be 'conv'"),
        ('[{type: graph, rule: swish}]', "network[0].rule must be 'class_nodes'"),
        ('[{units: 9, rule: class_nodes}]', "network[0].rule must be another than 'class_nodes'"),
        ('[{type: graph, aggregation: sum}]', 'network[0].aggregation must be'),
        ('grph', "or 'graph', got 'grph'"),
    ],
)
def test_graph_layers_stay_among_themselves(network: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f'network={network}'])
    assert message in str(caught.value)


def test_graph_is_short_for_two_layers() -> None:
    config = load_config(None, ['network=graph', 'network.1.units=9'])
    assert [(layer.type, layer.units) for layer in config.network] == [
        ('graph', 256),
        ('graph', 9),
    ]
    assert {layer.rule.name for layer in config.network} == {'class_nodes'}
