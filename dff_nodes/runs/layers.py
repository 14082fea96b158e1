# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The settings of layers and of how they turn gradients into steps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from dff_nodes.runs.rules import AnyRule, ClassNodesRule, SwishRule
from dff_nodes.runs.section import BY_NAME, Section, Share


class LearningRateConfig(Section):
    """The learning rate as a function of the share of the run that is done."""

    warmup: Share = Field(0.02, description='share of the run with linear rise from 0')
    hold: Share = Field(0.3, description='share of the run after which the fall begins')
    final: Share = Field(0.0, description='share of the learning rate left at the end')
    fall: Literal['linear', 'cosine'] = Field('linear', description='course of the fall')

    @model_validator(mode='after')
    def _in_order(self) -> LearningRateConfig:
        if self.warmup > self.hold:
            raise ValueError(f'warmup ({self.warmup}) must not be after hold ({self.hold})')
        return self


class GroupOptimizer(Section):
    """How a group of parameters turns its gradient into a step."""

    name: Literal['adam', 'adamw', 'sgd', 'muon'] = Field(
        'adam',
        description='adam (fused), adamw (its weight decay apart from the gradient), sgd, or muon '
        '(for weight matrices and convolutions; see others)',
    )
    learning_rate: float = Field(0.003, gt=0, le=10, description='highest step size')
    momentum: float = Field(
        0.9, ge=0, lt=1, description='of sgd and muon; adam uses 0.9 and 0.999'
    )
    nesterov: bool = Field(False, description='of sgd; muon always looks ahead')
    weight_decay: float = Field(
        0.0, ge=0, le=1, description='L2 penalty; muon has a fixed norm instead'
    )
    course: LearningRateConfig | None = Field(
        None, description="of its learning rate over the run; default the layer's learning_rate"
    )

    @model_validator(mode='after')
    def _fits(self) -> GroupOptimizer:
        if self.nesterov and (self.name != 'sgd' or self.momentum == 0):
            raise ValueError(
                'nesterov must be false but for sgd with momentum, got true for '
                f'{self.name} with momentum {self.momentum}'
            )
        if self.name == 'muon' and self.weight_decay:
            raise ValueError(
                'weight_decay must be 0 for muon, which keeps a fixed norm, '
                f'got {self.weight_decay}'
            )
        return self


AnyGroupOptimizer = Annotated[GroupOptimizer, BY_NAME]


class OptimizerConfig(GroupOptimizer):
    """How a layer turns its gradient into a step, by group of parameters."""

    others: AnyGroupOptimizer | None = Field(
        None,
        description='of biases and normalisation; default as the weights, and for muon adamw '
        'with 0.002',
    )
    head: AnyGroupOptimizer | None = Field(
        None, description="of the rule's own parameters; default as others"
    )

    @model_validator(mode='after')
    def _muon_is_for_matrices(self) -> OptimizerConfig:
        for name in ('others', 'head'):
            group = getattr(self, name)
            if group is not None and group.name == 'muon':
                raise ValueError(
                    f'{name} has parameters that are no matrices, so its optimizer must be adam, '
                    "adamw or sgd, got 'muon'"
                )
        return self

    @property
    def of_others(self) -> GroupOptimizer:
        """Optimizer of what is no weight matrix."""
        if self.others is not None:
            return self.others
        if self.name == 'muon':
            return GroupOptimizer(name='adamw', learning_rate=0.002, course=self.course)
        return self

    @property
    def of_head(self) -> GroupOptimizer:
        """Optimizer of the rule's own parameters."""
        return self.head or self.of_others


AnyOptimizer = Annotated[OptimizerConfig, BY_NAME]


Activation = Literal['relu', 'leaky_relu', 'gelu', 'silu', 'none']
Order = Literal['norm_activation', 'activation_norm']
Initialization = Literal['lecun', 'kaiming', 'orthogonal']


