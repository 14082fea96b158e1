# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
torchvision's data sets are read, downloaded whole or not at all, and missed in plain words.

A server on this machine stands for the sites, and two samples a class for the whole sets.
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import os
import pickle
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dff_nodes.data import download, torchvision_sets
from dff_nodes.data.dataset import load_dataset, read_facts
from dff_nodes.data.facts import KNOWN, DataError
from dff_nodes.data.torchvision_import import import_torchvision
from dff_nodes.data.torchvision_sets import IDX_FILES, SOURCES, dataset_root
from dff_nodes.runs.learning_config import DataConfig

TRAIN, TEST = 20, 10
NAMES = ('mnist', 'fashion_mnist')


@pytest.fixture(autouse=True)
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SOURCES:
        facts = replace(KNOWN[name], train_samples=TRAIN, test_samples=TEST)
        monkeypatch.setitem(KNOWN, name, facts)


def idx_file(file: str) -> bytes:
    """Make a small file in the format of MNIST."""
    count = TRAIN if file.startswith('train') else TEST
    if 'labels' in file:
        return struct.pack('>ii', 2049, count) + bytes(i % 10 for i in range(count))
    pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28)).astype(np.uint8)
    return struct.pack('>iiii', 2051, count, 28, 28) + pixels.tobytes()


def put(root: Path, name: str = 'mnist') -> Path:
    """Put a small set where torchvision keeps it; give its folder."""
    folder = root / SOURCES[name].folder
    folder.mkdir(parents=True)
    for file in IDX_FILES:
        (folder / file).write_bytes(idx_file(file))
    return folder


def config(root: Path, name: str = 'mnist', may_download: bool = True) -> DataConfig:
    return DataConfig(dataset=name, root=str(root), download=may_download)


def assert_refused(data: DataConfig, *words: str) -> str:
    """Loading must fail with one line of these words, and leave nothing half in root."""
    with pytest.raises(DataError) as caught:
        load_dataset(data)
    message = str(caught.value)
    assert '\n' not in message
    for word in words:
        assert word in message
    return message


def test_root_is_the_setting_then_the_variable_then_the_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('HOME', '/home/someone')
    monkeypatch.setenv('DFF_DATA', '/from/variable')
    assert dataset_root('~/own') == Path('/home/someone/own')
    assert dataset_root(None) == Path('/from/variable')
    monkeypatch.setenv('DFF_DATA', '')
    assert dataset_root(None) == Path('/home/someone/.cache/dff/datasets')


def test_import_declares_what_is_missing_once() -> None:
    assert import_torchvision() is import_torchvision()
    assert import_torchvision().datasets.MNIST


