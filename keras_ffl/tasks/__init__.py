"""Tasks: what the networks of a method learn."""

import keras

from keras_ffl.errors import InputError
from keras_ffl.tasks.classification import Classification
from keras_ffl.tasks.multi_label import MultiLabel, binary_accuracy
from keras_ffl.tasks.regression import Regression
from keras_ffl.tasks.segmentation import Segmentation
from keras_ffl.tasks.task import Task


def checked_task(task):
    """Checks a task that a user has passed.

    Args:
        task: `Task` or None.

    Returns:
        The task itself; `Classification()` for None.

    Raises:
        InputError: It is no `Task`.
    """
    task = Classification() if task is None else task
    if not isinstance(task, Task):
        raise InputError(
            "`task` must be a keras_ffl.tasks.Task, such as "
            f"keras_ffl.tasks.MultiLabel(), got {task!r}"
        )
    return task


def task_config(task):
    """Makes the entry of a task in a method's `get_config`.

    It is empty for the default, so that a method of the user's whose
    constructor takes no task can be saved and loaded.

    Args:
        task: `Task`.

    Returns:
        Dict, empty or of `task`, the serialised one.
    """
    if type(task) is Classification:
        return {}
    return {"task": keras.saving.serialize_keras_object(task)}


__all__ = [
    "Classification",
    "MultiLabel",
    "Regression",
    "Segmentation",
    "Task",
    "binary_accuracy",
    "checked_task",
    "task_config",
]
