"""`foolscope bench`: what it refuses, in one line, before anything long begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from foolscope.bench import peer_environment
from foolscope.errors import InputError

Call = Callable[..., "object"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--peers", "--network", "mnist_cnn"], ("--network", "mnist_cnn", "nearest: mnist_cnn_a")),
        (["--peers", "--attack", "pgd"], ("--attack", "minimal-norm", "pgd")),
        (["--peers", "--attack", "fmn:foo=1"], ("fmn:foo", "gamma")),
        (["--peers", "--attack", "fnm"], ("--attack", "fnm", "nearest: fmn")),
        (["--peers", "--against", "adv-lib FNM"], ("--against", "adv-lib FNM", "nearest: adv-lib FMN")),
        (["--against", "adv-lib FMN"], ("--against", "--peers beside it", "got nothing")),
        (["--peers", "--norm", "l3"], ("--norm", "l3")),
        (["--peers", "--budget", "1"], ("--budget", "1")),
        (["--peers", "--samples", "0"], ("--samples", "0")),
        (["--samples", "5"], ("--samples", "--peers or --autoattack", "got nothing")),
        (["--norm", "l2"], ("--norm", "--peers", "got nothing")),
        (["--effort", "quick"], ("--effort", "--autoattack", "got nothing")),
        (["--autoattack", "nowhere"], ("--autoattack", "nowhere", "checkout")),
        (["--network", "mnist_cnn"], ("--network", "mnist_cnn")),
    ],
)
def test_bad_input_is_one_line(call: Call, tmp_path: Path, options: list[str], words: tuple[str, ...]) -> None:
    cache = ["--cache", tmp_path / "cache"] if "--peers" in options or "--autoattack" in options else []
    said = call("bench", *options, *cache)
    assert said.code == 2
    assert len(said.lines) == 1, said.lines
    for word in words:
        assert word in said.lines[0]
    assert said.out == ""
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_is_a_file_is_one_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for cache in (tmp_path / "file", tmp_path / "file" / "below"):
        said = call("bench", "--peers", "--cache", cache)
        assert (said.code, said.out) == (2, "")
        assert [line.partition(": expected")[0] for line in said.lines] == ["foolscope: --cache"]
        assert str(cache) in said.lines[0]


def test_a_registry_out_of_reach_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="--peers: expected a registry"):
        peer_environment.peer_python(tmp_path / "peers")
    assert not (tmp_path / "peers" / peer_environment.DONE).exists()
