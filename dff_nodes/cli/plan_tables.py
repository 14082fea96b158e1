# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The tables that `dff plan` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from dff_nodes.cli.tables import facts, make_console, table, title
from dff_nodes.runs import units
from dff_nodes.runs.device_profiles import PlannedDevice
from dff_nodes.schedules.prediction import DESK
from dff_nodes.schedules.scaling import Candidate, ScaledPoint, sizes_of
from dff_nodes.schedules.step_times import MessageTimes, StepTimes

BUSY_LOAD = 0.7
"""load average per core from which measured times may be too long"""


def show_times(times: StepTimes, path: str, stream: TextIO) -> None:
    """Print what was measured."""
    console = make_console(stream)
    title(console, f'Step times, {times.processor}, threads: {times.threads}')
    columns = ['layer', 'step >', 'read-out >', 'evaluate >', 'pass on >', 'encode >', 'decode >']
    columns += ['keep >', 'pack >', 'unpack >']
    rows = [
        [
            f'layer_{index}',
            *(
                _milliseconds(seconds)
                for seconds in (
                    layer.train, layer.score, layer.evaluate, layer.pass_on, layer.encode,
                    layer.decode, layer.keep, layer.pack, layer.unpack,
                )
            ),
        ]
        for index, layer in enumerate(times.layers)
    ]  # fmt: skip
    console.print(table(console, columns, rows))
    named = {
        'block': f'{times.block_samples} samples pass on at a time',
        'batch': f'{_milliseconds(times.batch)} to draw one',
        'message': f'{_message(times.far)}, each side, measured over {times.messages}',
        'message within a device': f'{_message(times.near)}, each side',
        **{
            f'devices {share}': f'steps take {cost:.2f} times what the share lets expect'
            for share, cost in times.quota_costs.items()
        },
        **{what: _flow(times, what) for what in times.wire_shares},
        'kept in': path,
    }
    console.print(facts(console, named))
    _warn_of_load(times, console)


def _message(times: MessageTimes) -> str:
    return f'{_milliseconds(times.message)} and {_milliseconds(1e6 * times.byte)} a MB'


def _flow(times: StepTimes, what: str) -> str:
    text = f'take {times.wire_shares[what]:.2f} times'
    if what in times.wire_bytes:
        text += f', and {_milliseconds(1e6 * times.wire_bytes[what])} a MB, each side'
    return text


def _milliseconds(seconds: float) -> str:
    return f'{units.number(1e3 * seconds)} ms' if seconds else units.DASH


def _warn_of_load(times: StepTimes, console) -> None:  # noqa: ANN001 - Console
    if times.load > BUSY_LOAD:
        console.print(
            f'warning: {times.load:.1f} processes for each core were at work while the steps were '
            'measured, so that they may seem longer than they are',
            style='yellow',
        )


def show(
    candidates: Sequence[Candidate],
    points: Sequence[ScaledPoint],
    devices: Sequence[PlannedDevice],
    times: StepTimes,
    link_mbit: float | None,
    warnings: Sequence[str],
    stream: TextIO,
) -> None:
    """Print the prediction."""
    console = make_console(stream)
    rate = f' at {link_mbit:g} Mbit/s' if link_mbit else ''
    title(console, f'Schedules on {_kinds(devices)}{rate} (predicted)')
    columns = [
        'schedule',
        'epoch >',
        'whole run >',
        'speed-up >',
        'bytes >',
        'memory >',
        'busiest',
    ]
    console.print(table(console, columns, [_row(each) for each in candidates]))
    for each in candidates:
        if each.refused:
            console.print(f'  {each.schedule}: {each.refused}', markup=False, highlight=False)
    title(console, 'Placement')
    console.print(facts(console, _placements(candidates)))
    title(console, f'Speed-up on more devices of kind {devices[0].kind} (predicted)')
    console.print(_scaling(points, console))
    console.print(
        '  stream and single_layer use no more devices than there are layers, all_layers has a '
        'worker on each',
        highlight=False,
    )
    for warning in warnings:
        console.print(f'warning: {warning}', style='yellow', markup=False, highlight=False)
    _warn_of_load(times, console)


def _kinds(devices: Sequence[PlannedDevice]) -> str:
    kinds = list(dict.fromkeys(device.kind for device in devices))
    counts = [sum(device.kind == kind for device in devices) for kind in kinds]
    return ', '.join(f'{count} {kind}' for kind, count in zip(kinds, counts, strict=True))


def _row(candidate: Candidate) -> list[str]:
    prediction = candidate.prediction
    if prediction is None:
        return [candidate.schedule, *([units.DASH] * 5), 'not possible']
    memory = max(value for host, value in candidate.memory_mb.items() if host != DESK)
    return [
        candidate.schedule,
        units.duration(prediction.epoch_seconds),
        units.duration(prediction.seconds),
        f'{candidate.speed_up:.2f} ×',
        units.size(candidate.bytes),
        units.megabytes(memory),
        prediction.bottleneck,
    ]


def _placements(candidates: Sequence[Candidate]) -> dict[str, str]:
    return {
        each.schedule: '; '.join(
            f'{host}: {", ".join(nodes)}' for host, nodes in each.prediction.hosts.items()
        )
        for each in candidates
        if each.prediction
    }


def _scaling(points: Sequence[ScaledPoint], console):  # noqa: ANN001, ANN202 - Console, Table
    sizes = sorted({point.devices for point in points})
    rows = []
    for way, group in sizes_of(points, lambda point: point.way).items():
        found = {point.devices: point for point in group}
        rows.append([way, *(_speed_up(found.get(size)) for size in sizes)])
    return table(console, ['devices', *(f'{size} >' for size in sizes)], rows)


def _speed_up(point: ScaledPoint | None) -> str:
    return units.DASH if point is None else f'{point.speed_up:.2f} ×'
