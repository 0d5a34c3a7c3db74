"""The Grad-CAM figure of a run."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_ffl import InputError, data
from keras_ffl.studies.report import run_figure, runs, write_figure
from keras_ffl.studies.report.names import class_number, readable_names
from keras_ffl.studies.report.runs import open_runs, views_to_show
from keras_ffl.workdir import Workdir


def predictions(folder, head, images):
    model = folder.load_model()
    logits = model.classifier(head).predict(images, verbose=0)
    return logits.argmax(axis=1)


def test_a_run_beside_the_network_alone(ffl_run, vanilla_run, digits, tmp_path):
    path = tmp_path / "new" / "figure.png"
    groups = write_figure(
        ffl_run.path, path, compare=[vanilla_run.path], per_group=2
    )
    with Image.open(path) as picture:
        assert picture.width > 400 and picture.height > 700
    images = data.normalize(digits.x_test, digits.info)
    y = digits.y_test
    wrong = [
        predictions(ffl_run, head, images) != y
        for head in ("fused", "sub_1", "sub_2")
    ] + [predictions(vanilla_run, "vanilla", images) != y]
    expected = {
        "all right": [False] * 4,
        "FFL right, vanilla wrong": [False] * 3 + [True],
        "all wrong": [True] * 4,
    }
    assert "all wrong" in groups and set(groups) <= set(expected)
    for title, numbers in groups.items():
        assert 1 <= len(numbers) <= 2
        for number in numbers:
            assert [each[number] for each in wrong] == expected[title]
    again = write_figure(
        ffl_run.path, path, compare=[vanilla_run.path], per_group=2
    )
    np.testing.assert_equal(again, groups)


def test_runs_in_folders_of_one_name(vanilla_run, tmp_path):
    for seed in ("s0", "s1"):
        shutil.copytree(vanilla_run.path, tmp_path / seed / "run")
    folders = [tmp_path / "s0" / "run", tmp_path / "s1" / "run"]
    runs = open_runs(folders[0], [folders[1], vanilla_run.path])
    assert [run.name for run in runs] == [
        f"vanilla ({folders[0]})",
        f"vanilla ({folders[1]})",
        f"vanilla ({vanilla_run.path.name})",
    ]


def test_a_run_on_other_images(vanilla_run, tmp_path, caplog):
    shutil.copytree(vanilla_run.path, tmp_path / "run")
    other = Workdir(tmp_path / "run")
    info = dataclasses.replace(other.dataset_info(), num_train=7)
    other.start(other.config(), info)
    open_runs(vanilla_run.path, [other.path])
    (message,) = caplog.messages
    assert message.startswith(f"{other.path} may have been trained on other")


def test_rows(ffl_run, vanilla_run):
    runs = open_runs(vanilla_run.path, [ffl_run.path])
    assert [(head, title) for _, head, title in views_to_show(runs)] == [
        ("vanilla", "vanilla"),
        ("fused", "ffl: fused"),
    ]
    runs = open_runs(ffl_run.path, [vanilla_run.path])
    assert [title for _, _, title in views_to_show(runs)] == [
        "fused",
        "sub-network 1",
        "sub-network 2",
        "vanilla",
    ]


@pytest.fixture
def files(digits, tmp_path):
    """Two digits as files, the first in a folder of its class's name."""
    paths = [tmp_path / str(digits.y_test[0]) / "one.png", tmp_path / "two.png"]
    for path, image in zip(paths, digits.x_test):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    return paths


def test_files(ffl_run, files, tmp_path):
    groups = write_figure(
        ffl_run.path,
        tmp_path / "figure.jpg",
        files=files,
        layer="stage1_block1_relu2",
        explained="3",
    )
    assert {key: list(value) for key, value in groups.items()} == {
        "images": [0, 1]
    }
    with Image.open(tmp_path / "figure.jpg") as picture:
        assert picture.format == "JPEG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            {"layer": "no"},
            "`layer` must name a layer .* no layer 'no'",
            id="no such layer, files read",
        ),
        (
            {"explained": "cat"},
            "`class` must be a class of digits \\(0, 1, 2, 3, 4, ...\\) or a "
            "number in 0..9, got 'cat'",
        ),
        ({"files": ["absent.png"]}, "`images`: absent.png can't be read"),
        ({"output": "figure.txt"}, "`output` must end with one of .png, .jpg"),
        ({"compare": ["nowhere"]}, "nowhere holds no run"),
        ({"class_names": "absent.txt"}, "absent.txt can't be read: No such"),
        ({"class_names": __file__}, "got none for 0 or another class"),
    ],
)
def test_bad_input(ffl_run, files, tmp_path, arguments, message):
    fields = {"output": tmp_path / "x.png", "files": files, **arguments}
    with pytest.raises(InputError, match=message) as error:
        write_figure(ffl_run.path, **fields)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "x.png").exists()


def test_folders_that_will_not_do(ffl_run, digits, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        open_runs(tmp_path)
    folder = Workdir(tmp_path / "empty")
    folder.check(ffl_run.config())
    folder.start(ffl_run.config(), digits.info)
    with pytest.raises(InputError, match="no checkpoint of the last epoch yet"):
        open_runs(folder.path)
    with pytest.raises(InputError, match="`compare`: .* is named twice"):
        open_runs(ffl_run.path, [ffl_run.path])
    other = dataclasses.replace(digits.info, name="others")
    folder.start(ffl_run.config(), other)
    message = "must have the data set of .*, got another name: others, not dig"
    with pytest.raises(InputError, match=message):
        open_runs(ffl_run.path, [folder.path])


def test_heads_and_images_that_can_not_be_shown(
    ffl_run, tmp_path, monkeypatch, caplog
):
    heights = []
    for known in (("fused", "sub_1", "sub_2"), ("sub_1", "sub_2")):
        monkeypatch.setattr(runs, "has_map", lambda _, head: head in known)
        write_figure(ffl_run.path, tmp_path / "f.png", per_group=1)
        with Image.open(tmp_path / "f.png") as picture:
            heights.append(picture.height)
    assert heights[1] < heights[0]
    assert caplog.messages == ["fused has no feature map and no row"]
    monkeypatch.setattr(run_figure, "drawn", lambda *_: {})
    with pytest.raises(InputError, match="must have test images that all"):
        write_figure(ffl_run.path, tmp_path / "g.png")
    assert not (tmp_path / "g.png").exists()


def test_names_of_classes(tmp_path):
    info = data.DatasetInfo(
        "toy", 3, (4, 4, 1), tuple("abc"), (1,), (2,), False
    )
    assert readable_names(info) == ["a", "b", "c"]
    path = tmp_path / "names.txt"
    path.write_text("b big bear, bear\n\nz zebra\na\n")
    names = readable_names(info, path)
    assert names == ["a", "big bear, bear", "c"]
    for text, number in (
        ("b", 1),
        ("big bear, bear", 1),
        ("2", 2),
        (None, None),
    ):
        assert class_number(text, info, names) == number
    with pytest.raises(InputError, match="got 'crane', the name of a, c"):
        class_number("crane", info, ["crane", "b", "crane"])


def test_a_class_whose_name_begins_with_another(tmp_path):
    info = data.DatasetInfo(
        "toy", 3, (4, 4, 1), ("cat", "tiger", "tiger cat"), (1,), (2,), False
    )
    path = tmp_path / "names.txt"
    path.write_text("tiger Tiger\ntiger cat\tTigerkatze\ntiger cat\n")
    assert readable_names(info, path) == ["cat", "Tiger", "Tigerkatze"]
