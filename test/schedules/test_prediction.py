# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Predicted runs from step times that are given: every figure follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dff_nodes.runs.device_profiles import DeviceProfile, PlannedDevice
from dff_nodes.runs.footprint import PROCESS_MB
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.prediction import DESK, Prediction, predict
from dff_nodes.schedules.scaling import Planner, deepened
from dff_nodes.schedules.step_times import ON_THE_WIRE, LayerTimes, MessageTimes, StepTimes

STEP_S = 0.01
STEPS = 2
"""of an epoch: 16 samples in batches of 8"""


def times_of(layers: int, **settings: float) -> StepTimes:
    """A step takes 10 ms, all else no time."""
    names = LayerTimes.__dataclass_fields__
    layer = LayerTimes(**(dict.fromkeys(names, 0.0) | {'train': STEP_S} | settings))
    none = MessageTimes()
    return StepTimes([layer] * layers, 0.0, none, none, 16, 1, 'made up', 0.0, messages='cable')


def devices_of(count: int, **settings: float) -> list[PlannedDevice]:
    profile = DeviceProfile(speed=1, estimate=False, **settings)
    return [PlannedDevice(name=f'pi{each}', kind='pi', profile=profile) for each in range(count)]


def run_of(
    made_run: Callable[..., ResolvedRun], schedule: Any, epochs: int = 100, layers: int = 4
) -> ResolvedRun:
    return made_run(
        train_samples=16,
        schedule=schedule,
        network=[{'units': 12}] * layers,
        training={'epochs': epochs, 'batch_size': 8},
        evaluation={'every_epochs': 0, 'train_samples': 0},
    )


def predicted(
    resolved: ResolvedRun, times: StepTimes, devices: int, link_mbit: float | None = None
) -> Prediction:
    return predict(resolved, times, devices_of(devices), link_mbit, latency_s=0.0)


def test_a_share_of_the_processor_costs_more_than_its_being_a_share(
    made_run: Callable[..., ResolvedRun],
) -> None:
    resolved, times = run_of(made_run, 'sequential'), times_of(4)
    devices = devices_of(1, cpu=0.4)
    alone = predict(resolved, times, devices, None, latency_s=0.0)
    costly = replace(times, quota_costs={'0.4x1': 1.25, '0.4x4': 1.5, '0.5x1': 9.0})
    stopped = predict(resolved, costly, devices, None, latency_s=0.0)
    assert alone.seconds == pytest.approx(100 * 4 * STEPS * STEP_S / 0.4)
    assert stopped.seconds == pytest.approx(1.25 * alone.seconds)
    stream = run_of(made_run, 'stream')
    together = [
        predict(stream, each, devices_of(4, cpu=0.4), None, latency_s=0.0).seconds
        for each in (times, costly)
    ]
    assert together[1] == pytest.approx(1.5 * together[0]), 'four compute at once'
    in_pairs = replace(costly, quota_costs=costly.quota_costs | {'0.4x4 of 2 nodes': 1.8})
    paired = [
        predict(stream, each, devices_of(2, cpu=0.4), None, latency_s=0.0).seconds
        for each in (times, in_pairs)
    ]
    assert paired[1] == pytest.approx(1.8 * paired[0]), 'two nodes of a device stop each other'
    whole = predict(resolved, costly, devices_of(1, cpu=1), None, latency_s=0.0)
    assert whole.seconds == pytest.approx(0.4 * alone.seconds)


def test_one_worker_takes_the_sum_of_all_steps(made_run: Callable[..., ResolvedRun]) -> None:
    found = predicted(run_of(made_run, 'sequential'), times_of(4), 1)
    assert found.seconds == pytest.approx(100 * 4 * STEPS * STEP_S)
    assert found.epoch_seconds == pytest.approx(4 * STEPS * STEP_S)
    assert found.busy['pi0'] == pytest.approx(1)
    assert found.bottleneck == 'pi0 100 % busy'


@pytest.mark.parametrize('schedule', ['all_layers', 'single_layer'])
def test_chapters_reach_the_bound_of_the_pipeline(
    schedule: str, made_run: Callable[..., ResolvedRun]
) -> None:
    """4 layers, 100 chapters: 103 places in time instead of 400."""
    one = predicted(run_of(made_run, 'sequential'), times_of(4), 1)
    four = predicted(run_of(made_run, schedule), times_of(4), 4)
    assert one.seconds / four.seconds == pytest.approx(400 / 103)


