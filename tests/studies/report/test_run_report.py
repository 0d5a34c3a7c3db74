"""The page about a run."""

import html.parser
import json
import re

import keras
import numpy as np
import pytest

from keras_ffl import FeatureFusionModel, InputError
from keras_ffl.studies.analysis import expected_calibration_error, linear_cka
from keras_ffl.studies.pictures import grad_cam
from keras_ffl.studies.report import page, run_report, runs, write_report
from keras_ffl.studies.report.measures import Answers, shared_confidence

# Elements that have no end.
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(html.parser.HTMLParser):
    """Collects what a page holds and checks that elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.ids = [], [], [], []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        self.links += [
            attributes[name]
            for name in ("src", "href", "xlink:href")
            if name in attributes
        ]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def written(ffl_run, vanilla_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "new" / "page.html"
    return write_report(
        ffl_run.path,
        path,
        compare=[vanilla_run.path],
        samples=20,
        per_group=2,
    )


def test_the_page_needs_nothing_else(written):
    path, _ = written
    text = path.read_text(encoding="utf-8")
    reader = Reader(text)
    assert "script" not in reader.tags and "link" not in reader.tags
    assert {"table", "svg", "img", "style"} <= set(reader.tags)
    assert len(reader.ids) == len(set(reader.ids))
    for link in reader.links:
        assert link.startswith("data:image/") or link[1:] in reader.ids, link
    assert "@import" not in text and "url(http" not in text
    assert "width=device-width" in text and "@media print" in text
    for words in (
        "sub-network 2",
        "vanilla",
        "ekd",
        "Reliability",
        "weight_decay",
        "seconds per epoch",
        "Gain of fused over vanilla",
    ):
        assert words in text, words


def test_the_page_opens_with_the_result(written):
    path, numbers = written
    text = "".join(Reader(path.read_text(encoding="utf-8")).text.split())
    opening = text[text.index("Checkpoint:last") : text.index("ErrorsCurves")]
    errors = {t: v["top1_error"] for t, v in numbers["heads"].items()}
    for title in ("fused", "sub-network 1", "sub-network 2", "vanilla"):
        assert f"{title.replace(' ', '')}{errors[title]:.2f}%" in opening
    gap = errors["vanilla"] - errors["fused"]
    word = "fewer" if gap >= 0 else "more"
    assert f"fusedmakes{abs(gap):.2f}points{word}errorsthanvanilla" in opening
    assert "orrelation" not in opening


def test_the_numbers_are_those_of_the_models(
    written, ffl_run, vanilla_run, digits
):
    _, numbers = written
    metrics = ffl_run.read_metrics()["heads"]
    for title, head in (("fused", "fused"), ("sub-network 2", "sub_2")):
        for name in ("top1_error", "loss", "parameters", "multiply_adds"):
            assert numbers["heads"][title][name] == pytest.approx(
                metrics[head][name], rel=1e-4
            )
    assert set(numbers["heads"]) == {
        "fused",
        "sub-network 1",
        "sub-network 2",
        "ensemble",
        "vanilla",
    }
    model, vanilla = ffl_run.load_model(), vanilla_run.load_model()
    images = (digits.x_test - np.float32(digits.info.mean)) / np.float32(
        digits.info.std
    )
    logits = {
        head: model.classifier(head).predict(images, verbose=0)
        for head in ("fused", "sub_1")
    }
    logits["vanilla"] = vanilla.classifier("vanilla").predict(images, verbose=0)
    right = {
        head: values.argmax(axis=1) == digits.y_test
        for head, values in logits.items()
    }
    for k in range(10):
        of = digits.y_test == k
        gain = 100 * (right["fused"][of].mean() - right["vanilla"][of].mean())
        found = numbers["gain_by_class"]["Gain of fused over vanilla"][str(k)]
        assert found == pytest.approx(gain)
    probabilities = keras.ops.convert_to_numpy(
        keras.ops.softmax(logits["fused"])
    )
    ece = expected_calibration_error(digits.y_test, probabilities)
    assert numbers["heads"]["fused"]["ece"] == pytest.approx(ece, abs=1e-4)
    same = np.mean(
        logits["fused"].argmax(axis=1) == logits["sub_1"].argmax(axis=1)
    )
    pair = "fused | sub-network 1"
    assert numbers["likeness"]["agreement"][pair] == pytest.approx(same)
    # The sample is that of the seed; the correlation by NumPy.
    sample = np.sort(np.random.default_rng(0).permutation(360)[:20])
    for name, classes in (
        ("map_correlation", digits.y_test[sample]),
        ("own_map_correlation", None),
    ):
        maps = [
            grad_cam(model, images[sample], head, classes)
            for head in ("fused", "sub_1")
        ]
        values = [
            np.corrcoef(a.ravel(), b.ravel())[0, 1]
            for a, b in zip(*maps)
            if np.ptp(a) and np.ptp(b)
        ]
        found = numbers["likeness"][name][pair]
        assert found["images"] == len(values)
        assert found["mean"] == pytest.approx(np.mean(values), abs=1e-4)
    cka = linear_cka(
        *(
            model.feature_extractor(head).predict(images[sample], verbose=0)
            for head in ("fused", "sub_1")
        )
    )
    assert numbers["likeness"]["cka"][pair] == pytest.approx(cka, abs=1e-4)


def test_confidence_where_all_are_right():
    rows = np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]])
    answers = Answers(np.array([0, 0, 1]), {"a": rows, "b": rows**0.5}, {})
    answers.probabilities["b"][2] = [0.6, 0.4]
    found, images = shared_confidence(answers, ["a", "b"])
    assert images == 1
    assert found == {"a": 0.9, "b": pytest.approx(0.9**0.5)}


def test_the_numbers_are_beside_the_page(written):
    path, numbers = written
    assert json.loads(path.with_suffix(".json").read_text()) == numbers
    assert not list(path.parent.glob(".*"))


def test_means_by_who_is_compared(written, ffl_run, vanilla_run):
    _, numbers = written
    pairs = numbers["likeness"]["agreement"]
    means = numbers["likeness_means"]["agreement"]
    vanilla = [pairs[f"sub-network {k} | vanilla"] for k in (1, 2)]
    assert means["vanilla and the sub-networks of ffl"] == pytest.approx(
        np.mean(vanilla)
    )
    own = [pairs[f"fused | sub-network {k}"] for k in (1, 2)]
    assert means["fused and its sub-networks"] == pytest.approx(np.mean(own))


def test_a_run_alone_and_unfinished(vanilla_run, tmp_path, monkeypatch):
    monkeypatch.setattr(vanilla_run, "metrics", tmp_path / "absent.json")
    path, numbers = write_report(
        vanilla_run.path, tmp_path / "r.html", samples=5, per_group=1
    )
    assert list(numbers["heads"]) == ["vanilla"]
    assert numbers["likeness"]["cka"] == {}
    Reader(path.read_text(encoding="utf-8"))


def test_heads_and_images_that_can_not_be_shown(ffl_run, tmp_path, monkeypatch):
    for module in (runs, run_report):
        monkeypatch.setattr(module, "has_map", lambda _, head: head != "fused")
    path, numbers = write_report(
        ffl_run.path, tmp_path / "r.html", samples=5, per_group=1
    )
    pair = "sub-network 1 | sub-network 2"
    assert list(numbers["likeness"]["map_correlation"]) == [pair]
    assert "fused | sub-network 1" in numbers["likeness"]["cka"]
    text = Reader(path.read_text(encoding="utf-8")).text
    assert "No maps" in text and "missing: fused." in text
    monkeypatch.setattr(run_report, "drawn", lambda *_: {})
    ffl_run.metrics.rename(tmp_path / "metrics.json")
    ffl_run.metrics.write_text("{")
    try:
        write_report(ffl_run.path, path, samples=5)
    finally:
        (tmp_path / "metrics.json").rename(ffl_run.metrics)
    text = Reader(path.read_text(encoding="utf-8")).text
    assert "metrics.json" in text and "all wrong" not in text


def test_names_are_escaped():
    assert page.matrix({("<a>", "b"): float("nan")})["rows"][0][1][1] == {
        "text": "–",
        "shade": 0,
    }
    assert page.plain({("a", "b"): np.float32(0.5), "c": float("nan")}) == {
        "a | b": 0.5,
        "c": None,
    }


@pytest.mark.parametrize("name", ["page.json", "page", "metrics.html"])
def test_output_that_would_replace_numbers(name, vanilla_run):
    before = vanilla_run.metrics.read_bytes()
    with pytest.raises(InputError, match="`output` .*(end with|another name)"):
        write_report(vanilla_run.path, vanilla_run.path / name)
    assert vanilla_run.metrics.read_bytes() == before


def test_numbers_of_others_stay(written, vanilla_run, tmp_path):
    (tmp_path / "results.json").write_text("[1]")
    with pytest.raises(InputError, match="results.json, which holds something"):
        write_report(vanilla_run.path, tmp_path / "results.html")
    assert (tmp_path / "results.json").read_text() == "[1]"
    run_report._check_output(written[0])


def test_classes_of_one_printed_name(
    ffl_run, vanilla_run, tmp_path, monkeypatch
):
    # The main head needn't be the first.
    monkeypatch.setattr(FeatureFusionModel, "primary_head", "sub_2")
    names = tmp_path / "names.txt"
    names.write_text("3 crane\n5 crane\n")
    path, numbers = write_report(
        ffl_run.path,
        tmp_path / "r.html",
        compare=[vanilla_run.path],
        samples=5,
        class_names=names,
    )
    (gain,) = numbers["gain_by_class"].values()
    assert list(gain) == [str(k) for k in range(10)]
    text = path.read_text(encoding="utf-8")
    rows = re.findall('<tr class="main"><td class="name">(.*?)</td>', text)
    assert rows == ["sub-network 2"]
    assert "crane #3" in text and "crane #5" in text


def test_gains_in_words():
    gain = np.array([1.5, -0.5, 0, float("nan")])
    assert run_report._gain_text(gain) == (
        "1 classes are better, 1 worse, 1 equal, 1 without test images; mean "
        "+0.33 points."
    )


def test_output_that_can_not_be_written(vanilla_run, tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(InputError, match="`output` .* can't be written"):
        write_report(vanilla_run.path, tmp_path / "file" / "page.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match="must be a file, got the folder"):
        write_report(vanilla_run.path, tmp_path / "folder.html")
    assert (tmp_path / "file").read_text() == "kept"
