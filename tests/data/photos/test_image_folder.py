"""Folders of photos: classes, verification, bad input."""

import dataclasses
import json
import os

import numpy as np
import pytest
from support.photo_builders import (
    encoded,
    make_folder,
    rename_without_utf8,
    smooth,
)

from keras_ffl.config import Config
from keras_ffl.data import (
    DatasetInfo,
    PhotoOptions,
    from_folder,
    load,
    naming_unreadable,
    split_holdout,
)
from keras_ffl.data.photos.readable import find_unreadable
from keras_ffl.errors import InputError


def test_classes_and_files(tmp_path):
    make_folder(tmp_path, (2, 1, 1), (0, 1, 0))
    for empty in ("b0", "b2"):
        (tmp_path / "val" / empty).rmdir()
    code = encoded(smooth(9, 9))
    for name in ("A.PNG", "z.JPEG", "p.JpG", ".hidden.jpg"):
        (tmp_path / "train" / "b1" / name).write_bytes(code)
    dataset = load("imagefolder", tmp_path, PhotoOptions(image_size=40))
    assert dataset.info == DatasetInfo(
        "imagefolder",
        3,
        (40, 40, 3),
        ("b0", "b1", "b2"),
        (123.675, 116.28, 103.53),
        (58.395, 57.12, 57.375),
        flip=True,
        central_crop=0.875,
    )
    assert dataset.train.names.tolist() == [
        "train/b0/0.jpg",
        "train/b0/1.jpg",
        "train/b1/0.jpg",
        "train/b1/A.PNG",
        "train/b1/p.JpG",
        "train/b1/z.JPEG",
        "train/b2/0.jpg",
    ]
    assert dataset.y_train.tolist() == [0, 0, 1, 1, 1, 1, 2]
    assert dataset.test.names.tolist() == ["val/b1/0.jpg"]
    assert dataset.y_test.tolist() == [1]
    assert dataset.num_train == 7


def test_what_is_ignored_is_one_warning(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "train" / "b0" / "labels.txt").write_text("cat")
    (tmp_path / "train" / "b1" / "more.jpg").mkdir()
    (tmp_path / "val" / "list.csv").write_text("dog")
    with pytest.warns(UserWarning) as warnings:
        dataset = from_folder(tmp_path)
    (warning,) = warnings
    assert "3 entries" in str(warning.message)
    assert "the first is train/b0/labels.txt" in str(warning.message)
    assert dataset.num_train == 6


def test_links_to_nothing_are_named(tmp_path):
    make_folder(tmp_path)
    link = tmp_path / "train" / "b1" / "link.jpg"
    link.symlink_to("nowhere.jpg")
    with pytest.raises(InputError, match="a photo .* read: .*b1/link.jpg"):
        from_folder(tmp_path).train.reader()
    options = PhotoOptions(16, "stop")
    with pytest.raises(InputError, match="link.jpg"):
        from_folder(tmp_path, options)


def test_holdout(tmp_path):
    dataset = from_folder(make_folder(tmp_path, (4, 8)), PhotoOptions(16))
    rest, part = split_holdout(dataset, 0.25)
    assert np.bincount(part.y_test).tolist() == [1, 2]
    assert np.bincount(rest.y_train).tolist() == [3, 6]
    assert sorted([*rest.train.names, *part.test.names]) == sorted(
        dataset.train.names
    )
    assert rest.test is dataset.test
    assert part.train is rest.train
    labels = [y for _, y in part.evaluation_batches()]
    np.testing.assert_array_equal(np.concatenate(labels), part.y_test)


# --- verification --------------------------------------------------------


@pytest.fixture
def damaged(tmp_path):
    """Two of eight files are no photos, one is gone."""
    make_folder(tmp_path, (3, 3), (1, 1))
    cut = tmp_path / "train" / "b0" / "1.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    (tmp_path / "val" / "b1" / "0.jpg").write_bytes(b"")
    return tmp_path


