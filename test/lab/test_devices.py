# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Which node runs on which device."""

from __future__ import annotations

import pytest

from dff_nodes.lab.cgroup import Limits
from dff_nodes.lab.devices import devices_of, single_device
from dff_nodes.runs.config import Config
from dff_nodes.runs.config_file import config_hash
from dff_nodes.runs.errors import ConfigError


def config(layers: int, **rest: object) -> Config:
    return Config.model_validate({'network': [{'units': 8}] * layers, **rest})


def test_a_device_for_each_layer_and_a_desk_without_limits() -> None:
    devices = devices_of(config(3, lab={'cpu': 0.4, 'memory_mb': 600}))
    assert [(device.name, device.nodes) for device in devices] == [
        ('desk', ('coordinator',)),
        ('pi0', ('layer_0',)),
        ('pi1', ('layer_1',)),
        ('pi2', ('layer_2',)),
    ]
    assert devices[0].limits == Limits()
    assert {device.limits for device in devices[1:]} == {Limits(0.4, 600)}


@pytest.mark.parametrize(
    ('layers', 'count', 'sizes'),
    [(5, 2, [3, 2]), (7, 4, [2, 2, 2, 1]), (3, 1, [3]), (4, 4, [1] * 4)],
)
def test_neighbours_stay_together(layers: int, count: int, sizes: list[int]) -> None:
    devices = devices_of(config(layers, lab={'devices': count}))[1:]
    assert [len(device.nodes) for device in devices] == sizes
    assert [node for device in devices for node in device.nodes] == [
        f'layer_{index}' for index in range(layers)
    ]


def test_more_devices_than_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'lab\.devices .* \(2\).* got 3'):
        devices_of(config(2, lab={'devices': 3}))


PLACEMENT = {
    'pi1': {'nodes': ['coordinator', 'layer_0'], 'memory_mb': 1500},
    'pi2': ['layer_1'],
}


def test_a_placement_says_it_all() -> None:
    devices = devices_of(config(2, placement=PLACEMENT, lab={'cpu': 0.5}))
    assert [(device.name, device.nodes, device.limits) for device in devices] == [
        ('pi1', ('coordinator', 'layer_0'), Limits(0.5, 1500)),
        ('pi2', ('layer_1',), Limits(0.5, None)),
    ]


def test_a_placement_and_a_number_of_devices_are_refused() -> None:
    with pytest.raises(ConfigError, match='placement'):
        devices_of(config(2, placement=PLACEMENT, lab={'devices': 2}))


def test_the_reference_has_one_of_the_devices() -> None:
    assert single_device(config(2, lab={'cpu': 0.5, 'memory_mb': 64})).limits == Limits(0.5, 64)
    assert single_device(config(2, placement=PLACEMENT)).limits == Limits(None, 1500)


def test_the_lab_does_not_change_what_is_learned() -> None:
    assert config_hash(config(2)) == config_hash(config(2, lab={'cpu': 0.1, 'loss_percent': 3}))
