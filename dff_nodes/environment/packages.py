# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Python packages: which PyTorch suits this machine, and installing with pip."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from dff_nodes.environment.place import Place
from dff_nodes.environment.process import Runner, SetUpError

PIP = 'pip==26.3'
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
NO_NETWORK = (
    'If the lines speak of the network: let this machine reach its Python package '
    'index (or set PIP_INDEX_URL to a mirror) and start again; what is done stays done.'
)
FIND = """
import importlib.util, importlib.metadata, sys
spec = importlib.util.find_spec(sys.argv[1])
print(importlib.metadata.version(sys.argv[1]) if spec else '')
print(spec.origin if spec else '')
"""


class Pip:
    """pip of the virtual environment."""

    def __init__(self, place: Place, runner: Runner, environment: dict[str, str]):
        self.place = place
        self.runner = runner
        # PIP_USER would put everything into the home folder, past the virtual environment.
        self.environment = {**environment, 'PIP_USER': '0', 'PIP_DISABLE_PIP_VERSION_CHECK': '1'}

    def install(self, *wanted, doing: str, again: bool = False, advice: str = NO_NETWORK) -> None:
        """Install; `again` writes over what a pip that was cut off may have left half-made."""
        # Not compiled here, on one core: compile_all does it on all of them.
        command = [self.place.python, '-m', 'pip', 'install', '--quiet', '--no-compile', *wanted]
        if again:
            command.append('--ignore-installed')
        self.runner.run(command, doing=doing, advice=advice, environment=self.environment)

    def compile_all(self) -> None:
        """Compile the packages' Python files on every core.

        Importing PyTorch uncompiled takes several times as long, in every node, and where Python
        may not write (PYTHONDONTWRITEBYTECODE, as containers set it) at every start. Some
        packages carry files for other Pythons, which do not compile: that is no failure.
        """
        self.runner.run(
            [
                self.place.python,
                '-m',
                'compileall',
                '-q',
                '-q',
                '-j',
                '0',
                '-x',
                '/tests?/',
                self.place.venv / 'lib',
            ],
            doing='compile packages',
            environment=self.environment,
            may_fail=True,
        )

    def report(self, *wanted: str, doing: str) -> dict:
        """Return what pip would install, and install nothing."""
        path = self.place.log / 'pip_report.json'
        self.runner.run(
            [
                self.place.python,
                '-m',
                'pip',
                'install',
                '--quiet',
                '--dry-run',
                '--report',
                path,
                *wanted,
            ],
            doing=doing,
            advice=NO_NETWORK,
            environment=self.environment,
        )
        return json.loads(path.read_text(encoding='utf-8'))

    def find(self, module: str) -> tuple[str, Path] | None:
        """Return version and folder of a package that Python would import, or None.

        Nothing is imported: a PyTorch for another processor would kill the process.
        """
        done = subprocess.run(
            [self.place.python, '-c', FIND, module],
            check=False,
            capture_output=True,
            encoding='utf-8',
            env=self.environment,
        )
        version, _, origin = done.stdout.strip().partition('\n')
        return (version, Path(origin).parent) if version and origin else None


def pulls_cuda(report: dict) -> bool:
    """Whether a pip report holds CUDA: packages of NVIDIA, or a PyTorch built for it."""
    for entry in report.get('install', ()):
        metadata = entry['metadata']
        name = metadata['name'].lower().replace('_', '-')
        if name.startswith(('nvidia-', 'cuda-')):
            return True
        if name == 'torch' and '+cu' in metadata['version']:
            return True
    return False


def has_nvidia_gpu(root: Path = Path('/'), smi: str = 'nvidia-smi') -> bool:
    """Whether an NVIDIA GPU and its driver are here."""
    if (root / 'dev/nvidia0').exists() or any(root.glob('proc/driver/nvidia/gpus/*')):
        return True
    try:
        done = subprocess.run(
            [smi, '-L'], check=False, capture_output=True, encoding='utf-8', timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and 'GPU' in done.stdout


def pin_of(name: str, requirements: Iterable[str]) -> str:
    """Return the line of `requirements` that pins a package."""
    for line in requirements:
        wanted = line.split('#')[0].strip()
        if re.match(rf'{re.escape(name)}\s*==', wanted):
            return wanted
    raise SetUpError(f'requirements/torch.txt pins no {name}')


def torchvision_for(torch_version: str) -> str | None:
    """Return the torchvision that was released with a torch: torch 2.N and torchvision 0.(N+15).

    None for a version whose torchvision is not known.
    """
    match = re.match(r'2\.(\d+)\.', torch_version)
    return f'torchvision==0.{int(match[1]) + 15}.*' if match else None


def cpu_index_advice(place: Place, torch_pin: str) -> str:
    """Say what to do when PyTorch's CPU index cannot be reached."""
    pip = f'{str(place.python)!r} -m pip install'
    return (
        f'This machine has no NVIDIA GPU, and the ordinary PyTorch would bring gigabytes of '
        f'CUDA libraries, so the CPU build is taken from {CPU_INDEX}. If it cannot be reached '
        f'from here, either fetch the wheel elsewhere and install it:\n'
        f'    {pip} torch-VERSION.whl\n'
        f'or take the ordinary one after all (about 3 GB more):\n    {pip} {torch_pin}\n'
        'and start again: a PyTorch that is there is kept.'
    )


def install_torch(pip: Pip, place: Place, marks, again: bool) -> str:
    """Put a PyTorch that suits this machine into the environment; returns what it did."""
    lines = place.requirements('torch').read_text(encoding='utf-8').splitlines()
    torch_pin, vision_pin = pin_of('torch', lines), pin_of('torchvision', lines)
    present = pip.find('torch')
    kept = present and not again and is_foreign(present, place, marks.noted('torch'))
    index: list[str] = []
    if not kept:
        index = choose_index(pip, torch_pin)
        advice = cpu_index_advice(place, torch_pin) if index else NO_NETWORK
        pip.install(torch_pin, *index, doing='install PyTorch', again=again, advice=advice)
        present = pip.find('torch')
        if present is None:
            raise SetUpError('pip installed PyTorch, but Python does not find it.')
        marks.note('torch', present[0])
    if not (kept and pip.find('torchvision')):
        wanted = (torchvision_for(present[0]) if kept else None) or vision_pin
        # Without its dependencies: they would replace a PyTorch that it does not know (a CPU
        # build, NVIDIA's for Jetson). Pillow and NumPy are in the other requirements.
        pip.install(wanted, '--no-deps', *index, doing='install torchvision', again=again)
    source = 'kept' if kept else 'the CPU build' if index else 'as pip has it'
    return f'{present[0]}, {source}'


def choose_index(pip: Pip, torch_pin: str) -> list[str]:
    """Return the options that keep CUDA from a machine without an NVIDIA GPU."""
    if has_nvidia_gpu():
        return []
    report = pip.report(torch_pin, doing='look at PyTorch')
    return ['--index-url', CPU_INDEX, '--retries', '2'] if pulls_cuda(report) else []


def is_foreign(present: tuple[str, Path], place: Place, installed_by_us: str | None) -> bool:
    """Whether a PyTorch was put there by someone else (NVIDIA's for Jetson, a user's own)."""
    version, folder = present
    return not folder.is_relative_to(place.venv) or version != installed_by_us
