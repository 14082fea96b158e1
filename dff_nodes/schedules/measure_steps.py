# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Measures what every step of a run costs on this machine; see step_times.py."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from dff_nodes.data.batches import Batches
from dff_nodes.data.dataset import Dataset
from dff_nodes.data.facts import Augmentation
from dff_nodes.learning.batch import Batch, joined
from dff_nodes.learning.compute import compute_device, prepare_torch, warm_up
from dff_nodes.learning.layer import Layer, make_layer
from dff_nodes.learning.negatives import random_labels
from dff_nodes.runs.checkpoint import DIGEST_BYTES, CheckpointInfo, CheckpointStore, pack, unpack
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.chapters import BLOCK_SAMPLES
from dff_nodes.schedules.step_times import LayerTimes, MessageTimes, StepTimes, processor
from dff_nodes.stream.codec import ItemDecoder, encode
from dff_nodes.stream.item import Item, Kind

ROUNDS = 8
ROUND_S = 0.06
"""of every step in every round"""
MOST_REPEATS = 30
"""of a step in a round, however quick it is"""
NOWHERE = CheckpointInfo('0' * 32, '0' * 64, 0, 0, 0)


class StepMeasurement:
    """
    Times all steps on samples that are made up: values do not change the time.

    In several rounds, each step in each of them, and the mean over rounds counts: how fast a
    machine is that others share changes within seconds, by half and more, so that of steps that
    are timed one after the other some would seem quick and some slow. With one thread it is
    processor time, so that what else the machine does hardly counts; with several, or on a GPU,
    time on the clock.
    """

    def __init__(self, resolved: ResolvedRun) -> None:
        self.resolved = resolved
        config = resolved.config
        self.device = compute_device(config.compute.device)
        prepare_torch(config.compute.threads, self.device, resolved.largest_buffer_bytes)
        warm_up()
        plain = config.compute.threads == 1 and self.device.type == 'cpu'
        self._clock = time.thread_time if plain else time.perf_counter
        # As many samples as one block has, at least a batch.
        batch = config.training.batch_size
        self.block_samples = max(1, BLOCK_SAMPLES // batch) * batch
        self.dataset = _made_up(resolved, self.block_samples)
        self.batches = Batches(self.dataset, batch, Augmentation.of(config.data), config.seed)

    def times(self, tell: Callable[[str], None]) -> StepTimes:
        """
        Measure.

        :param tell: is told how far it is.
        """
        steps: list[dict[str, Callable[[], object]]] = []
        arriving = self._arriving_at_first()
        with tempfile.TemporaryDirectory(prefix='dff_plan_') as folder:
            for index in range(len(self.resolved.layers)):
                found, arriving = self._steps(index, arriving, Path(folder) / str(index))
                steps.append(found)
            *layers, drawn = self._timed([*steps, {'batch': self._draw}], tell)
        return StepTimes(
            layers=[LayerTimes(**{'score': 0.0, 'pass_neutral': 0.0} | each) for each in layers],
            batch=drawn['batch'],
            far=MessageTimes(),
            near=MessageTimes(),
            block_samples=self.block_samples,
            threads=self.resolved.config.compute.threads,
            processor=processor(),
            load=os.getloadavg()[0] / (os.cpu_count() or 1),
            messages='nothing',
        )

    def _draw(self) -> None:
        self.batches.batch(0, 0)

    def training_steps(self, layers: Sequence[int]) -> list[Callable[[], object]]:
        """Give what takes a training step of each of these layers."""
        steps: list[Callable[[], object]] = []
        arriving = self._arriving_at_first()['train']
        for index in range(max(layers) + 1):
            layer = make_layer(self.resolved, index, self.device)
            if index in layers:
                steps.append(partial(layer.train, arriving))
            arriving = layer.train(arriving)[0]
        return steps

    def _arriving_at_first(self) -> dict[str, Batch]:
        """One batch of each kind as layer 0 takes it, and a block."""
        config, facts = self.resolved.config, self.resolved.facts
        drawn = [self.batches.batch(0, index) for index in range(self.batches.per_epoch)]
        wrong = None
        if config.streams == 2:
            wrong = random_labels(self.dataset.y_train, facts.classes, 0, 'measured')
        pairs = [
            Batch(
                each.images,
                each.images.clone() if config.hybrid else None,
                None if config.hybrid else each.labels,
                None if config.hybrid or wrong is None else wrong[each.samples],
            )
            for each in drawn
        ]
        scored = [Batch(each.images, labels=each.labels) for each in drawn]
        chunk = self.dataset.x_train[: self.resolved.evaluation_batch]
        found = {'train': pairs[0], 'evaluate': Batch(chunk), 'block': joined(pairs)}
        if config.has_readout:
            found |= {'score': scored[0], 'neutral': joined(scored)}
        return found

    def _steps(
        self, index: int, batches: dict[str, Batch], folder: Path
    ) -> tuple[dict[str, Callable[[], object]], dict[str, Batch]]:
        """Give the steps of a layer by their names in LayerTimes, and what arrives at the next."""
        layer = make_layer(self.resolved, index, self.device)
        passed = {
            'train': layer.train(batches['train'])[0],
            'evaluate': layer.evaluate(batches['evaluate'])[0],
            'block': layer.pass_on(batches['block']),
        }
        wire, decoder = encode(_item(batches['train'])), ItemDecoder(self.resolved, index)
        steps: dict[str, Callable[[], object]] = {
            'train': partial(layer.train, batches['train']),
            'evaluate': partial(layer.evaluate, batches['evaluate']),
            'pass_on': partial(layer.pass_on, batches['block']),
            'encode': partial(encode, _item(passed['train'])),
            'decode': partial(decoder.decode, wire),
        }
        if 'score' in batches:
            passed['score'] = layer.score(batches['score'])[0]
            passed['neutral'] = layer.pass_neutral(batches['neutral'])
            steps['score'] = partial(layer.score, batches['score'])
            steps['pass_neutral'] = partial(layer.pass_neutral, batches['neutral'])
        return steps | self._part_steps(layer, folder), passed

    def _part_steps(self, layer: Layer, folder: Path) -> dict[str, Callable[[], object]]:
        """Give what becomes of a part once it is made."""
        state = {name: tensor.clone() for name, tensor in layer.state().items()}
        data = pack(NOWHERE, state)
        folder.mkdir()
        store = CheckpointStore(folder, 0)

        def unpacked() -> None:
            _, tensors = unpack(data[:DIGEST_BYTES], data[DIGEST_BYTES:], 'measured')
            layer.load_state(tensors)

        def kept() -> None:
            copy = {name: tensor.clone() for name, tensor in layer.state().items()}
            store.begin(NOWHERE, copy).finish()

        return {'keep': kept, 'pack': partial(pack, NOWHERE, state), 'unpack': unpacked}

    def _timed(
        self, steps: list[dict[str, Callable[[], object]]], tell: Callable[[str], None]
    ) -> list[dict[str, float]]:
        """Give the time of every step, s; the first of each does not count."""
        found: list[dict[str, list[float]]] = [{name: [] for name in each} for each in steps]
        for each in steps:
            for step in each.values():
                step()
        for number in range(ROUNDS):
            tell(f'steps, round {number + 1} of {ROUNDS}')
            for each, times in zip(steps, found, strict=True):
                for name, step in each.items():
                    times[name].append(self._median(step))
        return [{name: statistics.mean(times[name]) for name in times} for times in found]

    def _median(self, step: Callable[[], object]) -> float:
        """Time of a step in one round, s."""
        found: list[float] = []
        until = time.monotonic() + ROUND_S
        while not found or (time.monotonic() < until and len(found) < MOST_REPEATS):
            began = self._clock()
            step()
            if self.device.type == 'cuda':
                torch.cuda.synchronize(self.device)
            found.append(self._clock() - began)
        return statistics.median(found)


def _made_up(resolved: ResolvedRun, samples: int) -> Dataset:
    """Samples of a data set's shape, without the data set."""
    facts = replace(resolved.facts, train_samples=samples, test_samples=1)
    random = torch.Generator().manual_seed(0)
    images = torch.rand((samples, *facts.input_shape), generator=random) * facts.scale
    images = images.to(getattr(torch, facts.dtype))
    labels = torch.randint(facts.classes, (samples,), generator=random)
    return Dataset(facts, images, labels, images[:1], labels[:1])


def _item(batch: Batch) -> Item:
    return Item(0, Kind.TRAIN, 0, batch)
