# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Times of the steps that a run is made of, as measured on one machine, and their file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dff_nodes.runs.atomic import write_atomically
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.resolve import ResolvedRun

VERSION = 7
"""of what is measured and how; files of another are measured anew"""
ON_THE_WIRE = 1.2
"""
bytes on a cable for each byte of payload: headers, and what Fast DDS sends again although it is on
its way; in the lab at 100 Mbit/s 1.14 (parts) to 1.28 (activations) were counted
"""
ITEMS, PARTS = 'items', 'parts'
SHARE = re.compile(r'(?P<cpu>.+)x(?P<devices>\d+)( of (?P<nodes>\d+) nodes)?')
"""what `share_name` gives"""


@dataclass(frozen=True)
class LayerTimes:
    """Processor time of one layer, s."""

    train: float
    """a training step on one batch, the update of the optimizer included"""
    score: float
    """a SCORE item of one batch: a step of the read-out; 0 without one"""
    evaluate: float
    """an EVALUATE item"""
    pass_on: float
    """letting a block of schedules with chapters pass; see `block_samples`"""
    pass_neutral: float
    """the same with the neutral label, for the read-outs of the layers behind; 0 without"""
    encode: float
    """turning the item that it passes on into a message's bytes"""
    decode: float
    """checking a TRAIN item that arrives and taking it out of its bytes"""
    keep: float
    """cutting a part off the layer and writing it to disk"""
    pack: float
    """turning a part into the bytes that travel"""
    unpack: float
    """checking the bytes of a part and loading them into the layer"""


@dataclass(frozen=True)
class MessageTimes:
    """Processor time of each side of a message, s: the mean of sending and receiving."""

    message: float = 0.0
    byte: float = 0.0

    def of(self, count: int, messages: int = 1) -> float:
        """Give the time of one side for so many bytes in so many messages, s."""
        return self.message * messages + self.byte * count


@dataclass(frozen=True)
class StepTimes:
    """All that a prediction needs of a network, s of processor time with `threads` threads."""

    layers: list[LayerTimes]
    batch: float
    """drawing one training batch"""
    far: MessageTimes
    """of what travels from device to device"""
    near: MessageTimes
    """of what travels within one"""
    block_samples: int
    threads: int
    processor: str
    load: float
    """load average of the machine while it measured, per core"""
    messages: str
    """over what far ones were measured: cable, loopback; nothing: they count for nothing"""
    quota_costs: dict[str, float] = field(default_factory=dict)
    """
    of devices that may use a share of a core only, so many at once with so many nodes each (the
    key, see `share_name`): the time of their steps against that of a core which is slower by that
    share. They are stopped over and over, find their caches cold, and share this machine's memory.
    """

    wire_shares: dict[str, float] = field(default_factory=dict)
    """
    how much of a link's rate messages take for what they carry; the key is what travels, items
    or parts, the rate, and the share of a core that each end has, as `items at 100 Mbit/s` or
    `parts at 100 Mbit/s between 0.4 of a core`
    """
    wire_bytes: dict[str, float] = field(default_factory=dict)
    """
    processor time of each side for each byte, s, where one message follows the other over a link
    of a rate; the key as in `wire_shares`. Of large ones more than alone: some is sent twice; and
    of devices with a share of a core, which compute besides, with what that takes longer.
    """

    def over_links(self, what: str, mbit: float | None, cpu: float | None = None) -> StepTimes:
        """Give the times where far messages are items, or parts, over links of a rate."""
        byte = _of_link(self.wire_bytes, what, mbit, cpu)
        return self if byte is None else replace(self, far=replace(self.far, byte=byte))

    def wire_share(self, what: str, mbit: float | None, cpu: float | None = None) -> float:
        """Give the share of a link's rate, see `wire_shares`; ON_THE_WIRE if not measured."""
        share = _of_link(self.wire_shares, what, mbit, cpu)
        return ON_THE_WIRE if share is None else share

    def messages_between(self, near: bool) -> MessageTimes:
        """Give what messages take within a device, or from one to another."""
        return self.near if near else self.far

    @property
    def training_step(self) -> float:
        """A training step of all layers, one after the other, s."""
        return sum(layer.train for layer in self.layers)

    def quota_cost(self, cpu: float | None, devices: int, nodes: int = 1) -> float | None:
        """
        Give the cost of a device's share of the processor where so many compute at once.

        :param nodes: that each of the devices has.
        :returns: of the nearest numbers that were measured, nodes first; None if none were.
        """
        if cpu is None or cpu >= self.threads:
            return 1.0
        found: dict[tuple[int, int], float] = {}
        for name, cost in self.quota_costs.items():
            share = SHARE.fullmatch(name)
            if share and share['cpu'] == f'{cpu:g}':
                found[int(share['nodes'] or 1), int(share['devices'])] = cost
        if not found:
            return None
        return found[min(found, key=lambda at: (abs(at[0] - nodes), abs(at[1] - devices)))]

    def as_dict(self) -> dict[str, Any]:
        """Give the times as JSON can hold them."""
        return asdict(self)

    @staticmethod
    def from_dict(tree: dict[str, Any]) -> StepTimes:
        """Read what `as_dict` gave; raises TypeError or KeyError for anything else."""
        layers = [LayerTimes(**each) for each in tree['layers']]
        messages = {name: MessageTimes(**tree[name]) for name in ('far', 'near')}
        return StepTimes(**(tree | messages | {'layers': layers}))


