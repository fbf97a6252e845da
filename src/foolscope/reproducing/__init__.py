"""Claims of the seed documents, measured: one file a document or paper, one function a claim, one record a measurement."""

from __future__ import annotations

from foolscope.reproducing.claim import Claim, Record
from foolscope.reproducing.registry import CLAIMS, claims_named
from foolscope.reproducing.run import reproduce

__all__ = ["CLAIMS", "Claim", "Record", "claims_named", "reproduce"]
