# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest


def pytest_configure() -> None:
    """Let what tests start answer Ctrl-C, also where a shell started pytest in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _smallest_numbers_are_numbers() -> Iterator[None]:
    """Hypothesis draws them; what computes lets them become 0 on its thread (prepare_torch)."""
    _keep_smallest_numbers()
    yield
    _keep_smallest_numbers()


def _keep_smallest_numbers() -> None:
    if (torch := sys.modules.get('torch')) is not None:
        torch.set_flush_denormal(False)


@pytest.fixture(scope='session')
def ros_environment() -> dict[str, str]:
    """Environment of ROS 2 processes that meet nobody else on this network."""
    environment = dict(os.environ)
    environment['ROS_DOMAIN_ID'] = str(random.SystemRandom().randint(1, 100))
    environment.pop('ROS_LOCALHOST_ONLY', None)
    environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    if environment.get('ROS_DISTRO') in ('humble', 'iron'):
        environment['ROS_LOCALHOST_ONLY'] = '1'
    return environment


@pytest.fixture(scope='session')
def mnist_root() -> Path:
    """Folder that holds real MNIST; the test is skipped where it is not."""
    root = Path(os.environ.get('DFF_DATA') or Path.home() / '.cache' / 'dff' / 'datasets')
    if not (root / 'MNIST' / 'raw' / 't10k-labels-idx1-ubyte').exists():
        pytest.skip(f'MNIST is not in {root}: ./dff train config/mnist.yaml fetches it')
    return root


@pytest.fixture(scope='session')
def save_graph(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """
    Save a graph of 60 nodes and 3 classes, with some arrays changed, or left out (None).

    Nodes 0 to 23 are for training, 24 to 35 for validation, 36 to 59 for the test.
    """
    folder = tmp_path_factory.mktemp('graph')

    def save(name: str = 'graph', **changes: np.ndarray | None) -> Path:
        numbers = np.random.default_rng(0)
        labels, nodes = np.arange(60) % 3, np.arange(60)
        centres = numbers.normal(size=(3, 7))
        pairs = numbers.integers(0, 60, (900, 2))
        alike = labels[pairs[:, 0]] == labels[pairs[:, 1]]
        whole = {
            'edges': pairs[alike | (numbers.random(900) < 0.1)][:150],
            'features': centres[labels] + numbers.normal(size=(60, 7)),
            'labels': labels,
            'train_mask': nodes < 24,
            'val_mask': (nodes >= 24) & (nodes < 36),
            'test_mask': nodes >= 36,
        } | changes
        path = folder / f'{name}.npz'
        np.savez(path, **{key: array for key, array in whole.items() if array is not None})
        return path

    return save


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a disk of a size as tmpfs is told it, 40m for example; needs root."""
    folder = tmp_path / 'disk'

    def mount(size: str) -> Path:
        folder.mkdir()
        command = ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except FileNotFoundError:
            pytest.skip('there is no mount command here')
        if done.returncode != 0:
            pytest.skip(f'a disk cannot be mounted here: {done.stderr.strip()}')
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(['umount', '--lazy', str(folder)], check=True, timeout=60)


@pytest.fixture(scope='session')
def fill_disk() -> Callable[[Path], Path]:
    """Leave no room on a disk; give the file to remove."""

    def fill(disk: Path) -> Path:
        path = disk / 'filler'
        with path.open('wb', buffering=0) as file:
            while True:
                try:
                    file.write(b'0' * 4096)
                except OSError:
                    return path

    return fill
