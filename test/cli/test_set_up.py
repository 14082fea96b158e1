# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The set-up: what it finds, what it refuses, and that it can be cut off anywhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dff_nodes.cli.set_up import SetUp
from dff_nodes.environment import activation, lock, messages, packages, prerequisites, ros
from dff_nodes.environment.marks import Marks, digest
from dff_nodes.environment.place import Place
from dff_nodes.environment.process import MissingPrerequisite, Runner, SetUpError
from dff_nodes.environment.variables import applied

ROOT = Path(__file__).resolve().parents[2]
DEFINING = (
    'dff',
    'requirements',
    'msg',
    'dff_nodes/environment',
    'dff_nodes/cli/__init__.py',
    'dff_nodes/cli/set_up.py',
    'dff_nodes/__init__.py',
)
OURS = ('DFF_', 'ROS_', '_ROS_', 'AMENT_', 'VIRTUAL_ENV')


def bare_environment(**more):
    """Return this environment as a terminal has it that knows nothing of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    active = os.environ.get('DFF_ACTIVE')
    for name in ('PATH', 'PYTHONPATH', 'LD_LIBRARY_PATH'):
        parts = [
            part
            for part in kept.get(name, '').split(os.pathsep)
            if part and not (active and Path(part).is_relative_to(active))
        ]
        kept[name] = os.pathsep.join(parts)
    return {**kept, **more}


def copy_repository(folder):
    """Copy what defines the environment."""
    for name in DEFINING:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copy(source, target)
    return folder


def run(*command, environment=None, cwd=None):
    """Run a command and return what it did."""
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        cwd=cwd,
        check=False,
        capture_output=True,
        encoding='utf-8',
    )


# The stamp: a dff whose set-up only leaves a line in a file.

FAKE_SET_UP = """
import os, sys
from pathlib import Path
from dff_nodes.environment.place import here
place, stamp = here(), sys.argv[sys.argv.index('--stamp') + 1]
place.python.parent.mkdir(parents=True, exist_ok=True)
if not place.python.exists():
    place.python.symlink_to(sys.executable)
name = os.environ['DFF_ROS_NAME']
place.env_file.write_text(
    f'export PYTHONPATH="{place.root}" DFF_ACTIVE="{place.home}" DFF_ROS_NAME={name}\\n')
place.stamp.write_text(f'{stamp}\\n{os.path.realpath(place.python)}\\n')
with open(place.home / 'set_ups', 'a') as log:
    log.write('one\\n')
"""
FAKE_COMMAND_LINE = """
import os, subprocess, sys
print(sys.argv[1:], os.getcwd())
if sys.argv[1:] == ['nested']:
    sys.exit(subprocess.call([os.environ['DFF_SELF'], 'inner']))
