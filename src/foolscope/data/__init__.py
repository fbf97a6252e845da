"""Data sets: what a DATA text means, opened without loading the images.

>>> data = open_data("digits")
>>> data.read(data.labels[:0]).shape
torch.Size([0, 1, 8, 8])
"""

from foolscope.data.arrays import from_loader, from_tensors
from foolscope.data.builtin import BUILTIN, BuiltIn, listing
from foolscope.data.dataset import DataSet, fingerprint
from foolscope.data.opening import open_data

__all__ = ["BUILTIN", "BuiltIn", "DataSet", "fingerprint", "from_loader", "from_tensors", "listing", "open_data"]
