"""What a step is given of the same batches on each backend.

    KERAS_BACKEND=jax python -m support.fed_batches FILE [PHOTOS]

writes it to FILE.npz for all `SCENARIOS`, or of photos in a folder.
"""

import sys

import numpy as np
from keras import ops

from keras_ffl.data import (
    Augmentation,
    DatasetInfo,
    PhotoOptions,
    evaluation_batches,
    from_folder,
    training_batches,
)

N, CLASSES = 11, 3
INFO = DatasetInfo(
    "toy",
    CLASSES,
    (8, 6, 3),
    tuple("abc"),
    (90.3, 120.0, 100.1),
    (50.7, 60.0, 55.3),
    True,
)
MIXED = Augmentation(
    pad=2, cutout=3, mixup=0.4, cutmix=1.0, label_smoothing=0.1
)


def arrays():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, *INFO.input_shape)).astype("uint8")
    return x, rng.integers(CLASSES, size=N).astype("int32")


def training(augmentation, batch_size=4, **options):
    return training_batches(
        *arrays(), INFO, batch_size, 5, augmentation, **options
    )


SCENARIOS = {
    "plain": lambda: training(None),
    "crop": lambda: training(Augmentation(pad=2), epochs=3, initial_epoch=1),
    "black": lambda: training(
        Augmentation(pad=3, padding="constant", flip=False, cutout=4)
    ),
    "mixed": lambda: training(MIXED, epochs=2),
    "randaugment": lambda: training(Augmentation(pad=1, randaugment=8)),
    "views": lambda: training(
        Augmentation(pad=2, cutout=3, mixup=0.4, cutmix=1.0), views=3
    ),
    "steps": lambda: training(Augmentation(pad=2), 2, epochs=2),
    "evaluation": lambda: evaluation_batches(*arrays(), INFO, 4),
    "one_hot": lambda: evaluation_batches(*arrays(), INFO, 4, one_hot=True),
}


def of_photos(root):
    dataset = from_folder(root, PhotoOptions(16))
    return {
        "training": dataset.training_batches(3, 5, MIXED, epochs=2),
        "evaluation": dataset.evaluation_batches(3),
    }


def on_jax(batches):
    """Images and labels of every step, from what JAX is fed."""
    from keras_ffl.backend.jax.feed import feed

    fed = feed(batches)
    elements = (
        fed
        if batches.examples.are_photos
        else map(fed.__getitem__, range(len(fed)))
    )
    for (batch,) in elements:
        # To be copied to all devices, not to be split.
        arrays = [*batch[:2], *batch.constants, *batch.rows.values()]
        assert {array.shape[0] for array in arrays} == {1}
        for k in range(batch.rows["example"].shape[1]):
            rows = {
                name: ops.convert_to_tensor(np.asarray(column[k]))
                for name, column in batch.steps().items()
            }
            batch = batch._replace(
                images=np.asarray(batch.images),
                labels=np.asarray(batch.labels),
                constants=type(batch.constants)(
                    *map(np.asarray, batch.constants)
                ),
            )
            yield batch.prepared(rows)


def main():
    path, *photos = sys.argv[1:]
    batches = (
        of_photos(*photos)
        if photos
        else {name: make() for name, make in SCENARIOS.items()}
    )
    if not photos:
        # Five full batches as 3 + 2, and the last one alone.
        batches["steps"] = training(
            Augmentation(pad=2), 2, epochs=2, steps_per_call=3
        )
    found = {}
    for name, made in batches.items():
        for kind, steps in (("fed", on_jax(made)), ("iterated", made)):
            for k, pair in enumerate(steps):
                for what, values in zip(("images", "labels"), pair):
                    found[f"{name}/{kind}/{k}/{what}"] = ops.convert_to_numpy(
                        values
                    )
    np.savez(path, **found)


if __name__ == "__main__":
    main()
