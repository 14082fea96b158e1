# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""A layer's checkpoints travel to the coordinator and back: both ends, in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

rclpy = pytest.importorskip('rclpy')

from rclpy.executors import SingleThreadedExecutor  # noqa: E402 - only where it is installed

from dff_nodes.nodes import messages  # noqa: E402
from dff_nodes.nodes.link import CREDIT_PERIOD_S  # noqa: E402
from dff_nodes.nodes.participant import Participant  # noqa: E402
from dff_nodes.nodes.replication import (  # noqa: E402
    PREFIX,
    ReplicaDownload,
    ReplicaKeeper,
    ReplicaUpload,
)
from dff_nodes.runs.checkpoint import CheckpointInfo, CheckpointStore  # noqa: E402
from dff_nodes.runs.chunks import Chunk  # noqa: E402
from dff_nodes.runs.segment import CHUNK_BYTES  # noqa: E402

pytestmark = pytest.mark.ros

RUN, HASH = 'a' * 32, 'b' * 64
PARAMETERS = 20 * CHUNK_BYTES // 4
LIMIT_S = 60


class End(Participant):
    """What both ends know of their node."""

    def __init__(self, name: str, incarnation: int) -> None:
        super().__init__(name)
        self.index, self.incarnation, self.run_id = 0, incarnation, RUN
        self.resolved = SimpleNamespace(layers=[SimpleNamespace(parameters=PARAMETERS)])
        self.task = self.run_config = SimpleNamespace(config_hash=HASH)
        self.identity = messages.Sender(RUN, incarnation)


class Ends:
    """Nodes that come and go, and the disks of the layer and of the coordinator."""

    def __init__(self, folder: Path) -> None:
        self.layer = CheckpointStore(folder / 'layer', 0)
        self.coordinator = CheckpointStore(folder / 'coordinator', 0, PREFIX)
        self._executor = SingleThreadedExecutor()
        self._nodes: list[End] = []
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)

    def start(self, name: str, incarnation: int = 1) -> End:
        """Start a node."""
        node = End(name, incarnation)
        self._nodes.append(node)
        self._executor.add_node(node)
        if not self._thread.is_alive():
            self._thread.start()
        return node

    def kill(self, node: End) -> None:
        """End a node."""
        node.stop('killed')
        self._nodes.remove(node)
        self._executor.remove_node(node)
        # On the executor's thread, which may be in a callback of the node.
        destroyed = self._executor.create_task(node.destroy_node)
        await_true(destroyed.done, 'the node was not destroyed')

    def keeper(self, node: End) -> ReplicaKeeper:
        """Give the coordinator's end."""
        return ReplicaKeeper(node, self.coordinator.folder)

    def upload(self, node: End) -> ReplicaUpload:
        """Give the layer's end."""
        return ReplicaUpload(node, self.layer, lambda: None)

    def download(self, node: End) -> ReplicaDownload:
        """Give the end of a layer without a checkpoint."""
        return ReplicaDownload(node, self.layer)

    def info(self, item: int) -> CheckpointInfo:
        """Say what a checkpoint belongs to."""
        return CheckpointInfo(RUN, HASH, 0, item, incarnation=1)

    def save(self, item: int, store: CheckpointStore | None = None) -> CheckpointInfo:
        """Save a checkpoint, where nothing else is said the layer's."""
        tensors = {'weight': torch.full((PARAMETERS,), float(item))}
        (store or self.layer).save(self.info(item), tensors)
        return self.info(item)

    def await_replica(self, item: int) -> None:
        """Wait until the coordinator has a checkpoint, and see that it is the layer's."""
        path = self.coordinator.path(item)
        await_true(path.exists, f'no replica of item {item}')
        assert path.read_bytes() == self.layer.path(item).read_bytes()

    def end(self) -> None:
        """End all."""
        for node in list(self._nodes):
            self.kill(node)
        self._executor.shutdown()
        self._thread.join(LIMIT_S)


def await_true(condition: Callable[[], bool], otherwise: str) -> None:
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit, f'{otherwise} within {LIMIT_S} s'
        time.sleep(0.02)


@pytest.fixture
def ends(
    tmp_path: Path, ros_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ends]:
    for name, value in ros_environment.items():
        if name.startswith('ROS_'):
            monkeypatch.setenv(name, value)
    rclpy.init()
    made = Ends(tmp_path)
    yield made
    made.end()
    rclpy.shutdown()


