# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A node that could never do anything is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from dff_nodes.cli.__main__ import main


def test_a_spare_node_without_spare_devices_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tmp_path / 'cluster.yaml'
    config.write_text(
        'network: [{units: 8}]\nplacement: {pi1: [coordinator], pi2: [layer_0]}\n'
        'checkpoint: {replicate: true}\n'
    )
    assert main(['run-node', 'spare', str(config)]) == 2
    assert 'cluster.yaml has no placement.spare' in capsys.readouterr().err
