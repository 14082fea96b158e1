# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Findings about the machine: processor, memory, shared memory, disk, datasets."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from dff_nodes.diagnosis.finding import OK, PROBLEM, WARNING, Finding

MB = 10**6
GB = 10**9
DATASETS = {
    'MNIST': ('MNIST/raw/train-images-idx3-ubyte',),
    'Fashion-MNIST': ('FashionMNIST/raw/train-images-idx3-ubyte',),
    'CIFAR-10': ('cifar10.npz', 'cifar-10-batches-py/data_batch_1'),
}


def processor(root: Path = Path('/')) -> list[Finding]:
    """Look at the processor: model, cores, throttling."""
    cores = len(os.sched_getaffinity(0))
    value = f'{processor_model(root)}, {cores} of {os.cpu_count()} cores'
    return [Finding('processor', value), *throttling()]


def processor_model(root: Path = Path('/')) -> str:
    """Return the processor's name as the kernel or the device tree gives it."""
    tree = root / 'proc/device-tree/model'
    if tree.is_file():
        return tree.read_text(errors='replace').strip('\0\n ')
    for line in read(root / 'proc/cpuinfo').splitlines():
        name, _, value = line.partition(':')
        if name.strip() == 'model name':
            return value.strip()
    return platform.machine()


def throttling(command: str = 'vcgencmd') -> list[Finding]:
    """Look at what a Raspberry Pi says of its power supply and heat; nothing elsewhere."""
    if shutil.which(command) is None:
        return []
    done = subprocess.run(
        [command, 'get_throttled'], check=False, capture_output=True, encoding='utf-8', timeout=10
    )
    bits = int(done.stdout.strip().partition('=')[2] or '0', 16)
    if not bits:
        return [Finding('throttling', 'none')]
    # Bits 0 to 3 are now, bits 16 to 19 since the start.
    causes = [
        name
        for bit, name in enumerate(
            ('under-voltage', 'frequency capped', 'throttled', 'soft temperature limit')
        )
        if bits >> bit & 1 or bits >> (bit + 16) & 1
    ]
    return [
        Finding(
            'throttling',
            ', '.join(causes),
            WARNING,
            'A stronger power supply, a shorter '
            'cable or cooling: a device that throttles slows the whole chain.',
        )
    ]


def memory(root: Path = Path('/')) -> list[Finding]:
    """Look at the memory that a new process can have."""
    fields = {}
    for line in read(root / 'proc/meminfo').splitlines():
        name, _, value = line.partition(':')
        fields[name] = int(value.split()[0]) * 1024
    if 'MemAvailable' not in fields:
        return [Finding('memory', 'unknown')]
    free, total = fields['MemAvailable'], fields['MemTotal']
    value = f'{free / GB:.1f} GB free of {total / GB:.1f} GB'
    if free < 500 * MB:
        return [
            Finding(
                'memory',
                value,
                WARNING,
                'A layer node takes about 300 MB before its '
                'layer: close something, or put fewer layers on this device.',
            )
        ]
    return [Finding('memory', value)]


def shared_memory(folder: Path = Path('/dev/shm')) -> list[Finding]:
    """Look at the room that the middleware's shared-memory transport has."""
    name = 'shared memory'
    if not folder.is_dir():
        return [
            Finding(
                name,
                f'{folder} is not there',
                WARNING,
                'Nodes on this device will talk over UDP, which is slower.',
            )
        ]
    usage = shutil.disk_usage(folder)
    value = f'{folder}: {usage.free / MB:.0f} MB free of {usage.total / MB:.0f} MB'
    if usage.free < 256 * MB:
        return [
            Finding(
                name,
                value,
                WARNING,
                'Large activations need more room: in Docker start '
                'with --ipc=host or --shm-size=1g; elsewhere: sudo mount -o '
                f'remount,size=1g {folder}; or remove left-overs: rm {folder}/fastrtps_*',
            )
        ]
    return [Finding(name, value)]


def disk(folder: Path | None = None) -> list[Finding]:
    """Look at the room for runs."""
    folder = folder or Path.cwd()
    free = shutil.disk_usage(folder).free
    value = f'{free / GB:.1f} GB free at {folder}'
    if free < GB:
        status = PROBLEM if free < 100 * MB else WARNING
        return [Finding('disk', value, status, 'Checkpoints and logs of runs need room.')]
    return [Finding('disk', value)]


def datasets(root: Path | None = None) -> list[Finding]:
    """Look at which datasets are there."""
    root = root or dataset_root()
    there = [
        name for name, files in DATASETS.items() if any((root / file).exists() for file in files)
    ]
    if there:
        return [Finding('datasets', f'{", ".join(there)} in {root}', OK)]
    return [
        Finding(
            'datasets',
            f'none in {root}',
            WARNING,
            'The first run downloads what it '
            "needs; without internet copy torchvision's folder (MNIST/raw) there, or "
            'set DFF_DATA.',
        )
    ]


def dataset_root() -> Path:
    """Return where datasets are looked for."""
    return Path(os.environ.get('DFF_DATA') or Path.home() / '.cache/dff/datasets')


def read(path: Path) -> str:
    """Return the text of a file of the kernel; empty where there is none."""
    try:
        return path.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''
