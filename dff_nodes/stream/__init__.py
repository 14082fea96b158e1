# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Items, credit and replay: exactly-once delivery in plain Python."""
