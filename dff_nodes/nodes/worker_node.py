# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node of one worker of a schedule with chapters: `worker_node ... -p worker:=2`."""

from __future__ import annotations

import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NoReturn

from dff_msgs import msg

from dff_nodes.data.dataset import Dataset, load_dataset
from dff_nodes.learning.compute import compute_device, prepare_torch
from dff_nodes.nodes import messages
from dff_nodes.nodes.part_client import PartClient
from dff_nodes.nodes.part_exchange import Tensors
from dff_nodes.nodes.part_server import PartServer
from dff_nodes.nodes.participant import run_node
from dff_nodes.nodes.process import die_with_parent, prefer_throughput
from dff_nodes.nodes.run_member import RunMember, node_name
from dff_nodes.runs.checkpoint import CheckpointError, UnfinishedCheckpoint
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.fault_points import FaultPoint, reach
from dff_nodes.runs.metrics import MetricsAverage
from dff_nodes.runs.resolve import ResolvedRun
from dff_nodes.schedules.chapter_data import from_part, training_sha256, worker_dataset
from dff_nodes.schedules.chapter_worker import ChapterWorker, StepDone
from dff_nodes.schedules.chapters import ChapterPlan, Need, Part
from dff_nodes.schedules.part_store import PartStore


class WorkerNode(RunMember):
    """
    Makes the parts of one worker, in their order, and gives them to whoever asks.

    What it makes is a pure function of the run's configuration and of its own data, so that it
    may begin a part again after it was killed in the middle of it.
    """

    def __init__(self, name: str = 'worker') -> None:
        super().__init__(name, 'worker', 'number of the worker, 0 begins')
        self.made = 0
        """parts of this worker that are on its disk"""
        self._peers: dict[int, int] = {}
        """parts that each worker has on its disk, as it says"""
        self._incarnations: dict[int, int] = {}
        self._heard_s: dict[int, float] = {}
        self._hosts: dict[int, str] = {}
        self._evaluated = 0
        """chapters that the coordinator has evaluated"""
        self._fresh: dict[Part, Tensors] = {}
        """parts that are made and not yet on disk"""
        self._names: dict[int, set[str]] = {}
        self._saving: tuple[Part, Future] | None = None
        self._saver = ThreadPoolExecutor(1, 'parts on disk')
        self._computing_s = self._idle_s = 0.0
        self._own_accuracy = -1.0
        self._step_s = 0.0
        """when the last training step ended"""
        self.client: PartClient | None = None
        self.server: PartServer | None = None

    # ---- its place in the run ------------------------------------------------------------

    def _members(self, resolved: ResolvedRun) -> int:
        schedule = resolved.config.schedule
        if not schedule.chapters:
            raise ConfigError(
                f'this run has the schedule {schedule.name!r}, whose nodes are layers: start '
                'layer_node instead of worker_node'
            )
        return resolved.config.workers

    def _saved_incarnation(self) -> int:
        return 0  # parts are the same whoever makes them, so they do not tell

    def _enter(self) -> None:
        self.plan = ChapterPlan(self.resolved)
        identity = self.run_id, self.run_config.config_hash
        self.store = PartStore(self.folder.checkpoints, self.plan, self.index, *identity)
        self.client = PartClient(
            self, self.plan, self.index, self.run_config.config_hash, lambda: self.made
        )
        self.server = PartServer(
            self,
            self.plan,
            self.index,
            self._read,
            self._learned_names,
            self._on_done,
            self.run_config.config_hash,
            self._is_gone,
        )
        self.waiting(None)
        self.start_worker(self._work)

    # ---- the worker thread ---------------------------------------------------------------

    def _work(self) -> None:
        # This thread alone: messages are few here, and of those that a part travels in each is
        # waited for, so what moves them goes before what trains.
        prefer_throughput()
        config = self.resolved.config
        device = compute_device(config.compute.device)
        prepare_torch(config.compute.threads, device, self.resolved.largest_buffer_bytes)
        self._began = time.monotonic()
        dataset = worker_dataset(self.resolved, self._dataset(), self.index)
        self.maker = ChapterWorker(self.resolved, dataset, device, self.check)
        parts = self.plan.parts_of(self.index)
        layers = {part.layer for part in parts if self.plan.is_layer(part)}
        names = {layer: self.maker.learned_names(layer) for layer in layers}
        self._averages = {
            layer: MetricsAverage(layer, config.metrics.every_s, self._began) for layer in layers
        }
        self.made, wrong = self.store.look()
        for text in wrong:
            self.get_logger().error(f'{self.me}: {text}; it is made again')
        if self.made:
            self.get_logger().info(f'{self.me}: going on behind {self.made} parts')
        self.waiting(None)
        with self.changed:
            self._names = names
        self.state = msg.LayerStatus.TRAINING
        self._beat()
        for place in range(self.made, len(parts)):
            following = parts[place + 1] if place + 1 < len(parts) else None
            self._make(parts[place], following)
        self._await_saved()
        self._measure_own_accuracy()
        self.state = msg.LayerStatus.DONE
        self._beat()
        self._await_goodbye()

    def _dataset(self) -> Dataset:
        """Read the data set, or have the coordinator send what is trained on."""
        if self.plan.exists(self.plan.training_set):
            tensors = self._get(Need(self.plan.training_set, whole=True))
            return from_part(self.resolved, tensors)
        self.waiting('its data set to be read')
        config = self.resolved.config
        dataset = load_dataset(config.data, config.seed)
        if training_sha256(dataset) != self.run_config.data_sha256:
            raise ConfigError(
                f'the training set {config.data.dataset} on {self.host} is not that of the '
                f'coordinator on {self.run_config.host}: copy the same file to every device, or '
                'have it sent (schedule.data: sent)'
            )
        return dataset

    def _make(self, part: Part, following: Part | None) -> None:
        """Make one part; what the next one needs comes meanwhile."""
        for need in self.maker.missing(part):
            if need.part.layer == part.layer:
                self._prepare(part, need)
            self.maker.load(part, need, self._get(need))
        self._want(following)
        reach(FaultPoint.BEFORE_TRAIN)
        began = self._step_s = time.monotonic()
        tensors = self.maker.make(part, self._on_step)
        self._computing_s += time.monotonic() - began
        reach(FaultPoint.AFTER_TRAIN)
        with self.changed:
            self._fresh[part] = tensors
        self.server.there_is_more()
        self._save(part, tensors)

    def _prepare(self, part: Part, awaited: Need) -> None:
        """Let samples pass the layers below while the layer itself is on its way."""
        if self.plan.maker(awaited.part) == self.index:
            return
        self.client.want(awaited)
        began = time.monotonic()
        for _ in self.maker.prepare(part):
            self.check()
            if self.client.has(awaited):
                break
        self._computing_s += time.monotonic() - began

    def _want(self, following: Part | None) -> None:
        needs = [] if following is None else self.maker.missing(following)
        elsewhere = [need for need in needs if self.plan.maker(need.part) != self.index]
        self.client.keep_only(elsewhere)
        for need in elsewhere:
            self.client.want(need)

    def _get(self, need: Need) -> Tensors:
        """Give a part of this worker's own, or one that another worker makes."""
        maker = self.plan.maker(need.part)
        if maker == self.index:
            tensors = self._read(need.part)
            if tensors is None:
                tensors = self.store.load(need.part)  # raises, naming the file
            return tensors if need.whole else self._learned_of(need.part, tensors)
        began = time.monotonic()

        def meanwhile() -> None:
            self.check()
            self.waiting(self._awaited_part(need.part, maker))
            self._check_silence()

        tensors = self.client.take(need, meanwhile)
        self.waiting(None)
        self._idle_s += time.monotonic() - began
        return tensors

    def _learned_names(self, layer: int) -> set[str]:
        return self._names[layer]

    def _learned_of(self, part: Part, tensors: Tensors) -> Tensors:
        return {name: tensors[name] for name in self._names[part.layer]}

    def _awaited_part(self, part: Part, maker: int) -> str:
        if part == self.plan.training_set:
            return f'the training set from the coordinator on {self.run_config.host}'
        what = 'negatives' if not self.plan.is_layer(part) else f'layer_{part.layer}'
        heard = self._heard_s.get(maker)
        host = f' on {self._hosts[maker]}' if maker in self._hosts else ''
        last = 'not heard yet'
        if heard is not None:
            last = f'last heard {time.monotonic() - heard:.0f} s ago'
        return f'{what} of chapter {part.chapter + 1} from worker_{maker}{host}, {last}'

    def _on_step(self, step: StepDone) -> None:
        self.check()
        now = time.monotonic()
        average = self._averages[step.part.layer]
        average.add(step.figures, step.samples, now - self._step_s)
        self._step_s = now
        if average.due(now):
            row = average.take(now, now - self._began, step.step, step.epoch)
            if row:
                name = self.get_fully_qualified_name()
                self._metrics.publish(messages.metrics(row, name, self.identity, self._now()))

    def _measure_own_accuracy(self) -> None:
        """With private data only this worker can tell how well the network does on it."""
        if self.resolved.config.schedule.name != 'federated':
            return
        for part in self.plan.final:
            need = Need(part, whole=False)
            self.maker.load(part, need, self._get(need))
        self._own_accuracy = self.maker.own_accuracy()

    # ---- parts on disk ---------------------------------------------------------------------

    def _read(self, part: Part) -> Tensors | None:
        """Give a part that this worker has made, None if it has not; on any thread."""
        with self.changed:
            fresh = self._fresh.get(part)
            # Before the disk was looked at, and of what is made again, files are not to be used.
            made = bool(self._names) and self.plan.place(part) < self.made
        if fresh is not None or not made or not self.store.has(part):
            return fresh
        try:
            return self.store.load(part)
        except CheckpointError:
            if self.store.has(part):
                raise
            return None  # forgotten since, as nobody needs it any more

    def _is_gone(self, part: Part) -> bool:
        """Whether a part was made and is there no more."""
        with self.changed:
            known = bool(self._names) and part not in self._fresh
            made = known and self.plan.place(part) < self.made
        return made and not self.store.has(part)

    def _save(self, part: Part, tensors: Tensors) -> None:
        """Write a part, behind the one before, and make it durable beside the next one."""
        self._await_saved()
        while True:
            self.check()
            try:
                unfinished = self.store.begin(part, tensors)
                break
            except OSError as error:
                self._await_room(error)
        self.waiting(None)
        self._saving = part, self._saver.submit(self._finish, part, unfinished)

    def _finish(self, part: Part, unfinished: UnfinishedCheckpoint) -> None:
        unfinished.finish()
        with self.changed:
            self._fresh.pop(part, None)
            self.made += 1
            self.changed.notify_all()
        self._forget()

    def _forget(self) -> None:
        """Make room; what cannot be removed now may be later."""
        with self.changed:
            done = self._peers | {self.index: self.made}
        try:
            self.store.forget(done, self._evaluated)
        except OSError as error:
            self.get_logger().warning(
                f'{self.me}: what is needed no more cannot be removed: {error}',
                throttle_duration_sec=60.0,
            )

    def _await_room(self, error: OSError) -> None:
        """Wait for room; what the others are past is room too."""
        self._forget()
        self.await_room(error)

    def _await_saved(self) -> None:
        """Wait until the last part is durable; one for which there was no room is written anew."""
        if self._saving is None:
            return
        part, saving = self._saving
        while not saving.done():
            self.check()
            self.waiting('its part to be written')
            with self.changed:
                self.changed.wait(0.1)
        self.waiting(None)
        self._saving = None
        error = saving.exception()
        if isinstance(error, OSError):
            self._await_room(error)
            self._save(part, self._fresh[part])
            self._await_saved()
        elif error is not None:
            raise error

    # ---- the others ------------------------------------------------------------------------

    def _on_done(self, node: int, done: int) -> None:
        """Heed what a node says it has finished; see PartRequest."""
        if node == msg.PartRequest.COORDINATOR:
            self._evaluated = max(self._evaluated, min(done, self.plan.chapters))
        else:
            self._peers[node] = max(self._peers.get(node, 0), done)

    def _on_other_status(self, message: msg.LayerStatus) -> None:
        known = self._incarnations.get(message.layer, 0)
        if wrong := self._wrong_with_status(message, known):
            self.reject('status', wrong)
            return
        self._heard_s[message.layer] = time.monotonic()
        self._hosts[message.layer] = message.host
        if message.incarnation:
            self._incarnations[message.layer] = message.incarnation
            self._on_done(message.layer, message.item)

    def _wrong_with_status(self, message: msg.LayerStatus, known: int) -> str | None:
        wrong = super()._wrong_with_status(message, known)
        if not wrong and message.item > self.plan.count_of(message.layer):
            wrong = f'item is {message.item}, more than there is to make'
        return wrong

    @property
    def handled(self) -> int:
        """Parts that are made and on disk."""
        return self.made

    def _fill_status(self, message: msg.LayerStatus) -> None:
        message.computing_s = self._computing_s
        message.waiting_s = self._idle_s
        message.own_accuracy = self._own_accuracy
        if self.client is not None:
            message.received_bytes = self.client.received_bytes
            message.resent_items = self.client.asked_again
        if self.server is not None:
            message.sent_bytes = self.server.sent_bytes


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a worker node until its run ends."""
    die_with_parent()
    name = node_name('worker', sys.argv if arguments is None else arguments)
    run_node(lambda: WorkerNode(name), arguments)


if __name__ == '__main__':
    main()
