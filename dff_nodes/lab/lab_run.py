# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Runs a task with each node on its device of a lab."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from dff_nodes.lab.chaos import Chaos
from dff_nodes.lab.chaos_plan import ChaosPlan
from dff_nodes.lab.commands import LabError
from dff_nodes.lab.lab import Lab
from dff_nodes.nodes.local_run import RunError, local_run
from dff_nodes.nodes.middleware import emulated_network
from dff_nodes.nodes.supervisor import NodeDied
from dff_nodes.runs import units
from dff_nodes.runs.run_folder import RunFolder

Emit = Callable[[dict[str, Any]], None]


def lab_run(
    lab: Lab,
    folder: RunFolder,
    emit: Emit,
    chaos: ChaosPlan | None = None,
    log_level: str = 'info',
) -> dict[str, Any]:
    """
    Train over the lab's devices; give the result, with what they used and what befell them.

    :param chaos: the faults to inject, None for none.
    :raises LabError: if a device's memory did not suffice.
    :raises RunError, NodeDied: if the run failed for another reason.
    """
    one_at_a_time = threading.Lock()

    def emit_alone(event: dict[str, Any]) -> None:
        if 'text' in event:
            event = {**event, 'text': _for_lab(event['text'])}
        with one_at_a_time:
            emit(event)

    threads = str(folder.config().compute.threads)
    faults = Chaos(chaos or ChaosPlan(faults=()), lab, emit_alone)
    try:
        result = local_run(
            'train',
            folder,
            faults.watch(emit_alone),
            log_level=log_level,
            place=lab.place,
            environment={**emulated_network(lab.link.loss > 0), 'OMP_NUM_THREADS': threads},
            on_start=faults.start,
        )
    except (RunError, NodeDied) as error:
        raise _explained(error, lab) from error
    finally:
        faults.stop()
    injected = {} if chaos is None else {'chaos': faults.counts}
    return {**result, **injected, 'lab': lab.report()}


def _explained(error: Exception, lab: Lab) -> Exception:
    """Say so if memory was the reason, and how to go on: only the lab knows."""
    short = [
        f'{device.name} ({", ".join(device.nodes)}) has {units.megabytes(device.limits.memory_mb)}'
        for device in lab.out_of_memory()
    ]
    text = _for_lab(str(error))
    return LabError(f'{text}\nout of memory: {"; ".join(short)}') if short else type(error)(text)


def _for_lab(text: str) -> str:
    """Nodes know of no lab: what they say of dff train would go on without the limits."""
    return text.replace('dff train --resume', 'dff lab --resume')