def test_a_ring_of_more_workers_than_layers_is_no_quicker(
    made_run: Callable[..., ResolvedRun],
) -> None:
    four = predicted(run_of(made_run, 'all_layers'), times_of(4), 4)
    eight = predicted(run_of(made_run, {'name': 'all_layers', 'workers': 8}), times_of(4), 8)
    assert eight.seconds == pytest.approx(four.seconds)


def test_all_layers_of_a_stream_work_at_once(made_run: Callable[..., ResolvedRun]) -> None:
    found = predicted(run_of(made_run, 'stream'), times_of(4), 4)
    assert found.seconds == pytest.approx((100 * STEPS + 3) * STEP_S)


def test_two_layers_on_a_device_take_turns(made_run: Callable[..., ResolvedRun]) -> None:
    found = predicted(run_of(made_run, 'stream'), times_of(4), 2)
    assert found.hosts == {
        DESK: ['coordinator'],
        'pi0': ['layer_0', 'layer_1'],
        'pi1': ['layer_2', 'layer_3'],
    }
    assert found.seconds == pytest.approx((100 * STEPS * 2 + 2) * STEP_S, rel=0.01)


def test_messages_within_a_device_take_their_own_time(
    made_run: Callable[..., ResolvedRun],
) -> None:
    times = replace(
        times_of(2, train=0.0), far=MessageTimes(STEP_S), near=MessageTimes(STEP_S / 5)
    )
    stream = run_of(made_run, 'stream', layers=2)
    apart, together = (predicted(stream, times, devices).seconds for devices in (2, 1))
    # Layer 0 takes in and passes on, layer 1 takes in; each is a message and a credit, and so is
    # the mark at an epoch's end.
    assert apart == pytest.approx(100 * (STEPS * (2 + 2) + 2) * STEP_S, rel=0.02)
    near = 2 / 5
    assert together == pytest.approx(100 * (STEPS * (2 + 2 * near) + 2 + near) * STEP_S, rel=0.02)


@pytest.mark.parametrize(('cpu', 'share'), [(0.4, 3.0), (0.5, 2.0), (None, 2.0)])
def test_messages_between_busy_devices_take_more_of_a_link(
    cpu: float | None, share: float, made_run: Callable[..., ResolvedRun]
) -> None:
    resolved = run_of(made_run, 'stream', epochs=20)
    shares = {'items at 1 Mbit/s': 2.0, 'items at 1 Mbit/s between 0.4 of a core': 3.0}
    times = replace(times_of(4, train=1e-6), wire_shares=shares)
    found = predict(resolved, times, devices_of(4, cpu=cpu), 1.0, latency_s=0.0)
    count = resolved.hop_bytes(1, 'TRAIN', 8)
    assert found.epoch_seconds == pytest.approx(STEPS * share * 8 * count / 1e6, rel=0.15)


@pytest.mark.parametrize(('cpu', 'steps'), [(None, 3), (0.5, 3 / 0.5), (0.4, 5 / 0.4)])
def test_messages_that_follow_each_other_take_more_of_the_processor(
    cpu: float | None, steps: float, made_run: Callable[..., ResolvedRun]
) -> None:
    resolved = run_of(made_run, 'stream', epochs=20)
    byte = STEP_S / resolved.hop_bytes(1, 'TRAIN', 8)
    wire_bytes = {
        'items at 1000 Mbit/s': byte,
        'items at 1000 Mbit/s between 0.4 of a core': 2 * byte,
        'parts at 1000 Mbit/s': 9.0,
    }
    times = replace(times_of(4), wire_bytes=wire_bytes)
    alone = predicted(resolved, times, 4)
    assert alone.epoch_seconds == pytest.approx(STEPS * STEP_S, rel=0.15)
    found = predict(resolved, times, devices_of(4, cpu=cpu), 1000.0, latency_s=0.0)
    # The layers in the middle take an item in and pass one on.
    assert found.epoch_seconds == pytest.approx(STEPS * steps * STEP_S, rel=0.15)


def test_devices_that_are_too_many_have_no_node(made_run: Callable[..., ResolvedRun]) -> None:
    found = predicted(run_of(made_run, 'stream'), times_of(4), 6)
    assert [*found.hosts] == [DESK, 'pi0', 'pi1', 'pi2', 'pi3']


