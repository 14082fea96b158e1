# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 package dff_nodes."""

from glob import glob
from itertools import groupby
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'dff_nodes'


def shared(pattern):
    """Return the files of `pattern` as data_files below share/dff_nodes, in their folders."""
    files = sorted(path for path in glob(pattern, recursive=True) if Path(path).is_file())
    return [
        (f'share/{NAME}/{folder}', list(inside))
        for folder, inside in groupby(files, key=lambda path: str(Path(path).parent))
    ]


setup(
    name=NAME,
    version='0.1.0',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={'': ['*.npz', '*.md', '*.xml', '*.yaml']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        *shared('launch/*.launch.py'),
        *shared('config/**/*.yaml'),
        *shared('config/sros2/*.xml'),
    ],
    zip_safe=False,
    maintainer='dff_nodes developers',
    maintainer_email='dff-nodes@users.noreply.github.com',
    description='Trains neural networks with Forward-Forward over ROS 2, one node per layer',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            f'chapter_coordinator_node = {NAME}.nodes.chapter_coordinator_node:main',
            f'layer_node = {NAME}.nodes.layer_node:main',
            f'worker_node = {NAME}.nodes.worker_node:main',
            f'spare_node = {NAME}.nodes.spare_node:main',
            f'coordinator_node = {NAME}.nodes.coordinator_node:main',
            f'dff = {NAME}.cli.__main__:main',
        ]
    },
)
