# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The environment that dff_nodes runs in: found, made and checked with the standard library."""
