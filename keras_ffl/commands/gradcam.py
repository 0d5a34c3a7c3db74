r"""Draws what the heads of a trained run look at, as in the paper's figure.

    keras-ffl gradcam --workdir=runs/ffl --compare=runs/vanilla \
        --output=gradcam.png

Each image is a column, with rows for the image itself, the fused classifier,
every sub-network, and the compared network.
"""

from absl import flags

from keras_ffl import cli
from keras_ffl.studies.pictures import (
    grad_cam,
    grad_cam_plus_plus,
)
from keras_ffl.studies.report import write_figure

_WORKDIR = cli.define_workdir()
_COMPARE = flags.DEFINE_multi_string(
    "compare", [], "Workdir of a run to compare with; repeatable."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Picture to write: png, jpg, svg, pdf.", required=True
)
_IMAGES = flags.DEFINE_multi_string(
    "image",
    [],
    "File to show instead of images of the test split; repeatable. Its class "
    "is the name of its folder, if that is one.",
)
_CHECKPOINT = cli.define_checkpoint()
_DATA_DIR = cli.define_data_dir()
_PER_GROUP = flags.DEFINE_integer(
    "per_group", 3, "Images per group of outcomes.", lower_bound=1
)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of the draw within the groups.", lower_bound=0
)
_PLUS_PLUS = flags.DEFINE_bool("plus_plus", False, "Draw Grad-CAM++ maps.")
_LAYER = flags.DEFINE_string(
    "layer", None, "Layer to look at, by default the last of each head."
)
_CLASS = flags.DEFINE_string(
    "class", None, "Class to explain, by default each head's prediction."
)
_DPI = flags.DEFINE_integer(
    "dpi", 100, "Dots per inch.", lower_bound=20, upper_bound=2400
)
_CLASS_NAMES = flags.DEFINE_string(
    "class_names",
    None,
    "Text file of names to print, with a class and its name in each line.",
)


def main():
    """Draws the figure and prints which images are in it."""
    if _IMAGES.value:
        reason = "where --image names the pictures"
        cli.reject_idle(reason, "per_group", "seed", "data_dir")
    numbers = write_figure(
        _WORKDIR.value,
        _OUTPUT.value,
        compare=_COMPARE.value,
        files=_IMAGES.value,
        checkpoint=_CHECKPOINT.value,
        data_dir=_DATA_DIR.value,
        per_group=_PER_GROUP.value,
        seed=_SEED.value,
        method=grad_cam_plus_plus if _PLUS_PLUS.value else grad_cam,
        layer=_LAYER.value,
        explained=_CLASS.value,
        class_names=_CLASS_NAMES.value,
        dpi=_DPI.value,
    )
    for title, indices in numbers.items():
        print(f"{title}: {', '.join(map(str, indices))}")
    print(_OUTPUT.value)
