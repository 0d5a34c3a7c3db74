"""The report of a table: Markdown to read, CSV for further use."""

import csv
import datetime
import io
import os
import pathlib
import platform

from keras_ffl.studies.tables.cells import has_branches
from keras_ffl.whole_files import write_whole

_MISSING = "–"
_DIFFERS = " ≠"

_DETAILS = (
    "row",
    "column",
    "method",
    "head",
    "runs",
    "last epoch",
    "best epoch (chosen on the test split)",
    "best run",
    "difference to the paper",
    "deployed: parameters",
    "multiply-adds",
    "trained: parameters",
    "multiply-adds",
    "seconds per epoch",
)


def write(table, results, root, command, scaled):
    """Writes `table_<key>[_scaled].md` and `.csv`.

    Args:
        table: `keras_ffl.studies.tables.Table`.
        results: List of `keras_ffl.studies.tables.entry_results.Result`.
        root: Folder to write them to.
        command: Str, the command that repeats the table.
        scaled: Bool, whether the table was scaled down.

    Returns:
        `pathlib.Path` of the Markdown.
    """
    name = f"table_{table.key}{'_scaled' if scaled else ''}"
    path = pathlib.Path(root) / f"{name}.md"
    write_whole(path, markdown(table, results, command, scaled))
    rows = csv_text(table, results, scaled)
    write_whole(path.with_suffix(".csv"), rows)
    return path


# ----- Markdown ----------------------------------------------------------


def markdown(table, results, command, scaled):
    """The report as Markdown: header, the paper's layout, details."""
    lines = [
        f"# {table.title}",
        "",
        *_header(table, results, command, scaled),
        "",
        *_layout(results, scaled),
        "",
        "## Details",
        "",
        *_details(results, scaled),
    ]
    unfinished = _unfinished(results)
    if unfinished:
        lines += ["", "## Not finished", "", *unfinished]
    return "\n".join(lines) + "\n"


def _header(table, results, command, scaled):
    versions = sorted({v for result in results for v in result.versions})
    hardware = platform.processor() or platform.machine()
    lines = [
        f"- Command: `{command}`",
        f"- Written {datetime.date.today().isoformat()} on {hardware} with "
        f"{os.cpu_count()} logical CPUs, Python {platform.python_version()}",
        f"- Packages of the runs: {', '.join(versions) or _MISSING}",
        *(f"- Recipe {text}" for text in recipes(table)),
        "- Errors on the test split in percent after the last epoch, mean ± "
        "sample standard deviation over the runs (number of runs), next to "
        "the paper's.",
    ]
    if scaled:
        lines.append(
            "- **Scaled down: fewer epochs and smaller networks than the "
            "paper's.** The paper's figures are for other networks, so "
            "differences are left out."
        )
    else:
        lines.append(
            f"-{_DIFFERS}: differs from the paper by more than two standard "
            "deviations of the difference (several runs on both sides)."
        )
    return lines + [f"- {note}" for note in table.notes]


def recipes(table):
    """The recipes of a table's configurations, one line for each.

    Args:
        table: `keras_ffl.studies.tables.Table`.

    Returns:
        List of str.
    """
    methods = {}
    for entry in table.entries:
        known = methods.setdefault(_recipe(entry.config), [])
        if entry.config.method not in known:
            known.append(entry.config.method)
    return [
        f"({', '.join(names)}): {recipe}" for recipe, names in methods.items()
    ]


def _recipe(config):
    milestones = ", ".join(map(str, config.lr_milestones))
    text = (
        f"{config.epochs} epochs, batch {config.batch_size}, learning rate "
        f"{config.learning_rate:g}, × {config.lr_factor:g} at epoch "
        f"{milestones}, weight decay {config.weight_decay:g}"
    )
    numbers = {
        name: value
        for name, value in vars(config.options).items()
        if isinstance(value, float)
    }
    return text + "".join(f", {name} {v:g}" for name, v in numbers.items())


