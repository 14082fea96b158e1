# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The profiles that Fast DDS is given are ones that it takes: it drops a whole one it does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dff_nodes.nodes import middleware

pytestmark = pytest.mark.ros
WRITE = """
import rclpy
from dff_msgs.msg import Credit
rclpy.init()
rclpy.create_node('writes').create_publisher(Credit, 'credit', 1)
"""


def said(environment: dict[str, str]) -> str:
    """Make a node with a publisher; give what the middleware said of its profile."""
    done = subprocess.run(
        [sys.executable, '-c', WRITE],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return '\n'.join(line for line in done.stdout.splitlines() if 'XML' in line)


@pytest.mark.parametrize('lossy', [False, True])
def test_profile_of_the_lab_is_taken(lossy: bool) -> None:
    assert said(middleware.emulated_network(lossy)) == ''


@pytest.mark.skipif(
    os.environ.get('ROS_DISTRO') not in ('humble', 'iron', 'jazzy'), reason='Fast DDS 3'
)
def test_profile_for_wi_fi_is_taken_as_it_is() -> None:
    """The README names the file itself."""
    profile = str(middleware.UDP_ONLY_LOSSY)
    assert said(dict.fromkeys(middleware.PROFILE_VARIABLES, profile)) == ''


def test_profile_with_shared_memory_is_taken() -> None:
    environment = middleware.large_message_profile({**os.environ}, nodes=1)
    assert environment, 'there is room for it'
    assert said(environment) == ''


def test_a_name_that_this_release_does_not_know_would_be_told() -> None:
    known = os.environ['ROS_DISTRO'] in ('humble', 'iron', 'jazzy')
    other = {'ROS_DISTRO': 'kilted' if known else 'jazzy'}
    environment = middleware.large_message_profile({**os.environ, **other}, nodes=1)
    assert 'nack' in said(environment)
