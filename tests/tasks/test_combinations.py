"""Every method with every task and features of every rank.

The table of what works, in docs/tasks.md, is made here.
"""

import pathlib

import keras
import numpy as np
import pytest
from support import combinations, method_steps, ranks
from support.builders import assert_close, compiled
from support.combinations import KINDS, MODELS
from support.task_references import TASKS

from keras_ffl import FeatureFusionModel
from keras_ffl.data import DatasetInfo
from keras_ffl.errors import InputError
from keras_ffl.evaluation import evaluate_heads
from keras_ffl.export import export_head
from keras_ffl.optimizers import SGD
from keras_ffl.studies.pictures import grad_cam

tf = pytest.importorskip("tensorflow")

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "tasks.md"
# All others take minutes.
QUICK = (
    "ffl_multi_label_tokens",
    "ffl_segmentation_maps",
    "one_segmentation_tokens",
    "kd_regression_vectors",
)
EVERY = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in combinations.METHODS
]


def made(name):
    keras.utils.set_random_seed(0)
    model = combinations.METHODS[name]()
    compiled(
        model,
        SGD(0.05),
        metrics=model.task.metrics(model.head_shape),
        run_eagerly=True,
    )
    return model, *method_steps.data_of(model)


def info_of(model):
    names = tuple("abcdefgh"[: model.num_classes])
    return DatasetInfo(
        "toy",
        len(names),
        model.input_shape[1:],
        names,
        (0, 0, 0),
        (1, 1, 1),
        False,
    )


@pytest.mark.parametrize("name", EVERY)
def test_trains_saves_resumes_and_exports(name, tmp_path):
    model, x, y = made(name)
    before = model.get_weights()
    logs = model.fit(x, y, 4, verbose=0).history
    assert np.isfinite(list(logs.values())).all()
    assert (
        sum(
            np.abs(one - other).max() > 0
            for one, other in zip(before, model.get_weights(), strict=True)
        )
        > len(before) // 3
    )
    assert np.isfinite(model.evaluate(x, y, verbose=0)).all()

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert vars(loaded.task) == vars(model.task)
    both = [each.train_on_batch(x, y) for each in (model, loaded)]
    assert both[0] == pytest.approx(both[1], rel=1e-6)
    assert_close(loaded.weights, model.weights, 1e-6)

    head = model.primary_head
    images = np.random.default_rng(1).integers(0, 9, x.shape, "uint8")
    outputs = model.classifier(head)(images.astype("float32"), training=False)
    expected = model.task.prediction(outputs)
    export_head(model, head, info_of(model), tmp_path / "exported")
    signature = tf.saved_model.load(str(tmp_path / "exported")).signatures[
        "serving_default"
    ]
    found = signature(images=tf.constant(images))
    assert set(found) == set(expected) | (
        {"class_name"} if model.task.counts_classes else set()
    )
    key = model.task.output_name
    np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", QUICK)
def test_what_needs_classes_says_so(name):
    model, x, y = made(name)
    task = type(model.task).__name__
    for call in (
        lambda: evaluate_heads(model, x, y),
        lambda: grad_cam(model, x),
    ):
        with pytest.raises(InputError, match=f"Classification, got .*{task}"):
            call()
    with pytest.raises(InputError, match=f"'accuracy' is a .* not of {task}"):
        model.compile(metrics=["accuracy"])


def _works(make):
    """ "yes", or why not."""
    try:
        make()
    except InputError as error:
        return str(error)
    return "yes"


@pytest.mark.slow
def test_the_tables_in_the_docs():
    tasks = [type(task).__name__ for task, *_ in TASKS.values()]
    lines = [f"| | {' | '.join(tasks)} |", "|" + "---|" * (len(tasks) + 1)]
    for method in MODELS:
        cells = []
        for task in TASKS:
            found = {
                kind: _works(combinations.METHODS[f"{method}_{task}_{kind}"])
                for kind in KINDS
            }
            cells.append(
                ", ".join(
                    kind if said == "yes" else f"{kind}: {said}"
                    for kind, said in found.items()
                )
            )
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += ["", "| FFL of different features | |", "|---|---|"]
    for kinds in (
        ("maps", "tokens"),
        ("maps", "class_token"),
        ("maps", "vectors"),
        ("tokens", "vectors"),
    ):
        said = _works(lambda: FeatureFusionModel(ranks.networks(*kinds), 0))
        lines.append(f"| {' and '.join(kinds)} | {said} |")
    table = "\n".join(lines)
    assert table in PAGE.read_text(), table
