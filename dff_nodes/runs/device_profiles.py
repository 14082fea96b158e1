# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Kinds of devices that a run may be planned for: `pi5x4`, `lab0.4x2,desktop`."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from dff_nodes.runs.config_file import read_yaml
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.section import Section

SHIPPED = Path(__file__).with_name('device_profiles.yaml')
GROUP = re.compile(r'(?P<name>[a-z][a-z0-9_]*?)(?P<cpu>\d+\.\d+)?(x(?P<count>\d+))?')
MOST_DEVICES = 200


class DeviceProfile(Section):
    """What one kind of device can do."""

    speed: float = Field(
        ..., gt=0, le=1000, description='of one core; the machine that measured is 1'
    )
    cores: int = Field(1, ge=1, le=1024, description='that compute')
    cpu: float | None = Field(
        None, ge=0.01, le=1024, description='cores that it may use in all, as `dff lab --cpu`'
    )
    memory_mb: float | None = Field(None, gt=0, description='for nodes; default not known')
    link_mbit: float | None = Field(
        None, gt=0, description='of its network each way, Mbit/s; default as fast as it goes'
    )
    estimate: bool = Field(True, description='whether speed is a guess, and no measurement')

    def node_speed(self) -> float:
        """Speed of a node that computes alone there, against the machine that measured."""
        return self.speed * min(1.0, self.cpu or 1.0)

    def places(self, threads: int) -> int:
        """Nodes that compute at the same time, each with so many threads."""
        cores = min(self.cores, self.cpu) if self.cpu else self.cores
        return max(1, int(cores // threads))


class PlannedDevice(Section):
    """One device that is planned with."""

    name: str
    kind: str
    profile: DeviceProfile


def load_profiles(path: Path | None = None) -> dict[str, DeviceProfile]:
    """
    Read the profiles that come with the package, and those of a file.

    :raises ConfigError: naming the profile, the field and its value.
    """
    return _read(SHIPPED) | (_read(path) if path else {})


def _read(path: Path) -> dict[str, DeviceProfile]:
    found = {}
    for name, tree in read_yaml(path).items():
        if not GROUP.fullmatch(str(name)) or not str(name).replace('_', '').isalnum():
            raise ConfigError(
                f'{path}: a profile is named with small letters, digits and _, got {name!r}'
            )
        try:
            found[name] = TypeAdapter(DeviceProfile).validate_python(tree)
        except ValidationError as error:
            issue = error.errors()[0]
            field = '.'.join(str(step) for step in (name, *issue['loc']))
            raise ConfigError(
                f'{path}: {field}: {issue["msg"]}, got {issue["input"]!r}; the fields are '
                f'{", ".join(DeviceProfile.model_fields)}'
            ) from None
    return found


def parse_devices(text: str, profiles: dict[str, DeviceProfile]) -> list[PlannedDevice]:
    """
    Read --devices: profiles with how many there are, as `pi5x4` or `lab0.4x2,desktop`.

    :raises ConfigError: naming what is wrong in it.
    """
    devices: list[PlannedDevice] = []
    for group in text.split(','):
        found = GROUP.fullmatch(group.strip())
        if found is None:
            raise ConfigError(f'--devices takes kinds and numbers as pi5x4,desktop, got {group!r}')
        profile = _profile(found['name'], profiles)
        if found['cpu']:
            profile = profile.model_copy(update={'cpu': float(found['cpu'])})
            if profile.cpu < 0.01:
                raise ConfigError(f'--devices: a cpu must be at least 0.01, got {group!r}')
        count = int(found['count'] or 1)
        if not 1 <= count <= MOST_DEVICES - len(devices):
            raise ConfigError(f'--devices must name 1 to {MOST_DEVICES} devices, got {text!r}')
        kind = found['name'] + (found['cpu'] or '')
        first = sum(device.kind == kind for device in devices)
        devices += [
            PlannedDevice(name=f'{kind}_{number}', kind=kind, profile=profile)
            for number in range(first, first + count)
        ]
    return devices


def _profile(name: str, profiles: dict[str, DeviceProfile]) -> DeviceProfile:
    if name in profiles:
        return profiles[name]
    kind = name.rstrip('0123456789')
    if kind in profiles and name != kind:
        # A cpu without its point is read as a part of the name.
        raise ConfigError(
            f'--devices: there is no profile {name!r}; the share of a processor that {kind} has '
            f'is written with its point, and a number of devices behind x, as {kind}0.4x2'
        )
    near = difflib.get_close_matches(name, profiles, n=1)
    hint = f'did you mean {near[0]}?' if near else f'there are {", ".join(profiles)}'
    raise ConfigError(f'--devices: there is no profile {name!r}; {hint}')
