"""A local rule of one's own: cross-entropy over distances to one learned centre per class."""

from typing import Literal

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from dff_nodes.learning.rules.local_rule import LocalRule
from dff_nodes.runs.rules import Rule


class CentroidRule(Rule):
    """The rule's settings, as they stand in a configuration."""

    name: Literal['centroid'] = 'centroid'
    implementation = 'centroid_rule:Centroid'
    sharpness: float = Field(1.0, gt=0, le=100, description='weight of the mean square distance')

    def parameters(self, input_shape, output_shape, classes):
        return classes * output_shape[-1]


class Centroid(LocalRule):
    """What a layer minimises, and how it scores the classes."""

    def __init__(self, setting):
        super().__init__(setting)
        size = setting.classes, setting.output_shape[-1]
        self.centres = torch.nn.Parameter(torch.randn(size, generator=setting.random('centres')))

    def scores(self, output):
        features = output.mean((2, 3)) if output.dim() == 4 else output
        distances = (features[:, None] - self.centres).square().mean(2)
        return (-self.setting.rule.sharpness * distances).log_softmax(1)

    def loss(self, step):
        scores = self.scores(step.output)
        return cross_entropy(scores, step.labels), scores
