# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Local rules of one stream: each trains a layer from its own input, output and labels."""
