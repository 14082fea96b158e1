# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Times of the steps that a run is made of, as measured on one machine, and their file."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dff_nodes.runs.atomic import write_atomically
from dff_nodes.runs.config_file import ConfigError
from dff_nodes.runs.resolve import ResolvedRun

VERSION = 2
"""of what is measured and how; files of another are measured anew"""


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
class StepTimes:
    """All that a prediction needs of a network, s of processor time with `threads` threads."""

    layers: list[LayerTimes]
    batch: float
    """drawing one training batch"""
    message: float
    """sending or receiving one message, each"""
    message_byte: float
    """of it for each byte"""
    block_samples: int
    threads: int
    processor: str
    load: float
    """load average of the machine while it measured, per core"""
    messages: str
    """over what they were measured: cable, loopback; nothing: they count for nothing"""
    quota_costs: dict[str, float] = field(default_factory=dict)
    """
    of devices that may use a share of a core only (the key, as `0.4`): processor time of their
    steps against that without a limit. They are stopped over and over, and find their caches cold.
    """

    def quota_cost(self, cpu: float | None) -> float | None:
        """Give the cost of a device's share of the processor; None if it was not measured."""
        if cpu is None or cpu >= self.threads:
            return 1.0
        return self.quota_costs.get(share_name(cpu))

    def as_dict(self) -> dict[str, Any]:
        """Give the times as JSON can hold them."""
        return asdict(self)

    @staticmethod
    def from_dict(tree: dict[str, Any]) -> StepTimes:
        """Read what `as_dict` gave; raises TypeError or KeyError for anything else."""
        layers = [LayerTimes(**each) for each in tree['layers']]
        return StepTimes(**(tree | {'layers': layers}))


def share_name(cpu: float) -> str:
    """Name a share of the processor, as a key of JSON."""
    return f'{cpu:g}'


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
