"""Tables from cells to report, as `keras-ffl reproduce` calls it."""

from keras_ffl.errors import InputError, Unfinished
from keras_ffl.studies.tables import plan, run_cells, table_files
from keras_ffl.studies.tables.cells import cells_of
from keras_ffl.studies.tables.entry_results import collect
from keras_ffl.studies.tables.method_tables import table as find_table
from keras_ffl.studies.tables.smaller_tables import scaled_table
from keras_ffl.whole_files import check_folder
from keras_ffl.workdir import folder_path

SCALED_EPOCHS = 10


def reproduce(
    table,
    workdir,
    runs=1,
    data_dir=None,
    scale=False,
    epochs=None,
    jobs=1,
    shard=None,
    report_only=False,
    plan_only=False,
    imports=(),
):
    """Runs a table's cells and writes its report.

    Cells are folders in `workdir`, named by configuration and seed, so that
    tables share them. Finished ones are not repeated, others resume where they
    stopped, and failed ones are retried.

    Args:
        table: A key of `keras_ffl.studies.tables.TABLES`.
        workdir: Folder of all cells and reports.
        runs: Int >= 1, runs per cell, with seeds 0 to `runs - 1`.
        data_dir: Folder of tensorflow-datasets, None for its default.
        scale: Bool, whether to use smaller networks and fewer epochs.
        epochs: Int >= 1, epochs of the scaled table, 10 by default.
        jobs: Int >= 1, cells to train at the same time, each on its share of
            the CPUs.
        shard: Str "k/n": run part k of n, for several machines.
        report_only: Bool, whether to only write the report.
        plan_only: Bool, whether to only print the planned runs and their
            duration.
        imports: Names of modules for the cells' processes to import.

    Returns:
        Bool, whether no cell has failed.

    Raises:
        InputError: An argument is out of range or the folder can't be
            written.
        Unfinished: This process was interrupted, or one of its children.
    """
    epochs = _check(runs, jobs, scale, epochs)
    entries = find_table(table)
    if scale:
        entries = scaled_table(entries, epochs)
    all_cells = cells_of(entries, runs, workdir, data_dir)
    cells = run_cells.shard_of(all_cells, shard)
    if plan_only:
        _print_plan(entries, cells, jobs)
        return True
    check_folder(folder_path(workdir), "workdir")
    command = _command(table, runs, epochs if scale else None)

    def write():
        results = collect(entries, runs, workdir)
        return table_files.write(entries, results, workdir, command, scale)

    path, stopped = write(), 0
    if not report_only:
        stopped = run_cells.run(cells, jobs, write, imports)
        path = write()
    _print_summary(cells, path)
    if stopped:
        raise Unfinished(
            "cells that were stopped or that another process trains: "
            f"{stopped}; the same command resumes"
        )
    return report_only or not any(cell.failure() for cell in cells)


def _check(runs, jobs, scale, epochs):
    """The number of epochs of a scaled table."""
    if epochs is not None and not scale:
        raise InputError(
            "`epochs` needs `scale`, without which the epochs are the paper's, "
            f"got {epochs}"
        )
    epochs = SCALED_EPOCHS if epochs is None else epochs
    for name, value in (("runs", runs), ("jobs", jobs), ("epochs", epochs)):
        if value < 1:
            raise InputError(f"`{name}` must be at least 1, got {value}")
    return epochs


def _command(table, runs, epochs):
    """The command without the folders of this machine."""
    scaled = f" --scale --epochs={epochs}" if epochs else ""
    return (
        f"keras-ffl reproduce --table={table} --runs={runs}{scaled} "
        "--workdir=RUNS"
    )


def _print_summary(cells, path):
    finished = sum(cell.finished for cell in cells)
    print(f"{finished} of {len(cells)} cells finished; report: {path}")
    for cell in cells:
        reason = cell.failure()
        if reason:
            print(f"failed: {cell.name}: {reason}")


def _described(estimate):
    if estimate.seconds is None:
        return f"{estimate.state}; can't be timed: {estimate.reason}"
    if not estimate.seconds:
        return estimate.state
    return f"{estimate.state}; {plan.duration(estimate.seconds)} to go"


def _print_plan(entries, cells, jobs):
    print(f"{entries.title}: {len(cells)} cells\n")
    total, unknown = 0.0, 0
    with run_cells.pinned(run_cells.cpu_shares(jobs)[0]):
        for estimate in plan.estimates(cells):
            print(f"{estimate.cell.name}: {_described(estimate)}", flush=True)
            total += estimate.seconds or 0.0
            unknown += estimate.seconds is None
    print(
        f"\ntraining steps in total: about {plan.duration(total / jobs)}",
        end="",
    )
    print(f" with {jobs} at once" if jobs > 1 else "", end="")
    print(f", and {unknown} cells that can't be timed" if unknown else "")
