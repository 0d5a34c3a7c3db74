"""The notebooks of docs/notebooks: what is committed, and that they run."""

import ast
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# Absolute paths, warnings, and the lines that TensorFlow prints when it starts.
UNWANTED = (
    r"(?<![\w.~/+=])/\w+/\w",
    r"[Ww]arning|WARN",
    r"^[IWE]0000|oneDNN|cuda|rebuild TensorFlow",
)


def cells(path, kind):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [c for c in notebook["cells"] if c["cell_type"] == kind]


def output_text(output):
    data = output.get("data", {})
    text = output.get("text", data.get("text/plain", ""))
    return "".join(text)


def check_executed(path):
    code = cells(path, "code")
    assert len(code) > 5
    # All of them, once, from the first to the last.
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert code[-1]["outputs"]
    for output in outputs:
        assert output["output_type"] != "error"
        assert output.get("name") != "stderr"
        for pattern in UNWANTED:
            found = re.search(pattern, output_text(output), re.MULTILINE)
            assert not found, found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed(path):
    check_executed(path)
    for cell in cells(path, "code"):
        ast.parse("".join(cell["source"]))
        # Times of execution would change with every execution.
        assert "execution" not in cell["metadata"]
    for cell in cells(path, "markdown"):
        for link in re.findall(r"\]\(([^)#\s]+)", "".join(cell["source"])):
            assert re.match("https?:", link) or (path.parent / link).exists()


def test_all_are_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 4
    for path in NOTEBOOKS:
        assert f": notebooks/{path.stem}.md\n" in nav


def documented_command():
    text = (ROOT / "BUILD.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    (found,) = (block for block in blocks if "nbconvert" in block)
    return found


@pytest.mark.slow
def test_documented_command(tmp_path):
    python, command = documented_command().split(" ", 1)
    assert python == ".venv/bin/python" and "--inplace" in command
    elsewhere = f"--to=notebook --output-dir={tmp_path}"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        f"{sys.executable} {command.replace('--inplace', elsewhere)}",
        shell=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
    )
    for notebook in NOTEBOOKS:
        check_executed(tmp_path / notebook.name)
