# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Arguments that several verbs take."""

from __future__ import annotations

import argparse


def add_use_of_weights(parser: argparse.ArgumentParser) -> None:
    """Take what changes how trained weights are used."""
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        help='override a setting, for example classification.mode=one_pass',
    )
    parser.add_argument('--reference', action='store_true', help='in this process, without ROS')
