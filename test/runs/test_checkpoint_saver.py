# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a layer promises about its checkpoints it can keep, and it deletes none that it needs."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dff_nodes.runs.checkpoint import (
    KEPT,
    CheckpointInfo,
    CheckpointStore,
    UnfinishedCheckpoint,
)
from dff_nodes.runs.checkpoint_saver import CheckpointSaver

RUN = 'a' * 32, 'b' * 64
Usable = Callable[[CheckpointInfo], bool]


def nothing() -> None:
    """Nothing is to be done meanwhile."""


def anything(info: CheckpointInfo) -> bool:
    return True


def wanted(item: int) -> Usable:
    """Receivers want that item next."""
    return lambda info: info.next_item <= item


def saver_in(folder: Path) -> CheckpointSaver:
    return CheckpointSaver(CheckpointStore(folder, 1), *RUN)


def save(saver: CheckpointSaver, item: int, usable: Usable = anything) -> None:
    """Save the state before an item, as a layer does, and wait for it."""
    info = CheckpointInfo(*RUN, 1, item, incarnation=1)
    saver.save(info, {'item': torch.tensor(item)}, lambda: saver.forget(usable))
    saver.wait(nothing)
    assert saver.take_error() is None


def test_the_newest_two_are_kept_and_the_older_one_is_promised(tmp_path: Path) -> None:
    saver = saver_in(tmp_path)
    saver.go_back_to(0)
    promised = []
    for item in (4, 9, 11, 30):
        save(saver, item)
        promised.append(saver.durable)
        assert saver.items == saver.store.items()
    assert promised == [0, 4, 9, 11]
    assert saver.items == [11, 30]


def test_what_receivers_still_want_is_kept_besides(tmp_path: Path) -> None:
    saver = saver_in(tmp_path)
    saver.go_back_to(0)
    for item in (4, 9, 11, 30):
        save(saver, item, wanted(5))
    assert saver.items == [4, 11, 30]
    assert saver.durable == 4
    assert saver.newest(wanted(5)).next_item == 4


def test_the_promise_grows_when_receivers_get_on(tmp_path: Path) -> None:
    """Also without another checkpoint: there may be none as long as there is no promise."""
    saver = saver_in(tmp_path)
    saver.go_back_to(0)
    for item in (4, 9):
        save(saver, item, wanted(3))
    assert saver.durable == 0
    saver.promise(wanted(3))
    assert saver.durable == 0
    saver.promise(wanted(5))
    assert saver.durable == 4
    assert saver.items == [4, 9], 'a promise deletes nothing'


def test_what_was_just_saved_outlives_what_is_ahead_of_it(tmp_path: Path) -> None:
    """One that went back to 4 comes by 12 and 15 again, and needs other ones on the way."""
    saver = saver_in(tmp_path)
    for item in (4, 12, 15):
        saver.store.begin(CheckpointInfo(*RUN, 1, item, 1), {}).finish()
    saver.look()
    saver.forget(wanted(4))
    saver.go_back_to(4)
    promised = []
    for item in (6, 8, 10):
        save(saver, item, wanted(5))
        saver.promise(wanted(item))
        promised.append(saver.durable)
    assert promised == [4, 6, 8]
    assert saver.items == [4, 8, 10, 12, 15]


def test_one_that_begins_with_its_only_checkpoint_promises_it(tmp_path: Path) -> None:
    """Otherwise its sender would keep the whole run, and never get to what it wants."""
    save(saver_in(tmp_path), 1000)
    saver = saver_in(tmp_path)
    saver.forget(anything)
    saver.go_back_to(1000)
    saver.promise(anything)
    assert saver.durable == 1000


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just('save'), st.integers(1, 6)),
            st.tuples(st.just('receivers'), st.integers(0, 40)),
            st.tuples(st.just('restart'), st.integers(0, 1)),
        ),
        max_size=15,
    )
)
def test_it_can_fall_back_to_what_it_promised(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]]
) -> None:
    """Even if the newest checkpoint is torn, as long as the receivers are where they were."""
    folder = tmp_path_factory.mktemp('checkpoints')
    saver, at, receivers = saver_in(folder), 0, 0
    saver.go_back_to(0)
    for event, number in events:
        if event == 'save':
            at += number
            save(saver, at, wanted(receivers))
        elif event == 'receivers':
            receivers = max(receivers, min(at, number))
        else:
            promised = saver.durable
            if number and len(saver.items) > 1:
                saver.store.path(saver.items[-1]).write_bytes(b'torn')
            saver = saver_in(folder)
            saver.forget(wanted(receivers))
            fallback = saver.newest(wanted(receivers))
            at = fallback.next_item if fallback else 0
            assert at >= promised or len(saver.items) < KEPT
            saver.go_back_to(at)
        saver.promise(wanted(receivers))
        assert saver.durable <= at
        assert saver.items == saver.store.items() or event == 'restart'


