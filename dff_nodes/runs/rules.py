# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""
The settings of every local rule, and the registry of rules.

A rule's settings say which class trains by them (`implementation`), so that a configuration is
checked without PyTorch. Rules of other packages are found by the entry-point group
`dff_nodes.rules`, see doc/rules.md.
"""

from __future__ import annotations

import functools
import math
from importlib.metadata import entry_points
from typing import Annotated, ClassVar, Literal, Union

from pydantic import Field, model_validator

from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.section import BY_NAME, Section

ENTRY_POINTS = 'dff_nodes.rules'
Shape = tuple[int, ...]
"""(features,), or (height, width, channels)"""
HEAD_INPUTS = 2400
"""of a class head: maps are averaged over a grid of at most so many numbers"""


class Rule(Section):
    """Base of all local rules: how one layer learns from its own input and output."""

    name: str
    implementation: ClassVar[str]
    """
    `module:name` of what trains by these settings, loaded when a layer is built: a LocalRule, or
    of a PairRule a function of these settings and the number of a layer's activities that gives a
    learning.losses.PairLoss
    """
    streams: ClassVar[int] = 1
    """2: positive and negative samples travel; 1: samples and their labels"""
    takes_auxiliary: ClassVar[bool] = False
    """
    whether a network of the layer's own may stand before the rule: of rules that look at a step's
    output and labels alone, and pass on the output as it is
    """

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """
        Count the rule's own learned numbers, beside the layer's.

        :param input_shape: of what the layer takes; `output_shape` of what it gives.
        """
        return 0

    def macs(self, output_shape: Shape, classes: int) -> int:
        """Count the multiplications with a weight of the class scores of one sample."""
        return 0


class PairRule(Rule):
    """A two-stream rule: what a layer maximises for positives, minimises for negatives."""

    implementation = 'dff_nodes.learning.losses:pair_loss'
    streams = 2
    goodness: Literal['sum', 'mean'] = Field('mean', description='of the squared activities')
    peer_normalization: float = Field(
        0.0,
        ge=0,
        le=100,
        description='weight of the pull of every unit to the mean activity of its layer '
        '(Hinton 2022: 0.03); not gated by ReLU, so it revives silent units',
    )


class ThresholdRule(PairRule):
    """softplus(theta - G+) + softplus(G- - theta), Hinton 2022."""

    name: Literal['threshold'] = 'threshold'
    goodness: Literal['sum', 'mean'] = Field('sum', description='of the squared activities')
    theta: float | None = Field(
        None,
        gt=0,
        description='goodness that separates positive from negative; default the number of '
        'units for sum, 1 for mean',
    )


class SymbaRule(PairRule):
    """softplus(-alpha (G+ - G-)), SymBa 2303.08418."""

    name: Literal['symba'] = 'symba'
    alpha: float = Field(4.0, gt=0, le=1000, description='steepness of the loss')


class SwishRule(PairRule):
    """
    silu(-alpha (G+ - G-)): as symba for pairs that are wrong, but with a finite goal.

    Its lowest point is a margin G+ - G- of 1.2785 / alpha: pairs beyond it are drawn back, so
    goodness does not grow for ever.
    """

    name: Literal['swish'] = 'swish'
    alpha: float = Field(6.0, gt=0, le=1000, description='steepness of the loss')


class HeadRule(Rule):
    """A rule with a linear class head on the layer's output, averaged over a grid for maps."""

    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description='share of every target that is spread over all classes'
    )
    head_inputs: int = Field(
        HEAD_INPUTS,
        ge=1,
        le=1048576,
        description='maps are averaged over the finest grid with at most so many numbers',
    )

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """See Rule.parameters."""
        return (head_features(output_shape, self.head_inputs) + 1) * classes

    def macs(self, output_shape: Shape, classes: int) -> int:
        """See Rule.macs."""
        return head_features(output_shape, self.head_inputs) * classes


