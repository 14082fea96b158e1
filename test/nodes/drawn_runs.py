# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Runs drawn at random from what may be set together: nobody thought of them."""

from __future__ import annotations

import random
from typing import Any

from dff_nodes.data.facts import read_facts
from dff_nodes.runs.config_file import check_config
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.fault_points import FaultPoint
from dff_nodes.runs.resolve import resolve
from dff_nodes.runs.rules import rules

Settings = dict[str, Any]

RULES: dict[str, dict[str, list[Any]]] = {
    'softmax_head': {'label_smoothing': [0.1], 'head_inputs': [20, 64], 'hidden': [7, 24]},
    'pred_sim': {'label_smoothing': [0.1], 'beta': [0, 0.5, 1]},
    'channel_competition': {'predictor': ['softmax'], 'temperature': [0.3]},
    'mean_goodness': {'temperature': [0.03, 0.5]},
    'spatial_goodness': {'patches': [1, 2, 5]},
    'block_goodness': {'kernel': [3]},
    'block_softmax': {'head_inputs': [20, 64]},
    'cascade': {'features': ['random', 'direct_feedback']},
    'contrast_self': {'pairs': ['sum', 'standardized'], 'penalty': [0.1]},
    'reconstruct': {'noise': [0.2]},
    'contrastive': {'projection': [9], 'temperature': [0.1]},
    'prototype': {'temperature': [0.05]},
}
"""rules of one stream, and what is set of each at times"""
PAIR_RULES = {
    'threshold': {'goodness': ['mean'], 'peer_normalization': [0.03]},
    'symba': {'alpha': [2], 'peer_normalization': [0.03]},
    'swish': {'alpha': [12], 'goodness': ['sum']},
}
RATES = {'adam': 0.002, 'adamw': 0.002, 'sgd': 0.005, 'muon': 0.03}
"""of optimizers: none so high that a layer diverges"""
ACTIVATIONS = ['relu', 'leaky_relu', 'gelu', 'silu', 'none']


def drawn_run(seed: int) -> Settings:
    """Draw runs until one is right as a whole, as `--set` takes it."""
    draw = _Draw(seed)
    while True:
        run = draw.run()
        try:
            config = check_config(run, 'a drawn run')
            resolve(config, read_facts(config.data))
        except ConfigError:
            continue
        return run


def drawn_faults(seed: int, nodes: list[str]) -> tuple[str, Settings]:
    """
    Draw where one to three nodes die, and how often they save until then.

    The first fault is one that a run gets to, however short it is; others may come too late.

    :param nodes: those that train.
    :returns: the value of fault_points.VARIABLE, and settings of `checkpoint`.
    """
    draw = _Draw(seed)
    stream = nodes[0].startswith('layer')
    few = [FaultPoint.IN_CHECKPOINT, FaultPoint.BEFORE_RENAME, FaultPoint.AFTER_RENAME]
    many = [FaultPoint.BEFORE_TRAIN, FaultPoint.AFTER_TRAIN]
    ends = [FaultPoint.BEFORE_RESULT, FaultPoint.AFTER_RESULT]
    if stream:
        few += [FaultPoint.BEFORE_CREDIT, FaultPoint.AFTER_CREDIT, FaultPoint.AFTER_SCORES]
        many += [FaultPoint.AFTER_PUBLISH]
        late = [FaultPoint.AFTER_EMIT, FaultPoint.BEFORE_JOURNAL, FaultPoint.AFTER_JOURNAL]
    chosen = draw.sample(nodes, min(len(nodes), draw.randrange(1, 4)))
    # With more workers than layers, all but the first may have nothing to make.
    first, *others = chosen if stream else dict.fromkeys([nodes[0], *chosen])
    faults = [(first, draw.choice(many), 1 if not stream else draw.randrange(1, 13))]
    for node in others:
        point = draw.choice(few + many)
        faults.append((node, point, draw.randrange(1, 6 if point in few else 60)))
    if draw.often(0.5):
        point = draw.choice(ends + late if stream else ends)
        faults.append(('coordinator', point, 1 if point in ends else draw.randrange(1, 60)))
    checkpoint = {'every_items': draw.choice([3, 10, 30])}
    if stream:
        checkpoint |= draw.some(0.3, replicate=[True])
    text = '; '.join(f'{node} {point.name} {count}' for node, point, count in faults)
    return text, checkpoint


