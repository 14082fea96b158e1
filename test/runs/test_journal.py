# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A journal holds what was written up to the first record that is not whole, and no more."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dff_nodes.runs.journal import Journal, JournalError, read_journal

RUN = 'a' * 32
RECORDS: list[dict[str, Any]] = [
    {'item': 0, 'negatives': 'AAEC', 'seconds': 0.125},
    {'item': 3, 'correct': [7, 5, 6]},
    {'evaluation': {'epoch': 0, 'accuracy': 0.1 + 0.2, 'name': 'Prüfung "1"\n'}},
    {'item': 4},
    {'incarnations': [1, 2]},
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Write a journal of all records."""
    journal = Journal(tmp_path / 'journal', RUN)
    for record in RECORDS:
        journal.append(record)
    journal.close()
    return tmp_path / 'journal'


def ends(data: bytes) -> list[int]:
    """Give where each line ends, the first one's included."""
    return [place + 1 for place, byte in enumerate(data) if byte == ord('\n')]


def test_what_was_written_comes_back(path: Path) -> None:
    journal = Journal(path, RUN)
    assert journal.read() == read_journal(path) == RECORDS
    assert journal.written == 3, 'records of an item'
    assert journal.synced == 0, 'nobody knows whether they were before'
    journal.sync()
    assert journal.synced == 3
    journal.close()


def test_there_need_be_none(tmp_path: Path) -> None:
    assert read_journal(tmp_path / 'journal') == []
    journal = Journal(tmp_path / 'journal', RUN)
    assert journal.read() == read_journal(journal.path) == []
    journal.close()


def test_records_can_be_read_beside_appending(path: Path) -> None:
    journal = Journal(path, RUN)
    for number in range(5, 9):
        assert journal.read() == read_journal(path)
        journal.append({'item': number})
        assert read_journal(path)[-1] == {'item': number}
    assert journal.read() == [*RECORDS, *({'item': number} for number in range(5, 9))]
    journal.close()


def test_a_tail_that_is_torn_at_any_byte_is_forgotten(path: Path) -> None:
    data = path.read_bytes()
    for left in range(len(data) + 1):
        path.write_bytes(data[:left])
        whole = max(0, sum(end <= left for end in ends(data)) - 1)
        assert read_journal(path) == RECORDS[:whole]
        journal = Journal(path, RUN)
        assert journal.read() == RECORDS[:whole]
        for record in RECORDS[whole:]:
            journal.append(record)
        journal.close()
        assert path.read_bytes() == data, 'it goes on as if nothing had been torn'


def test_a_bit_that_flips_anywhere_takes_its_record_and_those_behind(path: Path) -> None:
    data = path.read_bytes()
    lines = [0, *ends(data)]
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        before = sum(end <= place for end in lines[1:])
        is_separator = place == lines[before] + 8
        kept = RECORDS if is_separator else RECORDS[: max(0, before - 1)]
        assert read_journal(path) == kept, place


@pytest.mark.parametrize('tail', [b'\0' * 4096, b'rubbish\n', b'\xff' * 50 + b'\n', b'\n'])
def test_rubbish_behind_the_records_is_cut_off(path: Path, tail: bytes) -> None:
    data = path.read_bytes()
    path.write_bytes(data + tail)
    Journal(path, RUN).close()
    assert path.read_bytes() == data


def test_the_journal_of_another_run_is_refused(path: Path) -> None:
    data = path.read_bytes()
    with pytest.raises(JournalError, match=f'journal is the journal of another run.*{RUN}'):
        Journal(path, 'b' * 32)
    assert path.read_bytes() == data


@pytest.mark.parametrize('count', range(len(RECORDS) + 1))
def test_records_from_one_on_can_be_cut_off(path: Path, count: int) -> None:
    journal = Journal(path, RUN)
    journal.sync()
    journal.cut(count)
    assert journal.read() == read_journal(path) == RECORDS[:count]
    items = sum('item' in record for record in RECORDS[:count])
    assert (journal.written, journal.synced) == (items, items)
    journal.append({'item': 99})
    journal.close()
    assert read_journal(path) == [*RECORDS[:count], {'item': 99}]


# ---- a full disk -----------------------------------------------------------------------------


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize('room', [0, 1, 8, 9, 20])
def test_a_record_without_room_changes_nothing_and_can_be_written_later(
    path: Path, room: int
) -> None:
    """The system takes the beginning of a line that does not fit."""
    data = path.read_bytes()
    journal = Journal(path, RUN)
    for _ in range(2):
        with files_end_at(len(data) + room), pytest.raises(OSError, match='File too large'):
            journal.append({'item': 99, 'negatives': 'A' * 100})
        assert path.read_bytes() == data
        assert journal.written == 3
    journal.append({'item': 5})
    assert journal.read() == [*RECORDS, {'item': 5}]
    journal.close()