def test_a_narrow_link_is_what_the_others_wait_for(made_run: Callable[..., ResolvedRun]) -> None:
    resolved = run_of(made_run, 'stream', epochs=20)
    item = resolved.hop_bytes(1, 'TRAIN', 8)
    seconds = 3 * STEP_S
    found = predicted(resolved, times_of(4), 4, link_mbit=8 * ON_THE_WIRE * item / seconds / 1e6)
    assert found.epoch_seconds == pytest.approx(STEPS * seconds, rel=0.15)
    assert found.bottleneck.startswith('link ')


def test_credit_holds_a_quick_layer_back(made_run: Callable[..., ResolvedRun]) -> None:
    """The last layer is slow: the others are never more than a window before it."""
    times = times_of(2)
    slow = replace(times.layers[1], train=5 * STEP_S)
    found = predicted(
        run_of(made_run, 'stream', layers=2), replace(times, layers=[times.layers[0], slow]), 2
    )
    assert found.seconds == pytest.approx((100 * STEPS * 5 + 1) * STEP_S)
    assert found.busy['pi1'] > 0.99
    assert found.busy['pi0'] == pytest.approx(0.2, abs=0.01)


def test_a_worker_computes_what_the_layers_before_it_give(
    made_run: Callable[..., ResolvedRun],
) -> None:
    times = times_of(4, pass_on=STEP_S)
    found = predicted(run_of(made_run, 'single_layer'), times, 4)
    # The last worker: 2 steps and a block through each of 3 layers, a chapter after the other.
    assert found.epoch_seconds == pytest.approx((STEPS + 3) * STEP_S, rel=0.05)
    cached = predicted(run_of(made_run, 'sequential'), times, 1)
    assert cached.epoch_seconds == pytest.approx((4 * STEPS + 3) * STEP_S)
    schedule = {'name': 'sequential', 'cache_mb': 0}
    anew = predicted(run_of(made_run, schedule), times, 1)
    assert anew.epoch_seconds == pytest.approx((4 * STEPS + 1 + 2 + 3) * STEP_S)


def test_a_slow_device_takes_longer(made_run: Callable[..., ResolvedRun]) -> None:
    resolved, times = run_of(made_run, 'sequential'), times_of(4)
    quick = predict(resolved, times, devices_of(1), None, 0.0)
    slow = predict(resolved, times, devices_of(1, cpu=0.25), None, 0.0)
    assert slow.seconds == pytest.approx(4 * quick.seconds)


def test_every_schedule_is_a_candidate_with_memory_and_bytes(
    made_run: Callable[..., ResolvedRun],
) -> None:
    ring = {'name': 'federated', 'workers': 2}
    planner = Planner(run_of(made_run, ring), times_of(4), None, 0.0)
    found = {each.schedule: each for each in planner.candidates(devices_of(2))}
    assert [*found] == ['sequential', 'stream', 'single_layer', 'all_layers', 'federated']
    assert found['sequential'].speed_up == 1
    assert found['all_layers'].speed_up == pytest.approx(2, rel=0.01)
    assert {*found['stream'].memory_mb} == {DESK, 'pi0', 'pi1'}
    assert found['stream'].memory_mb['pi0'] > 2 * PROCESS_MB
    assert min(each.bytes for each in found.values()) > 0


def test_a_plan_goes_on_to_more_devices(
    made_run: Callable[..., ResolvedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('dff_nodes.schedules.scaling.SIZES', (1, 2, 8))
    planner = Planner(run_of(made_run, 'stream', epochs=8, layers=2), times_of(2), None, 0.0)
    points = {(each.way, each.devices): each for each in planner.scaled(devices_of(1))}
    assert points['stream, this network', 1].speed_up == pytest.approx(1, rel=0.01)
    assert points['stream, this network', 8].used == 2
    deep = points['stream, a layer for each device', 8]
    assert (deep.used, deep.layers) == (8, 8)
    # 16 batches through 8 layers: 23 places in time instead of 128.
    assert deep.speed_up == pytest.approx(128 / 23)
    # 8 chapters of 8 layers: 15 places in time instead of 64.
    ring = points['all_layers, a layer for each device', 8]
    assert ring.speed_up == pytest.approx(64 / 15)


def test_a_deeper_network_repeats_the_last_layer(made_run: Callable[..., ResolvedRun]) -> None:
    resolved = made_run(network=[{'units': 30}, {'units': 20}], training={'batch_size': 8})
    deep, times = deepened(resolved, times_of(2), 4)
    assert [shape.units for shape in deep.layers] == [30, 20, 20, 20]
    share = (20 * 20 + 20) / (30 * 20 + 20)
    assert times.layers[3].train == pytest.approx(share * STEP_S)
    assert times.layers[1].train == STEP_S
