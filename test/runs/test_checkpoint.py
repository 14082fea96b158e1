# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints come back bit for bit, or are recognised as torn or foreign; incarnations count."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dff_nodes.runs import checkpoint
from dff_nodes.runs.checkpoint import (
    CheckpointError,
    CheckpointInfo,
    CheckpointStore,
    read_checkpoint,
)
from dff_nodes.runs.incarnation import next_incarnation

RUN, HASH = 'a' * 32, 'b' * 64
INFO = CheckpointInfo(RUN, HASH, layer=2, next_item=10, incarnation=3)


def tensors(seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        'weight': torch.randn(5, 7, generator=random),
        'half': torch.randn(3, generator=random).half(),
        'optimizer.weight.step': torch.tensor(4.0),
        'steps_done': torch.tensor([4, 2]),
        'edges': torch.tensor([-0.0, 1e-45, 3.4e38, float('nan'), float('inf')]),
        'empty': torch.empty(0, 3),
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].numpy().tobytes() == other[name].numpy().tobytes()
        for name in one
    )


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / 'checkpoints', layer=2)


def saved_items(store: CheckpointStore) -> list[int]:
    return sorted(int(path.stem.split('-')[1]) for path in store.folder.glob('*.ckpt'))


def valid_items(store: CheckpointStore, run_id: str = RUN) -> list[int]:
    return [info.next_item for info in store.valid(run_id, HASH)[0]]


def test_a_checkpoint_comes_back_bit_for_bit(store: CheckpointStore) -> None:
    path = store.save(INFO, tensors())
    assert path == store.folder / 'layer_2-000000010.ckpt'
    assert same(store.load(10, RUN, HASH)[1], tensors())
    info, found = read_checkpoint(path)
    assert info == INFO
    assert same(found, tensors())
    assert valid_items(store) == [10]


def test_views_and_parameters_can_be_saved(store: CheckpointStore) -> None:
    whole = torch.arange(12.0).view(3, 4)
    parameter = torch.nn.Parameter(torch.ones(2))
    store.save(INFO, {'transposed': whole.T, 'parameter': parameter})
    _, found = store.load(10, RUN, HASH)
    assert torch.equal(found['transposed'], whole.T)
    assert found['parameter'].tolist() == [1.0, 1.0]


def test_saving_again_replaces(store: CheckpointStore) -> None:
    store.save(INFO, tensors(0))
    store.save(replace(INFO, incarnation=4), tensors(1))
    assert saved_items(store) == [10]
    assert same(store.load(10, RUN, HASH)[1], tensors(1))


def test_the_newest_two_are_kept(store: CheckpointStore) -> None:
    for item in (5, 10, 99, 999_999_999, 3_000_000_000, 20_000_000_000):
        store.save(replace(INFO, next_item=item), tensors(item % 97))
        assert valid_items(store)[-1] == item
    assert valid_items(store) == [3_000_000_000, 20_000_000_000]
    assert same(store.load(3_000_000_000, RUN, HASH)[1], tensors(3_000_000_000 % 97))


def test_a_run_that_fell_back_keeps_what_it_fell_back_to(store: CheckpointStore) -> None:
    """Resumed at 10 and saving at 15, it may resume at 10 again; 20 stays a state of the run."""
    for item in (10, 20):
        store.save(replace(INFO, next_item=item), tensors(item))
    store.save(replace(INFO, next_item=15), tensors(15))
    assert saved_items(store) == [10, 15, 20]
    store.save(replace(INFO, next_item=18), tensors(18))
    assert saved_items(store) == [15, 18, 20]
    assert same(store.load(20, RUN, HASH)[1], tensors(20))


def test_other_layers_and_files_are_left_alone(store: CheckpointStore) -> None:
    neighbours = [CheckpointStore(store.folder, layer) for layer in (0, 1, 20, 22)]
    for other in neighbours:
        other.save(replace(INFO, layer=other.layer, next_item=1), tensors())
    (store.folder / 'layer_2-note.ckpt').write_text('mine')
    (store.folder / 'layer_2.incarnation').write_text('1')
    for item in (7, 8, 9):
        store.save(replace(INFO, next_item=item), tensors())
    assert valid_items(store) == [8, 9]
    assert all(valid_items(other) == [1] for other in neighbours)
    assert (store.folder / 'layer_2-note.ckpt').exists()
    assert (store.folder / 'layer_2.incarnation').exists()


# ---- what is torn ----------------------------------------------------------------------------


def test_what_is_not_there_is_named(store: CheckpointStore) -> None:
    with pytest.raises(CheckpointError, match='layer_2-000000010.ckpt cannot be read: No such'):
        store.load(10, RUN, HASH)
    assert valid_items(store) == []


@pytest.mark.parametrize('left', [0, 1, 31, 32, 33, 40, 100, -100, -1])
def test_a_truncated_file_is_recognised(store: CheckpointStore, left: int) -> None:
    path = store.save(INFO, tensors())
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(CheckpointError, match='layer_2-000000010.ckpt is torn or changed'):
        store.load(10, RUN, HASH)
    assert valid_items(store) == []


def test_any_flipped_bit_is_recognised(store: CheckpointStore) -> None:
    path = store.save(INFO, tensors())
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match='is torn or changed'):
            store.load(10, RUN, HASH)
    path.write_bytes(data + b'\0')
    with pytest.raises(CheckpointError, match='is torn or changed'):
        store.load(10, RUN, HASH)
    path.write_bytes(data)
    assert same(store.load(10, RUN, HASH)[1], tensors())


