# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Settings of how a run gets on: what travels, what is saved and written, and on what it runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dff_nodes.runs.section import NO_EFFECT, Section


class StreamConfig(Section):
    """How items travel."""

    dtype: Literal['float32', 'float16', 'uint8'] = Field(
        'float32',
        description='of activations on the wire; float16 halves the bytes, uint8 (sixteenths, 0 '
        'to 15.94) quarters them, and --reference rounds alike',
    )
    window_items: int = Field(
        4, ge=1, le=1024, description='items a receiver has room for', json_schema_extra=NO_EFFECT
    )
    replay_mb: float | None = Field(
        None,
        gt=0,
        le=1048576,
        description='memory a sender may use for items that are in no checkpoint yet, MB; null: '
        '32, and more only where 16 of the largest items, or four windows of them, need it',
        json_schema_extra=NO_EFFECT,
    )
    heartbeat_s: float = Field(
        1.0,
        ge=0.1,
        le=60,
        description='between two status messages of a node, s',
        json_schema_extra=NO_EFFECT,
    )
    resend_s: float = Field(
        1.0,
        ge=0.05,
        le=600,
        description='without progress after which an item is sent again, s; doubles each time',
        json_schema_extra=NO_EFFECT,
    )
    appear_s: float = Field(
        60.0,
        ge=1,
        le=86400,
        description='the coordinator waits for all layer nodes, s',
        json_schema_extra=NO_EFFECT,
    )
    silence_s: float = Field(
        300.0,
        ge=1,
        le=86400,
        description='without a heartbeat after which a node counts as lost, s',
        json_schema_extra=NO_EFFECT,
    )


class MetricsConfig(Section):
    """What is written while the run goes on."""

    every_s: float = Field(
        1.0, ge=0.1, le=3600, description='between two rows of a layer in metrics.csv, s'
    )


class CheckpointConfig(Section):
    """
    When layers save their state: all behind the same item.

    Also when up to half of stream.replay_mb has gone over a hop, as what is not in checkpoints
    is kept in memory, and at the end of the run.
    """

    every_s: float = Field(10.0, gt=0, le=86400, description='between two checkpoints, s')
    every_items: int = Field(
        0, ge=0, le=10**9, description='also behind every so many items; 0: by time only'
    )
    replicate: bool = Field(
        False,
        description="store checkpoints with the coordinator too, so that a layer's device may be "
        'lost for good',
    )


class RestartConfig(Section):
    """What becomes of a node that dies: `dff train` and `dff lab` start it again."""

    max_per_minute: int = Field(
        10,
        ge=0,
        le=1000,
        description='restarts of one node within a minute, without the waits for them, after '
        'which the run ends; 0: none',
    )
    lease_s: float = Field(
        30.0,
        ge=2,
        le=86400,
        description='without a heartbeat of a layer after which a spare device takes it over, s',
    )
    backoff_s: float = Field(
        0.5,
        ge=0,
        le=3600,
        description='until the first restart, s; doubles with each restart within a minute',
    )


class ComputeConfig(Section):
    """What every node computes with."""

    threads: int = Field(
        1, ge=1, le=1024, description='PyTorch threads of a node; part of the arithmetic'
    )
    device: Literal['auto', 'cpu', 'cuda'] = Field(
        'auto', description='auto: cuda where there is one, else cpu'
    )
    precision: Literal['auto', 'float32', 'bfloat16'] = Field(
        'float32',
        description='of the matrix products and convolutions of layers of one stream; weights, '
        'losses and what travels keep theirs. auto: bfloat16 on processors that compute it '
        'themselves, else float32',
    )


class DeviceConfig(Section):
    """One device: which nodes it runs, and what it has."""

    nodes: list[str] = Field(
        ..., min_length=1, description='coordinator, layer_0, layer_1, ... that run here'
    )
    memory_mb: float | None = Field(
        None, gt=0, description='memory there; dff check compares what its nodes need'
    )


def _device_by_nodes(value: Any) -> Any:
    """Accept `pi1: [layer_0]` as short for `pi1: {nodes: [layer_0]}`."""
    return {'nodes': value} if isinstance(value, list) else value


AnyDevice = Annotated[DeviceConfig, BeforeValidator(_device_by_nodes)]


class LabConfig(Section):
    """The emulated devices of `dff lab`: what each has, and how they are connected."""

    devices: int | None = Field(
        None,
        ge=1,
        le=200,
        description='the layers are spread over so many devices, neighbours together; default one '
        'for each layer. The coordinator has a device of its own, desk, without limits. A '
        'placement takes their place',
    )
    cpu: float | None = Field(
        None, ge=0.01, le=1024, description='cores of a device; default all of this machine'
    )
    memory_mb: float | None = Field(
        None,
        ge=8,
        description='memory of a device, MB, none of it swapped; default that of its placement, '
        "else all of this machine's",
    )
    link_mbit: float | None = Field(
        None,
        ge=0.1,
        le=100000,
        description="rate of a device's link each way, Mbit/s; default as fast as it goes",
    )
    loss_percent: float = Field(
        0.0, ge=0, le=50, description='of the frames that a device receives, lost at random'
    )
