"""The scripts of figure and report without what they need."""

import pytest
from support.script_runs import run_here

from keras_ffl import presets
from keras_ffl.data import DatasetInfo
from keras_ffl.workdir import Workdir

INFO = DatasetInfo("toy", 2, (4, 4, 1), ("a", "b"), (1.0,), (2.0,), False)


@pytest.mark.parametrize(
    ("script", "name"),
    [("gradcam.py", "output.png"), ("report.py", "output.html")],
)
def test_a_run_without_a_checkpoint(script, name, tmp_path, monkeypatch, capfd):
    config = presets.preset("quickstart")
    folder = Workdir(tmp_path / "run")
    folder.check(config)
    folder.start(config, INFO)
    output = tmp_path / name
    arguments = [f"--workdir={folder.path}", f"--output={output}"]
    assert run_here(script, arguments, monkeypatch) == 1
    assert capfd.readouterr().err == (
        f"error: {folder.checkpoints} holds no checkpoint of the last epoch "
        "yet\n"
    )
    assert not output.exists()
