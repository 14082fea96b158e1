# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Configuration, run folder, checkpoints, metrics and result."""
