# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The lab's options, and what is said about wrong ones."""

from __future__ import annotations

import pytest

from dff_nodes.lab.options import lab_overrides
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.errors import ConfigError


def test_options_are_short_for_settings() -> None:
    given = lab_overrides(devices='4', cpu='0.4', memory='600M', link='100mbit', loss='1%')
    lab = load_config(None, given).lab
    assert (lab.devices, lab.cpu, lab.memory_mb, lab.link_mbit, lab.loss_percent) == (
        4,
        0.4,
        600,
        100,
        1,
    )


def test_options_that_are_not_given_change_nothing() -> None:
    assert lab_overrides() == []


@pytest.mark.parametrize(
    ('option', 'text', 'override'),
    [
        ('memory', '2G', 'lab.memory_mb=2000.0'),
        ('memory', '512 MB', 'lab.memory_mb=512.0'),
        ('link', '1gbit', 'lab.link_mbit=1000.0'),
        ('link', '500kbit', 'lab.link_mbit=0.5'),
        ('loss', '.5%', 'lab.loss_percent=0.5'),
    ],
)
def test_units(option: str, text: str, override: str) -> None:
    assert lab_overrides(**{option: text}) == [override]


@pytest.mark.parametrize(
    ('option', 'text'),
    [('memory', '600'), ('memory', 'much'), ('link', '100'), ('link', '100MB'), ('loss', '0.01')],
)
def test_a_quantity_without_its_unit_is_refused(option: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f'--{option} takes a number with its unit.*{text}'):
        lab_overrides(**{option: text})


@pytest.mark.parametrize('given', [{'devices': '0'}, {'cpu': '-1'}, {'loss': '80%'}])
def test_values_out_of_range_are_refused_by_the_configuration(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r'lab\.'):
        load_config(None, lab_overrides(**given))
