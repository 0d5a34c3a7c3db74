"""Runs in this process: what they write, and what they refuse."""

import dataclasses
import json
import math
import re
import sys

import keras
import numpy as np
import pytest
from support.builders import separate

from keras_ffl import InputError, TrainingDiverged, data, training
from keras_ffl.backend import make_devices
from keras_ffl.callbacks import WarmUp
from keras_ffl.config import Config
from keras_ffl.layers import FeatureAverage
from keras_ffl.methods import METHODS, EnsembleModel
from keras_ffl.tasks import MultiLabel
from keras_ffl.training import fit_arguments as fit_arguments_of
from keras_ffl.training import parts, single
from keras_ffl.training.fit_arguments import fit_arguments
from keras_ffl.training.summary import summary
from keras_ffl.workdir import Workdir

SMALL = Config(
    options={"rampup_epochs": 2},
    preset="quickstart",
    dataset="digits",
    networks=("resnet8",),
    epochs=2,
    batch_size=256,
    lr_milestones=(1,),
    pad=2,
)


def changed(**values):
    return SMALL.changed(**values)


def test_a_run_and_its_folder(few_digits, tmp_path, caplog, monkeypatch):
    metrics = training.train(SMALL, tmp_path, verbose=0)
    folder = Workdir(tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert set(metrics["heads"]) == {"fused", "sub_1", "sub_2", "ensemble"}
    for values in metrics["heads"].values():
        assert 0 <= values["top5_error"] <= values["top1_error"] <= 100
        assert math.isfinite(values["loss"])
    # Two batches an epoch: 256 and the remaining 44.
    assert (metrics["epoch"], metrics["steps"]) == (2, 4)
    assert metrics["seed"] == 0
    assert metrics["parameters"] == 146_510

    rows = folder.read_history()
    assert [row["epoch"] for row in rows] == [0, 1]
    np.testing.assert_allclose(
        [row["learning_rate"] for row in rows], [0.1, 0.01], rtol=1e-6
    )
    np.testing.assert_allclose(
        [row["distillation_weight"] for row in rows],
        [math.exp(-5), math.exp(-1.25)],
        rtol=1e-6,
    )
    error = 100 * (1 - rows[-1]["val_fused_accuracy"])
    assert metrics["heads"]["fused"]["top1_error"] == pytest.approx(
        error, abs=1e-4
    )
    best = max(rows, key=lambda row: row["val_fused_accuracy"])
    assert metrics["best"] == {
        "head": "fused",
        "split": "test",
        "epoch": best["epoch"] + 1,
        "top1_error": round(100 * (1 - best["val_fused_accuracy"]), 4),
    }
    assert list(folder.checkpoint_files()) == [2, 1]
    assert folder.best_epochs() == best["epoch"] + 1
    assert folder.curves.read_bytes().startswith(b"\x89PNG")
    assert list(folder.logs.rglob("events.*"))

    text = training.summary(tmp_path)
    assert text == training.summary(tmp_path, metrics)
    for head, values in metrics["heads"].items():
        line = (
            f"{head} +{values['top1_error']:.2f} +{values['top5_error']:.2f} "
        )
        assert re.search(line, text)
    course = [f"{100 * (1 - row['val_fused_accuracy']):.2f}" for row in rows]
    assert re.search("top-1 error % of fused +" + " +".join(course), text)
    assert re.search(
        rf"ekd +{rows[-1]['ekd']:.4g} +{rows[-1]['val_ekd']:.4g}", text
    )
    assert max(map(len, text.splitlines()[:-1])) <= 80

    model, info = training.load_run(tmp_path)
    assert (model.heads, info.num_classes) == (tuple(metrics["heads"]), 10)
    loaded = training.load_run_data(str(tmp_path), SMALL, model)
    assert loaded.num_train == 300
    info = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(info | {"num_test": 7}))
    training.load_run_data(tmp_path, SMALL, model)
    assert "results are of other test images than the run's" in caplog.text
    (tmp_path / "dataset.json").write_text(json.dumps(info))
    kernel = model.trainable_weights[0]
    kernel.assign(np.nan * kernel)
    with monkeypatch.context() as patch, pytest.raises(InputError, match="fin"):
        patch.setattr(Workdir, "load_checkpoint", lambda _: (model, 2))
        training.load_run(tmp_path)
    # Rows of a later start aren't those of the results.
    page = summary(tmp_path)
    *_, last = text = folder.history.read_text().splitlines(keepends=True)
    folder.history.write_text("".join(text) + last.replace("1", "2", 1))
    assert summary(tmp_path) == page
    folder.history.write_text("".join(text))
    card = training.describe_run(tmp_path, model, "sub_1")
    assert card["errors"]["loss"] == metrics["heads"]["sub_1"]["loss"]

    # Finished: nothing is trained again, and more epochs go on from here.
    assert training.train(SMALL, tmp_path, verbose=0) == metrics
    more = training.train(changed(epochs=3), tmp_path, verbose=0)
    assert (more["epoch"], more["steps"]) == (3, 6)
    assert [row["epoch"] for row in folder.read_history()] == [0, 1, 2]
    with pytest.raises(InputError, match="temperature is 3.0, requested 5.0"):
        training.train(changed(epochs=3, temperature=5.0), tmp_path, 0)

    # A result of fewer epochs is not taken for that of all.
    folder.write_metrics(metrics)
    assert training.train(changed(epochs=3), tmp_path, 0)["epoch"] == 3

    # A damaged checkpoint: the epoch before it is where the run goes on.
    newest = folder.checkpoint_files()[3]
    newest.write_bytes(newest.read_bytes()[:-1000])
    again = training.train(changed(epochs=3), tmp_path, verbose=0)
    assert (again["epoch"], again["steps"]) == (3, 6)
    assert [row["epoch"] for row in folder.read_history()] == [0, 1, 2]
    assert "epoch_0003.keras is damaged" in caplog.text


