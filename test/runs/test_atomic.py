# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A file is written whole or not at all, also when the disk is full or the process dies."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dff_nodes
from dff_nodes.runs.atomic import AtomicFile, sweep, write_atomically

OLD = b'the old file, whole'
ROOT = Path(dff_nodes.__file__).parents[1]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize('data', [b'', b'x', bytes(range(256)) * 5000])
def test_a_file_is_made_and_replaced(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / 'file'
    write_atomically(path, data)
    assert path.read_bytes() == data
    write_atomically(path, OLD)
    assert path.read_bytes() == OLD
    assert files(tmp_path) == ['file']


def test_who_reads_the_old_file_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    write_atomically(path, OLD)
    with path.open('rb') as reader:
        write_atomically(path, b'new')
        assert reader.read() == OLD
    assert path.read_bytes() == b'new'


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / 'missing' / 'file', b'new')
    assert files(tmp_path) == []


def test_what_cannot_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / 'file').mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / 'file', b'new')
    assert files(tmp_path) == ['file']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_failing_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / 'file'
    write_atomically(path, OLD)

    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, 'the disk failed')

    if step == 'fsync':
        monkeypatch.setattr(os, 'fsync', fail)
    else:
        monkeypatch.setattr(Path, 'replace', fail)
    with pytest.raises(OSError, match='the disk failed'):
        write_atomically(path, b'new')
    assert path.read_bytes() == OLD
    assert files(tmp_path) == ['file']


WRITE_TOO_MUCH = """
import resource, sys
from pathlib import Path
from dff_nodes.runs.atomic import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(Path(sys.argv[1]), bytes(int(sys.argv[2])))
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize('size', [100_001, 10_000_000])
def test_a_file_that_may_not_grow_leaves_the_old_one(tmp_path: Path, size: int) -> None:
    path = tmp_path / 'file'
    write_atomically(path, OLD)
    child = subprocess.run(
        [sys.executable, '-c', WRITE_TOO_MUCH, str(path), str(size)],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert child.stdout.strip() == str(errno.EFBIG)
    assert path.read_bytes() == OLD
    assert files(tmp_path) == ['file']


def test_a_full_disk_leaves_the_old_file(mount_disk: Callable[[str], Path]) -> None:
    small_disk = mount_disk('256k')
    path = small_disk / 'file'
    write_atomically(path, OLD)
    with pytest.raises(OSError) as caught:
        write_atomically(path, bytes(1_000_000))
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == OLD
    assert files(small_disk) == ['file']
    write_atomically(path, bytes(100_000))
    assert path.stat().st_size == 100_000, 'the room is free again'


DIE_WHILE_WRITING = """
import os, sys
from pathlib import Path
from dff_nodes.runs.atomic import write_atomically
at = sys.argv[2]
def die(*arguments):
    os._exit(9)
if at == 'fsync':
    os.fsync = die
else:
    Path.replace = die
write_atomically(Path(sys.argv[1]), b'new' * 10_000)
"""


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_a_crash_leaves_the_old_file_and_does_not_hinder_the_next(
    tmp_path: Path, step: str
) -> None:
    path = tmp_path / 'file'
    write_atomically(path, OLD)
    child = subprocess.run(
        [sys.executable, '-c', DIE_WHILE_WRITING, str(path), step],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        timeout=60,
    )
    assert child.returncode == 9
    assert path.read_bytes() == OLD
    write_atomically(path, b'new')
    assert path.read_bytes() == b'new'


# ---- in steps --------------------------------------------------------------------------------


def test_what_is_written_is_there_once_it_is_committed(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    write_atomically(path, OLD)
    file = AtomicFile(path)
    file.write(b'new, ', memoryview(b'in parts'))
    assert path.read_bytes() == OLD
    file.commit()
    assert path.read_bytes() == b'new, in parts'
    assert files(tmp_path) == ['file']


def test_what_is_discarded_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / 'file'
    write_atomically(path, OLD)
    file = AtomicFile(path)
    file.write(b'new')
    file.discard()
    file.discard()
    with pytest.raises(FileNotFoundError):
        file.commit()
    assert path.read_bytes() == OLD
    assert files(tmp_path) == ['file']


def test_a_sweep_removes_remains_of_its_own_files_only(tmp_path: Path) -> None:
    for name in ('layer_1-8.ckpt', 'layer_11-8.ckpt', 'layer_1.incarnation'):
        AtomicFile(tmp_path / name).write(b'half')
        write_atomically(tmp_path / f'{name}.other', OLD)
    write_atomically(tmp_path / 'layer_1-4.ckpt', OLD)
    sweep(tmp_path, 'layer_1-*.ckpt')
    assert files(tmp_path) == [
        f'.layer_1.incarnation.{os.getpid()}.part',
        f'.layer_11-8.ckpt.{os.getpid()}.part',
        'layer_1-4.ckpt',
        'layer_1-8.ckpt.other',
        'layer_1.incarnation.other',
        'layer_11-8.ckpt.other',
    ]
