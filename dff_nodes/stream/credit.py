# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""What a receiver tells its sender."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Credit:
    """
    A cumulative acknowledgement with the room that is left, as TCP's.

    `expected + window` never falls while the receiver lives: taking one message in moves a
    place from the window to `expected`.
    """

    incarnation: int
    """of the receiver; rises when it restarts"""
    expected: int
    """next sequence number wanted; all before it were received in order"""
    window: int
    """messages from `expected` on that there is room for"""
    durable: int
    """messages before this one will never be asked for again"""
    missing: bool = False
    """a later message came before `expected`"""
