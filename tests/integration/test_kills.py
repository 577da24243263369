"""A sample of the kills; ``python -m tests.kills`` does 200."""

import subprocess
import sys

import pytest

from tests.integration.command import ROOT


@pytest.mark.timeout(600)
def test_ten_kills_leave_a_whole_checkpoint_and_nothing_else():
    command = [sys.executable, "-W", "ignore", "-m", "tests.kills", "--kills", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["kills", "8", "2"] in rows
    assert ["bad_damaged", "0", "0"] in rows
