"""The entry points for data, which check it."""

import contextlib
import itertools
import types

import keras
import numpy as np

from keras_ffl.backend import said_by
from keras_ffl.batch_parts import (
    check_images,
    checked_arrays,
    described,
    holds_views,
    parts_of,
)
from keras_ffl.errors import InputError
from keras_ffl.methods.heads import HeadedModel


class CheckedModel(HeadedModel):
    """A model that reports invalid data with a single `InputError`.

    Arrays are checked before the first step, including their values. Batches
    from data sets and generators are checked when a step is traced (structure,
    type, rank and width) and, on CPUs, in every step (values). A rejected batch
    changes no weight.

    Labels and weights may be given by head if they are the very same array for
    all heads.
    """

    _trains_on_views = False

    def fit(
        self,
        x=None,
        y=None,
        *,
        sample_weight=None,
        validation_data=None,
        **kwargs,
    ):
        """As in Keras.

        Raises:
            InputError: Images, labels or weights are invalid.
        """
        if isinstance(validation_data, (tuple, list)) or _is_array(
            validation_data
        ):
            name = "validation_data"
            images, *labels = parts_of(validation_data, f"`{name}`")
            self._look_at_images(images, training=False)
            validation_data = (images, *self._arrays(*labels, argument=name))
        else:
            validation_data = self._looked_at(validation_data, training=False)
        x, y, sample_weight = self._given(x, y, sample_weight)
        if kwargs.get("validation_split") and self._trains_on_views:
            raise InputError(
                "`validation_split` must be 0 for several views of each image, "
                f"got {kwargs['validation_split']}; give single images as "
                "`validation_data`"
            )
        if kwargs.get("class_weight") is not None:
            kwargs["class_weight"] = self._of_classes(kwargs["class_weight"])
        with self._plain_errors():
            return super().fit(
                x,
                y,
                sample_weight=sample_weight,
                validation_data=validation_data,
                **kwargs,
            )

    def evaluate(
        self,
        x=None,
        y=None,
        batch_size=None,
        verbose="auto",
        sample_weight=None,
        **kwargs,
    ):
        """As in Keras.

        Raises:
            InputError: As in `fit`.
        """
        # `fit` has checked what it evaluates between epochs.
        if not kwargs.get("_use_cached_eval_dataset"):
            x, y, sample_weight = self._given(x, y, sample_weight, False)
        with self._plain_errors():
            return super().evaluate(
                x, y, batch_size, verbose, sample_weight, **kwargs
            )

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """As in Keras.

        Raises:
            InputError: As in `fit`.
        """
        x, y, sample_weight = self._given(x, y, sample_weight)
        if kwargs.get("class_weight") is not None:
            kwargs["class_weight"] = self._of_classes(kwargs["class_weight"])
        with self._plain_errors():
            return super().train_on_batch(x, y, sample_weight, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """As in Keras.

        Raises:
            InputError: As in `fit`.
        """
        x, y, sample_weight = self._given(x, y, sample_weight, False)
        with self._plain_errors():
            return super().test_on_batch(x, y, sample_weight, **kwargs)

    def _of_classes(self, class_weight):
        """Checks `class_weight`; classes that it lacks get 1, as in Keras."""
        # Keras would take other labels for classes.
        if not self.task.counts_classes:
            raise InputError(
                f"`class_weight` must be None for {type(self.task).__name__}, "
                f"whose images have no classes, got {class_weight}; give "
                "`sample_weight`"
            )
        classes = range(self.head_shape[-1])
        if (
            not isinstance(class_weight, dict)
            or set(class_weight) - {*classes}
            or not all(
                np.isreal(w) and np.isfinite(w) for w in class_weight.values()
            )
        ):
            raise InputError(
                "`class_weight` must be a dict from classes in "
                f"0..{classes[-1]} to finite weights, got {class_weight!r}"
            )
        # With data sets, Keras fails for a class above the largest key.
        return {k: class_weight.get(k, 1.0) for k in classes}

    def _given(self, x, y, sample_weight, training=True):
        """Checks the user's data and returns the form for Keras."""
        if y is not None:
            self._look_at_images(x, training)
            return x, *self._arrays(y, sample_weight)
        if _is_array(x):
            raise InputError(
                f"`y` must be the labels of the images {described(x)}, got None"
            )
        return self._looked_at(x, training), y, sample_weight

    def _look_at_images(self, x, training):
        """Checks the type of images and the number of views of each."""
        shape = self.input.shape
        check_images(x, self.input, self.views if training else 0)
        if training and self._trains_on_views != holds_views(x, shape):
            # TensorFlow would make one function for images of any rank.
            self.train_function = None
            self._trains_on_views = not self._trains_on_views

    def _arrays(self, y, sample_weight, argument="y"):
        return checked_arrays(
            y, sample_weight, self.check_label_values, self.heads, argument
        )

    @contextlib.contextmanager
    def _plain_errors(self):
        """Turns any error about a batch into a single `InputError`."""
        try:
            yield
        except Exception as error:
            message = said_by(error)
            if isinstance(error, InputError):
                # A function whose first trace failed can't create variables
                # any more, so it could not take a good batch either.
                self.train_function = self.test_function = None
                message = str(error)
            if message is None:
                raise
            raise InputError(message) from None

    def _looked_at(self, batches, training):
        """Checks the structure of batches if it is known, and returns them.

        A generator's first batch is drawn and put back.
        """
        if isinstance(batches, types.GeneratorType):
            first = list(itertools.islice(batches, 1))
            for batch in first:
                self.unpacked(batch, training)
            # Again a generator, as Keras expects.
            return (each for each in itertools.chain(first, batches))
        batch = getattr(batches, "element_spec", None)
        # Specifications of replicas have no shapes.
        if not self.is_fed(batch) and all(
            hasattr(each, "shape") for each in keras.tree.flatten(batch)
        ):
            images, *_ = self.unpacked(batch, training)
            self._look_at_images(images, training)
        return batches


def _is_array(data):
    """Whether `data` is an array or a structure of arrays, not a data set."""
    return all(hasattr(each, "shape") for each in keras.tree.flatten(data))