# ---- the thread that saves -------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let checkpoints be finished only once the event is set."""
    event, finish = threading.Event(), UnfinishedCheckpoint.finish

    def finish_later(self: UnfinishedCheckpoint) -> CheckpointInfo:
        event.wait()
        return finish(self)

    monkeypatch.setattr(UnfinishedCheckpoint, 'finish', finish_later)
    return event


def test_a_checkpoint_counts_once_it_is_durable(tmp_path: Path, slow: threading.Event) -> None:
    saver = saver_in(tmp_path)
    told = []
    info = CheckpointInfo(*RUN, 1, 8, incarnation=1)
    saver.save(info, {}, lambda: told.append(saver.items))
    assert (saver.items, saver.store.items(), told) == ([], [], [])
    assert saver.take_error() is None, 'nothing is known yet'
    waited = []

    def meanwhile() -> None:
        waited.append(True)
        slow.set()

    saver.wait(meanwhile)
    assert waited
    assert (saver.items, saver.store.items(), told) == ([8], [8], [[8]])


def test_waiting_can_be_given_up(tmp_path: Path, slow: threading.Event) -> None:
    saver = saver_in(tmp_path)
    saver.save(CheckpointInfo(*RUN, 1, 8, incarnation=1), {}, nothing)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        saver.wait(stop)
    slow.set()
    saver.wait(nothing)
    assert saver.items == [8]


def test_looking_does_not_sweep_away_what_is_being_written(
    tmp_path: Path, slow: threading.Event
) -> None:
    saver = saver_in(tmp_path)
    saver.save(CheckpointInfo(*RUN, 1, 8, incarnation=1), {}, nothing)
    timer = threading.Timer(0.1, slow.set)
    timer.start()
    assert saver.look() == []
    timer.join()
    assert saver.take_error() is None
    assert saver.items == saver.store.items() == [8]


def test_an_error_of_the_thread_is_taken_once_and_leaves_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = saver_in(tmp_path)
    save(saver, 4)

    def full(self: UnfinishedCheckpoint) -> CheckpointInfo:
        raise OSError(errno.ENOSPC, 'No space left on device')

    with monkeypatch.context() as patched:
        patched.setattr(UnfinishedCheckpoint, 'finish', full)
        saver.save(CheckpointInfo(*RUN, 1, 8, incarnation=1), {}, pytest.fail)
        saver.wait(nothing)
    error = saver.take_error()
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert saver.take_error() is None
    assert saver.items == saver.store.items() == [4]
    save(saver, 9)
    assert saver.items == [4, 9]


def test_a_fault_of_the_program_is_raised(tmp_path: Path) -> None:
    saver = saver_in(tmp_path)

    def broken() -> None:
        raise KeyError('fault')

    saver.save(CheckpointInfo(*RUN, 1, 8, incarnation=1), {}, broken)
    saver.wait(nothing)
    with pytest.raises(KeyError, match='fault'):
        saver.take_error()
    assert saver.take_error() is None


def test_a_checkpoint_that_cannot_be_written_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver = saver_in(tmp_path / 'checkpoints')
    (tmp_path / 'checkpoints').write_text('a file is in the way')
    with pytest.raises(OSError, match='checkpoints'):
        saver.save(CheckpointInfo(*RUN, 1, 8, incarnation=1), {}, nothing)
    assert saver.take_error() is None


def test_what_is_torn_is_told_and_not_used(tmp_path: Path) -> None:
    saver = saver_in(tmp_path)
    for item in (4, 9):
        save(saver, item)
    saver.store.path(9).write_bytes(b'torn')
    wrong = saver.look()
    assert len(wrong) == 1
    assert 'layer_1-000000009.ckpt is torn' in wrong[0]
    assert saver.items == [4]
    assert saver.newest_incarnation == 1