def share_name(cpu: float, devices: int, nodes: int = 1) -> str:
    """Name devices with a share of the processor as a key of JSON: `0.4x3`, `0.4x2 of 2 nodes`."""
    return f'{cpu:g}x{devices}' + (f' of {nodes} nodes' if nodes > 1 else '')


def wire_name(what: str, mbit: float, cpu: float | None = None) -> str:
    """Name what travels over links of a rate, as a key of JSON."""
    between = f' between {cpu:g} of a core' if cpu else ''
    return f'{what} at {mbit:g} Mbit/s{between}'


def _of_link(
    measured: dict[str, float], what: str, mbit: float | None, cpu: float | None
) -> float | None:
    """Give what was measured between such shares of a core, else between whole ones, if any."""
    if not mbit:
        return None
    names = wire_name(what, mbit, cpu), wire_name(what, mbit)
    return next((measured[name] for name in names if name in measured), None)


def times_file(resolved: ResolvedRun) -> Path:
    """Name the file of a network's times on this machine."""
    config = resolved.config
    decides = {
        'version': VERSION,
        'network': [layer.model_dump(mode='json') for layer in config.network],
        'training': config.training.model_dump(mode='json', exclude={'epochs', 'learning_rate'}),
        'classification': config.classification.mode,
        'data': resolved.facts.as_dict()
        | config.data.model_dump(mode='json', exclude={'root', 'download', 'dataset'}),
        'readout': config.has_readout,
        'dtype': config.stream.dtype,
        'threads': config.compute.threads,
        'device': config.compute.device,
        'precision': config.compute.precision,
        'processor': processor(),
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f'{digest[:24]}.json'


def cache_folder() -> Path:
    """Folder of measured times: $XDG_CACHE_HOME/dff/step_times, else below ~/.cache."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'dff' / 'step_times'


def processor() -> str:
    """Name the processor of this machine."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return os.uname().machine
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else os.uname().machine


def save_times(resolved: ResolvedRun, times: StepTimes) -> Path:
    """Keep what was measured; raises OSError."""
    path = times_file(resolved)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(times.as_dict(), indent=1).encode())
    return path


def load_times(resolved: ResolvedRun, config: str | None) -> StepTimes:
    """
    Read what was measured of a network on this machine.

    :param config: configuration file, for the message.
    :raises ConfigError: if nothing was, saying how.
    """
    path = times_file(resolved)
    again = f'dff plan {config} --measure' if config else 'dff plan --measure'
    try:
        return StepTimes.from_dict(json.loads(path.read_text(encoding='utf-8')))
    except FileNotFoundError:
        raise ConfigError(
            'no step times of this network, batch size and number of threads were measured on '
            f'this machine: do so with {again}, which takes a minute'
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f'{path} holds no step times ({error}): measure with {again}') from error
