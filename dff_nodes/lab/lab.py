# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A lab: emulated devices, made and removed together."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from dff_nodes.lab import names, network
from dff_nodes.lab.cgroup import Cgroup
from dff_nodes.lab.commands import require_tools
from dff_nodes.lab.devices import Device
from dff_nodes.lab.hierarchies import Hierarchies
from dff_nodes.lab.network import LinkLimits, Network
from dff_nodes.runs.signals import undisturbed

JOIN = 'until [ "$1" = -- ]; do echo $$ >"$1" || exit 1; shift; done; shift; exec "$@"'
"""shell: join the groups named before --, then become the command behind it"""
ENTER = (
    'hostname=$1; shift; echo "$hostname" >/proc/sys/kernel/hostname && '
    'mount -t tmpfs -o size=16m dff_lab /dev/shm && exec "$@"'
)
"""shell: take the device's name, and shared memory that no other process sees"""


class Lab:
    """
    Devices of this machine, each a network namespace and a control group, on one switch.

    Nothing of it is left when the `with` block ends, however it ends, except with SIGKILL; what
    is left then, `clean` removes.

        with Lab(devices_of(config), LinkLimits(mbit=100)) as lab:
            command, environment = lab.place('layer_0', command, environment)

    :param devices: what to make, before anything is started.
    :param link: of each device to the switch.
    """

    def __init__(self, devices: list[Device], link: LinkLimits) -> None:
        self.devices = {device.name: device for device in devices}
        self.link = link
        self._home = {node: device.name for device in devices for node in device.nodes}
        self._prefix = names.prefix()
        self._network = Network(self._prefix)
        self._groups: dict[str, Cgroup] = {}

    def __enter__(self) -> Lab:
        require_tools()
        hierarchies = Hierarchies()
        try:
            self._network.create()
            for index, device in enumerate(self.devices.values()):
                self._network.add(device.name, self.link)
                group = hierarchies.group(f'{self._prefix}-{index}')
                self._groups[device.name] = group
                group.create(device.limits)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *ended: object) -> None:
        self._remove()

    def _remove(self) -> None:
        _remove_all(self._groups.values(), network.namespaces(self._prefix))

    def device_of(self, node: str) -> str:
        """Name the device that runs a node."""
        return self._home[node]

    def place(
        self, node: str, command: list[str], environment: dict[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """Give what starts a node's command on its device; its process number stays the same."""
        return self.command_on(self._home[node], command), environment

    def command_on(self, device: str, command: list[str]) -> list[str]:
        """
        Give the command that runs another one on a device.

        Every step becomes the next one by exec, so a signal to the process reaches the command.
        """
        join = ['sh', '-c', JOIN, 'lab', *self._groups[device].joining, '--']
        inside = ['ip', 'netns', 'exec', self._network.namespace(device)]
        # ip gives the command a mount namespace of its own: only it sees the new /dev/shm.
        own = ['unshare', '--uts', '--ipc', '--', 'sh', '-c', ENTER, 'lab', device]
        return [*join, *inside, *own, *command]

    def plug(self, device: str, connected: bool) -> None:
        """Pull a device's cable, or put it back."""
        self._network.plug(device, connected)

    def out_of_memory(self) -> list[Device]:
        """Give the devices on which the kernel killed a process for want of memory."""
        return [
            device
            for name, device in self.devices.items()
            if self._groups[name].usage().out_of_memory_kills
        ]

    def report(self) -> dict[str, Any]:
        """Give what each device had and used, as JSON can hold it."""
        return {
            'link_mbit': self.link.mbit,
            'loss': self.link.loss,
            'loss_tool': self._network.loss_tool,
            'devices': {name: self._device_report(name) for name in self.devices},
        }

    def _device_report(self, name: str) -> dict[str, Any]:
        device = self.devices[name]
        return {
            'nodes': list(device.nodes),
            'address': self._network.address(name),
            **asdict(device.limits),
            **asdict(self._groups[name].usage()),
            **asdict(self._network.traffic(name)),
        }


def clean() -> list[str]:
    """
    Remove what labs that were killed left: processes, control groups and namespaces.

    :returns: names of what was removed; nothing of a lab that still runs.
    """
    require_tools()
    hierarchies = Hierarchies()
    groups, namespaces = hierarchies.left_over(), network.left_over_namespaces()
    _remove_all([hierarchies.group(name) for name in groups], namespaces)
    return sorted({*groups, *namespaces})


def _remove_all(groups: Iterable[Cgroup], namespaces: list[str]) -> None:
    """Remove groups with their processes, then namespaces: all, also if one of them fails."""
    with undisturbed(), ExitStack() as last_first:
        for name in namespaces:
            last_first.callback(network.remove_namespace, name)
        for group in groups:
            last_first.callback(group.remove)