def test_without_matplotlib_a_run_has_no_curves(
    few_digits, tmp_path, caplog, monkeypatch
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    config = changed(epochs=1, lr_milestones=(), rampup_epochs=1.0)
    training.train(config, tmp_path, verbose=0)
    folder = Workdir(tmp_path)
    assert folder.metrics.exists() and not folder.curves.exists()
    # TensorFlow may log something, too.
    records = [each for each in caplog.records if each.name == "absl"]
    assert [record.getMessage() for record in records] == [
        "curves.png is not drawn: pictures need matplotlib, which is not "
        'installed: pip install "keras-ffl[studies]"'
    ]


def test_holdout_is_what_best_is_chosen_by(few_digits, tmp_path):
    config = changed(holdout=0.2, epochs=1)
    metrics = training.train(config, tmp_path, verbose=0)
    assert metrics["best"]["split"] == "holdout"
    text = training.summary(tmp_path)
    assert "top-1 error % of fused (holdout)" in text
    assert re.search("last epoch +training +holdout", text)
    assert metrics["split"] == "test"
    # 240 of 300 images are left for training: one batch.
    assert metrics["steps"] == 1


def test_vanilla_and_mixed_labels(few_digits, tmp_path):
    metrics = training.train(
        changed(method="vanilla", mixup=0.2, epochs=1), tmp_path, 0
    )
    assert list(metrics["heads"]) == ["vanilla"]
    assert metrics["best"]["head"] == "vanilla"
    assert metrics["heads"]["vanilla"]["parameters"] == metrics["parameters"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("branch1_classifier", "the loss is nan in epoch 2, step 1 of 2"),
        # A NaN that the first ReLU hides from the loss.
        ("stem_conv", "(nan in epoch 2|is not finite after epoch 2)"),
    ],
)
def test_a_diverging_run_keeps_its_last_good_checkpoint(
    broken, message, few_digits, tmp_path
):
    training.train(changed(epochs=1), tmp_path, verbose=0)
    folder = Workdir(tmp_path)
    good = folder.checkpoint_files()[1].read_bytes()
    best = folder.best_epochs()

    model, _ = folder.load_checkpoint()
    kernel = model.get_layer(broken).kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    config = changed(epochs=3)
    dataset, holdout = training.load_data(config)
    arguments = fit_arguments(config, dataset, holdout, 1, make_devices("one"))
    with pytest.raises(TrainingDiverged, match=message):
        single._fit(model, config, folder, arguments, 0, chief=True)
    assert list(folder.checkpoint_files()) == [1]
    assert folder.checkpoint_files()[1].read_bytes() == good
    assert folder.best_epochs() == best


