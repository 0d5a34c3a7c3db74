"""Exported models as contenders."""

import collections
import tempfile

from benchmarks.contenders import build_ours, random_arrays
from benchmarks.worker import Prepared


def exported(model, batch, **options):
    """The signature of an exported model on a batch of uint8 images.

    Args:
        model: "vanilla", "sub_1", "fused", "ensemble" (of two independent
            networks) or "vanilla, not folded".
        batch: Int.
        **options: See `benchmarks.training_steps.pair`.
    """
    import numpy as np
    import tensorflow as tf

    loaded = _written_and_loaded(model, {**options, "batch": batch})
    signature = loaded.signatures["serving_default"]
    size = options["image_size"]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, size, size, 3), "uint8")
    images = tf.constant(images)
    return Prepared(
        lambda: signature(images=images) and None,
        facts={"operations": _operations(signature)},
    )


def _written_and_loaded(name, options):
    import tensorflow as tf

    from keras_ffl.export import export_head

    *_, info = random_arrays(1, options["image_size"], options["classes"])
    method, head = "ffl", name
    if name.startswith("vanilla"):
        method, head = "vanilla", "vanilla"
        options = {**options, "names": options["names"][:1]}
    elif name == "ensemble":
        method = "ensemble"
    model = build_ours(options, method)
    with tempfile.TemporaryDirectory() as folder:
        export_head(model, head, info, folder, fold="not folded" not in name)
        return tf.saved_model.load(folder)


def _operations(function):
    """Counts the operations in a function's graph by type, a dict."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node]
    for each in graph.library.function:
        nodes += each.node_def
    return dict(sorted(collections.Counter(n.op for n in nodes).items()))