"""


@pytest.fixture
def fake(tmp_path):
    """A repository in a folder with a space, with a set-up that takes no time."""
    root = copy_repository(tmp_path / 'my robots')
    (root / 'dff_nodes/cli/set_up.py').write_text(FAKE_SET_UP)
    (root / 'dff_nodes/cli/__main__.py').write_text(FAKE_COMMAND_LINE)
    return root


def set_ups(root):
    """How many times a fake repository was set up."""
    return len((root / '.dff/set_ups').read_text().splitlines())


def start(root, *arguments, cwd=None, link=None, **more):
    """Start a fake repository's dff and check that its command line ran."""
    environment = bare_environment(DFF_SELF=str(root / 'dff'), DFF_PYTHON=sys.executable, **more)
    done = run(link or root / 'dff', *arguments, environment=environment, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_second_start_does_not_set_up_again(fake, tmp_path):
    assert start(fake, 'train', 'a b', cwd=tmp_path) == f"['train', 'a b'] {tmp_path}\n"
    start(fake, 'train')
    assert set_ups(fake) == 1


def test_ctrl_c_during_the_imports_is_no_error(fake):
    start(fake)
    slow = "import time\nprint('importing', flush=True)\ntime.sleep(600)"
    (fake / 'dff_nodes/cli/__main__.py').write_text(slow)
    process = subprocess.Popen(
        [fake / 'dff'],
        env=bare_environment(DFF_PYTHON=sys.executable),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'importing\n'
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ('', 'dff: stopped\n')
    assert process.returncode == 1


def test_the_current_folder_is_not_imported_from(fake, tmp_path):
    (tmp_path / 'dff_nodes').mkdir()
    (tmp_path / 'dff_nodes/__init__.py').write_text('raise SystemExit("the wrong dff_nodes")')
    (tmp_path / 'json.py').write_text('raise SystemExit("the wrong json")')
    start(fake, cwd=tmp_path)
    assert set_ups(fake) == 1


def test_start_through_a_link_is_the_same_environment(fake, tmp_path):
    start(fake)
    link = tmp_path / 'dff link'
    link.symlink_to(fake / 'dff')
    start(fake, link=link)
    assert set_ups(fake) == 1


@pytest.mark.parametrize(
    'name', ['requirements/base.txt', 'msg/Credit.msg', 'dff_nodes/environment/messages.py']
)
def test_a_change_of_what_defines_the_environment_sets_up_again(fake, name):
    start(fake)
    with (fake / name).open('a') as file:
        file.write('# changed\n')
    start(fake)
    assert set_ups(fake) == 2


def test_an_interpreter_that_is_gone_sets_up_again(fake):
    start(fake)
    python = fake / '.dff/venv/bin/python'
    python.unlink()
    start(fake)
    assert set_ups(fake) == 2


def test_another_ros_sets_up_again_and_a_nested_start_does_not(fake):
    start(fake)
    start(fake, AMENT_PREFIX_PATH='/opt/ros/humble', ROS_DISTRO='humble')
    assert set_ups(fake) == 2
    out = start(fake, 'nested', AMENT_PREFIX_PATH='/opt/ros/humble', ROS_DISTRO='humble')
    assert "['inner']" in out
    assert set_ups(fake) == 2


def test_dff_home_moves_the_environment(fake, tmp_path):
    start(fake, cwd=tmp_path, DFF_HOME='elsewhere')
    assert (tmp_path / 'elsewhere/stamp').exists()
    assert not (fake / '.dff').exists()


def test_too_old_a_python_is_named(fake, tmp_path):
    old = tmp_path / 'python_old'
    old.write_text('#!/bin/sh\nexit 1\n')
    old.chmod(0o755)
    done = run(fake / 'dff', environment=bare_environment(DFF_PYTHON=str(old)))
    assert done.returncode == 2
    assert str(old) in done.stderr and '3.10' in done.stderr


# What a machine lacks.


def test_without_a_compiler_the_command_that_installs_it_is_named(tmp_path):
    environment = bare_environment(PATH='', PYTHONPATH=str(ROOT), DFF_HOME=str(tmp_path / 'home'))
    done = run(sys.executable, '-m', 'dff_nodes.cli.set_up', environment=environment)
    assert done.returncode == 2
    assert 'C and C++ compiler' in done.stderr
    assert 'Traceback' not in done.stderr
    if prerequisites.distribution_family() == 'debian':
        assert 'sudo apt update && sudo apt install -y build-essential' in done.stderr


def test_missing_parts_of_python_are_named_with_its_version():
    text = prerequisites.missing_message('3.12', ['venv', 'headers'])
    assert 'ensurepip' in text and 'Python.h' in text
    if prerequisites.distribution_family() == 'debian':
        assert text.endswith('python3.12-venv python3.12-dev')


def test_a_folder_that_no_virtual_environment_can_be_in(tmp_path):
    with pytest.raises(MissingPrerequisite, match='DFF_HOME'):
        prerequisites.check_home(tmp_path / 'a:b')


def test_a_home_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(MissingPrerequisite, match='cannot be written'):
        prerequisites.check_home(tmp_path / 'file' / 'home')


# Marks and resuming.


class Recording(SetUp):
    """A set-up whose steps only say that they ran; `breaks` is the step that fails."""

    def __init__(self, place, breaks=None):
        super().__init__(place, Runner(place.log))
        self.ran = []
        self.breaks = breaks

    def note(self, name, again=False):
        self.ran.append(name + ('!' if again else ''))
        if name == self.breaks:
            raise SetUpError('broken')
        return ''

    def find_out(self):
        self.ros, self.version = ros.Ros('wheels', 'jazzy', sys.executable, {}), '3.11'
        return ''

    def make_venv(self, again):
        shutil.rmtree(self.place.venv, ignore_errors=True)
        self.place.python.parent.mkdir(parents=True)
        self.place.python.symlink_to(sys.executable)
        return self.note('environment')

    def install_packages(self, again):
        return self.note('packages', again)

    def install_torch(self, again):
        return self.note('torch', again)

    def build_messages(self, again):
        package = self.place.install / 'lib/python3.11/site-packages/dff_msgs'
        package.mkdir(parents=True, exist_ok=True)
        (package / '__init__.py').touch()
        return self.note('messages', again)

    def check(self):
        return ''


ALL = ['environment', 'packages', 'torch', 'messages']


@pytest.fixture
def place(tmp_path):
    """An empty environment of a copy of the repository."""
    return Place(copy_repository(tmp_path / 'repository'), tmp_path / 'home')


def steps_of(place, breaks=None):
    """Set up and return the steps that ran."""
    recording = Recording(place, breaks)
    try:
        recording.run()
    except SetUpError:
        assert breaks
    return recording.ran


def test_finished_steps_are_not_done_again(place):
    assert steps_of(place) == ALL
    assert steps_of(place) == []


def test_a_step_that_failed_is_where_it_goes_on(place):
    assert steps_of(place, breaks='torch') == ['environment', 'packages', 'torch']
    assert steps_of(place) == ['torch', 'messages']


def test_a_step_that_was_cut_off_writes_over_what_it_left(place):
    steps_of(place)
    Marks(place.marks).begin('packages')
    assert steps_of(place) == ['packages!']


def test_a_broken_mark_counts_for_nothing(place):
    steps_of(place)
    (place.marks / 'messages.done').write_text('')
    assert steps_of(place) == ['messages']


def test_a_virtual_environment_without_its_mark_is_made_anew(place):
    steps_of(place)
    (place.marks / 'environment.done').unlink()
    assert steps_of(place) == ALL


def test_a_changed_requirement_repeats_only_what_it_is_for(place):
    steps_of(place)
    with place.requirements('test').open('a') as file:
        file.write('# changed\n')
    assert steps_of(place) == ['packages']
    (place.root / 'msg/Credit.msg').rename(place.root / 'msg/Other.msg')
    assert steps_of(place) == ['messages']


def test_digests_keep_parts_apart(tmp_path):
    assert digest('ab', 'c') != digest('a', 'bc')
    (tmp_path / 'file').write_text('one')
    before = digest(tmp_path / 'file')
    (tmp_path / 'file').write_text('two')
    assert digest(tmp_path / 'file') != before


# One at a time.

HOLDER = """
import sys, time
from pathlib import Path
from dff_nodes.environment import lock
with lock.exclusive(Path(sys.argv[1]), print):
    print('held', flush=True)
    time.sleep(60)
"""


def test_a_second_set_up_says_that_it_waits_until_the_first_ends(tmp_path):
    path = tmp_path / 'lock'
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        encoding='utf-8',
    )
    said = []

    def say(text):
        said.append(text)
        # Killed, not asked to end: the lock must not outlive its holder.
        holder.kill()

    try:
        assert holder.stdout.readline() == 'held\n'
        with lock.exclusive(path, say):
            assert 'waiting for another set-up' in said[0]
            assert str(holder.pid) in said[0]
    finally:
        holder.kill()
        holder.communicate()


# ROS 2.

FAKE_RCLPY = 'import os\nassert os.environ["ROS_DISTRO"] == "{distro}"\n'


def fake_ros(opt, distro, works=True):
    """Make an installed ROS 2 of which only rclpy and setup.bash are there."""
    prefix = opt / distro
    module = prefix / 'lib/python3/site-packages'
    module.mkdir(parents=True)
    text = FAKE_RCLPY.format(distro=distro) if works else 'raise ImportError'
    (module / 'rclpy.py').write_text(text)
    (prefix / 'setup.bash').write_text(
        f'export ROS_DISTRO={distro} ROS_VERSION=2 AMENT_PREFIX_PATH="{prefix}"\n'
        f'export PYTHONPATH="{module}" PATH="{prefix}/bin:$PATH" ROS_LOCALHOST_ONLY=0\n'
    )
    return prefix


@pytest.fixture
def no_rclpy():
    """An environment without our rclpy; the interpreter's own would hide the fake one's lack."""
    return bare_environment(_ROS_WHEELS_BOOTSTRAP_COMPLETE='1')


def test_the_newest_installed_ros_is_taken(tmp_path, no_rclpy):
    fake_ros(tmp_path, 'humble')
    prefix = fake_ros(tmp_path, 'jazzy')
    found = ros.find(no_rclpy, opt=tmp_path)
    assert (found.kind, found.distro, found.is_system) == ('installed', 'jazzy', True)
    assert found.variables['AMENT_PREFIX_PATH'] == str(prefix)
    # Only what is ROS's own, and nothing that belongs to each start.
    assert found.variables['PATH'] == f'{prefix}/bin'
    assert 'ROS_LOCALHOST_ONLY' not in found.variables


def test_the_sourced_ros_goes_before_a_newer_one(tmp_path, no_rclpy):
    prefix = fake_ros(tmp_path / 'a', 'humble')
    fake_ros(tmp_path / 'b', 'jazzy')
    sourced = applied(ros.variables_of_setup(prefix / 'setup.bash'), no_rclpy)
    found = ros.find(sourced, opt=tmp_path / 'b')
    assert (found.kind, found.distro) == ('sourced', 'humble')


def test_a_ros_whose_rclpy_does_not_work_is_passed_over(tmp_path, no_rclpy):
    fake_ros(tmp_path, 'humble')
    fake_ros(tmp_path, 'jazzy', works=False)
    assert ros.find(no_rclpy, opt=tmp_path).distro == 'humble'


def test_our_own_environment_does_not_count_as_sourced(tmp_path):
    ours = {'ROS_DISTRO': 'jazzy', 'AMENT_PREFIX_PATH': f'{tmp_path}/install:{tmp_path}/venv'}
    assert ros.sourced_variables(ours, ours=tmp_path) == {}
    assert ros.sourced_variables(ours)['ROS_DISTRO'] == 'jazzy'


def test_no_ros_and_no_wheels_says_what_to_type(tmp_path, no_rclpy, monkeypatch):
    monkeypatch.setattr(ros, 'can_use_wheels', lambda **_: False)
    monkeypatch.setattr(ros, 'os_release', lambda: {'ID': 'ubuntu', 'VERSION_ID': '24.04'})
    with pytest.raises(MissingPrerequisite) as error:
        ros.find(no_rclpy, opt=tmp_path)
    assert error.value.status == 2
    assert 'ros-jazzy-ros-base' in str(error.value)
    assert 'docker run' in str(error.value)


# PyTorch.


def report(*names_and_versions):
    """Return a pip report as `pip install --report` writes it."""
    return {
        'version': '1',
        'install': [
            {'metadata': {'name': name, 'version': version}}
            for name, version in names_and_versions
        ],
    }


@pytest.mark.parametrize(
    ('install', 'cuda'),
    [
        ([('torch', '2.13.0+cpu'), ('sympy', '1.14.0')], False),
        ([('torch', '2.13.0')], False),
        ([('torch', '2.13.0'), ('nvidia-cublas', '13.1'), ('triton', '3.7')], True),
        ([('torch', '2.13.0'), ('nvidia_cudnn_cu13', '9.1')], True),
        ([('torch', '2.13.0'), ('cuda-bindings', '13.0')], True),
        ([('torch', '2.13.0+cu130')], True),
        ([], False),
    ],
)
def test_cuda_is_seen_in_a_pip_report(install, cuda):
    assert packages.pulls_cuda(json.loads(json.dumps(report(*install)))) is cuda


class FakePip:
    """A pip that would bring CUDA."""

    def report(self, *wanted, doing):
        return report(('torch', '2.13.0'), ('nvidia-cublas', '13.1'))


@pytest.mark.parametrize(
    ('gpu', 'index'), [(True, []), (False, ['--index-url', packages.CPU_INDEX])]
)
def test_no_cuda_without_a_gpu(monkeypatch, gpu, index):
    monkeypatch.setattr(packages, 'has_nvidia_gpu', lambda: gpu)
    assert packages.choose_index(FakePip(), 'torch==2.13.0')[:2] == index


def test_a_gpu_is_seen_by_its_device_or_by_nvidia_smi(tmp_path):
    smi = tmp_path / 'nvidia-smi'
    assert not packages.has_nvidia_gpu(tmp_path, smi=str(smi))
    smi.write_text('#!/bin/sh\necho "GPU 0: Some GPU"\n')
    smi.chmod(0o755)
    assert packages.has_nvidia_gpu(tmp_path, smi=str(smi))
    smi.write_text('#!/bin/sh\necho "NVIDIA-SMI has failed"\nexit 9\n')
    assert not packages.has_nvidia_gpu(tmp_path, smi=str(smi))
    (tmp_path / 'dev').mkdir()
    (tmp_path / 'dev/nvidia0').touch()
    assert packages.has_nvidia_gpu(tmp_path, smi=str(smi))


def test_a_pytorch_of_somebody_else_is_kept(place):
    inside, outside = place.venv / 'lib/torch', Path('/usr/lib/python3/dist-packages/torch')
    assert packages.is_foreign(('2.5.0a0+nv24.8', outside), place, None)
    assert packages.is_foreign(('2.5.1', inside), place, '2.13.0')
    assert not packages.is_foreign(('2.13.0', inside), place, '2.13.0')


def test_torchvision_goes_with_its_torch():
    assert packages.torchvision_for('2.13.0+cpu') == 'torchvision==0.28.*'
    assert packages.torchvision_for('2.5.0a0+nv24.8') == 'torchvision==0.20.*'
    assert packages.torchvision_for('3.0.0') is None


def test_everything_is_pinned():
    for path in sorted((ROOT / 'requirements').glob('*.txt')):
        for line in path.read_text().splitlines():
            wanted = line.split('#')[0].split(';')[0].strip()
            assert not wanted or '==' in wanted, f'{path.name}: {line}'


# The environment's variables, and failures.


def test_the_environment_file_sets_what_is_applied_and_twice_is_once(tmp_path):
    to_set = {'PATH': f'{tmp_path}/a b/bin', 'PYTHONPATH': f"{tmp_path}/it's", 'ROS_DISTRO': 'x'}
    path = tmp_path / 'env file.sh'
    activation.write_env_file(path, to_set)
    before = {'PATH': os.defpath, 'LANG': 'C'}
    once = run('/bin/bash', '-c', 'source "$0"; /usr/bin/env -0', path, environment=before)
    twice = run(
        '/bin/bash', '-c', 'source "$0"; source "$0"; /usr/bin/env -0', path, environment=before
    )
    assert once.stdout == twice.stdout
    shell = dict(entry.split('=', 1) for entry in once.stdout.split('\0') if entry)
    wanted = applied(to_set, before)
    assert {name: shell[name] for name in wanted} == wanted
    assert applied(to_set, wanted) == wanted


def test_a_failed_command_says_what_ran_what_it_said_and_what_to_do(tmp_path):
    runner = Runner(tmp_path / 'log')
    with pytest.raises(SetUpError) as error:
        runner.run(
            ['/bin/sh', '-c', 'echo working; echo no network >&2; exit 3'],
            doing='fetch it',
            advice='Plug the cable in.',
        )
    text = str(error.value)
    assert 'status 3' in text and 'no network' in text and 'Plug the cable in.' in text
    assert 'working' in (tmp_path / 'log/fetch_it.log').read_text()


def test_foreign_include_paths_of_the_wheels_are_replaced(tmp_path):
    file = tmp_path / 'std_msgs/cmake/pyExport.cmake'
    file.parent.mkdir(parents=True)
    python = '/opt/python/cp311-cp311'
    file.write_text(
        f'  INCLUDES "{python}/include/python3.11;{python}/lib/python3.11/'
        'site-packages/numpy/_core/include"\n  OTHER "/opt/x"'
    )
    assert messages.repair_cmake_files(tmp_path, '/v/include', '/v/numpy') == 1
    assert file.read_text() == '  INCLUDES "/v/include;/v/numpy"\n  OTHER "/opt/x"'
    assert messages.repair_cmake_files(tmp_path, '/v/include', '/v/numpy') == 0


@pytest.mark.slow
@pytest.mark.ros
def test_the_whole_set_up_in_a_fresh_copy(tmp_path):
    """From nothing to an environment that imports everything, in a folder with a space."""
    root = copy_repository(tmp_path / 'fresh copy')
    (root / 'dff_nodes/cli/__main__.py').write_text(
        'import dff_msgs.msg, rclpy, torch, dff_nodes\nprint(dff_nodes.__file__)\n'
    )
    first = run(root / 'dff', environment=bare_environment(), cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert '[6/6]' in first.stderr
    assert first.stdout.strip() == str(root / 'dff_nodes/__init__.py')
    second = run(root / 'dff', environment=bare_environment(), cwd=tmp_path)
    assert (second.returncode, second.stderr) == (0, '')
    # pytest keeps the folders of its last runs, and this one has more than a gigabyte.
    shutil.rmtree(root)
