"""A step's own work, taken by blocks of rows that stay in a processor's cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Bytes of one tensor of a block, for each thread: a step works on five to ten of them, and a core's own cache holds 1 to 2 MB. From there
# an operation takes a quarter to a half of its time (docs/benchmarks.md).
BLOCK = 2**18


def by_blocks(work: Callable[..., None], first: Tensor, *others: Any) -> None:
    """`work(first, *others)`, which changes tensors in place, row by row for itself: called on a few rows at a time.

    Tensors among `others` are cut into the same rows as `first`, `(r, ...)`; everything else goes to each block as it is. As each row is
    its own affair, the result is the same to the bit. On an accelerator everything is one block.

    Example:
        >>> x, scale = torch.ones(3, 2), torch.tensor([[1.0], [2.0], [3.0]])
        >>> by_blocks(lambda x, scale, by: x.mul_(scale).mul_(by), x, scale, 10)
        >>> x[:, 0]
        tensor([10., 20., 30.])
    """
    bytes_a_row = first[:1].numel() * first.element_size()
    rows = len(first)
    if first.device.type == "cpu":
        rows = min(rows, max(1, torch.get_num_threads() * BLOCK // max(1, bytes_a_row)))
    for begin in range(0, len(first), max(1, rows)):
        some = slice(begin, begin + rows)
        work(*(item[some] if isinstance(item, Tensor) else item for item in (first, *others)))