@pytest.fixture
def no_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender without room stays so, where it would forget half of what it keeps after 10 s."""
    monkeypatch.setattr('dff_nodes.stream.sender.FULL_WAITS', 1e9)


def test_a_checkpoint_may_be_larger_than_what_a_sender_keeps(ends: Ends, no_cure: None) -> None:
    ends.keeper(ends.start('coordinator'))
    upload = ends.upload(ends.start('layer_0'))
    for item in (5, 9):
        upload.upload(ends.save(item))
        ends.await_replica(item)
    await_true(lambda: upload.durable == 5, 'the layer did not hear of both')


def test_a_coordinator_that_comes_back_gets_the_whole_file_again(
    ends: Ends, no_cure: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = ends.start('coordinator')
    keeper = ends.keeper(dying)
    monkeypatch.setattr(keeper, '_store_next', dies_after(6, dying, keeper._store_next))
    upload = ends.upload(ends.start('layer_0'))
    upload.upload(ends.save(5))
    await_true(dying.ended, 'six parts did not come')
    assert ends.coordinator.items() == []
    ends.kill(dying)
    ends.keeper(ends.start('coordinator', incarnation=2))
    ends.await_replica(5)
    upload.upload(ends.save(9))
    ends.await_replica(9)
    await_true(lambda: upload.durable == 5, 'the layer did not hear of both')


def dies_after(parts: int, node: End, store_next: Callable[[int], bool]) -> Callable[[int], bool]:
    """Store so many parts, then end the node."""
    stored = 0

    def store(layer: int) -> bool:
        nonlocal stored
        moved = store_next(layer)
        stored += moved
        if stored >= parts:
            node.stop('killed')
        return moved

    return store


def test_a_layer_that_has_fetched_its_replicas_is_sent_them_no_more(ends: Ends) -> None:
    for item in (5, 9):
        ends.save(item, ends.coordinator)
    first = ends.start('coordinator')
    ends.keeper(first)
    layer = ends.start('layer_0')
    assert ends.download(layer).fetch(a_moment) == [5, 9]
    ends.kill(first)
    keeper = ends.keeper(ends.start('coordinator', incarnation=2))
    ends.upload(layer).upload(ends.save(12))
    ends.await_replica(12)
    time.sleep(3 * CREDIT_PERIOD_S)
    assert keeper._served == [0]


def test_a_layer_that_dies_while_it_fetches_gets_all_when_it_is_back(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    for item in (5, 9):
        ends.save(item, ends.coordinator)
    ends.keeper(ends.start('coordinator'))
    for incarnation in (1, 2):
        dying = ends.start('layer_0', incarnation)
        download = ends.download(dying)
        add = fails_after(6 * incarnation, download._parts.add)
        monkeypatch.setattr(download._parts, 'add', add)
        with pytest.raises(InterruptedError):
            download.fetch(a_moment)
        ends.kill(dying)
    assert ends.download(ends.start('layer_0', incarnation=3)).fetch(a_moment) == [5, 9]


def test_a_layer_gets_what_came_since_another_began_with_nothing(
    ends: Ends, tmp_path: Path
) -> None:
    ends.keeper(ends.start('coordinator'))
    lost = ends.start('layer_0')
    assert ends.download(lost).fetch(a_moment) == []
    upload = ends.upload(lost)
    for item in (5, 9):
        upload.upload(ends.save(item))
        ends.await_replica(item)
    ends.kill(lost)
    ends.layer = CheckpointStore(tmp_path / 'elsewhere', 0)
    assert ends.download(ends.start('layer_0', incarnation=2)).fetch(a_moment) == [5, 9]


def test_serving_a_layer_does_not_tear_what_is_being_stored(ends: Ends) -> None:
    for item in (5, 9):
        ends.save(item, ends.coordinator)
    ends.keeper(ends.start('coordinator'))
    unfinished = ends.coordinator.begin(ends.info(12), {'weight': torch.ones(3)})
    assert ends.download(ends.start('layer_0')).fetch(a_moment) == [5, 9]
    unfinished.finish()
    assert ends.coordinator.items() == [5, 9, 12]


def test_what_a_coordinator_that_died_had_not_finished_is_swept_away(ends: Ends) -> None:
    ends.coordinator.begin(ends.info(5), {'weight': torch.ones(3)})
    ends.keeper(ends.start('coordinator', incarnation=2))
    assert list(ends.coordinator.folder.glob('.*')) == []


def test_a_coordinator_that_ends_leaves_nothing_unfinished(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending = ends.start('coordinator')
    keeper = ends.keeper(ending)
    monkeypatch.setattr(keeper, '_store_next', dies_after(6, ending, keeper._store_next))
    ends.upload(ends.start('layer_0')).upload(ends.save(5))
    await_true(ending.ended, 'six parts did not come')
    assert len(list(ends.coordinator.folder.glob('.*.part'))) == 1
    keeper.end()
    assert list(ends.coordinator.folder.iterdir()) == []


def a_moment() -> None:
    time.sleep(0.02)


def fails_after(parts: int, add: Callable[[Chunk], bool]) -> Callable[[Chunk], bool]:
    """Take so many parts in, then fail."""
    taken = 0

    def take(chunk: Chunk) -> bool:
        nonlocal taken
        taken += 1
        if taken > parts:
            raise InterruptedError
        return add(chunk)

    return take