def test_unreadable_files_are_found(damaged):
    dataset = from_folder(damaged)
    (damaged / "train" / "b1" / "2.jpg").unlink()
    found = find_unreadable(dataset.train)
    assert list(found) == [1, 5]
    assert "JPEG" in found[1]
    assert "No such file" in found[5]
    for reason in found.values():
        assert "\n" not in reason and "{{" not in reason and "[Op" not in reason


def test_unreadable_files_are_left_out(damaged):
    with pytest.warns(UserWarning) as warnings:
        dataset = from_folder(damaged, PhotoOptions(16, verify="skip"))
    (warning,) = warnings
    names = ("train/b0/1.jpg", "val/b1/0.jpg")
    for part in ("2 photos can't be decoded", *names):
        assert part in str(warning.message)
    assert dataset.info.left_out == names
    assert dataset.y_train.tolist() == [0, 0, 1, 1, 1]
    assert dataset.y_test.tolist() == [0]
    assert sum(len(y) for _, y in dataset.training_batches(2, 0)) == 5
    # A run that goes on has these names from its folder.
    info = DatasetInfo.from_dict(json.loads(json.dumps(dataset.info.to_dict())))
    assert info == dataset.info
    again = from_folder(
        damaged, PhotoOptions(16, verify="skip", left_out=info.left_out)
    )
    assert again.info == dataset.info
    assert again.train.names.tolist() == dataset.train.names.tolist()


def test_strict_verification(damaged):
    with pytest.raises(InputError) as error:
        from_folder(damaged, PhotoOptions(verify="stop"))
    message = str(error.value)
    assert "2 photos" in message
    assert "train/b0/1.jpg (" in message and "val/b1/0.jpg (" in message
    assert "\n" not in message


def test_good_files_pass(tmp_path):
    options = PhotoOptions(verify="stop")
    dataset = from_folder(make_folder(tmp_path), options)
    assert dataset.info.left_out == ()
    assert dataset.num_train == 6


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_a_class_without_a_readable_file(tmp_path):
    make_folder(tmp_path, (2, 1))
    (tmp_path / "train" / "b1" / "0.jpg").write_bytes(b"no photo")
    with pytest.raises(InputError, match="no file in .*train/b1 can be dec"):
        from_folder(tmp_path, PhotoOptions(verify="skip"))


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_no_readable_file_in_val(tmp_path):
    make_folder(tmp_path, (1, 1), (1, 1))
    for photo in (tmp_path / "val").glob("*/*"):
        photo.write_bytes(b"no photo")
    with pytest.raises(InputError, match="no file in .*val can be decoded"):
        from_folder(tmp_path, PhotoOptions(verify="skip"))


# --- names that are no UTF-8 -----------------------------------------------


@pytest.mark.filterwarnings("ignore:.*are left out")
def test_names_without_utf8(tmp_path):
    rename_without_utf8(make_folder(tmp_path))
    names = (r"b0", r"caf\xe9")
    assert from_folder(tmp_path).info.class_names == names
    bad = os.fsencode(tmp_path) + b"/train/caf\xe9/1.jpg"
    with open(bad, "wb") as file:
        file.write(b"damaged")
    options = PhotoOptions(16, verify="skip")
    dataset = from_folder(tmp_path, options)
    assert dataset.info.left_out == (r"train/caf\xe9/1.jpg",)
    assert sum(len(y) for _, y in dataset.training_batches(2, 0)) == 5
    # Known again from what a run has written down.
    text = json.dumps(dataset.info.to_dict(), ensure_ascii=False)
    info = DatasetInfo.from_dict(json.loads(text.encode()))
    options = PhotoOptions(16, left_out=info.left_out)
    assert from_folder(tmp_path, options).num_train == 5


