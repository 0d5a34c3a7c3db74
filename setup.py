"""Installation of keras_ffl; the tools' settings are in pyproject.toml."""

import os
import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent

# Read from the text: importing the package would need what is installed here.
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "keras_ffl" / "__init__.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)[1]

# Minor versions are pinned where the package leans on behaviour that was
# measured on these and that no public contract promises.
INSTALL = [
    "tensorflow~=2.21.0",
    "keras~=3.15.1",
    "tensorflow-datasets~=4.9.10",
    "absl-py>=2.1,<3",
    # Imported directly; with the minor version, because a deprecation in the
    # next one is an error in the tests.
    "numpy~=2.4.0",
    # tensorflow-datasets prepares data with it and does not declare it.
    "importlib_resources>=6",
    # Carries the digits, the data set that needs no download, and splits by
    # class.
    "scikit-learn>=1.5,<2",
    # The memory that is free decides whether photos are kept in it.
    "psutil>=5.9,<8",
    # Shows progress while tensorflow-datasets is read.
    "tqdm>=4.66,<5",
]

# Pictures and reports of trained runs.
STUDIES = [
    # Draws curves.png, the Grad-CAM figure and the report's charts.
    "matplotlib>=3.9,<4",
    # Fills the report's page and escapes what users have named; pure Python,
    # without dependencies but MarkupSafe.
    "jinja2>=3.1,<4",
]

# Writes the TensorBoard logs of a run; TensorFlow 2.21 does not bring it.
TENSORBOARD = ["tensorboard~=2.21.0"]

# Runs exported LiteRT files; TensorFlow brings the converter.
LITERT = ["ai-edge-litert>=2.1,<3"]

# Keras' exporter converts by tf2onnx, onnxruntime runs the result.
ONNX = ["tf2onnx~=1.17.0", "onnx>=1.19,<2", "onnxruntime>=1.23,<2"]

# Keras' other backend here, on CPUs; docs/gpu.md names the package for GPUs.
# The minor version, since Keras' trainer is overridden for it.
JAX = "jax~=0.10.2"

# Pretrained backbones, which `as_subnetwork` takes. The minor version, since a
# network must be copied layer by layer. It brings tensorflow-text, of
# TensorFlow's minor version, and the tokenizers of text models.
HUB = ["keras-hub~=0.32.0"]

# Builds the documentation's site.
DOCS = [
    "mkdocs>=1.6.1,<2",
    "mkdocs-material>=9.7,<10",
    "mkdocstrings[python]>=1,<2",
    # The nested lists of the pages, as GitHub shows them.
    "mdx-truly-sane-lists>=1.3,<2",
    # Execute the notebooks and turn them into pages.
    "nbconvert>=7.17,<8",
    "ipykernel>=7.1,<8",
]

EXTRAS = {
    # What a run and its exports can use. Not the other backend, nor other
    # packages' networks.
    "all": [*STUDIES, *TENSORBOARD, *LITERT, *ONNX],
    "docs": DOCS,
    "hub": HUB,
    "jax": [JAX],
    "litert": LITERT,
    "onnx": ONNX,
    "studies": STUDIES,
    "tensorboard": TENSORBOARD,
    # The formatter's style changes with ruff's minor version. The runtimes
    # are a tenth of TensorFlow's size.
    "test": [
        "pytest>=8.3,<10",
        "pytest-xdist>=3.6,<4",
        "ruff~=0.17.6",
        *DOCS,
        *LITERT,
        *ONNX,
        *STUDIES,
        *TENSORBOARD,
        JAX,
        # Its networks are tested as sub-networks; no longer developed.
        "keras-cv~=0.9.0",
    ],
    # An independent implementation to compare with, in marked tests and the
    # benchmark.
    "torch": ["torch>=2.6,<3"],
}

# Where the published source is, set by .github/workflows/publish.yml.
REPOSITORY = os.environ.get("KERAS_FFL_REPOSITORY")


# Paths to files of the repository, in Markdown and in HTML.
LINK = re.compile(r'(\]\(|(?:src|srcset|href)=")(?!\w+:|#)([^)"\s]+)')
# Without an address for them, their text stays, and pictures go.
PICTURE = re.compile(r"<picture>.*?</picture>|<img[^>]*>", re.DOTALL)
TEXT = re.compile(r"(!?)\[([^]]*)\]\((?!\w+:|#)[^)]*\)")


def with_addresses(markdown):
    """Markdown whose links lead to this version's files, or nowhere."""
    if not REPOSITORY:
        markdown = PICTURE.sub("", markdown)
        return TEXT.sub(lambda link: "" if link[1] else link[2], markdown)

    def address(link):
        picture = link[2].endswith((".jpg", ".png", ".svg"))
        kind = "raw" if picture else "blob"
        return f"{link[1]}{REPOSITORY}/{kind}/v{VERSION}/{link[2]}"

    return LINK.sub(address, markdown)


def long_description():
    """The README as a page of a package index, which has no other files."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    # Every other part is code.
    parts = text.split("```")
    parts[::2] = map(with_addresses, parts[::2])
    return "```".join(parts)


setup(
    name="keras-ffl",
    version=VERSION,
    description="Feature Fusion Learning for Keras",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    author="The keras_ffl authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=(
        "keras tensorflow jax knowledge-distillation mutual-learning "
        "feature-fusion image-classification"
    ),
    project_urls={
        "Paper": "https://arxiv.org/abs/1904.09058",
        **(
            {
                "Source": REPOSITORY,
                "Issues": f"{REPOSITORY}/issues",
                "Changelog": f"{REPOSITORY}/blob/v{VERSION}/CHANGELOG.md",
            }
            if REPOSITORY
            else {}
        ),
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    packages=find_packages(include=["keras_ffl", "keras_ffl.*"]),
    # Not in the package, whose import takes TensorFlow's time.
    py_modules=["keras_ffl_launcher"],
    entry_points={"console_scripts": ["keras-ffl = keras_ffl_launcher:main"]},
    package_data={
        "keras_ffl": ["py.typed"],
        "keras_ffl.studies.report": ["*.jinja"],
    },
    # TensorFlow 2.21 has no wheels for Python 3.14.
    python_requires=">=3.11,<3.14",
    install_requires=INSTALL,
    extras_require=EXTRAS,
)
