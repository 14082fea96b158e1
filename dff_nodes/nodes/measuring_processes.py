# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Lets processes measure something between them, over the network's protocols."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from dff_nodes.nodes.middleware import emulated_network

RECEIVE, RELAY, SEND = 'receive', 'relay', 'send'
LAST_DOMAIN = 100
Place = Callable[[str, list[str]], list[str]]
"""changes the command of a side, to start it elsewhere"""


class MeasurementError(RuntimeError):
    """The processes did not come to an end."""


def here(side: str, command: list[str]) -> list[str]:
    """Start a side on this machine."""
    return command


def ask_all(
    module: str, sides: Sequence[str], arguments: Sequence[str], place: Place, limit_s: float
) -> list[Any]:
    """
    Run `python -m MODULE SIDE ARGUMENTS` for every side, on a ROS domain of their own.

    :returns: what each printed as JSON in its last line, in the order of the sides.
    :raises MeasurementError: if one fails, or they come to no end.
    """
    domain = str(random.SystemRandom().randrange(1, LAST_DOMAIN))
    own = {'ROS_DOMAIN_ID': domain, 'PYTHONSAFEPATH': '1'}
    processes = [
        subprocess.Popen(
            place(side, [sys.executable, '-m', module, side, *arguments]),
            env={**os.environ, **emulated_network(), **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for side in sides
    ]
    answers = []
    try:
        for each in processes:
            output, errors = each.communicate(timeout=limit_s)
            if each.returncode != 0:
                raise MeasurementError(errors.strip().splitlines()[-1] if errors else 'no answer')
            answers.append(json.loads(output.splitlines()[-1]))
    except subprocess.TimeoutExpired as error:
        raise MeasurementError(f'no answer within {limit_s:.0f} s') from error
    finally:
        for each in processes:
            each.kill()
    return answers