class SoftmaxHeadRule(HeadRule):
    """
    Cross-entropy of a class head: linear, or with a hidden layer of its own.

    The performance-optimised layers of PFF (2404.08573), local `pred` (1901.06656) and
    Mono-Forward (2501.09238). A hidden layer (Belilovsky et al. 1812.11446: auxiliary problems of
    more than one layer) lets the classes be less than linearly separable, so that a layer need
    not throw away what the ones behind it could use.
    """

    name: Literal['softmax_head'] = 'softmax_head'
    implementation = 'dff_nodes.learning.rules.softmax_head:SoftmaxHead'
    takes_auxiliary = True
    hidden: int = Field(
        0,
        ge=0,
        le=65536,
        description='outputs of a hidden layer of the head, of maps a 3x3 convolution over the '
        'grid, batch-normalised, with GELU; 0: a linear head',
    )

    def hidden_shape(self, output_shape: Shape) -> Shape:
        """Shape of what the hidden layer gives."""
        if len(output_shape) == 1:
            return (self.hidden,)
        return (*head_grid((*output_shape[:2], self.hidden), self.head_inputs), self.hidden)

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """See Rule.parameters."""
        if not self.hidden:
            return super().parameters(input_shape, output_shape, classes)
        inputs = output_shape[-1] * (9 if len(output_shape) == 3 else 1)
        behind = math.prod(self.hidden_shape(output_shape))
        return (inputs + 2) * self.hidden + (behind + 1) * classes

    def macs(self, output_shape: Shape, classes: int) -> int:
        """See Rule.macs."""
        if not self.hidden:
            return super().macs(output_shape, classes)
        inputs = output_shape[-1] * (9 if len(output_shape) == 3 else 1)
        return math.prod(self.hidden_shape(output_shape)) * (inputs + classes)


class PredSimRule(HeadRule):
    """
    (1 - beta) cross-entropy + beta similarity matching, Nokland & Eidnes 1901.06656.

    The matrix of cosine similarities between the batch's features shall be that between its
    one-hot labels. Features are a linear map of the output, for maps the standard deviations of
    the channels of a 3x3 convolution.
    """

    name: Literal['pred_sim'] = 'pred_sim'
    implementation = 'dff_nodes.learning.rules.pred_sim:PredSim'
    takes_auxiliary = True
    beta: float = Field(0.99, ge=0, le=1, description='share of the similarity loss')

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """See Rule.parameters."""
        units = output_shape[-1]
        kernel = 9 if len(output_shape) == 3 else 1
        return super().parameters(input_shape, output_shape, classes) + kernel * units * units


class ChannelCompetitionRule(HeadRule):
    """
    Cross-entropy over the mean squares of one group of channels per class, CwC-FF 2312.12668.

    What passes on is the output as it is: let the layer normalise it (activation_norm). The
    published softmax predictor sees all pixels (head_inputs) of the last layer, and learns on
    when that has stopped (`head_epochs` of the layer). Published with temperature 1: squares of
    normalised channels are 1 on average, and get as sure of a class as their learned scale grows.
    """

    name: Literal['channel_competition'] = 'channel_competition'
    implementation = 'dff_nodes.learning.rules.channel_groups:channel_competition'
    predictor: Literal['goodness', 'softmax'] = Field(
        'goodness',
        description='goodness: the groups themselves answer; softmax: a linear read-out, no '
        'gradient of which reaches the layer',
    )
    temperature: float = Field(1.0, gt=0, le=100, description='of the mean squares')

    @model_validator(mode='after')
    def _a_head_has_a_predictor(self) -> ChannelCompetitionRule:
        for name in ('label_smoothing', 'head_inputs'):
            value = getattr(self, name)
            if self.predictor == 'goodness' and value != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is for predictor 'softmax', got {value} with predictor 'goodness'"
                )
        return self

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """See Rule.parameters."""
        if self.predictor == 'goodness':
            return 0
        return super().parameters(input_shape, output_shape, classes)

    def macs(self, output_shape: Shape, classes: int) -> int:
        """See Rule.macs."""
        return 0 if self.predictor == 'goodness' else super().macs(output_shape, classes)


class MeanGoodnessRule(Rule):
    """
    Cross-entropy over the means of one group of channels per class, DeeperForward (ICLR 2025).

    What passes on is normalised within each group, so that goodness is taken out of it. Published
    with temperature 1, where the means grow with the weights; with an optimizer that keeps the
    norm of the weights, as muon does, a lower one lets them be sure of a class.
    """

    name: Literal['mean_goodness'] = 'mean_goodness'
    implementation = 'dff_nodes.learning.rules.channel_groups:MeanGoodness'
    temperature: float = Field(1.0, gt=0, le=100, description='of the means')


class SpatialGoodnessRule(Rule):
    """
    Cross-entropy of patch energies through a fixed random linear map, ASGE 2509.12394.

    Published are energies before a pooling by root mean square; here they are those of what the
    layer gives, behind its own pooling.
    """

    name: Literal['spatial_goodness'] = 'spatial_goodness'
    implementation = 'dff_nodes.learning.rules.spatial_goodness:SpatialGoodness'
    patches: int = Field(
        4, ge=1, le=64, description='each map is cut into so many patches along each side'
    )

    def macs(self, output_shape: Shape, classes: int) -> int:
        """See Rule.macs."""
        height, width, channels = output_shape
        return min(height, self.patches) * min(width, self.patches) * channels * classes


