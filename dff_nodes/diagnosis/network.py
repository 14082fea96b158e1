# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Findings about the network, tried between real processes."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time

from dff_nodes.diagnosis.finding import PROBLEM, WARNING, Finding

TIME_LIMIT_S = 10.0
RANGES = ('SUBNET', 'LOCALHOST', 'OFF', 'SYSTEM_DEFAULT')
MULTICAST_GROUP = '239.255.0.1'
MULTICAST_RECEIVER = """
import socket, struct, sys
group, port, limit_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind((group, port))
receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                    struct.pack('4s4s', socket.inet_aton(group), bytes(4)))
receiver.settimeout(limit_s)
print(receiver.recvfrom(100)[1][0])
"""
MULTICAST_SENDER = """
import socket, sys, time
group, port, limit_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + limit_s
while time.monotonic() < end:
    sender.sendto(b'dff', (group, port))
    time.sleep(0.05)
"""
LISTENER = """
import sys, time
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node('dff_doctor_listener')
heard = []
node.create_subscription(String, 'dff_doctor', heard.append, 10)
begun = time.monotonic()
while not heard and time.monotonic() - begun < float(sys.argv[3]):
    rclpy.spin_once(node, timeout_sec=0.1)
node.destroy_node()
rclpy.try_shutdown()
print(heard[0].data if heard else '')
sys.exit(not heard)
"""
TALKER = """
import sys, time
import rclpy
from std_msgs.msg import String
rclpy.init()
node = rclpy.create_node('dff_doctor_talker')
publisher = node.create_publisher(String, 'dff_doctor', 10)
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    publisher.publish(String(data=sys.argv[1]))
    rclpy.spin_once(node, timeout_sec=0.05)
"""


def settings(environment=None) -> list[Finding]:
    """Look at the variables that decide which processes find each other."""
    environment = os.environ if environment is None else environment
    return [
        domain(environment.get('ROS_DOMAIN_ID', '')),
        *discovery_range(
            environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', ''),
            environment.get('ROS_LOCALHOST_ONLY', ''),
        ),
    ]


def domain(text: str) -> Finding:
    """Look at ROS_DOMAIN_ID."""
    name = 'ROS_DOMAIN_ID'
    if not text:
        return Finding(name, '0 (not set)')
    if not text.isdecimal() or int(text) > 232:
        return Finding(name, text, PROBLEM, 'Must be a number from 0 to 101.')
    if int(text) > 101:
        return Finding(
            name,
            text,
            WARNING,
            'Above 101 its UDP ports may collide with those that '
            'Linux gives to other programs: take 0 to 101.',
        )
    return Finding(name, text)


def discovery_range(wanted: str, localhost_only: str) -> list[Finding]:
    """Look at ROS_AUTOMATIC_DISCOVERY_RANGE (Jazzy and later) and ROS_LOCALHOST_ONLY (Humble)."""
    name = 'ROS_AUTOMATIC_DISCOVERY_RANGE'
    findings = [Finding(name, wanted or 'not set')]
    if wanted and wanted.upper() not in RANGES:
        findings = [Finding(name, wanted, PROBLEM, f'Must be one of {", ".join(RANGES)}.')]
    elif wanted.upper() == 'OFF':
        findings = [
            Finding(
                name,
                wanted,
                PROBLEM,
                'No process finds another one: take SUBNET '
                'for a cluster, LOCALHOST for one machine.',
            )
        ]
    elif wanted.upper() == 'LOCALHOST':
        findings = [
            Finding(
                name,
                wanted,
                WARNING,
                'Right for one machine; a cluster needs SUBNET, on every device.',
            )
        ]
    if localhost_only == '1':
        findings.append(
            Finding(
                'ROS_LOCALHOST_ONLY',
                '1',
                WARNING,
                'Right for one machine; a cluster needs it unset.',
            )
        )
    return findings


def multicast(time_limit_s: float = 3.0) -> list[Finding]:
    """Send a UDP multicast from one process to another one on this machine."""
    port = random.randint(20000, 30000)
    took, said = pair(MULTICAST_RECEIVER, MULTICAST_SENDER, (MULTICAST_GROUP, port), time_limit_s)
    if took is None:
        return [
            Finding(
                'multicast',
                f'does not arrive ({said})',
                WARNING,
                'Processes find each '
                'other by UDP multicast. Bring a network interface with multicast up (ip '
                'link set dev lo multicast on), or name the other devices in '
                'ROS_STATIC_PEERS (Jazzy and later).',
            )
        ]
    return [Finding('multicast', f'arrives on this machine, from {said}')]


def discovery(time_limit_s: float = TIME_LIMIT_S) -> list[Finding]:
    """Let two ROS 2 processes find each other and pass a message, on a domain of their own."""
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(random.randint(60, 101))}
    token = f'{random.getrandbits(32):08x}'
    took, said = pair(LISTENER, TALKER, (token, 0), time_limit_s, environment)
    if took is None or said != token:
        return [
            Finding(
                'discovery',
                f'no message between two ROS 2 processes in {time_limit_s:.0f} s ({said})',
                PROBLEM,
                'Look at multicast and ROS_AUTOMATIC_DISCOVERY_RANGE above, at firewalls '
                '(sudo ufw allow in proto udp to 224.0.0.0/4) and at RMW_IMPLEMENTATION.',
            )
        ]
    return [Finding('discovery', f'two ROS 2 processes: message after {took:.1f} s')]


def pair(
    receiver: str, sender: str, arguments, time_limit_s: float, environment=None
) -> tuple[float | None, str]:
    """Run a receiver and a sender; returns the seconds and the text, or None and the reason."""
    extra = [str(argument) for argument in (*arguments, time_limit_s)]
    begun = time.monotonic()
    with child(sender, extra, environment), child(receiver, extra, environment) as listening:
        try:
            # The children keep their own limit; the second one is for one that hangs.
            output, errors = listening.communicate(timeout=time_limit_s + 5)
        except subprocess.TimeoutExpired:
            return None, f'the receiver hung for {time_limit_s + 5:.0f} s'
    if listening.returncode or not output.strip():
        return None, (errors.strip().splitlines() or ['nothing came'])[-1][:200]
    return time.monotonic() - begun, output.strip().splitlines()[-1]


@contextlib.contextmanager
def child(code: str, arguments: list[str], environment=None):
    """Run Python code in a child that does not outlive the block."""
    process = subprocess.Popen(
        [sys.executable, '-c', code, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding='utf-8',
        errors='replace',
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
