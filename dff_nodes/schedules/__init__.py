# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Who trains what, when, and what travels."""