@pytest.mark.parametrize('name', NAMES)
def test_reads_what_is_there(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    dataset = load_dataset(config(tmp_path, name, may_download=False))
    assert dataset.facts == read_facts(config(tmp_path, name))
    assert dataset.x_train.shape == (TRAIN, 28, 28, 1)
    assert dataset.x_train.numpy().tobytes() == idx_file('train-images')[16:]
    assert dataset.y_test.tolist() == list(range(10))


def cifar_batch(samples: int, seed: int) -> dict[str, object]:
    """Make a batch as CIFAR-10 keeps it: channels first, flat."""
    pixels = np.random.default_rng(seed).integers(0, 256, (samples, 3072)).astype(np.uint8)
    return {'data': pixels, 'labels': [i % 10 for i in range(samples)]}


def put_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a small CIFAR-10 with digests of its own."""
    folder.mkdir()
    digests = {}
    for file in SOURCES['cifar10'].files:
        samples = TEST if file == 'test_batch' else TRAIN // 5
        batch = {'label_names': ['a'] * 10} if 'meta' in file else cifar_batch(samples, 1)
        (folder / file).write_bytes(pickle.dumps(batch))
        digests[file] = hashlib.md5((folder / file).read_bytes()).hexdigest()
    cifar = import_torchvision().datasets.CIFAR10
    meta = cifar.meta | {'md5': digests.pop('batches.meta')}
    monkeypatch.setattr(cifar, 'meta', meta)
    monkeypatch.setattr(cifar, 'test_list', [['test_batch', digests.pop('test_batch')]])
    monkeypatch.setattr(cifar, 'train_list', [list(pair) for pair in digests.items()])


def test_reads_cifar_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_cifar(tmp_path / 'cifar-10-batches-py', monkeypatch)
    dataset = load_dataset(config(tmp_path, 'cifar10', may_download=False))
    assert dataset.facts == KNOWN['cifar10']
    assert dataset.x_test.is_contiguous()
    channels_first = cifar_batch(TEST, 1)['data'].reshape(TEST, 3, 32, 32)
    np.testing.assert_array_equal(dataset.x_test.numpy(), channels_first.transpose(0, 2, 3, 1))


def test_damaged_cifar_batch_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / 'cifar-10-batches-py'
    put_cifar(folder, monkeypatch)
    (folder / 'data_batch_3').write_bytes(b'cos\nsystem\n(S"false"\ntR.')
    assert_refused(config(tmp_path, 'cifar10'), 'damaged', str(folder), 'Remove')


def save_packed(root: Path, **changes: np.ndarray) -> Path:
    """Save a small cifar10.npz."""
    random = np.random.default_rng(0)
    arrays = {
        'x_train': random.integers(0, 256, (TRAIN, 32, 32, 3)).astype(np.uint8),
        'y_train': np.arange(TRAIN, dtype=np.uint8) % 10,
        'x_test': random.integers(0, 256, (TEST, 32, 32, 3)).astype(np.uint8),
        'y_test': np.arange(TEST, dtype=np.uint8) % 10,
    }
    np.savez(root / 'cifar10.npz', **(arrays | changes))
    return root / 'cifar10.npz'


def test_reads_packed_cifar_without_torchvision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_packed(tmp_path)
    monkeypatch.setattr(torchvision_sets, 'import_torchvision', None)
    dataset = load_dataset(config(tmp_path, 'cifar10'))
    assert dataset.facts == KNOWN['cifar10']
    np.testing.assert_array_equal(dataset.x_train.numpy(), np.load(path)['x_train'])


def test_packed_cifar_that_is_none(tmp_path: Path) -> None:
    path = save_packed(tmp_path, x_test=np.zeros((TEST - 1, 32, 32, 3), np.uint8))
    assert_refused(config(tmp_path, 'cifar10'), str(path), 'y_test')
    path = save_packed(tmp_path, y_test=np.arange(TEST) + 1)
    assert_refused(config(tmp_path, 'cifar10'), str(path), 'does not hold cifar10', '11 classes')


@pytest.mark.parametrize('name', SOURCES)
def test_missing_and_not_to_be_downloaded(tmp_path: Path, name: str) -> None:
    source = SOURCES[name]
    words = ['data.download is false', str(tmp_path / source.folder), *source.files]
    assert_refused(config(tmp_path, name, may_download=False), *words, f'{source.loader}(')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('keep', [0, 3, 10, 100])
def test_damaged_file(tmp_path: Path, keep: int) -> None:
    folder = put(tmp_path)
    for file in IDX_FILES[::2]:
        (folder / file).write_bytes(idx_file(file)[:keep])
    assert_refused(config(tmp_path), 'damaged', str(folder), 'Remove that folder')


def test_another_set_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = put(tmp_path)
    facts = replace(KNOWN['mnist'], train_samples=TRAIN + 1)
    monkeypatch.setitem(KNOWN, 'mnist', facts)
    assert_refused(config(tmp_path), str(folder), 'does not hold mnist', f'[{TRAIN}, 28, 28, 1]')


def test_labels_of_another_set(tmp_path: Path) -> None:
    folder = put(tmp_path)
    file = folder / 't10k-labels-idx1-ubyte'
    file.write_bytes(file.read_bytes()[:-1] + b'\x0a')
    assert_refused(config(tmp_path), 'test label is not 0 to 9')


def test_torchvision_that_does_not_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError('No module named torchvision')

    monkeypatch.setattr(torchvision_sets, 'import_torchvision', fail)
    put(tmp_path)
    assert_refused(
        config(tmp_path), 'No module named torchvision', 'Install the torchvision', '.npz'
    )


class Site(http.server.BaseHTTPRequestHandler):
    """A mirror whose answers are cut after `share` of the bytes."""

    share = 1.0

    def do_GET(self) -> None:
        """Answer with a packed file."""
        packed = gzip.compress(idx_file(Path(self.path).stem), mtime=0)
        self.send_response(200)
        self.send_header('Content-Length', str(len(packed)))
        self.end_headers()
        self.wfile.write(packed[: int(self.share * len(packed))])

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    """Serve the small sets; give the address."""
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.05})
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}/'
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let torchvision fetch the small sets from an address."""
    monkeypatch.setenv('no_proxy', '*')

    def point(address: str) -> None:
        for name in NAMES:
            loader = getattr(import_torchvision().datasets, SOURCES[name].loader)
            monkeypatch.setattr(loader, 'mirrors', [address])
            monkeypatch.setattr(loader, 'resources', resources())

    return point


def resources() -> list[tuple[str, str]]:
    """Names and digests of what the site serves."""
    packed = {file: gzip.compress(idx_file(file), mtime=0) for file in IDX_FILES}
    return [(f'{file}.gz', hashlib.md5(data).hexdigest()) for file, data in packed.items()]


@pytest.mark.parametrize('name', NAMES)
def test_downloads_what_is_not_there(tmp_path: Path, site, mirror, capsys, name: str) -> None:
    mirror(site)
    root = tmp_path / 'new' / 'root'
    dataset = load_dataset(config(root, name))
    assert dataset.y_train.tolist() == [i % 10 for i in range(TRAIN)]
    folder = root / SOURCES[name].folder
    assert sorted(path.name for path in folder.iterdir()) == sorted(IDX_FILES)
    assert [path.name for path in root.iterdir()] == [SOURCES[name].loader]
    assert capsys.readouterr().out == ''
    assert socket.getdefaulttimeout() is None


def test_completes_what_is_there_in_part(tmp_path: Path, site, mirror) -> None:
    mirror(site)
    folder = put(tmp_path)
    (folder / IDX_FILES[0]).unlink()
    (folder / IDX_FILES[1]).write_bytes(b'half')
    assert load_dataset(config(tmp_path)).facts == KNOWN['mnist']


@pytest.mark.parametrize('share', [0.0, 0.5])
def test_download_that_is_cut_short(tmp_path: Path, site, mirror, monkeypatch, share) -> None:
    mirror(site)
    monkeypatch.setattr(Site, 'share', share)
    assert_refused(config(tmp_path), 'is not in', site, str(tmp_path / 'MNIST' / 'raw'))
    assert list(tmp_path.iterdir()) == []


def test_mirror_that_refuses(tmp_path: Path, mirror) -> None:
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))  # bound and not listening: connections are refused
        address = f'http://127.0.0.1:{closed.getsockname()[1]}/'
        mirror(address)
        assert_refused(config(tmp_path), address, 'refused', *IDX_FILES, 'data.root', '$DFF_DATA')
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ('setting', 'cause'), [('SOCKET_TIMEOUT_S', 'timed out'), ('STALLED_S', 'no answer')]
)
def test_mirror_that_is_silent(tmp_path: Path, mirror, monkeypatch, setting, cause) -> None:
    monkeypatch.setattr(download, setting, 2.0)
    with socket.create_server(('127.0.0.1', 0)) as silent:
        mirror(f'http://127.0.0.1:{silent.getsockname()[1]}/')
        assert_refused(config(tmp_path), cause)
    assert list(tmp_path.iterdir()) == []


