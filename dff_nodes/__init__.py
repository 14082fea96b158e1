# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Forward-Forward networks trained layer by layer across ROS 2 nodes."""

__version__ = '0.1.0'
