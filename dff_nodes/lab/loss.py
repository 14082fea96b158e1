# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
Loss of frames on a link, by whichever of three tools this machine has.

A frame is lost as it arrives at the device, before fragments are put together, as on a bad cable
or on radio.
"""

from __future__ import annotations

import json
import re
import shutil
from abc import ABC, abstractmethod

from dff_nodes.lab.commands import LabError, run

PARTS = 1_000_000
"""the share that is lost is rounded to one of so many parts"""
RANDOM_WORD = 0xFFFFF000 + 56
"""address at which a classic BPF program reads 32 random bits (SKF_AD_OFF + SKF_AD_RANDOM)"""
DROP, PASS_ON = 2, 0xFFFFFFFF
"""what a BPF program answers to tc: TC_ACT_SHOT and TC_ACT_UNSPEC"""


class Loss(ABC):
    """Loses frames that arrive at an interface of a namespace."""

    tool: str
    """without which it does not work"""

    @abstractmethod
    def install(self, namespace: str, interface: str, share: float) -> None:
        """Begin to lose this share of the frames; raises LabError where that is not possible."""

    @abstractmethod
    def lost(self, namespace: str, interface: str) -> int:
        """Count the frames that were lost."""


class NftLoss(Loss):
    """numgen of nftables, on the ingress hook."""

    tool = 'nft'

    def install(self, namespace: str, interface: str, share: float) -> None:
        """Add one rule, at once or not at all."""
        hook = f'type filter hook ingress device "{interface}" priority 0;'
        chance = f'numgen random mod {PARTS} < {round(share * PARTS)}'
        rules = (
            f'add table netdev lab; add chain netdev lab loss {{ {hook} }}; '
            f'add rule netdev lab loss {chance} counter drop'
        )
        _inside(namespace, 'nft', rules)

    def lost(self, namespace: str, interface: str) -> int:
        """Read the rule's counter."""
        text = _inside(namespace, 'nft', 'list', 'chain', 'netdev', 'lab', 'loss')
        return int(re.search(r'counter packets (\d+)', text)[1])


class IptablesLoss(Loss):
    """The statistic match of iptables, in the table that sees fragments: IPv4 only."""

    tool = 'iptables'

    def install(self, namespace: str, interface: str, share: float) -> None:
        """Add one rule."""
        chance = ['-m', 'statistic', '--mode', 'random', '--probability', f'{share:.6f}']
        chain = ['-t', 'raw', '-A', 'PREROUTING', '-i', interface]
        _inside(namespace, 'iptables', *chain, *chance, '-j', 'DROP')

    def lost(self, namespace: str, interface: str) -> int:
        """Read the rule's counter."""
        text = _inside(namespace, 'iptables', '-t', 'raw', '-L', 'PREROUTING', '-vnx')
        return sum(int(line.split()[0]) for line in text.splitlines() if ' DROP ' in line)


class BpfLoss(Loss):
    """A BPF program of four instructions that tc runs on every frame."""

    tool = 'tc'

    def install(self, namespace: str, interface: str, share: float) -> None:
        """Attach the program."""
        program = [
            (0x20, 0, 0, RANDOM_WORD),
            (0x35, 1, 0, round(share * (PASS_ON + 1))),  # at least so much: skip the next one
            (0x06, 0, 0, DROP),
            (0x06, 0, 0, PASS_ON),
        ]
        words = [str(len(program)), *(' '.join(map(str, each)) for each in program)]
        run('tc', '-n', namespace, 'qdisc', 'add', 'dev', interface, 'clsact')
        attach = ['filter', 'add', 'dev', interface, 'ingress', 'bpf', 'direct-action']
        run('tc', '-n', namespace, *attach, 'bytecode', ','.join(words))

    def lost(self, namespace: str, interface: str) -> int:
        """Read what the hook dropped: nothing else drops there."""
        text = run('tc', '-n', namespace, '-s', '-j', 'qdisc', 'show', 'dev', interface)
        return sum(each['drops'] for each in json.loads(text) if each['kind'] == 'clsact')


WAYS: tuple[type[Loss], ...] = (NftLoss, IptablesLoss, BpfLoss)
"""the best first"""


def install_loss(
    namespace: str, interface: str, share: float, ways: tuple[type[Loss], ...] = WAYS
) -> Loss:
    """
    Lose this share of the frames that arrive at an interface; give the way that works here.

    :raises LabError: if none does, with what each of them lacks.
    """
    faults = []
    for way in (each() for each in ways):
        if shutil.which(way.tool) is None:
            faults.append(f'{way.tool} is not installed')
            continue
        try:
            way.install(namespace, interface, share)
            return way
        except LabError as error:
            faults.append(str(error))
    raise LabError(
        f'the lab cannot lose frames on this machine: {"; ".join(faults)}. Install nftables '
        '(on Debian and Ubuntu: apt install nftables), or leave the loss out'
    )


def _inside(namespace: str, *command: str) -> str:
    return run('ip', 'netns', 'exec', namespace, *command)