class _Draw(random.Random):
    """What a run is made of, each part as a piece of a configuration file."""

    def often(self, share: float) -> bool:
        return self.random() < share

    def some(self, share: float, **choices: list[Any]) -> Settings:
        """Set each with a probability, the others keep their defaults."""
        return {name: self.choice(values) for name, values in choices.items() if self.often(share)}

    def run(self) -> Settings:
        epochs = self.choice([2, 3])
        pairs = self.often(0.12)
        count = self.randrange(1, 4)
        network = [self.pair_layer() if pairs else self.layer(epochs) for _ in range(count)]
        if not pairs and self.often(0.4):
            self.carry(network)
        hybrid = pairs and self.often(0.25)
        training = {
            'epochs': epochs,
            'batch_size': self.choice([50, 64, 200]),
            'optimizer': self.optimizer(matrices=not pairs),
        }
        if pairs:
            training['negatives'] = self.some(0.7, mode=['fixed', 'random', 'adaptive'])
        classification = self.some(
            0.4, layers=['without_first', 'last'], mode=['one_pass'] if pairs else ['goodness']
        )
        if hybrid:
            training['negatives'] = {'mode': 'hybrid'}
            classification['mode'] = 'one_pass'
        types = ['float32', 'float16', 'uint8'] if pairs else ['float32', 'float16']
        precision = ['float32'] if pairs else ['float32', 'auto', 'bfloat16']
        return {
            'seed': self.randrange(1000),
            'data': self.data() | self.label(network[0], pairs and not hybrid),
            'network': network,
            'training': training,
            'schedule': self.schedule(epochs),
            'stream': {'dtype': self.choice(types)} | self.some(0.4, window_items=[2, 4, 9]),
            'compute': {'precision': self.choice(precision)},
            'classification': classification,
            'evaluation': self.some(0.5, every_epochs=[0, 2], train_samples=[0, 100]),
        }

    def data(self) -> Settings:
        return self.some(
            0.3,
            shift_pixels=[1],
            shift_fill=['reflect'],
            flip=[True],
            cutout_pixels=[2],
            standardize=[True],
            validation_samples=[200],
        )

    def label(self, first: Settings, shown: bool) -> Settings:
        if not shown:
            return {}
        position = 'planes' if first.get('type') == 'conv' else 'prepend'
        label = self.some(0.5, position=[position], amplitude=[2])
        return {'label': label} if label else {}

    def carry(self, network: list[Settings]) -> None:
        """Let the input of one layer travel to one behind it."""
        first, last = sorted(self.randrange(len(network)) for _ in range(2))
        for index in range(first, last + 1):
            network[index]['skip'] = 'carry'
        network[first]['skip'], network[last]['skip'] = 'begin', 'add'

    def schedule(self, epochs: int) -> Settings:
        name = self.choice(['stream'] * 3 + ['sequential', 'single_layer', 'all_layers'])
        if name == 'stream':
            return {'name': name}
        schedule = {'name': name} | self.some(0.4, splits=[1, epochs])
        if name == 'all_layers':
            schedule |= {'workers': 2} | self.some(0.3, moments=['stay'])
        return schedule

    def optimizer(self, *, matrices: bool) -> Settings:
        name = self.choice([each for each in RATES if matrices or each != 'muon'])
        optimizer = {'name': name, 'learning_rate': RATES[name]}
        optimizer |= self.some(0.2, course=[{'warmup': 0, 'hold': 1}, {'fall': 'cosine'}])
        if name == 'sgd':
            optimizer |= {'momentum': 0.9, 'nesterov': self.often(0.5)}
        if matrices:
            others = [{'name': each, 'learning_rate': RATES[each]} for each in ('adam', 'sgd')]
            optimizer |= self.some(0.3, others=others, head=others)
        return optimizer

    def rule(self, of: dict[str, dict[str, list[Any]]]) -> Settings:
        name = self.choice(list(of))
        return {'name': name} | self.some(0.4, **of[name])

    def pair_layer(self) -> Settings:
        layer = {'units': self.choice([20, 40]), 'rule': self.rule(PAIR_RULES)}
        if self.often(0.4):
            maps = {'type': 'conv', 'channels': 8, 'normalization': 'none'}
            layer = maps | {'initialization': 'lecun', 'rule': layer['rule']}
            layer |= self.some(0.3, kernel=[1, 2], stride=[2], pool=[2])
        return layer

    def layer(self, epochs: int) -> Settings:
        kinds = [self.dense, self.convolution, self.convolution, self.block, self.pool]
        layer = self.choice(kinds)()
        layer |= {'rule': self.rule(RULES)} | self.some(
            0.25,
            optimizer=[self.optimizer(matrices=True)],
            epochs=[self.window(epochs)],
            head_epochs=[[0, epochs]],
            dropout=[0.1, 0.5],
        )
        if rules()[layer['rule']['name']].takes_auxiliary and self.often(0.6):
            layer['auxiliary'] = [self.choice([self.dense, self.convolution])()]
        if layer['type'] in ('conv', 'block'):
            layer |= self.some(0.2, stem=['whiten'])
        return layer

    def window(self, epochs: int) -> list[int]:
        first = self.randrange(epochs)
        return [first, self.randrange(first + 1, epochs + 1)]

    def dense(self) -> Settings:
        return {'type': 'dense', 'units': self.choice([20, 30, 50])} | self.some(
            0.4,
            normalization=['batch', 'layer'],
            activation=ACTIVATIONS,
            order=['activation_norm'],
            initialization=['kaiming', 'orthogonal'],
        )

    def convolution(self) -> Settings:
        return {'type': 'conv', 'channels': self.choice([10, 20, 30])} | self.some(
            0.3,
            kernel=[1, 2, 5],
            stride=[2],
            pool=[2],
            groups=[2, 5],
            normalization=['group', 'layer', 'none'],
            norm_groups=[2, 5],
            activation=ACTIVATIONS,
            order=['activation_norm'],
        )

    def pool(self) -> Settings:
        return {'type': 'pool', 'mode': self.choice(['max', 'average'])}

    def block(self) -> Settings:
        parts = [self.convolution(), self.pool(), self.convolution(), self.dense()]
        return {'type': 'block', 'parts': parts[: self.randrange(1, 5)]}
