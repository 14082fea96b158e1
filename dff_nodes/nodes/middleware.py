# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Environment that the nodes of one machine run in: discovery and transport of the middleware."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from dff_nodes.nodes.shared_memory import SHARED_MEMORY, remove_left_overs
from dff_nodes.runs.atomic import write_atomically
from dff_nodes.runs.segment import BETWEEN_DEVICES_BYTES, segment_bytes

SHARED_MEMORY_TOO = Path(__file__).with_name('fastdds_profile.xml')
UDP_ONLY = Path(__file__).with_name('fastdds_udp_profile.xml')
UDP_ONLY_LOSSY = Path(__file__).with_name('fastdds_lossy_udp_profile.xml')
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""older releases read the first, newer ones the second"""
PUBLICATION_VARIABLE = 'RMW_FASTRTPS_PUBLICATION_MODE'
ASYNCHRONOUS = 'ASYNCHRONOUS'
NACK_RESPONSE_DELAY, SINCE_3 = 'nackResponseDelay', 'nack_response_delay'
"""
in the profiles, and what Fast DDS 3 calls it: before what a reader misses is sent again

With Fast DDS's 5 ms what is only late, behind other messages in a queue, is sent twice: a stream
over emulated links of 100 Mbit/s took 1.31 bytes for each of its payload and 11.7 s, with 50 ms
1.19 bytes and 11.1 s (means of three runs in turn). Where 1 % of the frames were lost it made
no difference to the time.
"""


def this_machine_only(environment: Mapping[str, str]) -> dict[str, str]:
    """
    Environment that keeps discovery on this machine, where the user has not said otherwise.

    Jazzy and later know ROS_AUTOMATIC_DISCOVERY_RANGE, Humble knows ROS_LOCALHOST_ONLY.
    """
    if 'ROS_AUTOMATIC_DISCOVERY_RANGE' in environment or 'ROS_LOCALHOST_ONLY' in environment:
        return {}
    if environment.get('ROS_DISTRO') in ('humble', 'iron'):
        return {'ROS_LOCALHOST_ONLY': '1'}
    return {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}


def emulated_network(lossy: bool = False) -> dict[str, str]:
    """
    Environment of nodes that are on devices of their own, emulated on this machine.

    Whatever the user has set for this machine: they discover each other over the network, and
    messages travel over it.

    :param lossy: the network loses frames.
    """
    profile = str(_write_profile(UDP_ONLY_LOSSY if lossy else UDP_ONLY, os.environ))
    return {
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'SUBNET',
        'ROS_LOCALHOST_ONLY': '0',
        PUBLICATION_VARIABLE: ASYNCHRONOUS,
        **dict.fromkeys(PROFILE_VARIABLES, profile),
    }


def over_a_network(environment: Mapping[str, str], devices: int) -> dict[str, str]:
    """
    Environment of nodes that may be on several devices, where the user has not said otherwise.

    By default Fast DDS sends within publish(), which rclpy calls with the interpreter's lock
    held: on a link slower than the processor all threads of a node wait for it, those that train
    too. With a thread of its own for sending, a stream over emulated links of 100 Mbit/s took 15.3
    s instead of 18.6; on one machine, where nothing waits, it costs a switch of threads.
    """
    if devices < 2 or PUBLICATION_VARIABLE in environment:
        return {}
    return {PUBLICATION_VARIABLE: ASYNCHRONOUS}


def large_message_profile(
    environment: Mapping[str, str], nodes: int, message_bytes: int = BETWEEN_DEVICES_BYTES
) -> dict[str, str]:
    """
    Environment that gives Fast DDS shared memory big enough for activations.

    Only with Fast DDS, and only if the user has no profile and /dev/shm has room: a segment
    that does not fit is created sparse and ends the process with SIGBUS on first use. It counts
    to the memory of every node, so it is no larger than the run's largest message asks for.

    :param nodes: processes that will have such a segment here.
    :param message_bytes: size of the largest message.
    """
    middleware = environment.get('RMW_IMPLEMENTATION', 'rmw_fastrtps_cpp')
    if any(key in environment for key in PROFILE_VARIABLES) or not middleware.startswith(
        'rmw_fastrtps'
    ):
        return {}
    remove_left_overs()
    segment = segment_bytes(message_bytes)
    if not SHARED_MEMORY.is_dir() or shutil.disk_usage(SHARED_MEMORY).free < nodes * segment:
        return {}
    profile = _write_profile(SHARED_MEMORY_TOO, environment, segment)
    return dict.fromkeys(PROFILE_VARIABLES, str(profile))


def _write_profile(template: Path, environment: Mapping[str, str], segment: int = 0) -> Path:
    """Write a profile for a segment of so many bytes; the same text, the same file."""
    # Fast DDS 3 comes with Kilted and later, and refuses a whole profile for one name that it does
    # not know.
    before_3 = environment.get('ROS_DISTRO', 'jazzy') in ('humble', 'iron', 'jazzy')
    text = template.read_text(encoding='utf-8').replace('SEGMENT_BYTES', str(segment))
    data = (text if before_3 else text.replace(NACK_RESPONSE_DELAY, SINCE_3)).encode()
    name = f'dff_fastdds_{os.getuid()}_{zlib.crc32(data):08x}.xml'
    path = Path(tempfile.gettempdir()) / name
    write_atomically(path, data)
    return path
