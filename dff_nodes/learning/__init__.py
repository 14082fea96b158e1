# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Layers, local rules, goodness and read-outs: PyTorch only, no ROS."""
