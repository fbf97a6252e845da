"""The standard data sets from the Hugging Face hub, by its own client and into its own cache."""

from __future__ import annotations

from pathlib import Path

from foolscope.data.parquet import parquet_splits
from foolscope.errors import InputError


def fetch_split(repository: str, configuration: str, split: str) -> list[Path]:
    """Download one split's Parquet files, or find them in the client's cache; nothing else is fetched.

    Args:
        repository: e.g. ``ylecun/mnist``.
        configuration: the folder inside it that holds the Parquet files.
        split: e.g. ``test``.

    Returns:
        The shards in order.

    Raises:
        InputError: the hub can't be reached and the cache hasn't got them, or the hub holds no such files.
    """
    from huggingface_hub import snapshot_download

    wanted = f"{repository}, split {split}, from the Hugging Face hub (or its folder under $FOOLSCOPE_DATA)"
    try:
        folder = snapshot_download(repository, repo_type="dataset", allow_patterns=f"{configuration}/{split}-*.parquet")
    except (
        Exception
    ) as error:  # the client lets its HTTP library's errors through, and those of two libraries by version
        lines = str(error).splitlines() or [""]
        raise InputError("DATA", wanted, f"{type(error).__name__}: {lines[0][:200]}") from error
    files = parquet_splits(Path(folder) / configuration).get(split)
    if not files:
        raise InputError("DATA", wanted, f"no {configuration}/{split}-*.parquet there")
    return files
