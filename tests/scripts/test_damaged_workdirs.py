"""What the scripts do in folders of runs with damaged files.

Each works, or says in one line which file is damaged; it removes and rewrites
nothing of the run. Only train.py goes on with a run, and keeps a damaged
history aside.
"""

import itertools
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from support import damage
from support.script_runs import run_here

from keras_ffl import InputError, Unfinished, presets, training
from keras_ffl.studies import tables
from keras_ffl.studies.tables.cells import cell_of
from keras_ffl.training import single
from keras_ffl.training.interruption import StopRequest
from keras_ffl.workdir import Workdir

RECIPE = {
    "dataset": "npz",
    "epochs": 2,
    "batch_size": 16,
    "eval_batch_size": 12,
    "lr_milestones": (1,),
}
# The number of cases of a file in a run of all quick tests.
SOME = 3


ADVICE = re.compile(
    "delete|restore|use another|requested|must be a f|holds no run", re.I
)


class AfterStep(StopRequest):
    """A request to stop in the second epoch, after its second step."""

    looked = 0

    @property
    def reason(self):
        AfterStep.looked += 1
        # Twice in the steps of an epoch, in its validation and at its end.
        return "the test said so" if AfterStep.looked > 5 else None


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.npz"
    rng = np.random.default_rng(0)
    arrays = {}
    for split, images in (("train", 40), ("test", 12)):
        x = rng.integers(0, 256, (images, 8, 8, 1))
        arrays |= {f"x_{split}": x.astype("uint8")}
        arrays |= {f"y_{split}": np.arange(images) % 3}
    np.savez(path, **arrays)
    return presets.preset("quickstart_vanilla", data_dir=str(path), **RECIPE)


@pytest.fixture(scope="module")
def table(config):
    return tables.Table(
        "small",
        "A small table",
        (tables.Entry("alone", "error", config, "vanilla"),),
    )


@pytest.fixture(scope="module")
def finished(table, tmp_path_factory):
    cell = cell_of(table.entries[0], 0, tmp_path_factory.mktemp("finished"))
    training.train(table.entries[0].config, cell.path, 0)
    return cell.path


@pytest.fixture(scope="module")
def unfinished(finished, config, tmp_path_factory):
    path = tmp_path_factory.mktemp("unfinished") / finished.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(single, "StopRequest", AfterStep)
        with pytest.raises(Unfinished, match="after step 2 of epoch 2"):
            training.train(config, path, 0)
    return path


@pytest.fixture
def scripts(config, table, monkeypatch, tmp_path):
    """Dict from a script to the function that makes its flags."""
    monkeypatch.setitem(tables.TABLES, "small", lambda: table)
    image = tmp_path / "photo.png"
    Image.fromarray(np.zeros((8, 8), "uint8")).save(image)
    numbers, data_dir = itertools.count(), f"--data_dir={config.data_dir}"
    recipe = [
        "--preset=quickstart_vanilla",
        data_dir,
        *(
            f"--set={key}={value[0] if isinstance(value, tuple) else value}"
            for key, value in RECIPE.items()
        ),
    ]

    def flags(*arguments):
        return lambda path: [
            f"--workdir={path}",
            *(
                each.replace("NEW", str(tmp_path / f"new_{next(numbers)}"))
                for each in arguments
            ),
        ]

    return {
        "train.py": flags(*recipe),
        "evaluate.py": flags(),
        "best.py": flags("--checkpoint=best"),
        "predict.py": flags(str(image)),
        "export.py": flags("--format=keras", "--output=NEW"),
        "report.py": flags("--output=NEW.html", "--samples=2", "--per_group=1"),
        "gradcam.py": flags("--output=NEW.png", "--per_group=1"),
        "transfer.py": flags("--dataset=npz", data_dir, "--splits=0"),
        "reproduce.py": lambda path: [
            "--table=small",
            f"--workdir={path.parent}",
            "--report_only",
        ],
    }


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def fault(script, arguments, path, damaged, monkeypatch, capfd):
    """What is wrong with a script's answer, or None."""
    before = contents(path)
    try:
        status = run_here(script, arguments, monkeypatch)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    printed = capfd.readouterr()
    after = contents(path)
    lines = [x for x in printed.err.splitlines() if x.startswith("error: ")]
    if status not in (0, 1) or len(lines) != status:
        return f"status {status}: {printed.err}"
    if "Traceback" in printed.err:
        return printed.err
    named = damaged.name, "checkpoints", "holds a run with another config"
    if status and not (
        any(name in lines[0] for name in named) and ADVICE.search(lines[0])
    ):
        return f"it doesn't name the file and what to do: {lines[0]}"
    if script == "train.py" and status == 0:
        # It goes on with the run, which may change all files but this one.
        history = pathlib.Path("history.csv")
        rows = before.get(history, b"")
        if any(content.startswith(rows) for content in after.values()):
            return None
        return f"the history is gone: {printed}"
    if not before.items() <= after.items():
        return f"files are gone: {printed}"
    return None


