# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
ForwardGNN over ROS 2 beside backpropagation, on stochastic block models that this file makes.

    .dff/venv/bin/python examples/graph/compare.py --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

DFF = Path(__file__).resolve().parents[2] / 'dff'
UNITS, EPOCHS = 256, 50
LEARNING_RATE = {'forward': 0.001, 'backpropagation': 0.003}
WEIGHT_DECAY = {'forward': 0.005, 'backpropagation': 0.0005}
"""each the best on graphs of other seeds (100 to 103); Adam for both"""
FALL_BEGINS = 0.3
"""share of the epochs after which the learning rate falls to 0"""


@dataclass(frozen=True)
class Blocks:
    """
    A stochastic block model whose features say little by themselves: edges are needed too.

    A node has about `inside` neighbours of its class and `outside` ones of each other class; its
    features are its class's centre, `signal` times as long as the noise on it.
    """

    nodes: int = 2000
    classes: int = 5
    features: int = 32
    inside: float = 5.0
    outside: float = 0.8
    train_nodes_of_a_class: int = 40
    signal: float = 0.25
    test_nodes: int = 1000


def make_graph(blocks: Blocks, seed: int) -> dict[str, np.ndarray]:
    """Make the arrays of an .npz as data.dataset takes it."""
    numbers = np.random.default_rng(seed)
    count, size = blocks.nodes, blocks.nodes / blocks.classes
    labels = numbers.integers(0, blocks.classes, count)
    alike = labels[:, None] == labels[None]
    joined = numbers.random((count, count)) < np.where(alike, blocks.inside, blocks.outside) / size
    centres = numbers.normal(size=(blocks.classes, blocks.features))
    noise = numbers.normal(size=(count, blocks.features))
    order = numbers.permutation(count)
    train = np.concatenate(
        [
            order[labels[order] == label][: blocks.train_nodes_of_a_class]
            for label in range(blocks.classes)
        ]
    )
    rest = order[~np.isin(order, train)]
    test, validation = rest[: blocks.test_nodes], rest[blocks.test_nodes :]
    masks = {'train_mask': train, 'test_mask': test, 'val_mask': validation}
    return {
        'edges': np.argwhere(np.triu(joined, 1)),
        'features': (blocks.signal * centres[labels] + noise).astype(np.float32),
        'labels': labels,
        **{name: np.isin(np.arange(count), nodes) for name, nodes in masks.items()},
    }


def mean_of_neighbours(graph: dict[str, np.ndarray]) -> Tensor:
    """Give the matrix that averages each node and its neighbours, sparse [nodes, nodes]."""
    nodes, edges = len(graph['labels']), torch.from_numpy(graph['edges']).T
    themselves = torch.arange(nodes).expand(2, nodes)
    places = torch.cat((edges, edges.flip(0), themselves), 1)
    values = 1 / places[0].bincount(minlength=nodes).float()[places[0]]
    matrix = torch.sparse_coo_tensor(places, values, (nodes, nodes), check_invariants=True)
    return matrix.coalesce()


def learning_rate(epoch: int, epochs: int) -> float:
    """Give the share of the learning rate that is left, as in the run over ROS 2."""
    return min(1.0, (1 - epoch / epochs) / (1 - FALL_BEGINS))


def backpropagation(graph: dict[str, np.ndarray], seed: int, epochs: int) -> float:
    """Train a graph convolutional network end to end; give the accuracy on the test nodes."""
    torch.manual_seed(seed)
    features, labels = torch.from_numpy(graph['features']), torch.from_numpy(graph['labels'])
    train, test = (torch.from_numpy(graph[f'{name}_mask']) for name in ('train', 'test'))
    mean = mean_of_neighbours(graph)
    first = nn.Linear(features.shape[1], UNITS)
    second = nn.Linear(UNITS, int(labels.max()) + 1)

    def logits() -> Tensor:
        hidden = torch.relu(mean @ first(features))
        return mean @ second(hidden)

    optimizer = torch.optim.Adam(
        [*first.parameters(), *second.parameters()],
        lr=LEARNING_RATE['backpropagation'],
        weight_decay=WEIGHT_DECAY['backpropagation'],
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda epoch: learning_rate(epoch, epochs)
    )
    for _ in range(epochs):
        optimizer.zero_grad()
        cross_entropy(logits()[train], labels[train]).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        right = logits().argmax(1) == labels
    return float(right[test].double().mean())


def configuration(path: Path, seed: int, epochs: int) -> dict[str, Any]:
    """Give the settings of the run over ROS 2: two graph layers, each with a loss of its own."""
    optimizer = {
        'name': 'adam',
        'learning_rate': LEARNING_RATE['forward'],
        'weight_decay': WEIGHT_DECAY['forward'],
    }
    return {
        'seed': seed,
        'data': {'dataset': str(path)},
        'network': [{'type': 'graph', 'units': UNITS, 'rule': 'class_nodes'}] * 2,
        'training': {
            'epochs': epochs,
            'optimizer': optimizer,
            'learning_rate': {'hold': FALL_BEGINS},
        },
        'evaluation': {'every_epochs': 0},
    }


def forward(graph: dict[str, np.ndarray], seed: int, epochs: int, *words: str) -> dict[str, Any]:
    """
    Train by `dff train`, a process for each layer; give its result.

    :param words: more of the command line, for example --reference.
    :raises RuntimeError: with what the command printed, if it failed.
    """
    with tempfile.TemporaryDirectory(prefix='dff_graph_') as folder:
        np.savez(Path(folder, 'graph.npz'), **graph)
        config = Path(folder, 'graph.yaml')
        # JSON is YAML.
        config.write_text(json.dumps(configuration(Path(folder, 'graph.npz'), seed, epochs)))
        command = [str(DFF), 'train', str(config), '--json', '--runs', folder, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f'{" ".join(command)} failed:\n{done.stderr}')
    return json.loads(done.stdout.splitlines()[-1])


def compare(blocks: Blocks, seed: int, epochs: int, *words: str) -> dict[str, Any]:
    """Train both ways on the same graph."""
    graph = make_graph(blocks, seed)
    result = forward(graph, seed, epochs, *words)
    return {
        'forward': result['test_accuracy'],
        'layers': result['layer_accuracy'],
        'backpropagation': backpropagation(graph, seed, epochs),
        'edges': len(graph['edges']),
        'seconds': result['seconds'],
    }


def main() -> None:
    """Print a line for each seed, and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--nodes', type=int, default=Blocks.nodes, help='half of them to test')
    parser.add_argument('--epochs', type=int, default=EPOCHS)
    parser.add_argument('--reference', action='store_true', help='without ROS, same weights')
    arguments = parser.parse_args()
    blocks = Blocks(nodes=arguments.nodes, test_nodes=arguments.nodes // 2)
    words = ['--reference'] if arguments.reference else []
    rows = []
    print('seed  ForwardGNN  backpropagation')
    for seed in arguments.seeds:
        rows.append(compare(blocks, seed, arguments.epochs, *words))
        print(
            f'{seed:4}{rows[-1]["forward"]:12.2%}{rows[-1]["backpropagation"]:17.2%}', flush=True
        )
    means = [sum(row[way] for row in rows) / len(rows) for way in ('forward', 'backpropagation')]
    print(f'mean{means[0]:12.2%}{means[1]:17.2%}')


if __name__ == '__main__':
    main()