class BlockGoodnessRule(Rule):
    """
    -g_y + logsumexp(g) of an auxiliary convolution's mean squares, Scalable FF 2501.03176.

    One auxiliary channel per class; what passes on is layer-normalised.
    """

    name: Literal['block_goodness'] = 'block_goodness'
    implementation = 'dff_nodes.learning.rules.block_goodness:BlockGoodness'
    kernel: int = Field(1, ge=1, le=15, description='size of the auxiliary convolution, odd')

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """See Rule.parameters."""
        kernel = self.kernel**2 if len(output_shape) == 3 else 1
        return (kernel * output_shape[-1] + 1) * classes

    def macs(self, output_shape: Shape, classes: int) -> int:
        """See Rule.macs; the auxiliary convolution keeps the size of the maps."""
        kernel = self.kernel**2 if len(output_shape) == 3 else 1
        return kernel * math.prod(output_shape) * classes


class BlockSoftmaxRule(HeadRule):
    """
    Cross-entropy of a head at the end of a block, cut from its neighbours (2312.13311).

    Backpropagation stays inside the block, which the published code does not ensure.
    """

    name: Literal['block_softmax'] = 'block_softmax'
    implementation = 'dff_nodes.learning.rules.softmax_head:BlockSoftmax'
    movement: float = Field(
        0.0,
        ge=0,
        le=1000,
        description='weight of the mean square by which the block moves its input (2210.00949); '
        'for blocks whose output is shaped like their input',
    )


class CascadeRule(HeadRule):
    """
    A predictor on features that are random, or learned by direct feedback; CaFo 2303.09728.

    The layers' answers are probabilities, which are added up.
    """

    name: Literal['cascade'] = 'cascade'
    implementation = 'dff_nodes.learning.rules.cascade:Cascade'
    features: Literal['random', 'direct_feedback'] = Field(
        'direct_feedback',
        description="random: only the predictor learns; direct_feedback: the predictor's error "
        'reaches the features through a fixed random matrix',
    )


class ContrastSelfRule(HeadRule):
    """
    Unsupervised: a sample with itself against a sample with another, SCFF 2409.11593.

    The same weights see both, so their outputs are added. The published maps are linear
    (`activation: none`): goodness rectifies them itself. Published are pairs that travel from
    layer to layer; here samples do, and every layer pairs them anew. A linear read-out learns the
    classes from what passes on; no gradient of it reaches the layer.
    """

    name: Literal['contrast_self'] = 'contrast_self'
    implementation = 'dff_nodes.learning.rules.contrast_self:ContrastSelf'
    pairs: Literal['sum', 'standardized'] | None = Field(
        None,
        description='sum: of both outputs, where two different samples make a smaller one; '
        'standardized: the sum of both inputs is brought to mean 0 and deviation 1, so that pairs '
        'differ in direction alone; default sum for layer 0 and standardized behind it',
    )
    theta_positive: float = Field(
        4.0, ge=0, le=1000, description='goodness of positives aims above'
    )
    theta_negative: float = Field(6.0, ge=0, le=1000, description='of negatives, below')
    penalty: float = Field(0.0, ge=0, le=1000, description='weight of the goodness of positives')


class ReconstructRule(HeadRule):
    """
    Unsupervised: the layer is an encoder, a decoder of its own restores its input (2404.14664).

    A linear read-out learns the classes from the latents; no gradient of it reaches the layer.
    """

    name: Literal['reconstruct'] = 'reconstruct'
    implementation = 'dff_nodes.learning.rules.reconstruct:Reconstruct'
    noise: float = Field(
        0.0, ge=0, le=10, description='standard deviation of the noise on what is encoded'
    )

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """See Rule.parameters; the decoder of maps is a 3x3 convolution."""
        inputs, outputs = (math.prod(each) for each in (input_shape, output_shape))
        if len(output_shape) == 3:
            inputs, outputs = input_shape[2], 9 * output_shape[2]
        return super().parameters(input_shape, output_shape, classes) + (outputs + 1) * inputs


class ContrastiveRule(HeadRule):
    """
    Layer-local supervised contrastive learning, without a final stage.

    After Improved FFCL (2405.03432): a contrastive loss in every layer, and neither a global stage
    nor backpropagation at the end. The loss is that of Khosla et al. (2004.11362, equation 2) on a
    learned linear projection of one network; FFCL compares two copies of it. A linear read-out
    learns the classes from the output; no gradient of it reaches the layer.
    """

    name: Literal['contrastive'] = 'contrastive'
    implementation = 'dff_nodes.learning.rules.contrastive:Contrastive'
    temperature: float = Field(0.2, gt=0, le=100, description='of the cosine similarities')
    projection: int = Field(128, ge=2, le=65536, description='features that are compared')

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """See Rule.parameters."""
        features = head_features(output_shape, self.head_inputs)
        return super().parameters(input_shape, output_shape, classes) + features * self.projection