def test_models_of_configurations():
    info = data.DatasetInfo(
        "toy", 10, (16, 16, 3), tuple("0123456789"), (0,) * 3, (1,) * 3, False
    )

    def model(**values):
        return training.build_model(changed(**values), info)

    assert model().heads == ("fused", "sub_1", "sub_2", "ensemble")
    assert len(model(branches=3).heads) == 5
    shared, separate = model(), model(separate_stages=0)
    assert shared.count_params() < separate.count_params()
    mixed = model(networks=("resnet8", "wrn_16_2"), fusion_filters=32)
    assert mixed.fusion.output.shape[-1] == 32
    assert isinstance(model(fusion="average").fusion, FeatureAverage)
    ablated = model(use_ekd=False, temperature=2.0)
    assert (ablated.use_ekd, ablated.temperature) == (False, 2.0)
    optimizer = model(weight_decay=1e-3, fusion_weight_decay=1e-6).optimizer
    assert (optimizer.l2, optimizer.l2_groups) == (1e-3, {"fusion": 1e-6})
    # Linear scaling: the batch has 256 images.
    optimizer = model(learning_rate=0.1, lr_base_batch=64).optimizer
    assert float(optimizer.learning_rate.numpy()) == pytest.approx(0.4)
    assert model(steps_per_execution=3).steps_per_execution == 3
    assert model(synchronized_batch_norm=True).get_layer("stem_bn").synchronized
    with pytest.raises(InputError, match="resnet8, .*got 'resnet9'"):
        model(networks=("resnet9",))


def test_commands_classify(few_digits, monkeypatch):
    info = few_digits.info
    one = dataclasses.replace(info, num_classes=1, class_names=("cat",))
    with pytest.raises(InputError, match=r"at least 2 classes, got 1 \(cat\)"):
        training.build_model(SMALL, one)
    labels = EnsembleModel(separate(), task=MultiLabel())
    monkeypatch.setattr(parts, "build_method", lambda *_: labels)
    with pytest.raises(InputError, match="Commands need .* got one for Multi"):
        training.build_model(SMALL, info)


# Fields with tests of their own, and those that no part of a run depends on.
ELSEWHERE = {
    *("preset", "method", "networks", "dataset", "data_dir", "image_size"),
    *("verify_images", "lr_base_batch", "dtype_policy", "deterministic"),
    *("synchronized_batch_norm", "keep_checkpoints"),
}
TAKEN = {
    "epochs": 12,
    "batch_size": 20,
    "eval_batch_size": 7,
    "learning_rate": 0.4,
    "lr_milestones": (2, 5),
    "lr_factor": 0.5,
    "momentum": 0.75,
    "nesterov": False,
    "weight_decay": 1e-3,
    "global_clipnorm": 2.0,
    "gradient_accumulation_steps": 2,
    "pad": 3,
    "padding": "constant",
    "flip": True,
    "cutout": 5,
    "randaugment": 6.0,
    "mixup": 0.3,
    "cutmix": 0.4,
    "label_smoothing": 0.1,
    "steps_per_execution": 2,
    "seed": 7,
}


@pytest.mark.filterwarnings("ignore:randaugment")
@pytest.mark.parametrize("cosine", [False, True])
def test_every_setting_reaches_its_part_of_a_run(cosine, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (150, 16, 16, 3))
    y = np.arange(150) % 3
    arrays = data.from_arrays(x[:100], y[:100], x[100:], y[100:])
    monkeypatch.setattr(data, "load", lambda *arguments: arrays)
    values, rates = dict(TAKEN), [0.4, 0.4, 0.2, 0.2, 0.2] + [0.1] * 7
    if cosine:
        del values["lr_milestones"], values["lr_factor"]
        values["lr_schedule"] = "cosine"
        rates = [0.2 * (1 + math.cos(math.pi * e / 12)) for e in range(12)]
    config = changed(**values, holdout=0.2, warmup_epochs=1.5)
    dataset, holdout = training.load_data(config)
    model = training.build_model(config, dataset.info)
    one = make_devices("one")
    fitted = fit_arguments(config, dataset, holdout, 0, one)
    batches, scheduler = fitted["x"], fitted["callbacks"][0]
    found = {
        **model.optimizer.get_config(),
        **vars(batches.options.augmentation),
        "batch_size": batches.options.batch_size,
        "eval_batch_size": fitted["validation_data"].options.batch_size,
        "epochs": fitted["epochs"],
        "seed": batches.options.seed,
        "steps_per_execution": model.steps_per_execution,
    }
    schedule = {"lr_schedule", "lr_milestones", "lr_factor"}
    for name in values.keys() - schedule:
        assert found[name] == pytest.approx(values[name]), name
    assert [scheduler.schedule(e) for e in range(12)] == pytest.approx(rates)
    (warm_up,) = (c for c in fitted["callbacks"] if isinstance(c, WarmUp))
    # 80 images are left for training: 4 steps an epoch.
    assert (fitted["steps_per_epoch"], warm_up.steps) == (4, 6)
    assert warm_up.schedule is scheduler.schedule
    seen = [y for _, y in fitted["validation_data"]]
    np.testing.assert_array_equal(
        np.concatenate(seen).argmax(axis=-1), holdout.y_test
    )
    assert len(holdout.y_test) == 20
    tested = {*TAKEN, "lr_schedule", "holdout", "warmup_epochs"}
    assert tested | ELSEWHERE == set(Config.names())


