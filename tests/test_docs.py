"""The code of README and docs runs as it is printed."""

import ast
import importlib
import inspect
import pathlib
import re
import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ffl import models
from keras_ffl.methods import METHODS

ROOT = pathlib.Path(__file__).parents[1]


def blocks(file):
    text = (ROOT / file).read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def block(start):
    return next(code for code in blocks("README.md") if code.startswith(start))


def make_network():
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(16, 3, strides=2)(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(name="last_relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(x))


@pytest.fixture
def batches():
    random = np.random.default_rng(0)
    y = random.integers(0, 3, 90)
    # Rows, columns or nothing, under noise.
    x = random.normal(size=(90, 8, 8, 1)) * 0.3
    x[y == 0, ::2] += 2
    x[y == 1, :, ::2] += 2
    data = tf.data.Dataset.from_tensor_slices((x.astype("float32"), y))
    return data.batch(30)


# Keras warns of its own default for every tf.data.Dataset.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
def test_own_network_and_data(batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {
        "make_network": make_network,
        "train_batches": batches,
        "test_batches": batches,
    }
    exec(block("import keras\nimport keras_ffl"), names)
    assert keras.models.load_model("best.keras").heads == names["model"].heads
    better = keras.models.load_model("better.keras")
    assert better.count_params() == make_network().count_params()
    logits = better.predict(batches, verbose=0)
    labels = np.concatenate([y for _, y in batches])
    assert np.mean(np.argmax(logits, axis=1) == labels) > 0.9
    history = names["model"].history.history
    assert history["val_fused_accuracy"][-1] > 0.9


def test_branches():
    names = {}
    exec("import keras_ffl\n" + block("model = keras_ffl"), names)
    assert names["model"].heads == ("fused", "sub_1", "sub_2", "ensemble")


def test_networks(monkeypatch):
    # The name is taken out of the table again.
    monkeypatch.setitem(models.NETWORKS, "tiny", None)
    names = {}
    for code in blocks("docs/networks.md"):
        exec(code, names)
    channels = [n.output["features"].shape[-1] for n in names["networks"]]
    assert channels == [1280, 32, 1280, 32, 1280]
    assert models.build("tiny", 7).output["logits"].shape == (None, 7)


def test_own_task():
    names = {}
    for code in blocks("docs/tasks.md"):
        exec(code, names)
    model = names["model"]
    model.compile(keras.optimizers.SGD(0.01), run_eagerly=True)
    x = np.zeros((2, *model.input_shape[1:]))
    losses = model.train_on_batch(x, np.array([0, 3]), return_dict=True)
    # At first each of the four logits is about 0.
    assert losses["ordinal_fused"] == pytest.approx(4 * np.log(2), abs=1)


def test_own_method(tmp_path, monkeypatch):
    # The row is taken out of the table again.
    monkeypatch.setitem(METHODS, "ensemble_teacher", None)
    names = {}
    for code in blocks("docs/methods.md"):
        exec(code, names)
    names["test_ensemble_teacher"](tmp_path)


@pytest.fixture
def eager_functions():
    """Steps without a graph, which takes longer to build than to run here."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


# The data's own functions stay graphs.
@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental")
@pytest.mark.usefixtures("eager_functions")
def test_keras_notes(batches, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = next(iter(batches.as_numpy_iterator()))

    def make_binary_network():
        image = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(4, 3)(image)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(image, keras.layers.Dense(1, "sigmoid")(x))

    names = {
        "make_network": make_network,
        "make_binary_network": make_binary_network,
        "images": images,
        "labels": labels,
    }
    for code in blocks("docs/keras_notes.md"):
        exec(code, names)
    assert (tmp_path / "best.keras").exists()
    assert names["layer"].output.shape == (None, 3, 3, 16)
    sums = np.sum(names["probabilities"], axis=1)
    assert np.allclose(sums, 1, atol=1e-5)


PAGES = runpy.run_path(str(ROOT / "scripts" / "site_pages.py"))


def test_every_public_name_has_a_place_in_the_reference():
    pages = PAGES["reference_pages"]()
    nav = (ROOT / "mkdocs.yml").read_text()
    count = 0
    for path in sorted((ROOT / "keras_ffl").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        # A backend's names are internal.
        if "__all__" not in path.read_text() or ".backend" in name:
            continue
        page = pages.pop(f"reference/{name}.md")
        assert f"reference/{name}.md" in nav
        module = importlib.import_module(name)
        for each in module.__all__:
            assert hasattr(module, each)
            described = f"::: {name}.{each}\n" in page
            assert described or f"| `{each}` | [`keras_ffl" in page, each
            count += 1
    assert not pages and count > 100


def test_every_argument_is_described():
    count = 0
    for module, names in PAGES["public_modules"]().items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            errors = isinstance(value, type) and issubclass(value, Exception)
            if not callable(value) or errors:
                continue
            doc = inspect.getdoc(value)
            taken = [
                each.name
                for each in inspect.signature(value).parameters.values()
                if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            ]
            missing = [n for n in taken if not re.search(rf"\b{n}\b", doc)]
            assert not missing, (module, name, missing)
            assert not taken or re.search("^(Args|Attributes):", doc, re.M)
            count += len(taken)
    assert count > 200


def test_reference_links_lead_to_descriptions():
    pages = PAGES["reference_pages"]()
    for page in pages.values():
        for place, name in re.findall(r"\]\(([\w.]+\.md)#?([\w.]*)\)", page):
            assert f"::: {name}" in pages[f"reference/{place}"]


def test_pages_are_adapted_to_the_site():
    text = """* [a](../CHANGELOG.md#x) and [b](images/y.png)

  more, [c](../keras_ffl/tasks), [d](https://x.y/z)
* next, [e](studies/methods_8_epochs)

```
[f](../README.md)
* g
```"""
    assert (
        PAGES["site_text"]("docs/a.md", text)
        == """\
* [a](CHANGELOG.md#x) and [b](images/y.png)

  more, [c](reference/keras_ffl.tasks.md), [d](https://x.y/z)

* next, [e](studies/methods_8_epochs/README.md)

```
[f](../README.md)
* g
```"""
    )
    link = PAGES["site_link"]
    assert link("README.md", "docs/methods.md") == "methods.md"
    assert link("README.md", "docs/notebooks/x.ipynb") == "notebooks/x.md"
    assert link("docs/notebooks/x.ipynb", "../a.md") == "../a.md"
    assert link("docs/studies/methods_8_epochs/README.md", "../../x.md") == (
        "../../x.md"
    )
    assert link("README.md", "keras_ffl/config.py") == "reference/keras_ffl.md"


def markdown_files():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.mark.parametrize("file", markdown_files())
def test_links(file):
    text = re.sub(r"```.*?```", "", (ROOT / file).read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    for link in filter(None, sum(links, ())):
        if not re.match(r"https?:|#|reference/", link):
            path = (ROOT / file).parent / link.partition("#")[0]
            assert path.exists(), link


def messages():
    """Every text of the package, with a tab for each value in it."""
    found = set()
    for path in (ROOT / "keras_ffl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else "\t"
                    for part in node.values
                ]
                found.add("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def test_explained_messages_exist():
    text = (ROOT / "docs/troubleshooting.md").read_text()
    rows = re.findall(r"^\| (?:`` (.*?) ``|`(.*?)`)[^|]*\|", text, re.MULTILINE)
    known = messages()
    for row in rows:
        parts = [p for p in re.split("[….]*…[….]*", "".join(row)) if p]
        pattern = ".*".join(re.escape(part.strip()) for part in parts)
        assert any(re.search(pattern, each, re.DOTALL) for each in known), (
            "".join(row)
        )
    assert len(rows) > 25