class PrototypeRule(HeadRule):
    """Cross-entropy of cosines to unit-norm class prototypes, hyperspherical FF 2605.00082."""

    name: Literal['prototype'] = 'prototype'
    implementation = 'dff_nodes.learning.rules.prototype:Prototype'
    temperature: float = Field(0.1, gt=0, le=100, description='of the cosines')

    def parameters(self, input_shape: Shape, output_shape: Shape, classes: int) -> int:
        """See Rule.parameters."""
        return head_features(output_shape, self.head_inputs) * classes


class ClassNodesRule(Rule):
    """
    Cross-entropy of cosines to one virtual node per class, ForwardGNN 2403.11004.

    Every training node of a class has an edge to the virtual node, and none leads back: it is an
    outcome of the same layer, so it learns with it and has no parameters. No negatives. The
    layers' answers are probabilities, which are added up. Published are products of outputs as
    they are, with virtual nodes that have random features of their own; here these hear their
    training nodes alone, and cosines leave their length out.
    """

    name: Literal['class_nodes'] = 'class_nodes'
    implementation = 'dff_nodes.learning.rules.class_nodes:ClassNodes'
    temperature: float = Field(0.5, gt=0, le=100, description='of the cosines')


def head_grid(output_shape: Shape, most: int) -> tuple[int, int]:
    """
    Rows and columns of the grid that maps are averaged over.

    :param output_shape: (height, width, channels).
    :param most: numbers that the grid may have, of all channels.
    """
    height, width, channels = output_shape
    side = max(1, math.isqrt(max(1, most // channels)))
    return min(height, side), min(width, side)


def head_features(output_shape: Shape, most: int) -> int:
    """Inputs of a class head on such an output."""
    if len(output_shape) == 1:
        return output_shape[0]
    rows, columns = head_grid(output_shape, most)
    return rows * columns * output_shape[2]


BUILT_IN: tuple[type[Rule], ...] = (
    SwishRule,
    SymbaRule,
    ThresholdRule,
    SoftmaxHeadRule,
    PredSimRule,
    ChannelCompetitionRule,
    MeanGoodnessRule,
    SpatialGoodnessRule,
    BlockGoodnessRule,
    BlockSoftmaxRule,
    CascadeRule,
    ContrastSelfRule,
    ReconstructRule,
    ContrastiveRule,
    PrototypeRule,
    ClassNodesRule,
)


@functools.cache
def rules() -> dict[str, type[Rule]]:
    """
    Settings of all rules by their names: those of this package, and of installed others.

    :raises ConfigError: naming the package whose entry point is no rule, or takes a name once
        more.
    """
    found = {rule.model_fields['name'].default: rule for rule in BUILT_IN}
    for point in entry_points(group=ENTRY_POINTS):
        try:
            rule = point.load()
            wrong = _wrong_with(rule, found)
        except Exception as error:  # noqa: BLE001 - whatever the code of others raises
            wrong = f'cannot be loaded: {type(error).__name__}: {error}'
        if wrong:
            package = point.dist.name if point.dist else 'unknown'
            raise ConfigError(
                f'the rule {point.name} = {point.value} of the installed package {package} '
                f'{wrong}; mend the package, or remove it (pip uninstall {package})'
            )
        found[rule.model_fields['name'].default] = rule
    return found


def _wrong_with(rule: object, found: dict[str, type[Rule]]) -> str:
    """Say why what an entry point names cannot join the rules found so far, '' if it can."""
    if not (isinstance(rule, type) and issubclass(rule, Rule)):
        return f'must be a subclass of {__name__}.Rule, got {rule!r}'
    if rule.streams == 2 and not issubclass(rule, PairRule):
        return f'has streams = 2, so it must be a subclass of {__name__}.PairRule'
    if not hasattr(rule, 'implementation'):
        return 'must say in `implementation` which class trains by it, as "module:name"'
    field = rule.model_fields.get('name')
    name = field.default if field else None
    if not isinstance(name, str):
        return 'must have a name, as in: name: Literal["centroid"] = "centroid"'
    if name in found:
        return f'is named {name!r}, and there is a rule of this name already'
    return ''


AnyRule = Annotated[
    Annotated[Union[tuple(rules().values())], Field(discriminator='name')],  # noqa: UP007
    BY_NAME,
]
