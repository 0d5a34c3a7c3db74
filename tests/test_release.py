"""What a package index gets: metadata, and the files of both archives."""

import pathlib
import re
import runpy
import subprocess
import sys
import tarfile
import zipfile

import pytest
import setuptools

import keras_ffl

ROOT = pathlib.Path(__file__).parents[1]
REPOSITORY = "https://example.org/ffl"
VERSION = keras_ffl.__version__


@pytest.fixture
def described(monkeypatch):
    """Function that runs setup.py and returns what it says."""

    def describe(repository):
        given = {}
        monkeypatch.setattr(setuptools, "setup", given.update)
        if repository:
            monkeypatch.setenv("KERAS_FFL_REPOSITORY", repository)
        else:
            monkeypatch.delenv("KERAS_FFL_REPOSITORY", raising=False)
        runpy.run_path(str(ROOT / "setup.py"))
        return given

    return describe


def links(markdown):
    text = "".join(markdown.split("```")[::2])
    return re.findall(r'\]\(([^)]+)\)|(?:src|srcset|href)="([^"]+)"', text)


@pytest.mark.parametrize("repository", [REPOSITORY, None])
def test_links_of_the_readme_work_elsewhere(repository, described):
    text = described(repository)["long_description"]
    found = ["".join(link) for link in links(text)]
    assert all(link.startswith(("https://", "#")) for link in found), found
    # Code that looks like a link is as it was.
    assert 'model.signatures["serving_default"](images=images)' in text
    files = [
        re.sub(rf"{REPOSITORY}/(blob|raw)/v[\d.]+/", "", link)
        for link in found
        if link.startswith(REPOSITORY)
    ]
    assert bool(files) == bool(repository)
    for file in files:
        assert (ROOT / file.partition("#")[0]).exists(), file


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        (None, " c [e](https://f.org) [g](#h)"),
        (
            REPOSITORY,
            '<picture><source srcset="R/raw/vV/docs/a.svg"></picture>'
            "![b](R/raw/vV/docs/b.png) [c](R/blob/vV/docs/c.md#d) "
            "[e](https://f.org) [g](#h)",
        ),
    ],
)
def test_pictures_are_raw_files(repository, expected, described):
    described(repository)
    setup = runpy.run_path(str(ROOT / "setup.py"))
    text = (
        '<picture><source srcset="docs/a.svg"></picture>![b](docs/b.png) '
        "[c](docs/c.md#d) [e](https://f.org) [g](#h)"
    )
    for short, long in (("R/", f"{REPOSITORY}/"), ("vV", f"v{VERSION}")):
        expected = expected.replace(short, long)
    assert setup["with_addresses"](text) == expected


def test_metadata(described):
    given = described(REPOSITORY)
    python = ROOT.joinpath("scripts", "environment.sh").read_text()
    assert "(3, 11) <= sys.version_info < (3, 14)" in python
    assert given["python_requires"] == ">=3.11,<3.14"
    for minor in (11, 12, 13):
        name = f"Programming Language :: Python :: 3.{minor}"
        assert name in given["classifiers"]
    assert given["project_urls"]["Source"] == REPOSITORY
    extras = given["extras_require"]
    for name in ("studies", "tensorboard", "litert", "onnx"):
        assert set(extras[name]) <= set(extras["all"]) <= set(extras["test"])


@pytest.mark.slow
def test_archives(tmp_path):
    build = (
        "from setuptools import build_meta as b; "
        f"print(b.build_sdist({str(tmp_path)!r})); "
        f"print(b.build_wheel({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        "keras_ffl_launcher.py",
        "keras_ffl/py.typed",
        "keras_ffl/presets.py",
        "keras_ffl/commands/train.py",
        "keras_ffl/studies/report/report.html.jinja",
    ):
        assert name in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "scripts")) for name in names)
    (sdist,) = tmp_path.glob("*.tar.gz")
    names = [name.partition("/")[2] for name in tarfile.open(sdist).getnames()]
    for name in (
        "LICENSE",
        "README.md",
        "docs/methods.md",
        "docs/examples/two_vits.py",
        "scripts/train.py",
        "tests/conftest.py",
        "tests/models/conftest.py",
        "tests/support/builders.py",
    ):
        assert name in names
