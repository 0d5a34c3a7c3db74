"""The measurements of a report: errors, similarity, calibration."""

import dataclasses

import numpy as np

from keras_ffl.evaluation import (
    classification_errors,
    head_logits,
    outputs_of,
)
from keras_ffl.evaluation import probabilities as probabilities_of
from keras_ffl.models import count_multiply_adds, count_parameters
from keras_ffl.studies.analysis import (
    agreement,
    expected_calibration_error,
    linear_cka,
    map_correlation,
    pairwise,
    reliability,
)
from keras_ffl.studies.pictures.grad_cam import grad_cam
from keras_ffl.studies.pictures.overlay import heat
from keras_ffl.studies.report.runs import views_to_show, with_maps


@dataclasses.dataclass(frozen=True)
class Answers:
    """The predictions of all heads of some runs on the test split.

    Attributes:
        y: Integer labels (n,).
        probabilities: Dict from a head's title to a float64 array
            (n, classes); all heads of all runs.
        heads: Dict from a head's title to a dict of its measurements:
            `top1_error` and `top5_error` in percent, `loss` in nats, `ece`
            and `confidence` (mean probability of the predicted class) in
            [0, 1], `parameters`, `multiply_adds`.
    """

    y: np.ndarray
    probabilities: dict
    heads: dict

    def predicted(self, title):
        """A head's predicted classes, integers (n,)."""
        return self.probabilities[title].argmax(axis=1)

    def right(self, title):
        """Whether a head is right, bools (n,)."""
        return self.predicted(title) == self.y


def ask(runs, dataset):
    """Evaluates all heads of runs on the test split.

    Args:
        runs: List of `keras_ffl.studies.report.runs.TrainedRun`.
        dataset: Their data set.

    Returns:
        `Answers`.

    Raises:
        InputError: A photo can't be read, or logits are not finite.
    """
    y = np.asarray(dataset.y_test)
    probabilities, heads = {}, {}
    for run in runs:
        logits = head_logits(
            run.model,
            dataset.evaluation_batches(run.config.eval_batch_size),
        )
        titles = run.titles(logits, first=run is runs[0])
        for head, values in logits.items():
            title = titles[head]
            classifier = run.model.classifier(head)
            probabilities[title] = probabilities_of(run.model, values)
            heads[title] = {
                **classification_errors(y, values),
                "ece": expected_calibration_error(y, probabilities[title]),
                "confidence": probabilities[title].max(axis=1).mean(),
                "parameters": count_parameters(classifier, frozen=True),
                "multiply_adds": count_multiply_adds(classifier),
            }
    return Answers(y, probabilities, heads)


def likeness(runs, answers, images, labels):
    """Measures the similarity of all pairs of heads.

    Args:
        runs: List of `TrainedRun`.
        answers: `Answers`.
        images: Prepared images, a float array (n, h, w, c).
        labels: Integers (n,), their true classes.

    Returns:
        Dict of dicts from a pair of titles to a number: `agreement` of the
        predictions on the whole test split; `cka` of the feature maps and,
        as a dict of `mean`, `std` and `images`, `map_correlation` of the
        Grad-CAM maps for the true class and `own_map_correlation` for each
        head's predicted class, both on `images`. `images` counts those with a
        defined correlation, that is without a map of zeros. Heads without
        feature maps or Grad-CAM maps are left out.
    """
    shown = views_to_show(runs)
    predicted = {title: answers.predicted(title) for *_, title in shown}
    features = {
        title: outputs_of(run.model.feature_extractor(head), images)
        for run, head, title in shown
        if head in run.model.feature_maps()
    }
    found = {
        "agreement": pairwise(agreement, predicted),
        "cka": pairwise(linear_cka, features),
    }
    for name, classes in (
        ("map_correlation", labels),
        ("own_map_correlation", None),
    ):
        maps = {
            title: grad_cam(run.model, images, head, classes)
            for run, head, title in with_maps(shown)
        }
        found[name] = pairwise(_correlation, maps)
    return found


def _correlation(maps, others):
    size = tuple(np.maximum(maps.shape[1:], others.shape[1:]))
    if maps.shape != others.shape:
        maps, others = heat(maps, size), heat(others, size)
    values = map_correlation(maps, others)
    values = values[np.isfinite(values)]
    if not len(values):
        return {"mean": float("nan"), "std": float("nan"), "images": 0}
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "images": len(values),
    }


def between_heads(pairs, runs):
    """Averages a measure over kinds of pairs.

    Args:
        pairs: Dict from a pair of titles to a number or a dict with a `mean`.
        runs: List of `TrainedRun`.

    Returns:
        Dict from the kind ("fused and its sub-networks", "vanilla and the
        sub-networks of ffl", ...) to the mean over its pairs.
    """
    shown = views_to_show(runs)
    subs = [t for run, h, t in shown if run is runs[0] and h.startswith("sub_")]
    main = shown[0][2]
    found = {}

    def add(name, chosen):
        values = [
            value["mean"] if isinstance(value, dict) else value
            for pair, value in pairs.items()
            if set(pair) in chosen
        ]
        if values:
            found[name] = float(np.mean(values))

    add(f"{main} and its sub-networks", [{main, sub} for sub in subs])
    add(
        "sub-networks among themselves",
        [{a, b} for a in subs for b in subs if a != b],
    )
    for run, _, title in shown:
        if run is not runs[0]:
            add(f"{title} and {main}", [{title, main}])
            add(
                f"{title} and the sub-networks of {runs[0].name}",
                [{title, sub} for sub in subs],
            )
    return found


def reliability_tables(answers):
    """`keras_ffl.studies.analysis.reliability` of each head, by title."""
    return {
        title: reliability(answers.y, values)
        for title, values in answers.probabilities.items()
    }


def shared_confidence(answers, titles):
    """Computes the mean confidence of heads on images that all get right.

    Args:
        answers: `Answers`.
        titles: List of heads' titles.

    Returns:
        Tuple of a dict from title to float in [0, 1], and the number of such
        images.
    """
    everywhere = np.all([answers.right(title) for title in titles], axis=0)
    means = {
        title: float(
            answers.probabilities[title][everywhere].max(axis=1).mean()
        )
        if everywhere.any()
        else float("nan")
        for title in titles
    }
    return means, int(everywhere.sum())
