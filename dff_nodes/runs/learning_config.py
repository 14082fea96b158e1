# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Settings of what is learned, how, and how it is measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dff_nodes.runs.layers import AnyOptimizer, LearningRateConfig, OptimizerConfig
from dff_nodes.runs.section import NO_EFFECT, Section


class LabelConfig(Section):
    """How a candidate class is shown to the first layer."""

    position: Literal['overwrite', 'prepend', 'planes'] = Field(
        'overwrite',
        description='overwrite: the one-hot label replaces the first inputs (Hinton 2022); '
        'prepend: it is put before them, so no pixel is lost; planes: every class has a '
        'channel of its own, for convolutions',
    )
    amplitude: float = Field(
        1.0, gt=0, le=1000, description='value of the one-hot entry, pixels being 0 to 1'
    )


class DataConfig(Section):
    """What the network learns from."""

    dataset: str = Field(
        'digits',
        min_length=1,
        description='digits, mnist, fashion_mnist, cifar10, or the path of an .npz with x_train, '
        'y_train, x_test, y_test, or of a graph with edges, features, labels, train_mask, '
        'test_mask',
    )
    root: str | None = Field(
        None,
        description='folder of the downloaded datasets; default $DFF_DATA, else '
        '~/.cache/dff/datasets',
        json_schema_extra=NO_EFFECT,
    )
    download: bool = Field(
        True,
        description='fetch a dataset that is not in root yet',
        json_schema_extra=NO_EFFECT,
    )
    shift_pixels: int = Field(
        0,
        ge=0,
        le=16,
        description='training images are moved by up to this many whole pixels each way: a random '
        'crop of the image with so many pixels around it, see shift_fill',
    )
    shift_fill: Literal['zero', 'edge', 'reflect'] = Field(
        'zero', description='what moving uncovers: zeros, the outermost pixels, or a mirror image'
    )
    rotate_degrees: float = Field(
        0.0,
        ge=0,
        le=180,
        description='training images are turned about their middle by up to this angle each way; '
        'shift_fill says what that uncovers',
    )
    flip: bool = Field(False, description='half of the training images are mirrored left to right')
    cutout_pixels: int = Field(
        0,
        ge=0,
        le=256,
        description='a square of so many pixels of every training image is set to 0, at a random '
        'place that may reach over the edge',
    )
    standardize: bool = Field(
        False,
        description='every image is brought to mean 0 and standard deviation 1 over its numbers, '
        'before a class is embedded in it',
    )
    validation_samples: int = Field(
        0,
        ge=0,
        description='training samples set aside; when > 0 they take the place of the test set, '
        'so that settings can be chosen without looking at it; of a graph, nodes of its val_mask',
    )
    label: LabelConfig = Field(LabelConfig(), description='how a class is shown to layer 0')

    @property
    def tested_on(self) -> str:
        """What stands in the test set's place, as in `validation accuracy`."""
        return 'validation' if self.validation_samples else 'test'


class NegativesConfig(Section):
    """Which wrong class a negative sample carries."""

    mode: Literal['fixed', 'random', 'adaptive', 'hybrid'] = Field(
        'random',
        description='fixed: one wrong class per sample, drawn once; random: drawn anew for every '
        'batch, or chapter of a schedule with chapters; adaptive: one that the network finds '
        'likely; hybrid: no class is shown, and a negative is made of large parts of two images '
        '(Hinton 2022, unsupervised)',
    )
    pick: Literal['sample', 'hardest'] = Field(
        'sample',
        description='adaptive: sample from the softmax of the wrong classes, or the likeliest',
    )
    temperature: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="sample: of the softmax of the mean of the layers' scores; higher draws "
        'less likely wrong classes more often',
    )
    lag_chapters: int | None = Field(
        None,
        ge=1,
        le=100000,
        description='adaptive, of schedules with chapters: a chapter takes the negatives that the '
        'network of so many chapters before finds likely, and random ones before there is one; '
        'default the number of workers, so that none waits for another',
    )
    lag_batches: int = Field(
        8,
        ge=1,
        le=1024,
        description='adaptive: a batch is scored this many batches before it is trained on; '
        'enough that the pipeline never waits for the scores',
    )


class ReadoutConfig(Section):
    """The linear softmax read-out that a layer trains on its own normalised activity."""

    learning_rate: float = Field(0.001, gt=0, le=10, description='of its Adam optimizer')
    neutral: float = Field(
        0.1,
        ge=0,
        le=1,
        description='share of the label amplitude in every entry of the neutral label',
    )


class TrainingConfig(Section):
    """How long and how fast."""

    epochs: int = Field(20, ge=1, le=100000, description='passes over the training set')
    batch_size: int = Field(
        64, ge=1, le=65536, description='samples of one TRAIN item; a graph is one item, whole'
    )
    optimizer: AnyOptimizer = Field(OptimizerConfig(), description='of every layer')
    learning_rate: LearningRateConfig = Field(
        LearningRateConfig(), description='its course over the run'
    )
    negatives: NegativesConfig = Field(NegativesConfig(), description='wrong classes')
    readout: ReadoutConfig = Field(
        ReadoutConfig(), description='used by adaptive negatives and one_pass classification'
    )


class ClassificationConfig(Section):
    """How layer-wise scores become a class."""

    mode: Literal['goodness', 'one_pass'] = Field(
        'goodness',
        description='of two-stream rules. goodness: every class is tried, the one with the '
        "highest goodness wins; one_pass: one pass with a neutral label, the layers' read-outs "
        'vote. Rules of one stream always score all classes in one pass',
    )
    layers: Literal['all', 'without_first', 'last'] = Field(
        'all', description='whose scores are added up'
    )


class EvaluationConfig(Section):
    """When and on what the accuracy is measured."""

    every_epochs: int = Field(
        1, ge=0, description='test accuracy after every so many epochs; 0: only at the end'
    )
    train_samples: int = Field(
        1000,
        ge=0,
        description='at most so many training samples give train_accuracy at the end; 0: none',
    )


class EarlyExitConfig(Section):
    """
    Which samples of an evaluation a layer answers itself, LightFF 2404.05241.

    `dff calibrate` chooses the thresholds and `dff evaluate --early-exit` evaluates with them;
    training knows none.
    """

    thresholds: list[float | None] | None = Field(
        None,
        description='of each layer but the last: it answers the samples whose confidence reaches '
        'that, and they travel no further; null: none. Without the list no layer does',
    )
    confidence: Literal['score', 'margin'] = Field(
        'score',
        description='score: the highest class score of the layers so far (LightFF); margin: by '
        'how much it exceeds the second highest',
    )
    max_loss: float = Field(
        0.1,
        ge=0,
        le=100,
        description='points of accuracy on the validation samples that dff calibrate may give up',
    )
