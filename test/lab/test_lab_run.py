# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""`dff lab` as a user runs it: the same weights over bad links, and nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from dff_command import Dff, settings

from dff_nodes.data.facts import read_facts
from dff_nodes.lab import lab_run
from dff_nodes.lab.network import LinkLimits
from dff_nodes.nodes.local_run import RunError
from dff_nodes.runs.config_file import load_config
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.run_folder import RunFolder, create_run

pytestmark = pytest.mark.ros

CONFIG = Path(__file__).parents[2] / 'config'
SMALL = settings(network=[{'units': 64}, {'units': 64}], training__epochs=2)
LONG = settings(network=[{'units': 64}, {'units': 64}], training__epochs=2000)


def test_bad_links_and_slow_devices_change_no_weight(dff: Dff) -> None:
    limits = ['--cpu', '0.6', '--memory', '600M', '--link', '100mbit', '--loss', '1%']
    done = dff.run('lab', '--json', '--name', 'lab', *SMALL, *limits)
    assert done.status == 0, done.errors
    expected = dff.run('train', '--json', '--reference', '--name', 'reference', *SMALL)
    for key in ('applied_items_sha256', 'weights_sha256', 'history', 'items'):
        assert done.answer[key] == expected.answer[key]
    lab = done.answer['lab']
    devices = lab['devices']
    assert list(devices) == ['desk', 'pi0', 'pi1']
    assert (lab['link_mbit'], lab['loss']) == (100, 0.01) and lab['loss_tool']
    for name, used in devices.items():
        assert used['sent_bytes'] > 0 and used['received_bytes'] > 0
        assert 0 < used['peak_memory_mb'] <= (used['memory_mb'] or 1e6)
        assert (used['throttled'] > 0) == (name != 'desk')
    # Nothing travels past the links: what layer_1 received came over that of its device.
    assert devices['pi1']['received_bytes'] > done.answer['wire_bytes']['layer_1']
    assert sum(used['lost_frames'] for used in devices.values()) > 0
    assert 'pi1' in done.errors and 'lost' in done.errors


def test_what_nodes_say_of_resuming_is_said_of_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'paused at item 7 of 90: continue with dff train --resume runs/r'
    events = []

    def paused(task: str, folder: RunFolder, emit: Callable, **_: object) -> None:
        emit({'event': 'error', 'text': text, 'status': 1})
        raise RunError(text)

    monkeypatch.setattr(lab_run, 'local_run', paused)
    config = load_config(None, [])
    folder = create_run(tmp_path, 'r', resolve(config, read_facts(config.data)))
    lab = SimpleNamespace(place=None, link=LinkLimits(), out_of_memory=list)
    with pytest.raises(RunError, match='7 of 90: continue with dff lab --resume runs/r'):
        lab_run.lab_run(lab, folder, events.append)
    assert events[-1]['text'].endswith('dff lab --resume runs/r')


def await_metrics(dff: Dff, name: str, process: subprocess.Popen) -> None:
    """Wait until a run trains."""
    metrics = dff.folder / 'runs' / name / 'metrics.csv'
    limit = time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit, 'no metrics within 120 s'
        time.sleep(0.1)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(dff: Dff, nothing_left: Callable, number: signal.Signals) -> None:
    process = dff.start('lab', '--json', '--name', 'stopped', *LONG)
    dff.node('layer_1')
    assert nothing_left(process.pid)
    process.send_signal(number)
    done = dff.finish(process)
    assert done.status == 1 and 'stopped' in done.answer['error']
    assert 'Traceback' not in done.errors
    assert not nothing_left(process.pid)


def test_a_signal_to_a_measurement_leaves_nothing(dff: Dff, nothing_left: Callable) -> None:
    words = ['plan', '--measure', '--json', '--devices', 'pi5x2', '--link', '100mbit']
    process = dff.start(*words, *settings(network=[{'units': 8}]))
    for line in process.stderr:
        if line.startswith('measuring a message'):
            break
    limit = time.monotonic() + 60
    while not nothing_left(process.pid):
        assert process.poll() is None and time.monotonic() < limit, 'no device within 60 s'
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    done = dff.finish(process)
    assert done.status == 1 and 'stopped' in done.answer['error']
    assert not nothing_left(process.pid)


def test_what_a_killed_lab_left_is_cleaned(dff: Dff, nothing_left: Callable) -> None:
    process = dff.start('lab', '--name', 'killed', *LONG)
    await_metrics(dff, 'killed', process)
    stopped = dff.node('layer_0')
    stopped.suspend()  # it does not hear that its parent is gone
    process.kill()
    process.communicate()
    assert nothing_left(process.pid)
    done = dff.run('lab', '--clean', '--json')
    assert done.status == 0, done.errors
    assert any(str(process.pid) in name for name in done.answer['removed'])
    assert not nothing_left(process.pid)
    dff.await_gone()


def test_the_reference_runs_on_one_device(dff: Dff) -> None:
    tiny = settings(network=[{'units': 8}], training__epochs=1)
    done = dff.run('lab', '--reference', '--json', '--name', 'one', *tiny, '--memory', '1G')
    assert done.status == 0, done.errors
    assert list(done.answer['lab']['devices']) == ['pi0']
    assert (dff.folder / 'runs' / 'one' / 'result.json').exists()


@pytest.mark.slow
def test_a_network_too_big_for_one_device_trains_over_four(dff: Dff) -> None:
    config = str(CONFIG / 'lab_too_big.yaml')
    alone = dff.run('lab', config, '--reference', '--json', '--name', 'alone')
    assert alone.status == 1
    assert 'out of memory under 700 MB' in alone.answer['error']
    done = dff.run('lab', config, '--json', '--name', 'together')
    assert done.status == 0, done.errors
    assert done.answer['test_accuracy'] > 0.9
    used = [each for name, each in done.answer['lab']['devices'].items() if name != 'desk']
    assert [each['memory_mb'] for each in used] == [700] * 4
    assert not any(each['out_of_memory_kills'] for each in used)


@pytest.mark.slow
def test_chaos_changes_no_weight(dff: Dff) -> None:
    run = settings(
        network=[{'units': 100}, {'units': 100}],
        training__epochs=120,
        evaluation__every_epochs=40,
        checkpoint__every_s=1,
    )
    chaos = ['--chaos', 'every=2s seed=2 faults=kill,stop,link count=4 settle=2s']
    link = ['--cpu', '1', '--loss', '1%']
    done = dff.run('lab', '--json', '--name', 'chaos', *run, *link, *chaos)
    assert done.status == 0, done.errors
    assert sum(done.answer['chaos'].values()) == 4
    assert sum(done.answer['restarts'].values()) >= done.answer['chaos']['kill'] > 0
    expected = dff.run('train', '--json', '--reference', '--name', 'calm', *run)
    for key in ('applied_items_sha256', 'weights_sha256', 'history', 'items'):
        assert done.answer[key] == expected.answer[key]