def test_the_dtype_policy_is_put_back(few_digits, tmp_path):
    config = changed(dtype_policy="mixed_bfloat16", epochs=1)
    metrics = training.train(config, tmp_path, verbose=0)
    assert math.isfinite(metrics["heads"]["fused"]["loss"])
    assert keras.config.dtype_policy().name == "float32"


def test_no_configuration(tmp_path):
    with pytest.raises(InputError, match="`config` must be .* got 'quickst"):
        training.train("quickstart", tmp_path)


def test_float64_is_float64(tmp_path, monkeypatch):
    monkeypatch.setattr(single.backend, "has_float64", lambda: False)
    with pytest.raises(InputError, match="`dtype_policy` .*JAX_ENABLE_X64=1"):
        training.train(changed(dtype_policy="float64"), tmp_path, 0)
    assert not Workdir(tmp_path).started


@pytest.mark.parametrize(
    ("warmup_epochs", "steps"), [(0.0, 5), (1.0, 1), (40.0, 5), (7.0, 1)]
)
def test_a_warm_up_takes_several_calls(warmup_epochs, steps, monkeypatch):
    monkeypatch.setattr(fit_arguments_of.backend, "has_accelerator", lambda: 1)
    config = changed(warmup_epochs=warmup_epochs)
    # 1437 images make 5 full batches.
    found = fit_arguments_of._steps_per_call(config, data.load("digits"))
    assert found == steps


@pytest.mark.filterwarnings("ignore:randaugment")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": ("resnet9",)}, "resnet8, .*got 'resnet9'"),
        ({"method": "magic"}, "`method` must be one of ffl, .*got 'magic'"),
        ({"method": "kd"}, "`teacher` must be the workdir of a trained run"),
        ({"method": "kd", "teacher": "no/run"}, "no/run holds no run"),
        ({"dataset": "mnist"}, "digits, .*got 'mnist'"),
        ({"steps_per_execution": 4}, "must divide the 6 steps .*got 4"),
        ({"lr_milestones": (15, 10)}, "`milestones` must be increasing"),
        ({"pad": 20}, "`pad` must be less than the image"),
        ({"randaugment": 5.0}, "`randaugment` needs images of 3 ch"),
        ({"gradient_accumulation_steps": 13}, "must be at most 12, .*got 13"),
    ],
)
def test_bad_input_leaves_no_run_behind(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        training.train(changed(**change), tmp_path, 0)
    assert not Workdir(tmp_path).started


@pytest.mark.parametrize("method", METHODS)
def test_the_summary_shows_the_main_head(method, tmp_path):
    config = Config().changed(method=method)
    folder, head = Workdir(tmp_path), config.row.model.primary_head
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    values = "top1_error", "top5_error", "loss", "parameters"
    errors = dict.fromkeys(values, 50.0)
    others = {f"val_{name}_accuracy": 0.5 for name in ("fused", "sub_1")}
    row = {"epoch": 0, **others, f"val_{head}_accuracy": 0.75}
    folder.add_to_history(row)
    metrics = {
        "epoch": 1,
        "heads": {"fused": errors, head: errors},
        "seconds_per_epoch": None,
        "parameters": 1,
        "multiply_adds": 1,
    }
    text = summary(tmp_path, metrics)
    assert re.search(f"top-1 error % of {head} +25.00", text)
