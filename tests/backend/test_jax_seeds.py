"""Several seeds trained at once on JAX against each seed alone."""

import pathlib
import sys

import keras
import numpy as np
import pytest

from keras_ffl import InputError, training
from keras_ffl.reproduction.cells import Cell
from keras_ffl.workdir import Workdir

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
import seeds  # noqa: E402
from jax_process import run_on_jax  # noqa: E402

jax = pytest.mark.jax
# Those of the other methods take minutes.
QUICK = "vanilla"
COMPARED = [
    name if name == QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name, scenario in seeds.SCENARIOS.items()
    if scenario.__name__ == "run"
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Function from scenarios to their folder and the lines they printed."""

    def run(*names):
        folder = tmp_path_factory.mktemp("seeds")
        done = run_on_jax(
            HERE / "seeds.py", folder, *names, capture_output=True
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        return folder, [line for line in lines if "scenario " not in line]

    return run


def values(folder):
    """Weights, moving averages, momenta and counters after a run."""
    model = Workdir(folder).load_model()
    return [
        keras.ops.convert_to_numpy(v)
        for v in (*model.weights, *model.optimizer.variables)
    ]


def assert_same_run(path, expected, tolerance=1e-5):
    for ours, theirs in zip(values(path), values(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    ours, theirs = (Workdir(each).read_history() for each in (path, expected))
    assert [row["epoch"] for row in ours] == [0, 1, 2]
    for row, other in zip(ours, theirs, strict=True):
        # Names and order of the columns too.
        assert list(row) == list(other)
        assert list(row.values()) == pytest.approx(
            list(other.values()), rel=tolerance, abs=tolerance
        )


def seed_folder(folder, seed):
    (path,) = folder.glob(f"*_seed{seed}")
    return path


@jax
@pytest.mark.parametrize("name", COMPARED)
def test_each_seed_is_trained_as_if_alone(name, ran):
    folder, errors = ran(name)
    folder = folder / name
    assert not errors
    *others, last = seeds.SEEDS
    path, alone = (seed_folder(f, last) for f in (folder, folder / "alone"))
    assert_same_run(path, alone)
    ours, theirs = (Workdir(each) for each in (path, alone))
    assert ours.config() == theirs.config()
    assert list(ours.checkpoint_files()) == [3, 2]
    assert ours.best_epochs() == theirs.best_epochs()
    metrics, expected = ours.read_metrics(), theirs.read_metrics()
    assert metrics.pop("seeds_at_once") == 3
    assert metrics.pop("seconds_per_epoch") > 0
    del expected["seconds_per_epoch"]
    for head, found in metrics.pop("heads").items():
        assert found == pytest.approx(expected["heads"][head], rel=1e-4)
    del expected["heads"]
    assert metrics == expected
    # A cell of a table.
    cell = Cell(ours.config(), folder)
    assert cell.path == path and cell.finished
    for seed in others:
        history = Workdir(seed_folder(folder, seed)).read_history()
        assert len(history) == 3
        assert history[0]["loss"] != ours.read_history()[0]["loss"]


@jax
@pytest.mark.slow
def test_interrupted_runs_are_the_whole_ones(ran):
    folder, errors = ran("interrupted")
    folder = folder / "interrupted"
    stopped = "Unfinished: the time was up after epoch {} of 3; the same"
    for line, epoch in zip(errors, (1, 1, 2), strict=True):
        assert line.startswith(stopped.format(epoch))
    for seed in seeds.SEEDS:
        assert_same_run(
            seed_folder(folder, seed), seed_folder(folder / "whole", seed), 0
        )


@jax
@pytest.mark.slow
def test_a_seed_goes_on_alone(ran):
    folder, errors = ran("go_on_alone")
    folder = folder / "go_on_alone"
    assert len(errors) == 1
    for seed in seeds.SEEDS:
        path = seed_folder(folder, seed)
        assert_same_run(path, seed_folder(folder / "whole", seed))
        at_once = Workdir(path).read_metrics().get("seeds_at_once")
        assert at_once == {0: 2, 7: None, 8: 2}[seed]


@jax
@pytest.mark.slow
def test_what_can_t_be_done_is_said_in_one_line(ran):
    folder, errors = ran("apart", "diverging", "refused")
    expected = [
        "Unfinished: the time was up after epoch 1 of 3",
        "Unfinished: the time was up after epoch 2 of 3",
        "InputError: `seeds` must have finished the same number of epochs to "
        "go on at once, got 2 in ",
        "Unfinished: the time was up after epoch 1 of 3",
        # One epoch apart: the seed that is ahead trains it again.
        "TrainingDiverged: seed 7: the loss is nan in epoch 1, step 1 of 4; ",
        "InputError: `seeds` must be different numbers, got ()",
        "InputError: `seeds` must be different numbers, got (3, 3)",
        "InputError: `seed` must be ",
        "InputError: `warmup_epochs` must be 0 with several `seeds` at once",
        "InputError: `strategy` mirrored needs several devices",
        "InputError: several `seeds` at once train on images in memory",
    ]
    for line, start in zip(errors, expected, strict=True):
        assert line.startswith(start), line
    for scenario, names in (("apart", (0, 7)), ("diverging", (0, 8))):
        for seed in names:
            path = seed_folder(folder / scenario, seed)
            assert Workdir(path).finished(3)
    assert not list((folder / "refused").rglob("config.json"))


@pytest.mark.parametrize("text", ["", "0,", "0,1,1", "a", "-1", "0 1", "1.5"])
def test_seeds_that_are_none(text):
    with pytest.raises(InputError, match="`seeds` must be whole numbers"):
        training.parse_seeds(text)


def test_seeds_of_a_text():
    assert training.parse_seeds("3, 0,12") == [3, 0, 12]


def test_seeds_at_once_need_jax(tmp_path):
    with pytest.raises(InputError, match="backend jax .*got tensorflow"):
        training.train_seeds(seeds.CONFIG, [0, 1], tmp_path / "run", 0)
    assert not list(tmp_path.iterdir())
