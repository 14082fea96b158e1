# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""The settings of every schedule: who trains what, when, and what travels."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dff_nodes.runs.section import BY_NAME, NO_EFFECT, Section


class Schedule(Section):
    """Base of all schedules."""

    name: str
    chapters: ClassVar[bool] = True
    """whether layers travel, trained for one chapter at a time; else activations do"""


class StreamSchedule(Schedule):
    """Activations travel, and all layers work at once on different items."""

    name: Literal['stream'] = 'stream'
    chapters = False


class ChapterSchedule(Schedule):
    """
    Every worker has data; training is cut into chapters, and layers travel between them.

    Pipeline Forward-Forward (2404.08573): a layer trains for the epochs of one chapter on what
    the layers before it give, as they are at the end of the same chapter.
    """

    splits: int | None = Field(
        None,
        ge=1,
        le=100000,
        description='chapters of the run, so that one has training.epochs / splits epochs; '
        'default one for each epoch',
    )
    data: Literal['own', 'sent'] = Field(
        'own',
        description='own: each worker reads the data set from its disk, or downloads it there; '
        'sent: the coordinator sends the training set to each worker once, at the start',
        json_schema_extra=NO_EFFECT,
    )
    cache_mb: float = Field(
        512.0,
        ge=0,
        le=1048576,
        description='a worker that trains several layers keeps what arrives at one, so that it is '
        'not computed anew for the next, if a chapter of it needs at most so much memory, MB',
        json_schema_extra=NO_EFFECT,
    )
    arrivals: Literal['each_epoch', 'each_chapter'] = Field(
        'each_epoch',
        description='how often a worker computes what arrives at a layer: each_chapter once, and '
        'keeps all of it for all epochs of the chapter, which takes memory and saves time where '
        'a chapter has several; for training images that are not augmented',
    )


class SequentialSchedule(ChapterSchedule):
    """One worker trains all layers of all chapters: what every speed-up is measured against."""

    name: Literal['sequential'] = 'sequential'


class SingleLayerSchedule(ChapterSchedule):
    """Every worker owns a layer, and computes what the layers before it give itself."""

    name: Literal['single_layer'] = 'single_layer'


class RingSchedule(ChapterSchedule):
    """Workers in a ring: each trains all layers of every so-manieth chapter."""

    workers: int | None = Field(
        None, ge=1, le=200, description='workers in the ring; default one for each layer'
    )
    moments: Literal['travel', 'stay'] = Field(
        'travel',
        description="travel: the optimizer's state goes with a layer, so that the result is that "
        'of the sequential schedule; stay: each worker keeps its own, and a third of the bytes '
        'travels',
    )


class AllLayersSchedule(RingSchedule):
    """Workers in a ring, all with the same data."""

    name: Literal['all_layers'] = 'all_layers'


class FederatedSchedule(RingSchedule):
    """Workers in a ring, each with a share of the training data that never leaves it."""

    name: Literal['federated'] = 'federated'
    skew: float | None = Field(
        None,
        gt=0,
        le=1000,
        description='concentration of the Dirichlet distribution that a worker draws its share of '
        'each class from: 0.1 gives each worker few classes, 100 all alike; default: shares '
        'are drawn without regard to classes',
    )
    own_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description='weight of the layer as the worker itself left it, when it meets the one that '
        'arrives; 0: training goes on with what arrives',
    )


AnySchedule = Annotated[
    Annotated[
        StreamSchedule
        | SequentialSchedule
        | SingleLayerSchedule
        | AllLayersSchedule
        | FederatedSchedule,
        Field(discriminator='name'),
    ],
    BY_NAME,
]