class DensePart(Section):
    """A linear map of all its inputs."""

    type: Literal['dense'] = Field('dense', description='kind of layer')
    units: int = Field(500, ge=2, le=65536, description='outputs of the layer')
    normalization: Literal['none', 'batch', 'layer'] = Field(
        'none', description='of what the map gives'
    )
    activation: Activation = Field('relu', description='nonlinearity')
    order: Order = Field('norm_activation', description='which comes first')
    initialization: Initialization = Field(
        'lecun', description='of weights: variance 1 / inputs, twice that, or orthogonal rows'
    )


class ConvolutionPart(Section):
    """A convolution of maps, [height, width, channels]."""

    type: Literal['conv'] = Field('conv', description='kind of layer')
    channels: int = Field(64, ge=1, le=65536, description='maps that the layer gives')
    kernel: int = Field(3, ge=1, le=31, description='pixels of a filter along each side')
    stride: int = Field(1, ge=1, le=16, description='pixels between two places of a filter')
    padding: int | None = Field(
        None, ge=0, le=31, description='pixels of zeros around the maps; default kernel // 2'
    )
    groups: int = Field(
        1, ge=1, le=65536, description='channels in so many groups that do not see each other'
    )
    pool: int = Field(
        1, ge=1, le=16, description='largest of so many pixels along each side; 1: none'
    )
    normalization: Literal['none', 'batch', 'group', 'layer'] = Field(
        'batch', description='of what the convolution gives'
    )
    norm_groups: int = Field(8, ge=1, le=65536, description='of normalization: group')
    activation: Activation = Field('relu', description='nonlinearity')
    order: Order = Field(
        'norm_activation',
        description='norm_activation: pool, normalise, activate; activation_norm: activate, '
        'pool, normalise',
    )
    initialization: Initialization = Field(
        'kaiming', description='of weights: variance 1 / inputs, twice that, or orthogonal rows'
    )

    @property
    def pixels_around(self) -> int:
        """Padding of each side."""
        return self.kernel // 2 if self.padding is None else self.padding


class PoolPart(Section):
    """The largest, or the mean, of neighbouring pixels; nothing to learn."""

    type: Literal['pool'] = Field('pool', description='kind of part')
    size: int = Field(2, ge=2, le=64, description='pixels along each side')
    mode: Literal['max', 'average'] = Field('max', description='what is left of them')


AnyPart = Annotated[DensePart | ConvolutionPart | PoolPart, Field(discriminator='type')]


class LocalSettings(Section):
    """What every layer has, whatever it is made of: how it learns."""

    rule: AnyRule = Field(SwishRule(), description='local rule, with its settings')
    auxiliary: list[AnyPart] = Field(
        [],
        max_length=100,
        description='dense, conv and pool between the output and the rule, a network of the '
        "layer's own whose gradient reaches the layer (AugLocal 2402.17318); it learns when the "
        'layer does, and what passes on does not go through it',
    )
    optimizer: AnyOptimizer | None = Field(
        None, description='of this layer; default training.optimizer'
    )
    learning_rate: LearningRateConfig | None = Field(
        None, description='its course for this layer; default training.learning_rate'
    )
    epochs: tuple[int, int] | None = Field(
        None,
        description='[first, end): the layer learns in these epochs only, and its learning rate '
        'runs its course in them; in the others its figures are of some samples of a batch; '
        'default all',
    )
    head_epochs: tuple[int, int] | None = Field(
        None,
        description="[first, end): the rule's own parameters, such as a class head, learn in "
        'these epochs, which may outlast those of the layer; default as epochs',
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, description='share of what passes on that is zeroed while training'
    )

    @property
    def windows(self) -> dict[str, tuple[int, int]]:
        """Give the settings that limit when a layer learns, and what they say."""
        windows = {'epochs': self.epochs, 'head_epochs': self.head_epochs}
        return {name: window for name, window in windows.items() if window is not None}

    @model_validator(mode='after')
    def _windows_in_order(self) -> LocalSettings:
        for name, (first, end) in self.windows.items():
            if not 0 <= first < end:
                raise ValueError(
                    f'{name} must be [first, end) with 0 <= first < end, got {[first, end]}'
                )
        return self


