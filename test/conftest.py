# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest


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
