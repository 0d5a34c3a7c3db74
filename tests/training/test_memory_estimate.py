"""The memory that a training is said to need."""

import random
import types

import pytest

from keras_ffl import Config, InputError, preset, training
from keras_ffl.data import DatasetInfo
from keras_ffl.models import count_parameters
from keras_ffl.training import memory_estimate

INFO = DatasetInfo("toy", 10, (8, 8, 1), tuple("0123456789"), (0,), (1,), False)


def config(method="ffl", **values):
    return preset("quickstart", method=method, **values)


@pytest.fixture
def free(monkeypatch):
    """Sets the bytes that are free."""

    def set_free(number):
        found = types.SimpleNamespace(available=number)
        psutil = types.SimpleNamespace(virtual_memory=lambda: found)
        monkeypatch.setattr(memory_estimate, "psutil", psutil)

    return set_free


@pytest.mark.parametrize(
    "settings",
    [
        config("vanilla"),
        config("ensemble", branches=3),
        config("ensemble", networks=("resnet8", "wrn_10_1")),
        config("dml"),
        config("one", branches=3),
        config("one", separate_stages=2),
        config(fusion_filters=4096),
        config(fusion_filters=4096, separate_stages=0),
        config(fusion_filters=4096, networks=("resnet8", "wrn_10_1")),
        config("one", networks=("vit_lite_4",)),
        config(fusion_filters=4096, networks=("resnet8", "vit_lite_4")),
    ],
    ids=lambda s: f"{s.method} {'-'.join(s.networks)} {s.options}",
)
def test_weights_are_those_of_the_model(settings):
    model = training.build_model(settings, INFO)
    # Without images there is nothing but weights, gradients and momentum.
    found = memory_estimate.least_bytes(settings, INFO, images=0)
    actual = 3 * 4 * count_parameters(model)
    # Gates and normalisation around the fused map are left out.
    assert 0.97 * actual < found <= actual


def test_results_by_hand():
    # Stem and first stage at 8 x 8, then 4 x 4 and 2 x 2 with shortcuts.
    trunk = 3 * 8 * 8 * 16 + 3 * 4 * 4 * 32
    own = 3 * 2 * 2 * 64

    def values(settings, images=7, **options):
        every = memory_estimate.least_bytes(settings, INFO, images, **options)
        return every - memory_estimate.least_bytes(settings, INFO, 0)

    assert values(config()) == 7 * 2 * 4 * (trunk + 2 * own)
    assert values(config(batch_size=5)) == 5 * 2 * 4 * (trunk + 2 * own)
    assert values(config(), processes=7) == 2 * 4 * (trunk + 2 * own)
    half = config(dtype_policy="mixed_bfloat16")
    assert values(half) == 7 * 2 * 2 * (trunk + 2 * own)
    apart = config(separate_stages=0, branches=3)
    assert values(apart) == 7 * 2 * 4 * 3 * (trunk + own)
    # Networks that don't teach each other may take turns.
    assert values(config("ensemble", branches=3)) == 7 * 2 * 4 * (trunk + own)
    # Four tokens: the embedding, and in each of four blocks attention and two
    # dense layers.
    tokens = config(networks=("vit_lite_4",), separate_stages=0, branches=2)
    assert values(tokens) == 7 * 2 * 4 * 2 * (4 * 128 * (1 + 4 * 3))
    fused = config(fusion_filters=100)
    assert values(fused) - values(config()) == 7 * 2 * 4 * 100 * 2 * 2


@pytest.mark.parametrize(
    ("settings", "gigabytes", "message"),
    [
        (config(fusion_filters=10**9), 100, "`fusion_filters`=1000000000 need"),
        (config(branches=64), 0.02, "`branches`=64 needs at least"),
        (config(batch_size=10**9), 0.03, "`batch_size`=1000000000 needs"),
        (
            config(branches=64, batch_size=2048),
            0.005,
            "`branches`=64, `batch_size`=2048 needs at least .* 0 GB are free",
        ),
    ],
)
def test_what_does_not_fit_is_named(settings, gigabytes, message, free):
    free(gigabytes * 1e9)
    with pytest.raises(InputError, match=message):
        memory_estimate.check_memory(settings, INFO, images=1500)
    free(1e14)
    memory_estimate.check_memory(settings, INFO, images=1500)


def test_nothing_is_asked_of_what_is_ordinary():
    memory_estimate.check_memory(config(), INFO, None)
    # Nor where the field has no meaning.
    pair = Config(networks=("resnet8", "wrn_10_1"), options={"branches": 64})
    memory_estimate.check_memory(pair, INFO, None)


def test_the_draw_of_weights_does_not_change():
    random.seed(3)
    memory_estimate.least_bytes(config(), INFO, 1)
    drawn = random.random()
    random.seed(3)
    assert drawn == random.random()


@pytest.mark.parametrize("field", ["fusion_filters", "branches"])
def test_a_run_that_does_not_fit_is_not_begun(
    field, free, tmp_path, monkeypatch
):
    free(1e6)
    monkeypatch.setattr("keras_ffl.training.single.build_model", None)
    values = {field: 64 if field == "branches" else 10**9}
    with pytest.raises(InputError, match=f"`{field}`=.* needs at least"):
        training.train(config(**values), tmp_path, 0)
    assert not list(tmp_path.glob("*.json"))
