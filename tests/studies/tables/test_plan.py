"""The plan: what is left, and for how long."""

import dataclasses
import itertools
import types

import pytest
from support.finished_cells import VANILLA, finish_ffl, small_table

from keras_ffl import data
from keras_ffl.errors import InputError
from keras_ffl.methods import PeerCollaborativeModel
from keras_ffl.studies.tables import TABLES, plan, reproduce
from keras_ffl.studies.tables.cells import Cell, cell_of
from keras_ffl.studies.tables.method_tables import table


def test_time_is_the_remaining_epochs_times_a_timed_epoch(
    tmp_path, monkeypatch
):
    timed = []
    monkeypatch.setattr(
        plan, "seconds_per_epoch", lambda config: timed.append(config) or 30.0
    )
    done = finish_ffl(tmp_path, 0, 25.0, (27.0, 28.0))
    begun = cell_of(small_table().entries[0], 1, tmp_path)
    (begun.path / "checkpoints").mkdir(parents=True)
    (begun.path / "checkpoints/epoch_0001.keras").touch()
    missing = cell_of(small_table().entries[0], 2, tmp_path)
    found = list(plan.estimates([done, begun, missing]))
    assert [e.seconds for e in found] == [0.0, 30.0, 60.0]
    assert [e.state for e in found] == ["finished", "1 of 2 epochs", "missing"]
    assert len(timed) == 1  # one configuration, whatever the seed


def test_what_cannot_be_built_has_its_reason(tmp_path):
    config = dataclasses.replace(VANILLA, networks=("vgg",))
    (estimate,) = plan.estimates([Cell(config, tmp_path)])
    assert estimate.seconds is None and "vgg" in estimate.reason


def test_a_timed_epoch_of_every_kind_of_step(monkeypatch):
    monkeypatch.setattr(plan, "_WARM_UP", 1)
    monkeypatch.setattr(plan, "_TIMED", 1)
    # A clock that goes on by a second at every look.
    clock = types.SimpleNamespace(perf_counter=itertools.count().__next__)
    monkeypatch.setattr(plan, "time", clock)
    shapes = []
    train = PeerCollaborativeModel.train_on_batch

    def spy(model, x, y):
        shapes.append(x.shape)
        return train(model, x, y)

    monkeypatch.setattr(PeerCollaborativeModel, "train_on_batch", spy)
    for method in ("vanilla", "dualnet", "pcl"):
        config = VANILLA.changed(method=method, batch_size=8)
        (_, _, images) = plan._DATASETS[config.dataset]
        assert plan.seconds_per_epoch(config) == -(-images // 8)
    views = config.options.branches
    assert [shape[:2] for shape in shapes] == [(8, views)] * 2


def test_known_data_sets_are_the_real_ones():
    digits = data.load("digits")
    info, images = plan.dataset_info("digits")
    assert info.input_shape == digits.info.input_shape
    assert info.num_classes == digits.info.num_classes
    assert images == len(digits.x_train)
    for key in TABLES:
        for entry in table(key).entries:
            plan.dataset_info(entry.config.dataset)
    with pytest.raises(InputError, match="'mnist'"):
        plan.dataset_info("mnist")


def test_plan_touches_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plan, "seconds_per_epoch", lambda config: 60.0)
    monkeypatch.setattr(data, "load", None)
    folder = tmp_path / "none"
    assert reproduce(
        "2", folder, runs=2, scale=True, plan_only=True, shard="1/2"
    )
    printed = capsys.readouterr().out
    assert printed.count("missing; 10 min to go") == 4
    assert "training steps in total: about 40 min" in printed
    assert not folder.exists()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "5 s"),
        (119, "119 s"),
        (120, "2 min"),
        (9000, "2.5 h"),
        (2e5, "2.3 days"),
    ],
)
def test_durations(seconds, text):
    assert plan.duration(seconds) == text
