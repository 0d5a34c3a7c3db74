"""What a run shows while it trains, in lines that fit a terminal."""

import shutil
import sys
import time

import keras

# Columns, and seconds between two updates of the line.
_WIDTH, _SECONDS = 79, 0.2
# Width of the labels that the rows of an epoch begin with.
_LABEL = 14


def shows_bars(verbose):
    """Whether Keras' progress bar is shown for predictions.

    Args:
        verbose: 0, 1 or 2, as in `keras_ffl.training.train`.

    Returns:
        Bool; with 1 only a terminal gets the bar.
    """
    return verbose == 2 or (verbose == 1 and sys.stdout.isatty())


class ProgressLine(keras.callbacks.Callback):
    """Shows the position in training in a line, and an epoch's values.

    The line is rewritten in place and has at most 79 characters: epoch, step,
    time left in the run, loss and the main head's accuracy. Files and pipes
    only get the lines at the end of an epoch: every loss term of training, and
    the loss and every accuracy of the evaluation after it.

    Args:
        head: Name of the main head.
        accuracy: Name under which its accuracy in training is logged.
        terms: Names of the loss terms, a list.
        steps: Integer array (calls, 2), the epoch's steps in each of Keras'
            steps: the first and the one after the last.
        epochs: Int, epochs of the whole run.
    """

    def __init__(self, head, accuracy, terms, steps, epochs):
        super().__init__()
        self._head, self._accuracy, self._terms = head, accuracy, terms
        self._steps, self._epochs = steps, epochs
        self._rewrites = sys.stdout.isatty()
        self._shown, self._written = 0, 0.0
        self._first = None

    def close(self):
        """Ends a line that is still being rewritten."""
        if self._shown:
            print(flush=True)
        self._shown = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._began = epoch, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if not self._rewrites:
            return
        now, total = time.monotonic(), self._steps[-1, 1]
        step = self._steps[batch, 1]
        done = self._epoch * total + step
        # The first step takes longer: it is compiled.
        self._first = self._first or (now, done)
        if now - self._written < _SECONDS and step < total:
            return
        self._written = now
        parts = [self._title(self._epoch), f"step {step}/{total}"]
        if done > self._first[1]:
            pace = (now - self._first[0]) / (done - self._first[1])
            left = pace * (self._epochs * total - done)
            parts.append(f"{clock(left)} left")
        parts.append(f"loss {float(logs['loss']):.4f}")
        if self._accuracy in logs:
            percent = 100 * float(logs[self._accuracy])
            parts.append(f"{self._head} {percent:.1f} %")
        self._show("  ".join(parts))

    def _show(self, text):
        width = min(_WIDTH, shutil.get_terminal_size().columns - 1)
        text = text[:width]
        print(f"\r{text:{self._shown}}", end="", flush=True)
        self._shown = len(text)

    def on_epoch_end(self, epoch, logs=None):
        if self._shown:
            self._show("")
            print("\r", end="")
        seconds = time.monotonic() - self._began
        lines = epoch_lines(logs or {}, self._terms)
        lines[0] = f"{self._title(epoch)}  {clock(seconds)}{lines[0]}"
        print("\n".join(lines), flush=True)

    def _title(self, epoch):
        return f"Epoch {epoch + 1}/{self._epochs}"


def epoch_lines(logs, terms):
    """Formats the values of an epoch as aligned lines.

    Args:
        logs: Dict from name to number, as callbacks of `fit` get it.
        terms: Names of the loss terms, a list.

    Returns:
        List of str: settings such as the learning rate, the terms of training,
        and losses and accuracies of the evaluation, each in one line, or more
        if they don't fit.
    """
    settings, training, evaluation = "", {}, {}
    for name, value in logs.items():
        base = name.removeprefix("val_")
        if base.endswith("accuracy"):
            head = base.removesuffix("accuracy").removesuffix("_") or "accuracy"
            if name != base:
                evaluation[head] = f"{100 * float(value):.2f} %"
        elif name in ("loss", *terms):
            training[name] = f"{float(value):.4f}"
        elif name == "val_loss":
            evaluation["loss"] = f"{float(value):.4f}"
        elif name == base:
            settings += f"  {name.replace('_', ' ')} {float(value):.4g}"
    rows = {"training": training, "evaluation": evaluation}
    return [settings, *_aligned(rows)]


def _aligned(rows):
    """Lines of rows of cells whose columns have one width."""
    cells = [cell for row in rows.values() for cell in row.items()]
    if not cells:
        return []
    names, values = (max(map(len, column)) for column in zip(*cells))
    in_line = max(1, (_WIDTH - _LABEL) // (names + values + 3))
    lines = []
    for label, row in rows.items():
        # The loss comes first.
        shown = sorted(row.items(), key=lambda cell: cell[0] != "loss")
        for start in range(0, len(shown), in_line):
            lines.append(
                f"  {'' if start else label:{_LABEL - 4}}"
                + "".join(
                    f"  {name:{names}} {value:>{values}}"
                    for name, value in shown[start : start + in_line]
                )
            )
    return lines


def clock(seconds):
    """Formats a duration as minutes and seconds, with hours if there are any.

    Args:
        seconds: Number >= 0.

    Returns:
        Str such as "0:07" or "1:02:03".
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{seconds:02}"
    return f"{minutes}:{seconds:02}"
