"""A user's own metrics: one object for each head, made as the user made it."""

import functools
import json
import subprocess

import keras
import numpy as np
import pytest
from keras import ops
from support.builders import METHODS, compiled, data, ffl
from support.processes import run_on_jax
from support.user_metrics import SavedTopK, TopK, reported

from keras_ffl.errors import InputError
from keras_ffl.methods.metrics import metrics_by_head

HEADS = ("fused", "sub_1")


class Narrowed(SavedTopK):
    """Its own argument is not in the inherited configuration."""

    def __init__(self, k=1, width=1, name=None):
        super().__init__(k, name)
        self.width = width


class Forgetful(TopK):
    """Its own configuration lacks its argument."""

    def get_config(self):
        return {"name": self.name}


class Hidden(keras.metrics.Metric):
    """What it was made with is no plain attribute."""

    def __init__(self, *values, **options):
        super().__init__(name=options.get("name"))
        self.given = type("Given", (), {"values": values})()

    def update_state(self, y_true, y_pred, sample_weight=None):
        pass

    def result(self):
        return 0.0


class Plain(TopK):
    """All of its arguments are in the inherited configuration."""

    def __init__(self, name="plain", dtype=None):
        super().__init__(4, name)


class Unsaved(TopK):
    def get_config(self):
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="test")
class Wrapper(keras.metrics.Metric):
    """A metric of a metric, saved with it."""

    def __init__(self, inner, name="wrapper"):
        super().__init__(name=name)
        self.parts = {"inner": [inner]}

    def update_state(self, *args, **kwargs):
        self.parts["inner"][0].update_state(*args, **kwargs)

    def result(self):
        return self.parts["inner"][0].result()

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.parts["inner"][0])
        return {"inner": inner, "name": self.name}

    @classmethod
    def from_config(cls, config):
        custom = {"TopK": TopK, "SavedTopK": SavedTopK}
        inner = keras.saving.deserialize_keras_object(
            config.pop("inner"), custom_objects=custom
        )
        return cls(inner, **config)


def mse(y_true, y_pred):
    """Has the name of one of Keras' own."""
    return ops.zeros_like(y_pred[:, 0])


def by_head(metrics):
    return metrics_by_head(metrics, HEADS, "metrics")


COPIED = {
    "saved": lambda: SavedTopK(4),
    "nothing to save": Plain,
    "wrapped": lambda: Wrapper(Wrapper(SavedTopK(4))),
    "Keras'": lambda: keras.metrics.SparseTopKCategoricalAccuracy(k=4),
    "Keras' of a function": lambda: keras.metrics.MeanMetricWrapper(
        keras.losses.categorical_crossentropy, from_logits=True
    ),
    "Keras' with lists": lambda: keras.metrics.AUC(thresholds=[0.2, 0.4]),
    "without arguments": lambda: keras.metrics.FalseNegatives(),
}
NOT_COPIED = {
    "no configuration": lambda: TopK(k=4),
    "the parent's": lambda: Narrowed(4, 5),
    "incomplete": lambda: Forgetful(4),
    "any arguments": lambda: Hidden(4),
    "refused": Unsaved,
    "wrapped": lambda: Wrapper(Wrapper(TopK(4))),
    "another function of the name": lambda: keras.metrics.MeanMetricWrapper(
        mse, name="mine"
    ),
    "an unknown function": lambda: keras.metrics.MeanMetricWrapper(
        lambda y_true, y_pred: y_pred[:, 0]
    ),
    "lost by Keras": lambda: keras.metrics.CosineSimilarity(axis=0),
}


@pytest.mark.parametrize("make", COPIED.values(), ids=COPIED)
def test_copied_objects(make):
    metric = make()
    found = by_head([metric])
    copies = [each for (each,) in found.values()]
    assert list(found) == list(HEADS)
    assert len({id(each) for each in (metric, *copies)}) == 3
    for each in copies:
        assert type(each) is type(metric)
        assert each.get_config() == metric.get_config()


@pytest.mark.parametrize("make", NOT_COPIED.values(), ids=NOT_COPIED)
def test_objects_that_are_not_copied(make):
    metric = make()
    with pytest.raises(
        InputError,
        match="`metrics`: .* can't be copied for every head, .* "
        r"`lambda: \w+\(\.\.\.\)`, or a dict from head to its own",
    ):
        by_head(["accuracy", metric])
    # Nothing has to be copied here.
    found = by_head({"fused": metric, "sub_1": ["accuracy", make()]})
    assert found["fused"] == [metric]
    assert metrics_by_head(metric, ("only",), "metrics") == {"only": [metric]}