class MapSettings(LocalSettings):
    """What a layer of maps has: what it does with maps that travel beside them."""

    skip: Literal['none', 'begin', 'carry', 'add'] = Field(
        'none',
        description='begin: the input travels on beside the output; carry: what travels beside '
        'the input goes on; add: it is added to the output',
    )


class StemSettings(MapSettings):
    """What a layer has that may take images through a fixed convolution first."""

    stem: Literal['none', 'whiten'] = Field(
        'none',
        description='whiten: a fixed 2x2 convolution before it that decorrelates the pixels, '
        'computed from the first batch; for layer 0',
    )


class DenseLayer(LocalSettings, DensePart):
    """A dense layer, trained by a loss of its own."""

    type: Literal['dense'] = Field('dense', description='kind of layer')


class ConvolutionLayer(StemSettings, ConvolutionPart):
    """A convolution, trained by a loss of its own."""

    type: Literal['conv'] = Field('conv', description='kind of layer')


class PoolLayer(MapSettings, PoolPart):
    """The largest, or the mean, of neighbouring pixels: its rule's own parameters learn alone."""

    type: Literal['pool'] = Field('pool', description='kind of layer')


def has_bias(part: DensePart | ConvolutionPart) -> bool:
    """
    Whether a part learns an offset for each output.

    Batch normalisation that comes before the nonlinearity takes any offset out again and has its
    own; behind the nonlinearity it does not replace one.
    """
    return part.normalization != 'batch' or part.order == 'activation_norm'


class BlockLayer(StemSettings):
    """Several parts with ordinary backpropagation between them, one loss at their end."""

    type: Literal['block'] = Field('block', description='kind of layer')
    parts: list[AnyPart] = Field(
        ..., min_length=1, max_length=100, description='dense, conv and pool, first to last'
    )


class TorchvisionLayer(MapSettings):
    """A stage of one of torchvision's networks, with ordinary backpropagation inside."""

    type: Literal['torchvision'] = Field('torchvision', description='kind of layer')
    network: Literal['resnet18', 'mobilenet_v3_small'] = Field(
        'resnet18', description='which one; weights are drawn anew'
    )
    parts: list[str] = Field(
        ...,
        min_length=1,
        max_length=100,
        description='its modules by name, first to last: stem, layer1, layer2.0, ... of resnet18 '
        '(stem: 3x3 without pooling, for images of 32 pixels), features.0, ... of mobilenet',
    )
    initialization: Initialization = Field('kaiming', description='of weights')


class GraphLayer(LocalSettings):
    """A graph convolution (GCN 1609.02907): every node takes in itself and its neighbours."""

    type: Literal['graph'] = Field('graph', description='kind of layer')
    units: int = Field(256, ge=2, le=65536, description='outputs of the layer for each node')
    aggregation: Literal['mean', 'symmetric'] = Field(
        'mean',
        description='mean: all neighbours weigh alike; symmetric: 1 / sqrt(degree of the one * of '
        'the other). A node is a neighbour of itself',
    )
    activation: Activation = Field('relu', description='nonlinearity')
    initialization: Initialization = Field(
        'lecun', description='of weights: variance 1 / inputs, twice that, or orthogonal rows'
    )
    rule: AnyRule = Field(ClassNodesRule(), description='local rule, with its settings')


def _dense_unless_said(value: Any) -> Any:
    """Take a layer without a type for a dense one."""
    return {'type': 'dense', **value} if isinstance(value, dict) and 'type' not in value else value


LayerConfig = (
    DenseLayer | ConvolutionLayer | PoolLayer | BlockLayer | TorchvisionLayer | GraphLayer
)
AnyLayer = Annotated[
    Annotated[LayerConfig, Field(discriminator='type')], BeforeValidator(_dense_unless_said)
]
