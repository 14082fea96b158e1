# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 nodes: thin adapters from topics to the rooms below."""
