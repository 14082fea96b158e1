# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Datasets, and batches in an order fixed by the seed."""
