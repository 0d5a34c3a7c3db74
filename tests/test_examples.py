"""The examples of docs/examples run as they are printed."""

import pathlib
import runpy

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "examples"
ENSEMBLE = ("vanilla", "fused", "sub_1", "sub_2", "ensemble")
SCORES = {
    "multi_label": ENSEMBLE,
    "segmentation": ENSEMBLE,
    "two_vits": ENSEMBLE,
    "cnn_and_vit": ("cnn alone", "vit alone", *ENSEMBLE[1:]),
}
# The others take half a minute each.
QUICK = ("segmentation",)


def test_all_are_run():
    names = {path.stem for path in FOLDER.glob("*.py")}
    assert names == {*SCORES, "comparison"}


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in SCORES
    ],
)
def test_example(name, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER)
    main = runpy.run_path(str(FOLDER / f"{name}.py"))["main"]
    scores = main(epochs=1)
    assert tuple(scores) == SCORES[name]
    assert capsys.readouterr().out.count(" 0.") >= len(SCORES[name])
