from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from foolscope.errors import ForeignError, InputError
from foolscope.foreign import foreign_code, foreign_error
from foolscope.models import load_model

HEAD = "import torch\nfrom torch import nn\n\n"
BUILD = "def build():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))\n"


def write(folder: Path, body: str, name: str = "model.py") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + body, encoding="utf-8")
    return str(path)


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        load_model(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def raised(text: str) -> str:
    with pytest.raises(ForeignError) as caught:
        load_model(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        BUILD,
        "build = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))\n",
        "class build(nn.Module):\n    def __init__(self, width=4):\n        super().__init__()\n"
        "        self.linear = nn.Linear(width, 3)\n"
        "    def forward(self, x):\n        return self.linear(x.flatten(1))\n",
        "from functools import partial\ndef make(width):\n    return nn.Sequential(nn.Flatten(), nn.Linear(width, 3))\n"
        "build = partial(make, 4)\n",
    ],
    ids=["function", "instance", "class", "partial"],
)
def test_a_file_gives_a_model(tmp_path: Path, body: str) -> None:
    model = load_model(write(tmp_path, body) + ":build")
    assert model.module(torch.rand(2, 1, 2, 2)).shape == (2, 3)
    assert not any(part.training for part in model.module.modules())
    assert model.notes == ("the model was in train mode; put in eval",)
    assert model.parameters == 15


def test_a_model_in_eval_mode_needs_no_note(tmp_path: Path) -> None:
    assert load_model(write(tmp_path, BUILD + "    \nbuilt = build().eval()\n") + ":built").notes == ()


def test_a_file_imports_its_neighbours_and_the_path_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, BUILD, "neighbour_of_model.py")
    path = write(tmp_path, "def make():\n    from neighbour_of_model import build\n    return build()\n")
    before = list(sys.path)
    try:
        load_model(path + ":make")
    finally:
        sys.modules.pop("neighbour_of_model", None)
    assert sys.path == before


def test_an_edited_file_is_read_afresh_and_leaves_no_cache(tmp_path: Path) -> None:
    path = write(tmp_path, BUILD)
    first = load_model(path + ":build").parameters
    write(tmp_path, BUILD.replace("4, 3", "4, 5"))
    assert load_model(path + ":build").parameters == 25 != first
    assert [p.name for p in tmp_path.iterdir()] == ["model.py"]


def test_a_file_may_hold_dataclasses_and_annotations_of_its_own_kind(tmp_path: Path) -> None:
    body = "from dataclasses import dataclass\n@dataclass\nclass Settings:\n    width: int = 4\n"
    body += "assert Settings.__annotations__ == {'width': int}\n"  # our own __future__ import does not leak in
    load_model(write(tmp_path, body + BUILD) + ":build")


def test_a_package_gives_a_model_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, BUILD, "foolscope_test_package/inner/nets.py")
    monkeypatch.chdir(tmp_path)
    try:
        model = load_model("foolscope_test_package.inner.nets:build")
    finally:
        for name in [name for name in sys.modules if name.startswith("foolscope_test_package")]:
            del sys.modules[name]
    assert model.module(torch.rand(2, 1, 2, 2)).shape == (2, 3)


def test_an_installed_package_gives_a_model() -> None:
    assert load_model("foolscope.models.networks:mlp").parameters == 235146


def test_random_weights_of_a_users_model_follow_the_seed(tmp_path: Path) -> None:
    path = write(tmp_path, BUILD) + ":build"
    assert load_model(path, seed=1).sha256 == load_model(path, seed=1).sha256 != load_model(path, seed=2).sha256


def test_what_the_file_prints_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_model(write(tmp_path, "print('loading')\n" + BUILD) + ":build")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "loading\n"


def test_missing_name_offers_the_nearest(tmp_path: Path) -> None:
    line = refused(write(tmp_path, BUILD + "def other():\n    return build()\nWIDTH = 3\n") + ":biuld")
    assert line.startswith("MODEL: expected a name in ")
    assert line.endswith("got 'biuld' (nearest: build; accepted: build, other)")


