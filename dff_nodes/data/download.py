# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Lets torchvision download a data set, in bounded time and whole or not at all.

torchvision alone waits for ever for a silent server, and takes a file that was cut short by a
crash for whole the next time.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

SOCKET_TIMEOUT_S = 20.0
STALLED_S = 40.0
POLL_S = 0.1
# what torchvision raises for a mirror that is away, or sends something else or only a part
FAILURES = (
    RuntimeError,
    OSError,
    ValueError,
    EOFError,
    http.client.HTTPException,
    tarfile.TarError,
    zlib.error,
)


class DownloadError(Exception):
    """What was tried and why it failed, as the end of a sentence."""


def download(loader: type, folder: str, files: tuple[str, ...], root: Path) -> None:
    """Put the files of a data set into root/folder.

    torchvision downloads into a temporary folder of this run beside it and checks the digests;
    only whole files are then moved in, one rename each. Runs that do so at the same time put
    the same bytes there, so the order does not matter.

    :param loader: class of torchvision.datasets.
    :raises DownloadError: after at most STALLED_S without a new byte.
    """
    print(f'downloading {loader.__name__} into {root}', file=sys.stderr, flush=True)
    try:
        root.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=root, prefix=f'.{loader.__name__}-download-'))
    except OSError as error:
        raise DownloadError(f'that folder cannot be written ({error})') from error
    try:
        with _bounded_sockets(), contextlib.redirect_stdout(sys.stderr):
            _fetch(loader, temporary)
        _move_in(temporary / folder, files, root / folder)
    except FAILURES as error:
        raise DownloadError(_reason(loader, error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _bounded_sockets() -> Iterator[None]:
    """Let no new socket of this process wait for ever; torchvision has no setting for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SOCKET_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _fetch(loader: type, temporary: Path) -> None:
    """Download in a thread that is given up when no byte has come for STALLED_S.

    The socket timeout is not enough: it holds for each address of each mirror, and not for name
    resolution. The abandoned thread is a daemon, and its folder is gone.
    """
    failures: list[Exception] = []

    def work() -> None:
        try:
            loader(str(temporary), download=True)
        except Exception as error:  # raised again below, in the caller's thread
            failures.append(error)

    thread = threading.Thread(target=work, name='download', daemon=True)
    thread.start()
    size, grown_at = 0, time.monotonic()
    while thread.is_alive():
        thread.join(POLL_S)
        if (now_size := _size(temporary)) != size:
            size, grown_at = now_size, time.monotonic()
        elif time.monotonic() - grown_at > STALLED_S:
            raise TimeoutError(f'no answer for {STALLED_S:.0f} s')
    if failures:
        raise failures[0]


def _size(folder: Path) -> int:
    """Bytes in a folder that another thread writes to."""
    size = 0
    for path in folder.rglob('*'):
        with contextlib.suppress(FileNotFoundError):
            size += path.lstat().st_size
    return size


def _move_in(temporary: Path, files: tuple[str, ...], folder: Path) -> None:
    """Rename the files into place; on disk before, so that a power cut leaves none half."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        with (temporary / file).open('rb') as whole:
            os.fsync(whole.fileno())
        (temporary / file).replace(folder / file)


def _reason(loader: type, error: Exception) -> str:
    """Say which addresses were tried, and the cause in one line."""
    tried = getattr(loader, 'mirrors', None) or [getattr(loader, 'url', 'its site')]
    cause = ' '.join(str(error).split()) or type(error).__name__
    return f'the download from {" and ".join(tried)} failed ({cause})'
