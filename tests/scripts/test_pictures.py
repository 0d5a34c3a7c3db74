"""The scripts of figure and report as a user starts them."""

import pathlib
import subprocess
import sys

import pytest

from keras_ffl import presets
from keras_ffl.data import DatasetInfo
from keras_ffl.workdir import Workdir

SCRIPTS = pathlib.Path(__file__).parents[2] / "scripts"
INFO = DatasetInfo("toy", 2, (4, 4, 1), ("a", "b"), (1.0,), (2.0,), False)


@pytest.mark.parametrize(
    "script",
    # What they share shows in one of them.
    ["gradcam.py", pytest.param("report.py", marks=pytest.mark.slow)],
)
def test_a_run_without_a_checkpoint(script, tmp_path):
    config = presets.preset("quickstart")
    folder = Workdir(tmp_path / "run")
    folder.check(config)
    folder.start(config, INFO)
    output = tmp_path / "output.png"
    result = subprocess.run(
        [
            sys.executable,
            str(SCRIPTS / script),
            f"--workdir={folder.path}",
            f"--output={output}",
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last == (
        f"error: {folder.checkpoints} holds no checkpoint of the last epoch yet"
    )
    assert not output.exists()
