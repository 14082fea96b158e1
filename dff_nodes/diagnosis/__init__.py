# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a machine has and lacks for dff_nodes: findings about software, machine and network."""
