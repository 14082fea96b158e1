# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What the coordinator decided, line by line, so that it can come back to where it was."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

CRC_DIGITS = 8


class JournalError(ValueError):
    """A journal of another run, or one that cannot be read; the message names the file."""


class Journal:
    """
    An append-only file of JSON records, each a line behind its CRC-32.

    A record that a crash cut off, and all behind it, are as if they had never been written:
    everything in it can be decided again in the same way. What `synced` counts stays.

    :param run_id: of the run; the first record names it.
    :raises OSError: if the file cannot be opened.
    :raises JournalError: if it is of another run.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self.path = path
        self._run_id = run_id
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        records, self._end = _read(self._file)
        self.written = sum('item' in record for record in records)
        self.synced = 0
        """records of an item that are durable"""
        self._write_at_end()
        if not records:
            self.append({'run_id': run_id})
        elif records[0] != {'run_id': run_id}:
            raise JournalError(f'{path} is the journal of another run: {records[0]}')

    def append(self, record: dict[str, Any]) -> None:
        """Write a record; raises OSError and changes nothing if there is no room."""
        line = _line(record)
        try:
            # A disk that is nearly full takes the beginning of a line.
            while line:
                line = line[os.write(self._file, line) :]
        except OSError:
            self._write_at_end()
            raise
        self._end = os.lseek(self._file, 0, os.SEEK_CUR)
        self.written += 'item' in record

    def cut(self, count: int) -> None:
        """Forget all records but the first so many."""
        kept = self.read()[:count]
        head = _line({'run_id': self._run_id})
        self._end = len(head) + sum(len(_line(record)) for record in kept)
        self._write_at_end()
        self.written = sum('item' in record for record in kept)
        self.synced = min(self.synced, self.written)

    def sync(self) -> None:
        """Make durable what has been written so far; may run in another thread."""
        written = self.written
        os.fsync(self._file)
        self.synced = written

    def read(self) -> list[dict[str, Any]]:
        """Read all records but the first."""
        records, _ = _read(self._file)
        os.lseek(self._file, self._end, os.SEEK_SET)
        return records[1:]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write_at_end(self) -> None:
        os.ftruncate(self._file, self._end)
        os.lseek(self._file, self._end, os.SEEK_SET)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """
    Read the records of a journal that nobody may be writing; [] if there is none.

    :raises JournalError: if it cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            return _read(file)[0][1:]
        finally:
            os.close(file)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise JournalError(f'{path} cannot be read: {error.strerror}') from error


def _line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, separators=(',', ':')).encode()
    return b'%08x %s\n' % (zlib.crc32(text), text)


def _read(file: int) -> tuple[list[dict[str, Any]], int]:
    """Give the records up to the first that is not whole, and where they end."""
    records: list[dict[str, Any]] = []
    end = 0
    with open(os.dup(file), 'rb') as lines:
        lines.seek(0)
        for line in lines:
            text = line[CRC_DIGITS + 1 : -1]
            if not line.endswith(b'\n') or line[:CRC_DIGITS] != b'%08x' % zlib.crc32(text):
                break
            records.append(json.loads(text))
            end += len(line)
    return records, end
