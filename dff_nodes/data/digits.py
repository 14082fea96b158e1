# Copyright 2026 dff_nodes developers
# SPDX-License-Identifier: Apache-2.0
"""1797 handwritten digits of 8 x 8 pixels, 0 to 16, that come with this package.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0: its test set of 13 writers,
as scikit-learn ships it, with a split of its own. ATTRIBUTION.md says exactly how `digits.npz`
was made.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dff_nodes.data.facts import KNOWN, DataError, DataFacts
from dff_nodes.data.npz import read_npz

if TYPE_CHECKING:
    import numpy as np

FILE = Path(__file__).with_name('digits.npz')


def load_digits() -> tuple[DataFacts, dict[str, np.ndarray]]:
    """Read the digits.

    :return: facts; x_train uint8 [1437, 8, 8, 1], x_test [360, 8, 8, 1], y int64.
    :raises DataError: if the file is not the one of this package.
    """
    facts, arrays = read_npz(FILE)
    facts = replace(facts, scale=KNOWN['digits'].scale)
    if facts != KNOWN['digits']:
        raise DataError(f'{FILE} is not the file of this package; install dff_nodes again')
    return facts, arrays
