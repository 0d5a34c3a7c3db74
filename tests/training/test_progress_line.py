"""The progress line of a run, and what it prints of an epoch."""

import io
import sys

import numpy as np
import pytest

from keras_ffl import preset, training
from keras_ffl.errors import Unfinished
from keras_ffl.training import progress_line, single
from keras_ffl.training.progress_line import ProgressLine, clock, epoch_lines

# Of FFL, with the weights of its ramp-up.
LOGS = {
    "loss": 11.7671,
    "ce_fused": 3.9338,
    "ce_sub_1": 3.9188,
    "ce_sub_2": 3.9139,
    "ekd": 0.02706,
    "fkd": 0.07819,
    "distillation_weight": 0.0067379,
    "fused_accuracy": 0.0913,
    "sub_1_accuracy": 0.0924,
    "learning_rate": 0.1,
    "val_loss": 11.1557,
    "val_ce_fused": 3.6847,
    "val_fused_accuracy": 0.118,
    "val_sub_1_accuracy": 0.1185,
    "val_ensemble_accuracy": 1.0,
}
TERMS = ["ce_fused", "ce_sub_1", "ce_sub_2", "ekd", "fkd"]
LINES = """\
  distillation weight 0.006738  learning rate 0.1
  training    loss      11.7671  ce_fused   3.9338  ce_sub_1   3.9188
              ce_sub_2   3.9139  ekd        0.0271  fkd        0.0782
  evaluation  loss      11.1557  fused     11.80 %  sub_1     11.85 %
              ensemble 100.00 %"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    """Seconds on a clock that only the test moves, in a list."""
    seconds = [0.0]
    monkeypatch.setattr(progress_line.time, "monotonic", lambda: seconds[0])
    return seconds


def shown(line, steps, now, logs=LOGS):
    """Trains an epoch of a second a step."""
    line.on_epoch_begin(1)
    for batch in range(len(steps)):
        now[0] += float(steps[batch][1] - steps[batch][0])
        line.on_train_batch_end(batch, logs)


# Three steps in a call, in an epoch that was interrupted after its second.
STEPS = np.array([(2, 5), (5, 8), (8, 10)])


def test_a_line_that_a_terminal_rewrites(now, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    line = ProgressLine("fused", "fused_accuracy", TERMS, STEPS, 30)
    shown(line, STEPS, now)
    *_, first, second, third = sys.stdout.getvalue().split("\r")
    assert first == "Epoch 2/30  step 5/10  loss 11.7671  fused 9.1 %"
    # After step 8 of the second of 30 epochs of ten seconds.
    assert second.rstrip() == (
        "Epoch 2/30  step 8/10  4:42 left  loss 11.7671  fused 9.1 %"
    )
    assert third.rstrip().startswith("Epoch 2/30  step 10/10  4:40 left")
    line.on_epoch_end(1, LOGS)
    *_, blank, last = sys.stdout.getvalue().split("\r")
    assert blank == " " * len(third.rstrip())
    assert last.startswith("Epoch 2/30  0:08")
    # Nothing is left to be ended.
    line.close()
    assert sys.stdout.getvalue().endswith(last)


def test_79_characters_whatever_the_names(now, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    logs = {"loss": 1e9, "accuracy": 0.5}
    name = "a_head_with_a_name_of_more_than_eighty_characters" * 2
    line = ProgressLine(name, "accuracy", [], STEPS * 99999, 100000)
    shown(line, STEPS * 99999, now, logs)
    lines = sys.stdout.getvalue().split("\r")
    assert max(map(len, lines)) == 79
    # An error's line follows a line that has ended.
    line.close()
    assert sys.stdout.getvalue().endswith("\n")


def test_a_file_gets_the_lines_of_epochs_only(now, capsys):
    line = ProgressLine("fused", "fused_accuracy", TERMS, STEPS, 30)
    shown(line, STEPS, now)
    line.close()
    assert capsys.readouterr().out == ""
    line.on_epoch_end(1, LOGS)
    assert capsys.readouterr().out.startswith("Epoch 2/30  0:08  ")


def test_the_values_of_an_epoch():
    lines = epoch_lines(LOGS, TERMS)
    assert "\n".join(lines) == LINES
    assert max(map(len, lines)) < 80
    # As of a single network, and of one without an evaluation.
    logs = {"accuracy": 0.5, "val_accuracy": 0.25, "loss": 1.0}
    assert epoch_lines(logs, ["ce"]) == [
        "",
        "  training    loss      1.0000",
        "  evaluation  accuracy 25.00 %",
    ]
    assert epoch_lines({}, []) == [""]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.7, "1:00"), (3723, "1:02:03")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


@pytest.mark.slow
def test_in_runs(few_digits, tmp_path, monkeypatch, capsys):
    """Interrupted in the middle of an epoch and resumed, two steps a call."""

    class SecondCall(single.StopRequest):
        asked = 0

        @property
        def reason(self):
            SecondCall.asked += 1
            return "it is a test" if SecondCall.asked == 2 else None

    run = preset(
        "quickstart_vanilla",
        epochs=2,
        batch_size=50,
        steps_per_execution=2,
        lr_milestones=(),
    )
    with monkeypatch.context() as patch:
        patch.setattr(single, "StopRequest", SecondCall)
        patch.setattr(sys, "stdout", Terminal())
        with pytest.raises(Unfinished, match="after step 4 of epoch 1"):
            training.train(run, tmp_path)
        output = sys.stdout.getvalue()
    assert "\rEpoch 1/2  step 2/6" in output and output.endswith("%\n")
    training.train(run, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("resumed after step 4 of epoch 1")
    starts = [line.split("  ")[0] for line in lines if line[0] != " "]
    assert starts[1:] == ["Epoch 1/2", "Epoch 2/2"]
    assert all(len(line) < 80 for line in lines[1:])
    assert sum("training    loss" in line for line in lines) == 2
