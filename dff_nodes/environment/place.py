# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Where the parts of the environment lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Place:
    """The folders of one environment."""

    root: Path
    """The repository."""
    home: Path
    """What the set-up makes: `$DFF_HOME`, else `.dff` in the repository."""

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.home / 'venv'

    @property
    def python(self) -> Path:
        """The interpreter that everything runs with."""
        return self.venv / 'bin' / 'python'

    @property
    def marks(self) -> Path:
        """In the virtual environment, so that they vanish with it."""
        return self.venv / '.dff-marks'

    @property
    def install(self) -> Path:
        """Where dff_msgs is installed."""
        return self.home / 'install'

    @property
    def log(self) -> Path:
        """What the commands of the set-up printed."""
        return self.home / 'log'

    @property
    def env_file(self) -> Path:
        """The shell file that `dff` loads."""
        return self.home / 'env.sh'

    @property
    def stamp(self) -> Path:
        """What `dff` compares to know that the environment is as it should be."""
        return self.home / 'stamp'

    def requirements(self, name: str) -> Path:
        """Return one of the requirements files."""
        return self.root / 'requirements' / f'{name}.txt'

    def message_files(self) -> list[Path]:
        """Return all files that define dff_msgs."""
        return sorted(path for path in (self.root / 'msg').iterdir() if path.is_file())


def here() -> Place:
    """Return the environment of the repository that this file is in."""
    root = Path(__file__).resolve().parents[2]
    return Place(root, Path(os.environ.get('DFF_HOME') or root / '.dff').absolute())
