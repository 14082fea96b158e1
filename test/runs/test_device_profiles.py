# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Devices to plan for, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from dff_nodes.runs.device_profiles import load_profiles, parse_devices
from dff_nodes.runs.errors import ConfigError


def test_kinds_and_numbers() -> None:
    devices = parse_devices('pi5x2,lab0.4x2,pi5,desktop', load_profiles())
    assert [device.name for device in devices] == [
        'pi5_0', 'pi5_1', 'lab0.4_0', 'lab0.4_1', 'pi5_2', 'desktop_0',
    ]  # fmt: skip
    lab = devices[2].profile
    assert (lab.cpu, lab.node_speed(), lab.places(1)) == (0.4, 0.4, 1)


def test_speeds_that_were_not_measured_say_so() -> None:
    profiles = load_profiles()
    assert not profiles['lab'].estimate
    assert all(profile.estimate for name, profile in profiles.items() if name != 'lab')


def test_nodes_that_compute_at_once_share_the_cores() -> None:
    profile = load_profiles()['pi4']
    assert (profile.places(1), profile.places(2), profile.places(8)) == (4, 2, 1)


def test_a_file_adds_devices_and_replaces_them(tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text('nuc: {speed: 0.8, estimate: false}\npi4: {speed: 0.2}\n')
    profiles = load_profiles(path)
    assert profiles['nuc'].speed == 0.8
    assert profiles['pi4'].speed == 0.2
    assert 'pi5' in profiles


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('pi6x2', "no profile 'pi6'; did you mean pi"),
        ('', "as pi5x4,desktop, got ''"),
        ('4', "as pi5x4,desktop, got '4'"),
        ('pi5x0', "1 to 200 devices, got 'pi5x0'"),
        ('pi5x150,pi4x51', '1 to 200 devices'),
        ('lab0x2', "no profile 'lab0'.*behind x, as lab0.4x2"),
        ('lab0.001', "at least 0.01, got 'lab0.001'"),
    ],
)
def test_wrong_devices_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_devices(text, load_profiles())


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('nuc: {speed: -1}', r'nuc\.speed: .* greater than 0, got -1'),
        ('nuc: {sped: 1}', 'nuc.*sped.*the fields are speed, cores'),
        ('Nuc: {speed: 1}', "small letters.*got 'Nuc'"),
    ],
)
def test_wrong_profiles_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / 'mine.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_profiles(path)
