"""The same training on one device, several devices and several processes."""

import functools
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from support.processes import environment

PROGRAM = ("-m", "support.replica_training")
TRAIN = pathlib.Path(__file__).parents[2] / "scripts" / "train.py"


def cluster(count):
    """TF_CONFIG of so many workers on free ports of this machine."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    workers = [f"localhost:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [
        json.dumps(
            {
                "cluster": {"worker": workers},
                "task": {"type": "worker", "index": index},
            }
        )
        for index in range(count)
    ]


def start(*command, tf_config=None, **options):
    variables = environment()
    variables.pop("TF_CONFIG", None)
    if tf_config:
        variables["TF_CONFIG"] = tf_config
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def finished(process):
    output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]


@functools.cache
def results(folder, strategy, replicas, cases):
    """Weights and logs as each of the processes has them."""
    if strategy == "multi_worker":
        devices, configs = 1, cluster(replicas)
    else:
        devices, configs = replicas, [None]
    paths = [
        folder / f"{strategy}_{replicas}_{len(cases)}_{k}.npz"
        for k in range(len(configs))
    ]
    processes = [
        start(*PROGRAM, strategy, devices, path, *cases, tf_config=config)
        for path, config in zip(paths, configs)
    ]
    for process in processes:
        finished(process)
    return [dict(np.load(path)) for path in paths]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replicas")


slow = pytest.mark.slow
ALL = ("ffl", "dml", "dml_counts", "dualnet", "one", "pcl", "ffsd")


@pytest.mark.parametrize(
    ("strategy", "replicas", "cases"),
    [
        ("mirrored", 2, ("ffl",)),
        pytest.param("mirrored", 2, ALL, marks=slow),
        pytest.param("mirrored", 4, ALL, marks=slow),
        pytest.param("multi_worker", 2, ALL, marks=slow),
        pytest.param("multi_worker", 3, ALL, marks=slow),
    ],
)
def test_replicas_train_as_one_device(strategy, replicas, cases, folder):
    (expected,) = results(folder, "one", 1, cases)
    assert np.array_equal(expected["agreed"], np.ones((1, 3)))
    for found in results(folder, strategy, replicas, cases):
        assert found.pop("replicas") == replicas
        assert np.isnan(found.pop("agreed")).all()
        assert found.keys() == expected.keys() - {"replicas", "agreed"}
        for key, values in found.items():
            np.testing.assert_allclose(
                values, expected[key], rtol=1e-5, atol=1e-6, err_msg=key
            )
        # It was no comparison of nothing with nothing.
        assert set(cases) == {
            key.split("/")[0] for key in found if "/weight/" in key
        }
        assert "ffl/log/val_fused_accuracy" in found


RUN = [
    "--preset=quickstart",
    "--set=batch_size=256",
    "--set=lr_milestones=1",
    "--set=synchronized_batch_norm=true",
]


def losses(workdir):
    return np.genfromtxt(workdir / "history.csv", delimiter=",", names=True)


@slow
def test_a_run_on_two_workers_is_the_run_on_one(tmp_path):
    # In double precision: in single precision training amplifies rounding.
    options = [*RUN, "--set=dtype_policy=float64", "--set=epochs=1"]
    one, two = tmp_path / "one", tmp_path / "two"
    finished(start(TRAIN, *options, f"--workdir={one}"))
    for process in [
        start(TRAIN, *options, f"--workdir={two}", tf_config=config)
        for config in cluster(2)
    ]:
        finished(process)
    expected, found = losses(one), losses(two)
    for name in expected.dtype.names:
        assert found[name] == pytest.approx(expected[name], rel=1e-6)
    metrics = [
        json.loads((path / "metrics.json").read_text()) for path in (one, two)
    ]
    assert [each["replicas"] for each in metrics] == [1, 2]
    for head, values in metrics[0]["heads"].items():
        assert metrics[1]["heads"][head]["top1_error"] == values["top1_error"]
        assert metrics[1]["heads"][head]["top5_error"] == values["top5_error"]
        assert metrics[1]["heads"][head]["loss"] == pytest.approx(
            values["loss"], rel=1e-6
        )


def same_losses(one, other):
    expected, found = losses(one), losses(other)
    for name in expected.dtype.names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)


@slow
def test_a_run_on_replicas_stops_within_an_epoch(tmp_path):
    options = [*RUN, "--set=dtype_policy=float64", "--set=epochs=2"]
    two = "--strategy=mirrored", "--logical_cpus=2"
    finished(start(TRAIN, *options, f"--workdir={tmp_path / 'whole'}"))
    options.append(f"--workdir={tmp_path / 'cut'}")
    for step, devices in ((1, two), (2, two), (3, ())):
        # A step takes longer than the run may.
        process = start(TRAIN, *options, *devices, "--max_minutes=0.0001")
        output, _ = process.communicate()
        assert process.returncode == 75, output[-3000:]
        assert f"stopped after step {step} of epoch 1" in output
    finished(start(TRAIN, *options, *two))
    same_losses(tmp_path / "whole", tmp_path / "cut")


@slow
def test_workers_stop_after_the_same_step(tmp_path):
    # 45 steps an epoch; every tenth they agree.
    options = [*RUN, "--set=dtype_policy=float64", "--set=epochs=2"]
    options[1] = "--set=batch_size=32"
    whole = [*options, f"--workdir={tmp_path / 'whole'}"]
    finished(start(TRAIN, *whole))
    options.append(f"--workdir={tmp_path / 'cut'}")
    workers = [start(TRAIN, *options, tf_config=c) for c in cluster(2)]
    while not list((tmp_path / "cut/checkpoints").glob("epoch_0001.keras")):
        assert workers[0].poll() is None, workers[0].communicate()[0][-3000:]
        time.sleep(0.1)
    # The scheduler tells one of them.
    workers[1].send_signal(signal.SIGTERM)
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [75, 75], outputs
    steps = [re.search(r"stopped after (.*), since", o)[1] for o in outputs]
    assert steps[0] == steps[1]
    # On a slow machine the signal comes before the second epoch begins.
    assert re.fullmatch(r"step \d+ of epoch 2|epoch 1", steps[0])
    for worker in [start(TRAIN, *options, tf_config=c) for c in cluster(2)]:
        finished(worker)
    same_losses(tmp_path / "whole", tmp_path / "cut")


@slow
def test_a_killed_worker_ends_the_others_and_the_run_goes_on(tmp_path):
    options = [*RUN, "--set=epochs=400", f"--workdir={tmp_path}"]
    chief, other = (
        start(TRAIN, *options, tf_config=config) for config in cluster(2)
    )
    try:
        while not list((tmp_path / "checkpoints").glob("epoch_*.keras")):
            assert chief.poll() is None, chief.communicate()[0][-3000:]
            time.sleep(0.2)
        other.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        output, _ = chief.communicate(timeout=120)
    finally:
        for process in (chief, other):
            process.kill()
            process.communicate()
    assert time.monotonic() - killed < 60
    assert chief.returncode != 0
    assert "error: another worker has ended" in output
    assert "Traceback" not in output

    done = max(
        int(re.search(r"\d+", path.name)[0])
        for path in (tmp_path / "checkpoints").glob("epoch_*.keras")
    )
    config = json.loads((tmp_path / "config.json").read_text())
    config["epochs"] = done + 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    options[-2] = f"--set=epochs={done + 1}"
    for process in [
        start(TRAIN, *options, tf_config=config) for config in cluster(2)
    ]:
        finished(process)
    epochs = losses(tmp_path)["epoch"]
    np.testing.assert_array_equal(epochs, np.arange(done + 1))
