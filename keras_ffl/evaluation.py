"""Errors of every head of a trained model."""

import keras
import numpy as np

from keras_ffl.data import Batches
from keras_ffl.errors import InputError
from keras_ffl.labels import check_labels, classes_of
from keras_ffl.models import count_multiply_adds, count_parameters


def head_logits(model, batches, verbose=0):
    """Computes the logits of all heads, including derived ones.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        batches: `keras_ffl.data.Batches`, or a `tf.data.Dataset` or array of
            normalised images.
        verbose: 0 or 1, whether to show a progress bar.

    Returns:
        Dict from head to a float array (n, classes).
    """
    logits = model.predict(batches, verbose=verbose)
    derived = model.derived_heads(logits)
    return {
        head: np.asarray(keras.ops.convert_to_numpy(values))
        for head, values in {**logits, **derived}.items()
    }


def outputs_of(network, images, batch_size=100):
    """Computes the output of a network for some images.

    Nothing is compiled: for a few images that is faster than `predict`.

    Args:
        network: `keras.Model` of one output.
        images: Float array (n, h, w, c), n >= 1.
        batch_size: Int >= 1.

    Returns:
        Float array (n, ...).
    """
    return np.concatenate(
        [
            keras.ops.convert_to_numpy(
                network(images[start : start + batch_size], training=False)
            )
            for start in range(0, len(images), batch_size)
        ]
    )


def probabilities(model, logits):
    """Computes what the exported heads of a model give for their logits.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        logits: Float array (n, classes).

    Returns:
        float64 array (n, classes), the prediction of the model's task.
    """
    outputs = model.task.prediction(keras.ops.convert_to_tensor(logits))
    found = keras.ops.convert_to_numpy(outputs[model.task.output_name])
    return found.astype("float64")


def classification_errors(y, logits):
    """Computes top-1 and top-5 error and mean cross-entropy.

    Args:
        y: Integer labels (n,) or (n, 1), or rows (n, classes), whose largest
            values are the classes.
        logits: Float array (n, classes).

    Returns:
        Dict of floats: `top1_error` and `top5_error` in percent (with fewer
        than five classes, `top5_error` is 0), `loss` in nats.

    Raises:
        InputError: A logit is NaN or infinite, a label is none of the
            classes, or their number is 0 or not that of the logits.
    """
    return _errors(_counts(y, logits))


def _counts(y, logits):
    """Counts of top-1 and top-5 errors, summed cross-entropy, image count."""
    logits = np.asarray(logits)
    check_labels(y, logits.shape[1])
    y = classes_of(np.asarray(y)).astype(int)
    if len(y) != len(logits):
        raise InputError(
            f"`y` must be the labels of {len(logits)} images, got {len(y)}"
        )
    # In parts, which take several times the memory of their logits.
    parts = [slice(start, start + 1000) for start in range(0, len(y), 1000)]
    counts = [_counts_of(y[part], logits[part]) for part in parts]
    return np.sum(counts, axis=0) if counts else np.zeros(4)


def _counts_of(y, logits):
    logits = logits.astype(np.float64)
    if not np.isfinite(logits).all():
        raise InputError("`logits` must be finite, got NaN or infinity")
    own = logits[np.arange(len(y)), y]
    largest = logits.max(axis=1)
    log_sum = np.log(np.exp(logits - largest[:, None]).sum(axis=1))
    # Ties count as errors unless the right class comes first, as in argmax.
    earlier = np.arange(logits.shape[1]) < y[:, None]
    rank = ((logits > own[:, None]) | ((logits == own[:, None]) & earlier)).sum(
        axis=1
    )
    return np.array(
        [
            np.sum(rank >= 1),
            np.sum(rank >= 5),
            np.sum(log_sum + (largest - own)),
            len(y),
        ],
        np.float64,
    )


def _errors(counts):
    top1, top5, loss, images = counts.tolist()
    if not images:
        raise InputError("`y` must hold at least one label, got none")
    return {
        "top1_error": 100 * top1 / images,
        "top5_error": 100 * top5 / images,
        "loss": loss / images,
    }


def evaluate_heads(model, batches, y, verbose=0, add_up=None):
    """Computes errors and sizes of every head.

    Args:
        model: `keras_ffl.methods.TrainingMethod`.
        batches: As in `head_logits`, in order.
        y: Labels as in `classification_errors`.
        verbose: 0 or 1, whether to show a progress bar.
        add_up: Function that sums an array of counts over all processes if
            each evaluates a part; None for a single process.

    Returns:
        Dict from head to a dict of `top1_error`, `top5_error` (percent),
        `loss` (nats), `parameters` (including frozen ones) and `multiply_adds`
        (of one forward pass for one image).

    Raises:
        InputError: The model's task isn't classification, `batches` are
            shuffled, or as in `classification_errors`.
    """
    model.task.check_counts_classes("Top-1 and top-5 errors")
    if isinstance(batches, Batches) and batches.options.seed is not None:
        raise InputError(
            "`batches` must be in the order of `y`, as `evaluation_batches` "
            f"are, got some shuffled by seed {batches.options.seed}"
        )
    results = {}
    for head, logits in head_logits(model, batches, verbose).items():
        classifier = model.classifier(head)
        counts = _counts(y, logits)
        results[head] = {
            **_errors(add_up(counts) if add_up else counts),
            "parameters": count_parameters(classifier, frozen=True),
            "multiply_adds": count_multiply_adds(classifier),
        }
    return results


def format_table(rows, header):
    """Formats a plain-text table with aligned columns.

    Args:
        rows: List of lists of str.
        header: List of str.

    Returns:
        Str of `len(rows) + 2` lines.
    """
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    )


def format_heads(heads):
    """Formats the results of `evaluate_heads` as a plain-text table."""
    return format_table(
        [
            [
                head,
                f"{values['top1_error']:.2f}",
                f"{values['top5_error']:.2f}",
                f"{values['loss']:.4f}",
                f"{values['parameters']:,}",
            ]
            for head, values in heads.items()
        ],
        ["head", "top-1 error %", "top-5 error %", "loss", "parameters"],
    )