def with_digest(block: bytes) -> bytes:
    return hashlib.sha256(block).digest() + block


BLOCKS = {
    'nothing': b'',
    'rubbish': b'rubbish' * 20,
    'a lying length': (2**62).to_bytes(8, 'little') + b'{}',
    'no metadata': safetensors.torch.save(tensors()),
    'no info': safetensors.torch.save(tensors(), {'other': ''}),
    'info that is no JSON': safetensors.torch.save(tensors(), {'info': '{'}),
    'info that is no mapping': safetensors.torch.save(tensors(), {'info': '[1]'}),
    'info of another form': safetensors.torch.save(tensors(), {'info': json.dumps({'run': 1})}),
}


@pytest.mark.parametrize('block', BLOCKS.values(), ids=BLOCKS)
def test_what_is_whole_but_no_checkpoint_is_refused(store: CheckpointStore, block: bytes) -> None:
    path = store.save(INFO, tensors())
    path.write_bytes(with_digest(block))
    with pytest.raises(CheckpointError, match=r'layer_2-000000010\.ckpt is not a checkpoint'):
        store.load(10, RUN, HASH)
    assert valid_items(store) == []


def test_an_older_valid_one_is_found_behind_a_torn_one(store: CheckpointStore) -> None:
    for item in (10, 20):
        store.save(replace(INFO, next_item=item), tensors(item))
    torn = store.folder / 'layer_2-000000020.ckpt'
    torn.write_bytes(torn.read_bytes()[:-1])
    assert valid_items(store) == [10]
    assert same(store.load(10, RUN, HASH)[1], tensors(10))


# ---- what is foreign -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'run_id': 'c' * 32}, f'has run_id {"c" * 32}, {RUN} is wanted'),
        ({'config_hash': 'd' * 64}, f'has config_hash {"d" * 64}, {HASH} is wanted'),
        ({'layer': 1}, 'has layer 1, 2 is wanted'),
        ({'next_item': 11}, 'has next_item 11, 10 is wanted'),
    ],
)
def test_what_belongs_to_something_else_is_refused(
    store: CheckpointStore, change: dict, reason: str
) -> None:
    """Also if somebody copied or renamed it into the folder."""
    foreign = CheckpointStore(store.folder / 'other', INFO.layer)
    path = foreign.save(replace(INFO, **change), tensors())
    path.rename(store.folder / 'layer_2-000000010.ckpt')
    with pytest.raises(CheckpointError, match=reason):
        store.load(10, RUN, HASH)


def test_those_of_other_runs_are_not_valid_and_named(store: CheckpointStore) -> None:
    store.save(replace(INFO, next_item=10), tensors())
    store.save(replace(INFO, next_item=20, run_id='c' * 32), tensors())
    assert valid_items(store) == [10]
    assert valid_items(store, 'c' * 32) == [20]
    found, wrong = store.valid('e' * 32, HASH)
    assert found == []
    assert [f'{"e" * 32} is wanted' in each for each in wrong] == [True, True]
    assert store.valid(RUN, 'f' * 64)[0] == []


# ---- what is not finished --------------------------------------------------------------------


def test_a_checkpoint_that_is_never_finished_leaves_the_old_ones(store: CheckpointStore) -> None:
    for item in (10, 20):
        store.save(replace(INFO, next_item=item), tensors(item))
    store.begin(replace(INFO, next_item=30), tensors(30))
    store.begin(replace(INFO, next_item=20), tensors(99))
    assert saved_items(store) == [10, 20]
    assert same(store.load(20, RUN, HASH)[1], tensors(20))
    assert len(list(store.folder.glob('.*.part'))) == 2
    found, wrong = store.valid(RUN, HASH)
    assert ([info.next_item for info in found], wrong) == ([10, 20], [])
    assert len(list(store.folder.glob('.*.part'))) == 2, 'looking changes nothing'
    store.sweep()
    assert list(store.folder.glob('.*.part')) == []
    assert saved_items(store) == [10, 20]


def test_finishing_puts_it_in_its_place(store: CheckpointStore) -> None:
    unfinished = store.begin(INFO, tensors())
    assert store.items() == []
    assert unfinished.finish() == INFO
    assert store.items() == [10]
    assert same(store.load(10, RUN, HASH)[1], tensors())


def test_what_was_swept_away_cannot_be_finished(store: CheckpointStore) -> None:
    unfinished = store.begin(INFO, tensors())
    store.sweep()
    with pytest.raises(FileNotFoundError):
        unfinished.finish()
    assert saved_items(store) == []


def test_a_full_disk_keeps_the_checkpoints_that_are_there(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for item in (10, 20):
        store.save(replace(INFO, next_item=item), tensors(item))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    for step in ('write', 'commit'):
        with monkeypatch.context() as patched:
            patched.setattr(checkpoint.AtomicFile, step, full)
            with pytest.raises(OSError, match='No space left'):
                store.save(replace(INFO, next_item=30), tensors(30))
        assert valid_items(store) == [10, 20]


# ---- incarnations ------------------------------------------------------------------------------


def test_incarnations_count_each_node_on_its_own(tmp_path: Path) -> None:
    assert [next_incarnation(tmp_path, 'layer_1') for _ in range(12)] == list(range(1, 13))
    assert next_incarnation(tmp_path, 'layer_11') == 1
    assert next_incarnation(tmp_path, 'coordinator') == 1
    assert next_incarnation(tmp_path, 'layer_1') == 13


def test_an_incarnation_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next_incarnation(tmp_path / 'missing', 'layer_1')
