"""Names of cells, what tables share, and what a folder says."""

import dataclasses
import json
import pathlib

from support.finished_cells import FFL, VANILLA, finish_ffl, small_table

from keras_ffl.config import Config
from keras_ffl.fields import field
from keras_ffl.studies.tables import cells
from keras_ffl.studies.tables.cells import Cell, cell_of, cells_of
from keras_ffl.studies.tables.method_tables import table


def names(key, runs=1):
    return {cell.name for cell in cells_of(table(key), runs, "root")}


def test_names_stay():
    # A renamed cell would be trained again.
    assert "cifar100_ffl_resnet32x2_307_2dc29409_seed0" in names("1a")
    assert "cifar100_vanilla_resnet32_307_8487ad98_seed0" in names("methods")
    assert "cifar100_dml_resnet32-wrn_16_2_300_2aa40116_seed0" in names("5")
    assert "cifar100_one_resnet32x3_300_9a3bf1b0_seed0" in names("3")


def test_a_new_field_of_the_configuration_renames_nothing(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class LaterConfig(Config):
        new_option: float = field(1.5)

    later = LaterConfig(**vars(FFL))
    before = cells.configuration_name(FFL)
    monkeypatch.setattr(cells, "Config", LaterConfig)
    assert cells.configuration_name(later) == before
    changed = dataclasses.replace(later, new_option=2.0)
    assert cells.configuration_name(changed) != before


def test_seed_data_folder_and_preset_do_not_count_in_the_hash():
    other = dataclasses.replace(FFL, preset="own", seed=7, data_dir="elsewhere")
    assert cells.configuration_name(other) == cells.configuration_name(FFL)
    assert Cell(other, pathlib.Path("r")).name.endswith("_seed7")
    wider = dataclasses.replace(FFL, learning_rate=0.2)
    assert cells.configuration_name(wider) != cells.configuration_name(FFL)


def test_tables_share_cells():
    assert names("1a") == names("1b")
    assert len(names("2") & names("1a")) == 1  # case A
    assert names("2") < names("methods")
    assert len(names("5") & names("6")) == 2  # FFL on both pairs
    assert not names("3") & names("6")


def test_all_of_a_seed_come_before_the_next_and_none_twice():
    found = cells_of(table("2"), 3, "root")
    assert [cell.config.seed for cell in found] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({cell.name for cell in found}) == 12


def test_states(tmp_path):
    cell = cell_of(small_table().entries[0], 0, tmp_path)
    assert cell.state() == "missing" and not cell.finished
    (cell.path / "checkpoints").mkdir(parents=True)
    (cell.path / "checkpoints/epoch_0001.keras").touch()
    assert cell.state() == "1 of 2 epochs"
    cells.store_failure(cell.path, "no\nspace")
    assert cell.state() == "1 of 2 epochs, failed: no space"
    finish_ffl(tmp_path, 0, 25.0, (27.0, 28.0))
    assert cell.state() == "finished" and cell.failure() is None


def test_run_of_another_configuration_is_no_result(tmp_path):
    cell = finish_ffl(tmp_path, 0, 25.0, (27.0, 28.0))
    other = dataclasses.replace(cell.config, learning_rate=0.2)
    (cell.path / "config.json").write_text(json.dumps(other.to_dict()))
    assert not cell.finished
    assert "another configuration" in cell.failure()
    # Where its data were, and what preset it came from, does not matter.
    moved = dataclasses.replace(cell.config, preset="own", data_dir="there")
    (cell.path / "config.json").write_text(json.dumps(moved.to_dict()))
    assert cell.finished


def test_damaged_result_is_listed_with_its_reason(tmp_path):
    cell = finish_ffl(tmp_path, 0, 25.0, (27.0, 28.0))
    (cell.path / "metrics.json").write_text("{")
    assert not cell.finished
    assert "metrics.json" in cell.failure()


def test_vanilla_has_no_branches_in_its_name():
    assert cells.configuration_name(VANILLA).startswith(
        "digits_vanilla_resnet8_2_"
    )