def _layout(results, scaled):
    """The paper's layout, with each column followed by the paper's."""
    columns = list(dict.fromkeys(r.entry.column for r in results))
    rows = {}
    for result in results:
        rows.setdefault(result.entry.row, {})[result.entry.column] = result
    header = [""]
    for column in columns:
        header += [column, "paper"]
    body = []
    for row, found in rows.items():
        cells = [row]
        for column in columns:
            result = found.get(column)
            cells += (
                [_ours(result, scaled), _paper(result.entry.paper)]
                if result
                else ["", ""]
            )
        body.append(cells)
    return _table(header, body)


def _ours(result, scaled):
    if result.mean is None:
        return _MISSING
    mark = _DIFFERS if result.differs and not scaled else ""
    return (
        f"{_plus_minus(result.mean, result.std)} ({len(result.errors)}){mark}"
    )


def _paper(error):
    if error is None:
        return ""
    text = _plus_minus(error.mean, error.std)
    if error.runs:
        text += f" ({error.runs})"
    if error.best is not None:
        text += f", best {error.best:.2f}"
    if error.parameters is not None:
        text += f", {error.parameters:.2f} M"
    return text


def _plus_minus(mean, std):
    if mean is None:
        return _MISSING
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def _details(results, scaled):
    return _table(_DETAILS, [_detail(result, scaled) for result in results])


def _detail(result, scaled):
    best = _plus_minus(*result.best_epoch)
    if 0 < len(result.best_epochs) < len(result.errors):
        best += f" ({len(result.best_epochs)})"
    difference = _MISSING
    if result.difference is not None and not scaled:
        mark = _DIFFERS if result.differs else ""
        difference = f"{result.difference:+.2f}{mark}"
    return [
        result.entry.row,
        result.entry.column,
        result.entry.config.method,
        result.entry.head,
        str(len(result.errors)),
        _plus_minus(result.mean, result.std),
        best,
        _plus_minus(result.best_run, None),
        difference,
        *(_count(number) for number in result.deployed or (None, None)),
        *(_count(number) for number in result.trained or (None, None)),
        _MISSING
        if result.seconds_per_epoch is None
        else f"{result.seconds_per_epoch:.1f}",
    ]


def _count(number):
    return _MISSING if number is None else f"{number:,}"


def _table(header, rows):
    return [
        f"| {' | '.join(cells)} |"
        for cells in (header, ["---"] * len(header), *rows)
    ]


def _unfinished(results):
    cells = {
        cell.name: cell for result in results for cell in result.unfinished
    }
    return [f"- `{name}`: {cell.state()}" for name, cell in cells.items()]


# ----- CSV ---------------------------------------------------------------


def csv_text(table, results, scaled):
    """The report as CSV, with a line for each entry."""
    lines = [_csv_line(table, result, scaled) for result in results]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _csv_line(table, result, scaled):
    entry, config, paper = result.entry, result.entry.config, result.entry.paper
    best_mean, best_std = result.best_epoch
    head_parameters, head_adds = result.deployed or (None, None)
    parameters, adds = result.trained or (None, None)
    return {
        "table": table.key,
        "scaled": scaled,
        "row": entry.row,
        "column": entry.column,
        "dataset": config.dataset,
        "method": config.method,
        "networks": " ".join(config.networks),
        "branches": config.options.branches if has_branches(config) else "",
        "head": entry.head,
        "metric": entry.metric,
        "epochs": config.epochs,
        "runs": len(result.errors),
        "seeds": " ".join(map(str, result.errors)),
        "errors": " ".join(f"{e:.4f}" for e in result.errors.values()),
        "last_epoch_mean": result.mean,
        "last_epoch_std": result.std,
        "best_epoch_mean": best_mean,
        "best_epoch_std": best_std,
        "best_run": result.best_run,
        "paper_mean": paper and paper.mean,
        "paper_std": paper and paper.std,
        "paper_runs": paper and paper.runs,
        "paper_best_run": paper and paper.best,
        "paper_parameters_millions": paper and paper.parameters,
        "difference": None if scaled else result.difference,
        "differs": None if scaled else result.differs,
        "deployed_parameters": head_parameters,
        "deployed_multiply_adds": head_adds,
        "trained_parameters": parameters,
        "trained_multiply_adds": adds,
        "seconds_per_epoch": result.seconds_per_epoch,
        "unfinished": "; ".join(
            f"{cell.name}: {cell.state()}" for cell in result.unfinished
        ),
    }
