"""Every claim by its id, in the order of the documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from foolscope.errors import InputError
from foolscope.reproducing import (
    cubuk,
    cubuk_law,
    cubuk_response,
    cubuk_search,
    cubuk_training,
    goodfellow,
    hardened,
    lecture,
    ozbulak,
    report_2021,
)
from foolscope.reproducing.claim import Claim

FILES = (
    lecture,
    goodfellow,
    report_2021,
    cubuk_law,
    cubuk_search,
    cubuk_training,
    cubuk_response,
    cubuk,
    ozbulak,
    hardened,
)
CLAIMS: Mapping[str, Claim] = MappingProxyType({claim.id: claim for file in FILES for claim in file.CLAIMS})


def claims_named(ids: Sequence[str]) -> tuple[Claim, ...]:
    """The claims of these ids, all of them where none is given.

    Raises:
        InputError: an unknown id; the nearest are offered.
    """
    for name in ids:
        if name not in CLAIMS:
            raise InputError("ID", "a claim (`foolscope reproduce --list` has them)", name, CLAIMS)
    return tuple(CLAIMS[name] for name in dict.fromkeys(ids)) or tuple(CLAIMS.values())