def test_missing_files_and_modules_are_told(tmp_path: Path) -> None:
    assert "an existing Python file" in refused(f"{tmp_path}/gone.py:build")
    assert "an existing Python file" in refused(f"{tmp_path}:build")
    assert "an importable module before ':NAME', got 'no_such_module_at_all'" in refused("no_such_module_at_all:build")
    assert "an importable module before ':NAME'" in refused("foolscope.models.gone:build")
    assert "an importable module before ':NAME'" in refused("foolscope.models.networks.gone:build")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("build = 3\n", "to be a torch.nn.Module or a function that returns one, got 'a int'"),
        ("def build():\n    return 'x'\n", "a torch.nn.Module from build(), got 'a str'"),
        ("def build():\n    return nn.Linear\n", "a torch.nn.Module from build(), got 'a type'"),
        (
            "def build(width, *, depth):\n    pass\n",
            "to be callable without arguments, got 'one that needs width, depth'",
        ),
        ("class build(nn.Module):\n    def __init__(self, width):\n        pass\n", "got 'one that needs width'"),
        ("build = nn.LazyLinear(3)\n", "whose layers know their sizes (or --weights)"),
    ],
)
def test_what_gives_no_module_is_told(tmp_path: Path, body: str, told: str) -> None:
    assert told in refused(write(tmp_path, body) + ":build")


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("def build():\n    raise ValueError('no\\n  good')\n", "model.py:5 in build: ValueError: no good"),
        ("def build():\n    return nn.Linear(4, 'x')\n", "model.py:5 in build: TypeError: "),
        ("1 / 0\n", "model.py:4: ZeroDivisionError: division by zero"),
        ("def build(:\n", "model.py:4: SyntaxError: invalid syntax"),
        ("import gone_entirely\n", "model.py:4: ModuleNotFoundError: No module named 'gone_entirely'"),
        ("import sys\nsys.exit(0)\n", "model.py:5: SystemExit: 0"),
        ("assert False\n", "model.py:4: AssertionError"),
        ("def build():\n    return build()\n", "model.py:5 in build: RecursionError: "),
        ("def __getattr__(name):\n    raise OSError('odd')\n", "model.py:5 in __getattr__: OSError: odd"),
    ],
)
def test_the_users_error_is_one_line_with_its_own_last_frame(tmp_path: Path, body: str, line: str) -> None:
    assert raised(write(tmp_path, body) + ":build").startswith(line)


def test_an_error_in_a_users_package_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "import gone_entirely\n", "foolscope_test_broken.py")
    monkeypatch.chdir(tmp_path)
    expected = "foolscope_test_broken.py:4: ModuleNotFoundError: No module named 'gone_entirely'"
    assert raised("foolscope_test_broken:build") == expected


def test_a_failed_file_leaves_no_module_behind(tmp_path: Path) -> None:
    raised(write(tmp_path, "1 / 0\n", "failing_model.py") + ":build")
    assert "foolscope_model_failing_model" not in sys.modules


def test_an_interrupt_is_no_error_of_the_users(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_model(write(tmp_path, "raise KeyboardInterrupt\n") + ":build")


def test_the_last_frame_in_own_code_is_told_not_the_librarys(tmp_path: Path) -> None:
    path = write(tmp_path, "class build(nn.Module):\n    def forward(self, x):\n        return nn.Linear(3, 2)(x)\n")
    module = load_model(path + ":build").module
    with pytest.raises(ForeignError, match=r"^model\.py:6 in forward: RuntimeError: mat1 and mat2"), foreign_code():
        module(torch.rand(2, 4))


def test_input_errors_pass_and_long_messages_are_cut() -> None:
    with pytest.raises(InputError), foreign_code():
        raise InputError("--eps", "a number", "x")
    assert len(str(foreign_error(ValueError("x" * 5000)))) == 400
