"""Packages that only a part of the library needs."""

import subprocess
import sys

import pytest

from keras_ffl import InputError
from keras_ffl.studies.report import write_figure, write_report

LIBRARY = """
import sys
sys.modules["matplotlib"] = sys.modules["jinja2"] = None
import keras_ffl.cli, keras_ffl.training
print([name for name in sys.modules if name.startswith("keras_ffl.studies")])
"""


def test_what_trains_imports_neither_studies_nor_their_packages():
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY], capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("write", "output", "package"),
    [
        (write_figure, "figure.png", "matplotlib"),
        (write_report, "page.html", "matplotlib"),
        (write_report, "page.html", "jinja2"),
    ],
)
def test_studies_name_their_extra_before_they_work(
    write, output, package, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        InputError,
        match=rf"need {package}, which .* pip install \"keras-ffl\[studies\]\"",
    ):
        write(tmp_path / "no run", tmp_path / output)
    assert not list(tmp_path.iterdir())
