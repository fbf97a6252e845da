"""`--fail-on-skip` itself: `make test-real` is worth nothing if a missing folder passes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED = "import pytest\n\ndef test_skipped():\n    pytest.skip('no data')\n"
SKIPPED_FILE = "import pytest\n\npytest.skip('no library', allow_module_level=True)\n"
PASSED = "def test_passed():\n    pass\n"


def run_pytest(folder: Path, *options: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(folder), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTEST_ADDOPTS": ""})
    return done.returncode, done.stdout


@pytest.mark.parametrize("skipped", [SKIPPED, SKIPPED_FILE], ids=["test", "file"])
def test_a_skip_fails_the_run_only_where_asked(skipped: str, tmp_path: Path) -> None:
    (tmp_path / "test_passed.py").write_text(PASSED)
    assert run_pytest(tmp_path, "--fail-on-skip")[0] == 0
    (tmp_path / "test_skipped.py").write_text(skipped)
    assert run_pytest(tmp_path)[0] == 0
    code, output = run_pytest(tmp_path, "--fail-on-skip")
    assert code == 1
    assert "--fail-on-skip: 1 skipped" in output
