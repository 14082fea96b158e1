# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Emulated devices on one machine: network namespaces with limited links, cores and memory."""
