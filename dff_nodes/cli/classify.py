# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Find the class of images with a trained run."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dff_nodes.cli.arguments import add_use_of_weights
from dff_nodes.cli.early_exit import exit_overrides
from dff_nodes.cli.evaluate import run_task
from dff_nodes.cli.view import make_view
from dff_nodes.data.facts import DataFacts, read_facts
from dff_nodes.runs.errors import ConfigError
from dff_nodes.runs.result_file import read_early_exit
from dff_nodes.runs.run_folder import open_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument('run', help='run folder')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='PNG, JPEG, ... files')
    parser.add_argument(
        '--invert',
        action='store_true',
        help='dark strokes on a bright ground, for networks trained on bright strokes (MNIST)',
    )
    parser.add_argument(
        '--early-exit',
        action='store_true',
        help='the first layer that is sure answers (dff calibrate chooses how sure)',
    )
    add_use_of_weights(parser)


def run(arguments: argparse.Namespace) -> int:
    """Classify."""
    began = time.monotonic()
    folder = open_run(arguments.run)
    if arguments.early_exit:
        arguments.set = [*arguments.set, *exit_overrides(read_early_exit(folder))]
    facts = read_facts(folder.config().data)
    pixels = [read_image(Path(path), facts, arguments.invert) for path in arguments.images]
    view = make_view(sys.stderr)
    with tempfile.TemporaryDirectory(prefix='dff_classify_') as scratch:
        images = Path(scratch) / 'images.npz'
        _write(images, pixels)
        try:
            answers = run_task('classify', folder, arguments, view, began, str(images))
        finally:
            view.close()
    found = [
        {
            'image': image,
            'class': answers['classes'][index],
            'scores': answers['scores'][index],
            'layer_classes': [each[index] for each in answers['layer_classes']],
        }
        | ({'layer': answers['answered_by'][index]} if arguments.early_exit else {})
        for index, image in enumerate(arguments.images)
    ]
    for each in found:
        layers = 'layers: ' + ', '.join(str(answer) for answer in each['layer_classes'])
        if 'layer' in each:
            layers = f'layer_{each["layer"]}'
        print(f'{each["image"]}: {each["class"]} ({layers})', file=sys.stderr)
    if arguments.json:
        print(json.dumps({'answers': found}))
    return 0


def read_image(path: Path, facts: DataFacts, invert: bool) -> Any:
    """
    Read an image into the shape and range that the network was trained on.

    :returns: array [h, w, c], uint8 or float32.
    :raises ConfigError: if it cannot be read, or the network takes no images.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    if len(facts.input_shape) != 3 or facts.input_shape[2] not in (1, 3):
        raise ConfigError(
            f'this run takes inputs of shape {list(facts.input_shape)}, which no image file has'
        )
    height, width, channels = facts.input_shape
    try:
        with Image.open(path) as file:
            image = file.convert('L' if channels == 1 else 'RGB').resize((width, height))
    except FileNotFoundError:
        raise ConfigError(f'there is no image {path}') from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ConfigError(f'{path} cannot be read as an image: {error}') from error
    values = np.asarray(image, dtype=np.float32).reshape(facts.input_shape)
    values = (255 - values if invert else values) * (facts.scale / 255)
    return values.round().astype(np.uint8) if facts.dtype == 'uint8' else values


def _write(path: Path, pixels: list[Any]) -> None:
    import numpy as np

    np.savez(path, x=np.stack(pixels))
