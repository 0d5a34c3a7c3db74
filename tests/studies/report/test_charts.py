"""Charts as SVG inside a page."""

import re
import xml.etree.ElementTree

import numpy as np
import pytest

from keras_ffl.studies.report import charts

HISTORY = [
    {
        "epoch": float(epoch),
        "fused_accuracy": 0.5 + epoch / 10,
        "ce_fused": 2.0 / (epoch + 1),
        "ce_sub_1": 3.0 / (epoch + 1),
        "ekd": 0.1,
        "fkd": 0.2,
        "loss": 5.0 / (epoch + 1),
        "distillation_weight": epoch / 3,
        "learning_rate": 0.1,
        "val_fused_accuracy": 0.4 + epoch / 10,
        "val_ce_fused": 2.5,
        "val_ce_sub_1": 3.5,
        "val_ekd": 0.2,
        "val_fkd": 0.3,
        "val_loss": 6.0,
    }
    for epoch in range(3)
]


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


@pytest.fixture(scope="module")
def of_history():
    return charts.curves(HISTORY)


def test_every_term_and_head_has_a_curve(of_history):
    named = {
        "Top-1 error (%)": [],
        "Cross-entropy": ["ce_fused", "ce_sub_1"],
        "Distillation terms": ["ekd", "fkd"],
        "Total loss": [],
        "Ramp-up w(t)": [],
        "Learning rate": [],
    }
    assert set(of_history) == set(named)
    for title, names in named.items():
        written = texts(of_history[title])
        assert "epoch" in written
        for name in names:
            assert any(text.startswith(f"{name}: ") for text in written)


def test_charts_fit_into_one_page(of_history):
    pages = "".join(of_history.values())
    ids = re.findall(r'\bid="([^"]+)"', pages)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', pages))
    assert used and used <= set(ids)
    for svg in of_history.values():
        element = xml.etree.ElementTree.fromstring(svg)
        # As wide as there is room for.
        assert "width" not in element.attrib and "viewBox" in element.attrib
        assert "<script" not in svg and "aria-label" in svg


def test_no_history_no_chart():
    assert charts.curves([]) == {}


def test_a_run_of_one_network():
    rows = [{"epoch": 0.0, "accuracy": 0.9, "ce_vanilla": 1.0, "loss": 1.0}]
    found = charts.curves(rows)
    assert set(found) == {"Top-1 error (%)", "Cross-entropy", "Total loss"}


def test_names_are_escaped():
    svg = charts.gain_bars(["<b>", "a & b"], np.array([1.0, -2.0]))
    assert "<b>" not in svg and "&lt;b&gt;" in svg
    svg = charts.confusion_image(np.eye(2, dtype=int), ["<i>", "b"], '"x" <y>')
    assert "<i>" not in svg and "<y>" not in svg
    xml.etree.ElementTree.fromstring(svg)


def test_gains_of_many_classes_show_both_ends():
    gains = np.arange(50.0) - 25
    gains[7] = np.nan
    names = [f"class {i}" for i in range(50)]
    shown = set(texts(charts.gain_bars(names, gains, most=3)))
    assert {n for n in shown if n.startswith("class")} == {
        f"class {i}" for i in (49, 48, 47, 2, 1, 0)
    }


def test_reliability_of_empty_bins():
    table = {
        "lower": np.array([0, 0.5]),
        "upper": np.array([0.5, 1]),
        "count": np.array([0, 4]),
        "confidence": np.array([np.nan, 0.8]),
        "accuracy": np.array([np.nan, 0.5]),
    }
    svg = charts.reliability_diagram(table, "fused")
    assert "nan" not in svg
    assert 'aria-label="Reliability diagram of fused"' in svg
