# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""Cuts the networks of torchvision into the parts that a layer is made of."""

from __future__ import annotations

from torch import nn

from dff_nodes.data.torchvision_import import import_torchvision
from dff_nodes.runs.errors import ConfigError

STEM = 'stem'
BEHIND_THE_MAPS = ('fc', 'classifier', 'avgpool')
"""modules that give no maps"""


def build_parts(network: str, parts: list[str], field: str, channels: int) -> nn.Sequential:
    """
    Build the named modules of a network, weights as torchvision draws them.

    :param parts: names of modules, as `named_modules` gives them; `stem` for resnet18 is its
        first convolution, 3x3 without stride and pooling, for images of 32 pixels.
    :param channels: of the images, for a first convolution.
    :raises ConfigError: naming a part that there is not.
    """
    model = getattr(import_torchvision().models, network)(weights=None)
    known = dict(model.named_modules())
    chosen = []
    for name in parts:
        if name == STEM and network == 'resnet18':
            first = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            chosen.append(nn.Sequential(first, nn.BatchNorm2d(64), nn.ReLU()))
        elif name in known and name and not name.startswith(BEHIND_THE_MAPS):
            chosen.append(_for_channels(known[name], network, name, channels))
        else:
            inside = [each for each in known if each and each.count('.') < 2]
            maps = [each for each in inside if not each.startswith(BEHIND_THE_MAPS)]
            names = [STEM, *maps] if network == 'resnet18' else maps
            raise ConfigError(
                f'{field} of {network} must be among {", ".join(names)}, got {name!r}'
            )
    return nn.Sequential(*chosen)


def _for_channels(module: nn.Module, network: str, name: str, channels: int) -> nn.Module:
    """Let the first convolution of mobilenet take images of other than three channels."""
    if network == 'mobilenet_v3_small' and name == 'features.0' and channels != 3:
        first = module[0]
        module[0] = nn.Conv2d(
            channels,
            first.out_channels,
            first.kernel_size,
            first.stride,
            first.padding,
            bias=False,
        )
    return module


def settle_in_place(body: nn.Module) -> None:
    """
    Replace what acts in place, and what counts its calls.

    An activation in place would change what a layer received; the count of a batch
    normalisation decides nothing where its momentum is fixed.
    """
    for module in body.modules():
        if hasattr(module, 'inplace'):
            module.inplace = False
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = None


def pool_before_relu(parts: nn.Sequential) -> None:
    """
    Let a maximum be taken before a ReLU rather than behind it.

    The numbers are the same, forth and back, and the ReLU has a quarter of the work: that of
    resnet18's stem over 32x32 pixels takes as long as a convolution of its first stage.
    """
    for place in range(1, len(parts)):
        part, pool = parts[place - 1], parts[place]
        ends_in_relu = isinstance(part, nn.Sequential) and isinstance(part[-1], nn.ReLU)
        if ends_in_relu and isinstance(pool, nn.MaxPool2d):
            parts[place] = nn.Sequential(pool, part[-1])
            del part[-1]
