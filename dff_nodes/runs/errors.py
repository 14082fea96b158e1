# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What is raised for a request that is wrong."""

from __future__ import annotations


class ConfigError(ValueError):
    """A request that cannot be carried out; the message names the field, value and remedy."""
