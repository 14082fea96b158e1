# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The environment variables of ROS 2, and setting them."""

from __future__ import annotations

import os
from collections.abc import Mapping

PATH_VARIABLES = (
    'AMENT_PREFIX_PATH',
    'CMAKE_PREFIX_PATH',
    'LD_LIBRARY_PATH',
    'PATH',
    'PYTHONPATH',
)
# Not ROS_DOMAIN_ID, RMW_IMPLEMENTATION and the like: they belong to each start, not to the set-up.
PLAIN_VARIABLES = ('ROS_DISTRO', 'ROS_VERSION', 'ROS_PYTHON_VERSION')


def applied(to_set: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with the variables set: paths go before what is there, once."""
    result = dict(environment)
    for name, value in to_set.items():
        before = result.get(name, '') if name in PATH_VARIABLES else ''
        if before == value or before.startswith(value + os.pathsep):
            continue
        result[name] = value + os.pathsep + before if before else value
    return result
