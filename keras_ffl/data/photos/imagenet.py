"""ImageNet as prepared by tensorflow-datasets."""

from keras_ffl.data.photos.photo_dataset import (
    PhotoDataset,
    PhotoOptions,
    photo_info,
)
from keras_ffl.data.photos.readable import without_unreadable
from keras_ffl.data.photos.records import open_records
from keras_ffl.data.tfds_builders import (
    check_complete,
    damaged,
    prepared_builder,
)
from keras_ffl.errors import InputError


def imagenet2012(data_dir, options=PhotoOptions()):
    """Opens ILSVRC 2012, with the validation photos as test split.

    tensorflow-datasets prepares it from the archives, which you must obtain
    yourself, and says where it expects them. The photos stay encoded.

    Args:
        data_dir: Folder of tensorflow-datasets, or None for its default.
        options: `PhotoOptions`.

    Returns:
        A `PhotoDataset`. Looking up its training labels, as a holdout does,
        reads every record.

    Raises:
        InputError: The data set is missing and can't be prepared, or it is
            damaged.
    """
    builder = prepared_builder("imagenet2012", data_dir)
    if builder.info.file_format.value != "tfrecord":
        raise InputError(
            f"data set 'imagenet2012' in {builder.data_path} must have the "
            f"file format tfrecord, got {builder.info.file_format.value}"
        )
    try:
        check_complete(builder)
        names = builder.info.features["label"].names
        splits = [_records(builder, s) for s in ("train", "validation")]
    # JSON and protobuf fail differently.
    except Exception as error:
        raise damaged("imagenet2012", builder.data_path, error) from error
    splits, left_out = without_unreadable(
        splits, options, str(builder.data_path)
    )
    info = photo_info("imagenet2012", names, options.image_size, left_out)
    return PhotoDataset(info, *splits)


def _records(builder, split):
    info = builder.info.splits[split]
    records = open_records(split, info.filepaths)
    if len(records) != info.num_examples:
        raise ValueError(
            f"{split}: expected {info.num_examples} examples, found "
            f"{len(records)}"
        )
    return records