# The scripts that read a file, apart from train.py.
ON_MODELS = "evaluate.py", "export.py", "report.py", "gradcam.py", "transfer.py"
EVERYONE = *ON_MODELS, "reproduce.py"
READERS = {
    "config.json": (*EVERYONE, "predict.py"),
    "dataset.json": (*ON_MODELS, "predict.py"),
    "metrics.json": ("evaluate.py", "report.py", "reproduce.py"),
    "history.csv": ("evaluate.py", "report.py", "reproduce.py"),
    "epoch_0002.keras": EVERYONE,
    "epoch_0001.keras": EVERYONE,
    "best_*.keras": ("best.py",),
    "epoch_*.npz": ("evaluate.py",),
    "checkpoints": EVERYONE,
    "logs": ("evaluate.py",),
    "curves.png": ("evaluate.py",),
    ".lock": ("evaluate.py",),
}
TESTED = [
    *(("finished", name) for name in READERS if name != "epoch_*.npz"),
    ("unfinished", "history.csv"),
    ("unfinished", "epoch_0001.keras"),
    ("unfinished", "epoch_*.npz"),
    ("unfinished", "checkpoints"),
]


def cases_of(path):
    """All that the tests do to a file or folder: dict from name to function."""
    if path.is_dir():
        return damage.any_folder()
    kinds = {
        ".json": (damage.text_file, damage.json_file),
        ".csv": (damage.text_file, damage.csv_file),
        ".npz": (damage.npz_file,),
    }
    cases = damage.any_file()
    for kind in kinds.get(path.suffix, ()):
        cases |= kind(path)
    return cases


@pytest.fixture
def check(scripts, monkeypatch, capfd, tmp_path):
    """Function that damages copies of a run and runs scripts in them."""

    def run(whole, name, chosen):
        faults = {}
        path = tmp_path / "root" / whole.name
        (damaged,) = whole.rglob(name)
        damaged = path / damaged.relative_to(whole)
        for case, harm, script in chosen:
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(whole, path)
            harm(damaged)
            arguments = scripts[script](path)
            script = script.replace("best", "evaluate")
            found = fault(script, arguments, path, damaged, monkeypatch, capfd)
            if found:
                faults[f"{case}, {script}"] = found
        shown = [f"{case}: {found[:400]}" for case, found in faults.items()]
        assert not faults, "\n".join(shown)

    return run


def pairs(path, name):
    """Every case with every script; with one of them if there are many."""
    cases, scripts = cases_of(path), ("train.py", *READERS[name])
    many = len(cases) > 30
    return [
        (case, harm, script)
        for number, (case, harm) in enumerate(cases.items())
        for script in (scripts[number % len(scripts)],) * many or scripts
    ]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", Workdir.config),
        ("dataset.json", Workdir.dataset_info),
        ("metrics.json", Workdir.read_metrics),
        ("history.csv", Workdir.read_history),
    ],
)
def test_all_damage_to_what_is_read(name, read, finished, tmp_path):
    refused = 0
    path = tmp_path / name
    for case, harm in cases_of(finished / name).items():
        shutil.rmtree(path, ignore_errors=True)
        shutil.copy(finished / name, path)
        harm(path)
        try:
            read(Workdir(tmp_path))
        except InputError as error:
            assert name in str(error) and "\n" not in str(error), case
            assert ADVICE.search(str(error)), (case, error)
            assert len(str(error)) < 1000, case
            refused += 1
    # The others are valid, if unlikely.
    assert refused > 0.4 * len(cases_of(finished / name))


@pytest.mark.parametrize("script", [*ON_MODELS, "predict.py"])
def test_the_best_epoch_is_read_where_it_is_asked_for(
    script, finished, scripts, monkeypatch, capfd, tmp_path
):
    path = tmp_path / finished.name
    shutil.copytree(finished, path)
    (best,) = path.rglob("best_*.keras")
    best.write_bytes(b"")
    arguments = [*scripts[script](path), "--checkpoint=best"]
    assert run_here(script, arguments, monkeypatch) == 1
    assert best.name in capfd.readouterr().err


@pytest.mark.parametrize(("run", "name"), TESTED)
def test_some_damage(run, name, check, request):
    run = request.getfixturevalue(run)
    (path,) = run.rglob(name)
    found = pairs(path, name)
    check(run, name, found[len(found) // (2 * SOME) :: len(found) // SOME])


@pytest.mark.slow
@pytest.mark.parametrize(("run", "name"), TESTED)
def test_all_damage(run, name, check, request):
    run = request.getfixturevalue(run)
    (path,) = run.rglob(name)
    check(run, name, pairs(path, name))
