# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Which faults are injected when: a pure function of a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dff_nodes.runs.errors import ConfigError

KINDS = ('kill', 'stop', 'link')
EXAMPLE = "'every=3s seed=1 faults=kill,stop,link count=50 settle=10s lasts=20s'"
SHORTEST_S, LONGEST_S = 1.0, 4.0
"""of a stop, and of a link that is down, unless the plan says how long it lasts"""


@dataclass(frozen=True)
class Fault:
    """One fault of a plan."""

    wait_s: float
    """after the one before"""
    kind: str
    """kill: SIGKILL; stop: SIGSTOP, then SIGCONT; link: the device's cable out, then in"""
    node: str
    lasts_s: float
    """not of a kill"""


@dataclass(frozen=True)
class ChaosPlan:
    """How often which faults are injected."""

    every_s: float = 3.0
    """between two faults in the mean: from half of it to one and a half"""
    seed: int = 0
    faults: tuple[str, ...] = KINDS
    count: int | None = None
    """at most so many; None is as many as the run has time for"""
    settle_s: float = 10.0
    """a node is left in peace for so long after its process was started"""
    lasts_s: float | None = None
    """of a stop, and of a link that is down; None is from 1 to 4 s"""

    @classmethod
    def parse(cls, text: str) -> ChaosPlan:
        """
        Read a plan, as every=3s seed=1 faults=kill,stop,link count=50 settle=10s lasts=20s.

        :raises ConfigError: naming the part that is wrong.
        """
        readers = {
            'every': ('every_s', _seconds),
            'seed': ('seed', int),
            'faults': ('faults', _kinds),
            'count': ('count', _positive),
            'settle': ('settle_s', _seconds),
            'lasts': ('lasts_s', _seconds),
        }
        values = {}
        for word in text.split():
            key, _, value = word.partition('=')
            if key not in readers:
                raise ConfigError(f'--chaos knows {", ".join(readers)}, got {word!r}: {EXAMPLE}')
            name, read = readers[key]
            if '=' in value:
                raise ConfigError(
                    f'--chaos takes its parts with spaces between them, got {word!r}: for example '
                    f'{EXAMPLE}'
                )
            try:
                values[name] = read(value)
            except ValueError as error:
                raise ConfigError(f'--chaos {word!r}: {error}; for example {EXAMPLE}') from None
        return cls(**values)

    def schedule(self, nodes: list[str]) -> Iterator[Fault]:
        """Give the faults for these nodes, in order."""
        dice = random.Random(self.seed)
        given = 0
        while self.faults and (self.count is None or given < self.count):
            given += 1
            fault = Fault(
                wait_s=dice.uniform(0.5, 1.5) * self.every_s,
                kind=dice.choice(self.faults),
                node=dice.choice(nodes),
                lasts_s=dice.uniform(SHORTEST_S, LONGEST_S),
            )
            yield fault if self.lasts_s is None else replace(fault, lasts_s=self.lasts_s)


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix('s'))
    except ValueError:
        raise ValueError(f'a time is seconds, as 3s, got {text!r}') from None
    if not 0 < seconds < 86400:
        raise ValueError('a time is more than 0 s and less than a day')
    return seconds


def _positive(text: str) -> int:
    if int(text) < 1:
        raise ValueError('a count is 1 or more')
    return int(text)


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(','))
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f'there are {", ".join(KINDS)}, got {kind!r}')
    return kinds
