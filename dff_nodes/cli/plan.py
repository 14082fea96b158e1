# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Predict time, memory and bytes of each schedule on devices, from times measured here."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dff_nodes.data.facts import read_facts
from dff_nodes.runs import units
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.device_profiles import PlannedDevice, load_profiles, parse_devices
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.options import LATENCY_MS, link_mbit, quantity
from dff_nodes.runs.resolve import ResolvedRun, resolve
from dff_nodes.runs.signals import ending_in_order

if TYPE_CHECKING:  # import PyTorch, and ROS
    from dff_nodes.schedules.scaling import Candidate, ScaledPoint
    from dff_nodes.schedules.step_times import MessageTimes, StepTimes

LATENCY = '0.3ms'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        'config', nargs='?', help='configuration file; without one, the defaults (digits)'
    )
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='override one setting'
    )
    parser.add_argument(
        '--measure', action='store_true', help='time every step of this network on this machine'
    )
    parser.add_argument(
        '--devices', metavar='KINDS', help='for example pi5x4, lab0.4x2 or pi4x3,desktop'
    )
    parser.add_argument(
        '--link',
        metavar='RATE',
        help='rate of every link each way, for example 100mbit; default lab.link_mbit, else each '
        "device's own",
    )
    parser.add_argument(
        '--latency', metavar='TIME', default=LATENCY, help=f'of a message ({LATENCY})'
    )
    parser.add_argument('--profiles', metavar='FILE', help='YAML file with devices of your own')
    parser.add_argument(
        '--chart', metavar='FILE', help='write the speed-up curves as an HTML page'
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, predict, or both; raises ConfigError for a wrong request."""
    if not arguments.measure and not arguments.devices:
        raise ConfigError('dff plan needs --devices, as pi5x4, or --measure, or both')
    if arguments.chart and not arguments.devices:
        raise ConfigError('--chart draws what --devices gives: say which devices')
    devices = _devices(arguments)
    latency_s = quantity('--latency', arguments.latency, LATENCY_MS, '0.3ms or 2ms') / 1e3
    config = load_config(arguments.config, arguments.set)
    mbit = link_mbit(arguments.link) if arguments.link else config.lab.link_mbit
    resolved = resolve(config, read_facts(config.data))
    times = _times(resolved, devices, mbit, arguments)
    tree: dict[str, Any] = {'times': times.as_dict()}
    if devices:
        tree |= _plan(resolved, times, devices, mbit, latency_s, arguments)
    if arguments.json:
        print(json.dumps(tree))
    return 0


def _devices(arguments: argparse.Namespace) -> list[PlannedDevice]:
    profiles = load_profiles(Path(arguments.profiles) if arguments.profiles else None)
    return parse_devices(arguments.devices, profiles) if arguments.devices else []


def _times(
    resolved: ResolvedRun,
    devices: list[PlannedDevice],
    mbit: float | None,
    arguments: argparse.Namespace,
) -> StepTimes:
    """Measure the steps, or read what was measured before."""
    from dff_nodes.cli import plan_tables
    from dff_nodes.schedules.needs import with_schedule
    from dff_nodes.schedules.step_times import load_times, save_times

    # Of all schedules, stream has every kind of step.
    measured = with_schedule(resolved, 'stream')
    if not arguments.measure:
        return load_times(measured, arguments.config)
    # Emulated devices are taken apart however it ends.
    with ending_in_order():
        times = _measure(measured, devices, mbit)
    try:
        path = save_times(measured, times)
    except OSError as error:
        raise ConfigError(
            f'what was measured cannot be kept: {error}; set XDG_CACHE_HOME to a folder that can '
            'be written'
        ) from error
    plan_tables.show_times(times, str(path), _stream(arguments))
    return times


def _measure(resolved: ResolvedRun, devices: list[PlannedDevice], mbit: float | None) -> StepTimes:
    from dff_nodes.schedules.measure_steps import StepMeasurement

    def tell(what: str) -> None:
        print(f'measuring {what}', file=sys.stderr)

    times = StepMeasurement(resolved).times(tell)
    times = replace(times, quota_costs=_quota_costs(resolved, devices, times, tell))
    tell('a message between two processes')
    found = _messages()
    if found is None:
        return times
    far, near, over = found
    times = replace(times, far=far, near=near, messages=over)
    if over != 'cable' or mbit is None:
        return times
    tell(f'messages over a cable of {mbit:g} Mbit/s')
    return _with_flows(times, resolved, devices, mbit)


def _with_flows(
    times: StepTimes, resolved: ResolvedRun, devices: list[PlannedDevice], mbit: float
) -> StepTimes:
    """Measure what messages that follow each other take of a cable and of the processor."""
    from dff_nodes.lab.commands import LabError
    from dff_nodes.lab.message_cost import measure_flow_on_cable
    from dff_nodes.nodes.measuring_processes import MeasurementError
    from dff_nodes.nodes.part_client import WINDOW
    from dff_nodes.runs.segment import CHUNK_BYTES
    from dff_nodes.schedules.step_times import ITEMS, PARTS, wire_name

    size, window = resolved.config.training.batch_size, resolved.config.stream.window_items
    hops = [resolved.hop_bytes(layer, 'TRAIN', size) for layer in range(len(resolved.layers))]
    flows = (
        (ITEMS, max(hops), window, len(resolved.layers) > 1),
        (PARTS, CHUNK_BYTES, WINDOW, False),
    )
    cores = dict.fromkeys([None, *(device.profile.cpu for device in devices)])
    shares, bytes_ = {}, {}
    for (what, count, under_way, relayed), cpu in itertools.product(flows, cores):
        name = wire_name(what, mbit, cpu)
        try:
            flow = measure_flow_on_cable(mbit, count, under_way, cpu, relayed=relayed)
        except (LabError, MeasurementError) as error:
            print(f'{name} were not measured: {error}', file=sys.stderr)
            continue
        shares[name] = flow.apart * mbit * 1e6 / (8 * count)
        # With each message goes a credit the other way.
        bytes_[name] = max(0.0, flow.processor - 2 * times.far.message) / count
    return replace(times, wire_shares=shares, wire_bytes=bytes_)


def _quota_costs(
    resolved: ResolvedRun,
    devices: list[PlannedDevice],
    times: StepTimes,
    tell: Callable[[str], None],
) -> dict[str, float]:
    """Measure what the devices' shares of the processor cost beside their being shares."""
    from dff_nodes.lab.commands import LabError
    from dff_nodes.lab.quota_cost import measure_shared_step
    from dff_nodes.schedules.step_times import share_name

    costs = {}
    for cpu in dict.fromkeys(device.profile.cpu for device in devices):
        if times.quota_cost(cpu, 1) is not None:
            continue
        alike = sum(device.profile.cpu == cpu for device in devices)
        most = -(-len(resolved.layers) // len(devices))
        for count, nodes in sorted({(1, 1), (alike, 1), (alike, most)}):
            of_each = f', {nodes} nodes each' if nodes > 1 else ''
            tell(f'steps on {count} devices with {cpu:g} of a core{of_each}')
            try:
                seconds = measure_shared_step(resolved, cpu, count, nodes)
            except LabError as error:
                print(f'what that share costs was not measured: {error}', file=sys.stderr)
                break
            costs[share_name(cpu, count, nodes)] = seconds / times.training_step
    return costs


def _messages() -> tuple[MessageTimes, MessageTimes, str] | None:
    """
    Measure messages from device to device and within one.

    The former over a cable, which needs root, else through the loopback interface.
    """
    try:
        from dff_nodes.lab.commands import LabError
        from dff_nodes.lab.message_cost import measure_on_cable
        from dff_nodes.nodes.measuring_processes import MeasurementError
        from dff_nodes.nodes.message_cost import measure_message_cost
    except ModuleNotFoundError as error:
        print(f'messages were not measured ({error}): they count for nothing', file=sys.stderr)
        return None
    found: dict[str, MessageTimes] = {}
    for over, measure in (('cable', measure_on_cable), ('loopback', measure_message_cost)):
        try:
            found[over] = measure()
        except (LabError, MeasurementError) as error:
            print(f'messages were not measured over {over}: {error}', file=sys.stderr)
    if not found:
        return None
    over, far = next(iter(found.items()))
    return far, found.get('loopback', far), over


def _plan(
    resolved: ResolvedRun,
    times: StepTimes,
    devices: list[PlannedDevice],
    mbit: float | None,
    latency_s: float,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    from dff_nodes.cli import plan_tables
    from dff_nodes.schedules.scaling import Planner

    planner = Planner(resolved, times, mbit, latency_s)
    candidates = planner.candidates(devices)
    points = planner.scaled(devices)
    warnings = [*_memory_warnings(candidates, devices), *_estimates(devices)]
    warnings += [*_quota_warnings(devices, times)]
    warnings += [*_lag_warning(resolved), *_message_warning(times)]
    plan_tables.show(candidates, points, devices, times, mbit, warnings, _stream(arguments))
    if arguments.chart:
        _write_chart(points, devices, Path(arguments.chart))
    return {
        'devices': [device.model_dump(mode='json') for device in devices],
        'link_mbit': mbit,
        'latency_s': latency_s,
        'candidates': [_candidate_json(each) for each in candidates],
        'scaling': [asdict(point) for point in points],
        'warnings': warnings,
        'chart': arguments.chart,
    }


def _memory_warnings(
    candidates: Sequence[Candidate], devices: Sequence[PlannedDevice]
) -> list[str]:
    limits = {device.name: device.profile.memory_mb for device in devices}
    return [
        f'{each.schedule}: {host} needs {units.megabytes(needed)} of '
        f'{units.megabytes(limits[host])}'
        for each in candidates
        for host, needed in (each.memory_mb or {}).items()
        if limits.get(host) and needed > limits[host]
    ]


def _estimates(devices: Sequence[PlannedDevice]) -> list[str]:
    guessed = {device.kind: device.profile for device in devices if device.profile.estimate}
    return [
        f'the speed of {kind} is an estimate, {profile.speed:g} of one core of the machine that '
        'measured: what is predicted for it may be wrong by far; see --profiles'
        for kind, profile in guessed.items()
    ]


def _quota_warnings(devices: Sequence[PlannedDevice], times: StepTimes) -> list[str]:
    shares = {device.kind: device.profile.cpu for device in devices}
    return [
        f'{kind}: how much longer steps take where a process is stopped for having used its share '
        f'({cpu:g} of a core) was not measured: measure as root, with these --devices'
        for kind, cpu in shares.items()
        if times.quota_cost(cpu, 1) is None
    ]


def _lag_warning(resolved: ResolvedRun) -> list[str]:
    """Speed-ups are of the same work only where all schedules make as many negatives."""
    negatives = resolved.config.training.negatives
    adaptive = resolved.config.streams == 2 and negatives.mode == 'adaptive'
    if not adaptive or negatives.lag_chapters:
        return []
    return [
        'training.negatives.lag_chapters is the number of workers where it is not set, so that '
        'schedules make adaptive negatives of different chapters: set it to compare the same work'
    ]


def _message_warning(times: StepTimes) -> list[str]:
    if times.messages == 'cable':
        return []
    return [
        f'messages were measured over {times.messages}, which costs far less than a cable: '
        'measure as root, which emulates one'
    ]


def _stream(arguments: argparse.Namespace):  # noqa: ANN202 - TextIO
    return sys.stderr if arguments.json else sys.stdout


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    prediction = candidate.prediction
    if prediction is None:
        return {'schedule': candidate.schedule, 'refused': candidate.refused}
    return {
        'schedule': candidate.schedule,
        'seconds': prediction.seconds,
        'epoch_seconds': prediction.epoch_seconds,
        'speed_up': candidate.speed_up,
        'bottleneck': prediction.bottleneck,
        'busy': prediction.busy,
        'placement': prediction.hosts,
        'memory_mb': candidate.memory_mb,
        'bytes': candidate.bytes,
    }


def _write_chart(
    points: Sequence[ScaledPoint], devices: Sequence[PlannedDevice], path: Path
) -> None:
    from dff_nodes.cli.plan_chart import chart_page
    from dff_nodes.runs.atomic import write_atomically

    try:
        write_atomically(path.resolve(), chart_page(points, devices[0].kind).encode())
    except OSError as error:
        raise ConfigError(
            f'--chart {path} cannot be written: {error.strerror}; choose another place'
        ) from error
    print(path, file=sys.stderr)