def test_a_photo_that_is_gone_without_utf8(tmp_path):
    rename_without_utf8(make_folder(tmp_path))
    photos = from_folder(tmp_path).train
    os.remove(os.fsencode(tmp_path) + b"/train/caf\xe9/1.jpg")
    (reason,) = find_unreadable(photos).values()
    assert reason.endswith(r"/train/caf\xe9/1.jpg; No such file or directory")
    with pytest.raises(InputError, match=r"a photo .* read: .*caf\\xe9/1.jpg"):
        photos.reader()


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (b"\xff.jpg", r"\xff.jpg"),
        ("é 'q\".jpg".encode(), "é 'q\".jpg"),
        (rb"a\b.jpg", r"a\b.jpg"),
    ],
)
def test_a_damaged_photo_is_named(name, printed, tmp_path):
    make_folder(tmp_path)
    with open(os.fsencode(tmp_path) + b"/train/b0/" + name, "wb") as file:
        file.write(b"damaged")
    batches = from_folder(tmp_path, PhotoOptions(16)).training_batches(2, 0)
    with pytest.raises(InputError) as error, naming_unreadable():
        for _ in batches:
            pass
    photo = f"{tmp_path}/train/b0/{printed}"
    assert str(error.value).startswith(f"photo {photo} can't be read")


# --- bad input -----------------------------------------------------------


def remove(folder):
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda root: remove(root), "`data_dir` must be an existing"),
        (lambda root: remove(root / "train"), "folder train, got .*without"),
        (lambda root: remove(root / "val"), "folder val, got .*without"),
        (
            lambda root: (root / "train" / "b2").mkdir(),
            "every class folder, got none in .*train/b2",
        ),
        (
            lambda root: (root / "val" / "b1" / "0.jpg").unlink(),
            "every class folder, got none in .*val/b1",
        ),
        (
            lambda root: (root / "val" / "b1").rename(root / "val" / "c"),
            "class in .*val must be in .*train, got c",
        ),
        (
            lambda root: (remove(root / "train"), (root / "train").mkdir()),
            "must hold images in .*train/<class>/",
        ),
    ],
)
def test_bad_folders(spoil, message, tmp_path):
    root = make_folder(tmp_path / "data", (1, 1), (1, 1))
    spoil(root)
    with pytest.raises(InputError, match=message) as error:
        from_folder(root)
    assert "\n" not in str(error.value)


def test_no_folder_at_all():
    with pytest.raises(InputError, match="`data_dir` must be .*got None"):
        load("imagefolder")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": np.array([1, 2])}, "`y_train`: .*label 2 at index 1"),
        ({"labels": np.array([0])}, "`labels` must be 2 integers, .* got 1"),
        ({"central_crop": None}, "`info` of photos must have .*got None"),
    ],
)
def test_bad_photo_data_sets(changes, message, tmp_path):
    dataset = from_folder(make_folder(tmp_path, (1, 1), (1, 1)))
    with pytest.raises(InputError, match=message):
        if "labels" in changes:
            train = dataclasses.replace(dataset.train, **changes)
            dataclasses.replace(dataset, train=train)
        else:
            info = dataclasses.replace(dataset.info, **changes)
            dataclasses.replace(dataset, info=info)


def test_steps_in_a_call_of_photos(tmp_path):
    dataset = from_folder(make_folder(tmp_path))
    with pytest.raises(InputError, match="`steps_per_call` must be 1 for ph"):
        dataset.training_batches(2, 0, steps_per_call=2)


@pytest.mark.parametrize("size", [7, 0, 16.0])
def test_bad_image_size(size):
    with pytest.raises(InputError, match=f"`image_size` must .*got {size}"):
        PhotoOptions(image_size=size)


def test_bad_image_size_in_a_configuration():
    with pytest.raises(InputError, match="`image_size` must be between 8"):
        Config(image_size=7)


def test_info_of_earlier_runs_can_be_read():
    info = DatasetInfo("a", 1, (8, 8, 1), ("b",), (1.0,), (2.0,), False)
    fields = info.to_dict()
    del fields["central_crop"], fields["left_out"]
    assert DatasetInfo.from_dict(fields) == info
    assert dataclasses.replace(info, antialias=False) != info