def test_one_object_for_several_heads():
    saved, unsaved = SavedTopK(4), TopK(4)
    found = by_head(dict.fromkeys(HEADS, saved))
    assert found["fused"] == [saved]
    (copy,) = found["sub_1"]
    assert copy is not saved and copy.k == 4
    with pytest.raises(InputError, match="can't be copied"):
        by_head(dict.fromkeys(HEADS, unsaved))


def f(y_true, y_pred, k=3):
    return y_pred


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (lambda: TopK(4), 4),
        (lambda k=4: TopK(k), 4),
        (functools.partial(TopK, 4), 4),
        (functools.partial(TopK, k=4), 4),
        (TopK, 1),
    ],
)
def test_what_makes_a_metric(metric, expected):
    (one,), (other,) = by_head([metric]).values()
    assert one is not other
    assert one.k == other.k == expected
    # Keras would count them up.
    assert one.name == other.name == "top_k"


@pytest.mark.parametrize(
    "metric",
    [
        "accuracy",
        f,
        functools.partial(f, k=4),
        lambda y_true, y_pred: y_pred,
        keras.losses.MeanSquaredError(),
        keras.losses.MeanSquaredError,
        keras.metrics.mean_squared_error,
    ],
)
def test_what_is_called_for_its_value(metric):
    assert by_head(metric) == {head: [metric] for head in HEADS}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda a=1, b=2: TopK(a), "must take labels and logits, or nothing"),
        (lambda *given: TopK(4), r"or nothing .* got \(\*given\)"),
        (lambda y_true: y_true, r"or nothing .* got \(y_true\)"),
        (Wrapper, r"or nothing .* got \(inner, name='wrapper'\)"),
        (lambda: 4, "must make a new keras.metrics.Metric each time, got 4"),
        (lambda made=TopK(4): made, "must make a new keras.metrics.Metric"),
    ],
)
def test_what_is_neither(metric, message):
    with pytest.raises(InputError, match=f"`metrics`: .*{message}"):
        by_head(metric)


def assert_reported(found):
    logs, calls, heads = found
    for head in heads:
        prefix = f"{head}_" if len(heads) > 1 else ""
        assert logs[f"{prefix}k"] == logs[f"{prefix}weighted_k"] == 4
        assert logs[f"{prefix}saved"] == 5
    # None has seen another head's batches.
    assert calls == [2.0] * 2 * len(heads)


@pytest.mark.parametrize("method", METHODS)
def test_every_head_reports_what_the_user_gave(method):
    assert_reported(reported(method))


@pytest.mark.jax
@pytest.mark.parametrize(
    "methods",
    [["ffl"], pytest.param(list(METHODS), marks=pytest.mark.slow)],
    ids=["ffl", "all"],
)
def test_on_jax(methods):
    done = run_on_jax(
        "support.user_metrics", *methods, check=True, stdout=subprocess.PIPE
    )
    for found in json.loads(done.stdout):
        assert_reported(found)


def test_files(tmp_path):
    """What a file can't hold is left out of it, and said."""
    model = compiled(
        ffl(),
        metrics={
            "fused": ["accuracy", TopK(4), SavedTopK(5), Hidden(3, name="h")],
            "sub_1": lambda: TopK(6),
        },
        weighted_metrics=[lambda: SavedTopK(7, "seven")],
    )
    x, y = data()
    model.fit(x, y, verbose=0)
    with pytest.warns(UserWarning) as caught:
        model.save(tmp_path / "model.keras")
    messages = [str(each.message) for each in caught]
    for name in ("TopK", "Hidden"):
        assert f"the metric {name} is not saved with the model" in "".join(
            messages
        )
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (loaded, keras.models.load_model(tmp_path / "model.keras")):
        logs = each.evaluate(x, y, verbose=0, return_dict=True)
        assert logs["fused_saved_top_k"] == 5
        assert logs["sub_2_seven"] == 7
        assert "fused_accuracy" in logs
        assert not {"fused_top_k", "fused_h", "sub_1_top_k"} & set(logs)
    loaded.fit(x, y, verbose=0)
    assert int(loaded.optimizer.iterations.numpy()) == 2
    np.testing.assert_array_equal(loaded.epochs_trained, 2)
