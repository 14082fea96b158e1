# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""ROS messages to and from the plain types of the rooms below."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from dff_msgs import msg
from torch import Tensor

from dff_nodes.runs.chunks import Chunk
from dff_nodes.runs.metrics import MetricsRow
from dff_nodes.stream.codec import WireItem, rows_out, scores_out
from dff_nodes.stream.credit import Credit


@dataclass(frozen=True)
class Sender:
    """Who sends a message."""

    run_id: str
    """32 hexadecimal digits"""
    incarnation: int


def run_id_bytes(run_id: str) -> list[int]:
    """Turn a run id into the 16 bytes of a message."""
    return list(bytes.fromhex(run_id))


def run_id_text(data: object) -> str:
    """Turn the 16 bytes of a message into a run id."""
    return bytes(data).hex()


NO_RUN = '00' * 16


def activations(wire: WireItem, sender: Sender, stamp: Time) -> msg.Activations:
    """Make the message of an item."""
    return msg.Activations(
        stamp=stamp,
        run_id=run_id_bytes(sender.run_id),
        incarnation=sender.incarnation,
        item=wire.number,
        kind=wire.kind,
        mark=wire.mark,
        checkpoint=wire.checkpoint,
        epoch=wire.epoch,
        samples=wire.samples,
        candidates=wire.candidates,
        shape=array('I', wire.shape),
        dtype=wire.dtype,
        labels=wire.labels,
        negative_labels=wire.negative_labels,
        positive=wire.positive,
        negative=wire.negative,
        rows=wire.rows,
        running_scores=wire.running_scores,
        edges=wire.edges,
    )


def wire_item(message: msg.Activations) -> WireItem:
    """Take the item's fields out of a message; nothing is copied."""
    return WireItem(
        number=message.item,
        kind=message.kind,
        mark=message.mark,
        checkpoint=message.checkpoint,
        epoch=message.epoch,
        samples=message.samples,
        candidates=message.candidates,
        shape=list(message.shape[:8]),
        dtype=message.dtype,
        labels=message.labels,
        negative_labels=message.negative_labels,
        positive=message.positive,
        negative=message.negative,
        rows=message.rows,
        running_scores=message.running_scores,
        edges=message.edges,
    )


def goodness(
    layer: int,
    sequence: int,
    item: int,
    scores: Tensor,
    rows: Tensor | None,
    measure: int,
    sender: Sender,
    stamp: Time,
) -> msg.Goodness:
    """
    Make the message of a layer's class scores.

    :param scores: float32 [samples, classes].
    :param rows: early exit: int64 [samples], which samples of the item these are.
    """
    return msg.Goodness(
        stamp=stamp,
        run_id=run_id_bytes(sender.run_id),
        incarnation=sender.incarnation,
        layer=layer,
        sequence=sequence,
        item=item,
        measure=measure,
        samples=scores.shape[0],
        classes=scores.shape[1],
        scores=scores_out(scores),
        rows=rows_out(rows),
    )


def chunk(
    layer: int, sequence: int, part: Chunk, sender: Sender, stamp: Time
) -> msg.CheckpointChunk:
    """Make the message of a part of a checkpoint."""
    return msg.CheckpointChunk(
        stamp=stamp,
        run_id=run_id_bytes(sender.run_id),
        incarnation=sender.incarnation,
        layer=layer,
        sequence=sequence,
        item=part.item,
        offset=part.offset,
        total=part.total,
        data=array('B', part.data),
    )


def credit_message(credit: Credit, run_id: str, stamp: Time) -> msg.Credit:
    """Make the message of a credit."""
    return msg.Credit(
        stamp=stamp,
        run_id=run_id_bytes(run_id),
        incarnation=credit.incarnation,
        expected=credit.expected,
        window=credit.window,
        durable=credit.durable,
        missing=credit.missing,
    )


def credit(message: msg.Credit) -> Credit:
    """Take the credit out of a message."""
    return Credit(
        incarnation=message.incarnation,
        expected=message.expected,
        window=message.window,
        durable=message.durable,
        missing=message.missing,
    )


def metrics(row: MetricsRow, node: str, sender: Sender, stamp: Time) -> msg.LayerMetrics:
    """Make the message of a layer's report."""
    message = msg.LayerMetrics(
        run_id=run_id_bytes(sender.run_id),
        incarnation=sender.incarnation,
        layer=row.layer,
        item=row.item,
        epoch=row.epoch,
        loss=row.loss,
        positive_goodness=row.positive_goodness,
        negative_goodness=row.negative_goodness,
        separation=row.separation,
        learning_rate=row.learning_rate,
        samples_per_second=row.samples_per_second,
        items_per_second=row.items_per_second,
        compute_share=row.compute_share,
        input_queue=row.input_queue,
    )
    message.header.stamp = stamp
    message.header.frame_id = node
    return message


def metrics_row(message: msg.LayerMetrics, seconds: float) -> MetricsRow:
    """Take the row of metrics.csv out of a message."""
    return MetricsRow(
        seconds,
        message.layer,
        message.item,
        message.epoch,
        message.loss,
        message.positive_goodness,
        message.negative_goodness,
        message.separation,
        message.learning_rate,
        message.samples_per_second,
        message.items_per_second,
        message.compute_share,
        message.input_queue,
    )
