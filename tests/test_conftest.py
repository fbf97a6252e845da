"""`--fail-on-skip` itself: `make test-real` is worth nothing if a missing folder passes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SKIPPED = "import pytest\n\ndef test_skipped():\n    pytest.skip('no data')\n"
SKIPPED_FILE = "import pytest\n\npytest.skip('no library', allow_module_level=True)\n"
PASSED = "def test_passed():\n    pass\n"


def test_a_skip_fails_the_run_only_where_asked(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    for name, text in {"test_passed": PASSED, "test_skipped": SKIPPED, "test_skipped_file": SKIPPED_FILE}.items():
        (tmp_path / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q"]
    runs = [
        subprocess.Popen(
            [*command, *options],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTEST_ADDOPTS": ""},
        )
        for options in ((), ("--fail-on-skip",), ("--fail-on-skip", "test_passed.py"))
    ]
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 1, 0], outputs
    assert "--fail-on-skip: 2 skipped" in outputs[1]