def test_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    assert_refused(config(tmp_path / 'file' / 'root'), 'cannot be written', 'data.root')


PROGRAM = """
import sys
from dff_nodes.data.dataset import load_dataset
from dff_nodes.data.facts import DataError
from dff_nodes.runs.learning_config import DataConfig
try:
    load_dataset(DataConfig(dataset='mnist', root=sys.argv[1]))
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(
    shutil.which('unshare') is None
    or subprocess.run(['unshare', '-n', 'true'], capture_output=True).returncode != 0,
    reason='may not make a network namespace here',
)
def test_no_network_at_all(tmp_path: Path) -> None:
    """The real mirrors, from a process that has no network."""
    done = subprocess.run(
        ['unshare', '-n', sys.executable, '-c', PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr
    assert done.stdout.startswith(f'mnist is not in {tmp_path}, and the download from http')
    assert list(tmp_path.iterdir()) == []


CONCURRENT = """
import json, sys
from dataclasses import replace
from dff_nodes.data.facts import KNOWN
from dff_nodes.data.torchvision_import import import_torchvision
from dff_nodes.data.torchvision_sets import load_torchvision_set
from pathlib import Path
root, site, resources = sys.argv[1:]
KNOWN['mnist'] = replace(KNOWN['mnist'], train_samples=20, test_samples=10)
loader = import_torchvision().datasets.MNIST
loader.mirrors, loader.resources = [site], json.loads(resources)
print('ready', flush=True)
sys.stdin.readline()
print(load_torchvision_set('mnist', Path(root), True)[0] == KNOWN['mnist'])
"""


def test_runs_that_download_at_once(tmp_path: Path, site) -> None:
    command = [sys.executable, '-c', CONCURRENT, str(tmp_path), site, json.dumps(resources())]
    runs = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {'no_proxy': '*', 'OMP_NUM_THREADS': '1'},
        )
        for _ in range(2)
    ]
    assert [run.stdout.readline() for run in runs] == ['ready\n'] * 2
    for run in runs:
        run.stdin.write('go\n')
        run.stdin.flush()
    for run in runs:
        out, err = run.communicate(timeout=60)
        assert out == 'True\n', err
    assert [path.name for path in tmp_path.iterdir()] == ['MNIST']
