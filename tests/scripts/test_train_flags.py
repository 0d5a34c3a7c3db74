"""What configuration the flags of `train` make."""

import json
import subprocess
import sys

import pytest

from keras_ffl import preset
from keras_ffl.config import Config

# Prints for each list of flags the configuration, or why there is none.
STARTER = """
import json, sys
from absl import flags
from absl.testing import flagsaver
from keras_ffl.commands import train
from keras_ffl.errors import InputError

caught = []
class Caught(Exception):
    pass

def catch(config, *arguments, **options):
    raise Caught(config)

train.training.train = catch
for arguments in json.loads(sys.argv[1]):
    with flagsaver.flagsaver():
        flags.FLAGS(["train.py", "--workdir=w", *arguments])
        try:
            train.main()
        except Caught as found:
            caught.append(found.args[0].to_dict())
        except InputError as error:
            caught.append(str(error))
print(json.dumps(caught))
"""

GIVEN = {
    "flag": ["--method=dml"],
    "set": ["--set=method=dml"],
    "own": ["--set=rampup_epochs=7", "--method=dml"],
    "own, set": ["--set=method=dml", "--set=rampup_epochs=7"],
    "both": ["--method=dml", "--set=method=dml"],
    "kd": ["--method=kd", "--teacher=t"],
    "kd, set": ["--set=teacher=t", "--set=method=kd"],
    "back": ["--preset=cifar_dml", "--method=ffl"],
    "preset": ["--preset=cifar_small"],
    "preset, set": ["--set=preset=cifar_small"],
    "seed": ["--seed=3"],
    "seed, set": ["--set=seed=3"],
    "differ": ["--seed=3", "--set=seed=4"],
    "twice": ["--set=networks=resnet8", "--set=networks=wrn_10_1"],
    "no option": ["--method=vanilla", "--set=use_fkd=false"],
    "no option, set": ["--set=method=vanilla", "--set=use_fkd=false"],
    "no option, preset": ["--preset=quickstart_vanilla", "--set=branches=3"],
    "no teacher": ["--teacher=t"],
    "magic": ["--method=magic"],
    "one device": ["--logical_cpus=2"],
}


@pytest.fixture(scope="module")
def found():
    lists = json.dumps(list(GIVEN.values()))
    done = subprocess.run(
        [sys.executable, "-c", STARTER, lists],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout.splitlines()[-1])
    return {
        name: value if isinstance(value, str) else Config.from_dict(value)
        for name, value in zip(GIVEN, values, strict=True)
    }


def distillation(config):
    return config.options.temperature, config.options.rampup_epochs


def test_one_recipe_whatever_the_spelling(found):
    assert found["flag"] == found["set"] == found["both"]
    assert found["flag"] == preset("quickstart", method="dml")
    assert (
        found["flag"].options.temperature,
        found["flag"].options.rampup_epochs,
    ) == (1, 0)
    assert found["own"] == found["own, set"]
    assert (
        found["own"].options.temperature,
        found["own"].options.rampup_epochs,
    ) == (1, 7)
    assert found["kd"] == found["kd, set"]
    assert (
        found["kd"].options.temperature,
        found["kd"].options.rampup_epochs,
    ) == (3, 0)
    # DML's defaults don't stay where another method takes its place.
    assert (
        found["back"].options.temperature,
        found["back"].options.rampup_epochs,
    ) == (3, 80)


def test_flags_are_fields(found):
    assert found["preset"] == found["preset, set"] == preset("cifar_small")
    assert found["seed"] == found["seed, set"] == preset("quickstart", seed=3)
    assert found["one device"] == (
        "`logical_cpus` needs --strategy=mirrored or multi_worker, got "
        "--strategy=auto, which would use one of them"
    )
    assert found["differ"] == (
        "`seed` is given twice: --seed=3 and --set seed=4"
    )
    assert found["twice"] == (
        "`networks` is given twice: --set networks=resnet8 and --set "
        "networks=wrn_10_1"
    )


def test_an_option_that_the_method_does_not_have(found):
    message = (
        "`use_fkd` has no meaning for method vanilla (its options: none), got "
        "False"
    )
    assert found["no option"] == found["no option, set"] == message
    assert found["no option, preset"] == (
        "`branches` has no meaning for method vanilla (its options: none), "
        "got 3"
    )
    assert found["no teacher"].startswith(
        "`teacher` has no meaning for method ffl"
    )
    assert found["magic"].startswith("`method` must be one of ffl, vanilla, ")
