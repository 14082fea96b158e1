# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Starts nodes as copies of one process that has imported PyTorch already.

To import it takes seconds of a core and a hundred megabytes, for each node of a run that starts on
one machine, and again for each that is started anew. Here one process does it for all. The nodes
are children of the process that asks for them, as if it had started them itself.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from dff_nodes.nodes.process import die_with_parent
from dff_nodes.runs.memory import share_one_heap

PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.01
MOST_ROOM = 1 << 14
"""that a command may take in ps, in bytes"""
MOST_BYTES = 1 << 18
"""of a request, more than a socket takes at once: sending a longer one is an error"""


class ForkedNode:
    """
    A node that a ForkServer was asked for, with the methods of subprocess.Popen.

    :param stdout: what the node prints, if the caller reads it.
    :param pid: end of a pipe that gives the process's number once it lives, and ends without one
        if the server does.
    """

    def __init__(self, args: list[str], stdout: IO[bytes] | None, pid: int) -> None:
        self.args = args
        self.stdout = stdout
        self.returncode: int | None = None
        self._pid_pipe = pid
        self._pid: int | None = None

    def poll(self) -> int | None:
        """Give the exit status, minus the number of the signal that ended it; None if it lives."""
        if self.returncode is None and self._is_forked(0.0):
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                return None  # the process between has not let go of it yet
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, in seconds at most; raises subprocess.TimeoutExpired."""
        limit = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if limit is not None and time.monotonic() > limit:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(POLL_S)
        return self.returncode

    @property
    def pid(self) -> int:
        """Number of the process, waited for; raises ProcessLookupError if it gets none."""
        if not self._is_forked(None):
            raise ProcessLookupError('the node was not started')
        return self._pid

    def send_signal(self, number: int) -> None:
        """Send a signal to the process if it still lives."""
        if self._is_forked(None) and self.poll() is None:
            os.kill(self._pid, number)

    def _is_forked(self, wait_s: float | None) -> bool:
        """Whether there is, or was, a process; waits for that so long, None for ever."""
        if self._pid is None and self.returncode is None:
            if not select.select([self._pid_pipe], [], [], wait_s)[0]:
                return False
            number = os.read(self._pid_pipe, 32)
            os.close(self._pid_pipe)
            if number:
                self._pid = int(number)
            else:
                self.returncode = 1
        return self._pid is not None


class ForkServer:
    """
    The process that has imported what nodes share, and copies itself for each.

    :param preload: modules that it imports. They must start no thread of their own, so none of
        ROS 2: a copy has the thread that made it and no other.
    :param environment: of the nodes.
    :param log: file for what is said before a node has its own.
    """

    def __init__(self, preload: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._preload = preload
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen | None = None
        self._requests: socket.socket | None = None

    def start(self, command: list[str], log: int, reads_output: bool) -> ForkedNode:
        """
        Ask for a node, without waiting for it.

        :param command: Python, -m, its module and its arguments.
        :param log: file descriptor for its errors, and for its output unless that is read.
        :raises OSError: if the command is too long.
        """
        if self._process is None or self._process.poll() is not None:
            self._launch(command)
        pid, told_pid = os.pipe()
        written = os.pipe() if reads_output else None
        descriptors = [told_pid, written[1] if written else log, log]
        try:
            request = json.dumps(command).encode()
            socket.send_fds(self._requests, [request], descriptors)
        except (BrokenPipeError, ConnectionResetError):
            # The server has just died: the pipe that was to tell the number says so.
            pass
        finally:
            os.close(told_pid)
            if written:
                os.close(written[1])
        return ForkedNode(command, os.fdopen(written[0], 'rb') if written else None, pid)

    def close(self) -> None:
        """End the server: what has not been forked by then never is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._requests.close()
            self._process = None

    def _launch(self, first: list[str]) -> None:
        if self._requests is not None:
            self._requests.close()
        # A node that is forked twice has no parent left, and becomes a child of this process.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), 'cannot become the parent of forked nodes')
        self._requests, requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A node's command goes where this one stands: it must have the room.
        room = ' ' * min(2 * len(' '.join(first)), MOST_ROOM)
        with self._log.open('ab') as log:
            self._process = subprocess.Popen(
                [sys.executable, '-m', __name__, str(requests.fileno()), room, *self._preload],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                pass_fds=[requests.fileno()],
                start_new_session=True,  # Ctrl-C reaches the supervisor only
            )
        requests.close()


def _serve(requests: socket.socket) -> list[str] | None:
    """Fork a node for each request; gives its command in that process, None when all is done."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 3)
        if not request:
            return None
        first = os.fork()
        if first == 0:
            parent = os.getpid()
            told_pid, *streams = descriptors
            node = os.fork()
            if node != 0:
                # Not the node itself: it may be killed before it has said anything.
                os.write(told_pid, str(node).encode())
                os._exit(0)
            os.close(told_pid)
            command = json.loads(request)
            requests.close()
            _become_node(command, parent, *streams)
            return command
        for each in descriptors:
            os.close(each)
        os.waitpid(first, 0)


def _become_node(command: list[str], parent: int, output: int, errors: int) -> None:
    os.setsid()
    os.dup2(output, sys.stdout.fileno())
    os.dup2(errors, sys.stderr.fileno())
    for each in {output, errors}:
        os.close(each)
    _show_as(command)
    # Then it is a child of the one that asked, with which it dies.
    while os.getppid() == parent:
        time.sleep(0.001)


def _show_as(command: list[str]) -> None:
    """
    Write a command over that of this process, where ps and rcl (names of log files) read it.

    It ends where the room ends that the first one took.
    """
    # Fields 48 and 49 of proc_pid_stat(5), counted from the third, behind the name in brackets.
    fields = Path('/proc/self/stat').read_text().rpartition(')')[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = b'\0'.join(os.fsencode(word) for word in command)[: end - begin - 1]
    ctypes.memmove(begin, text.ljust(end - begin, b'\0'), end - begin)


def main() -> None:
    """Import what is asked for, then be the server, and a node in each of its copies."""
    die_with_parent()
    # Copies have the heaps of threads that imports start here, and their threads would take those.
    share_one_heap()
    for module in sys.argv[3:]:
        importlib.import_module(module)
    # What is there now is not looked at again by any copy, and stays shared.
    gc.collect()
    gc.freeze()
    # From 3.12 on Python warns of any thread. NumPy's BLAS has some, which it takes care of.
    warnings.filterwarnings('ignore', 'This process .* is multi-threaded', DeprecationWarning)
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        command = _serve(requests)
    if command is not None:
        _, _, module, *arguments = command
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name='__main__', alter_sys=True)


if __name__ == '__main__':
    main()
