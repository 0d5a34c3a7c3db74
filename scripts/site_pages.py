"""MkDocs' hooks: the API reference, notebooks, and pages outside of docs/.

`mkdocs.yml` names this file. It needs no import of the package: the names are
read from the source, and mkdocstrings reads the docstrings from there too.
Notebooks are shown with their committed outputs and not executed.
"""

import ast
import pathlib
import posixpath
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Pages and files beside docs/ that the site shows, by their place in it.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "BUILD.md": "BUILD.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "LICENSE": "LICENSE",
    "CITATION.cff": "CITATION.cff",
}
_LINK = re.compile(r"(\]\(|(?:src|srcset|href)=\")([^)\s\"#:]+)(?=[)\s\"#])")
_FENCE = re.compile(r"^ *```")
_ITEM = re.compile(r"^ *([*-]|\d+\.) ")


def public_modules():
    """Finds the modules that have a page in the API reference.

    Returns:
        Dict from a module's dotted name to the list of its public names
        (`__all__`), without the backends, whose names are internal.
    """
    found = {}
    for path in sorted((ROOT / "keras_ffl").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "backend" in parts:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == "__all__"
                for target in node.targets
            ):
                name = ".".join(p for p in parts if p != "__init__")
                found[name] = list(ast.literal_eval(node.value))
    return found


def reference_pages():
    """Writes the Markdown of the API reference.

    Returns:
        Dict from a page's place in the site, such as
        "reference/keras_ffl.losses.md", to its Markdown. A name that another
        public module defines is described there and linked from the others.
    """
    modules = public_modules()
    pages = {}
    for module, names in modules.items():
        lines = [f"# `{module}`", "", _first_line(module), ""]
        elsewhere, here = {}, []
        for name in names:
            home = _home(module, name, modules)
            if home == module:
                here.append(name)
            else:
                elsewhere[name] = home
        if elsewhere:
            lines += ["| name | described in |", "|---|---|"]
            for name, home in elsewhere.items():
                anchor = "" if home.endswith(f".{name}") else f"#{home}.{name}"
                lines.append(f"| `{name}` | [`{home}`]({home}.md{anchor}) |")
            lines.append("")
        for name in here:
            lines += [f"::: {module}.{name}", ""]
        pages[f"reference/{module}.md"] = "\n".join(lines)
    return pages


def _home(module, name, modules):
    """The public module whose page describes a name."""
    if f"{module}.{name}" in modules:
        return f"{module}.{name}"
    # The package's first page is an overview of the others; the parts of a
    # module only show what the module doesn't.
    related = [
        m
        for m in modules
        if name in modules[m]
        and (m.startswith(f"{module}.") or module.startswith(f"{m}."))
        and m != "keras_ffl"
    ]
    if module != "keras_ffl":
        related.append(module)
    return min(related, key=len, default=module)


def _first_line(module):
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return text.splitlines()[0]


def site_link(source, target):
    """Turns a link between files of the repository into one of the site.

    Args:
        source: Str, the file that has the link, from the repository's root.
        target: Str, the link: a relative path without its anchor.

    Returns:
        Str, the link from the source's page, with the anchor of a module's
        page where the file is Python code of the package.
    """
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path.startswith("keras_ffl"):
        place = f"reference/{_module_of(path)}.md"
    elif (ROOT / path / "README.md").exists():
        place = f"{path.removeprefix('docs/')}/README.md"
    else:
        place = OUTSIDE.get(path, path.removeprefix("docs/"))
    page = OUTSIDE.get(source, source.removeprefix("docs/"))
    # Notebooks have a page; their files can be downloaded from there.
    place = re.sub(r"\.ipynb$", ".md", place)
    return posixpath.relpath(place, posixpath.dirname(page) or ".")


def _module_of(path):
    name = path.removesuffix(".py").replace("/", ".")
    modules = public_modules()
    while name not in modules:
        name = name.rpartition(".")[0]
    return name


def site_text(source, text):
    """The Markdown of a file with the links of its page.

    Args:
        source: Str, the file, from the repository's root.
        text: Str, its Markdown.

    Returns:
        Str; blocks of code stay as they are. An item of a list that follows
        a paragraph is set off by an empty line, which Python-Markdown needs.
    """
    lines, code, in_list = [], False, True
    for line in text.split("\n"):
        if _FENCE.match(line):
            code = not code
        elif not code:
            line = _LINK.sub(lambda m: m[1] + site_link(source, m[2]), line)
            if _ITEM.match(line) and not in_list:
                lines.append("")
            if not lines or not lines[-1]:
                in_list = bool(_ITEM.match(line))
            elif not line:
                in_list = True
        lines.append(line)
    return "\n".join(lines)


def notebook_page(path):
    """Turns an executed notebook into a page.

    Args:
        path: Path of the notebook, in docs/.

    Returns:
        Dict from the places in the site, of the page and of its pictures, to
        their Markdown (str) and their content (bytes).
    """
    from nbconvert import MarkdownExporter

    place = pathlib.PurePosixPath(path.relative_to(ROOT / "docs"))
    names = {"unique_key": place.stem, "output_files_dir": place.stem}
    text, found = MarkdownExporter().from_filename(str(path), names)
    title, _, rest = site_text(f"docs/{place}", text).strip().partition("\n")
    download = f"[Download this notebook]({place.name})"
    return {
        str(place.with_suffix(".md")): f"{title}\n\n{download}\n{rest}\n",
        **{str(place.parent / k): v for k, v in found["outputs"].items()},
    }


# ----- called by MkDocs -------------------------------------------------------


def on_files(files, config):
    """Adds the API reference, the notebooks' pages and those beside docs/."""
    from mkdocs.structure.files import File

    pages = reference_pages()
    for source, place in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        pages[place] = (
            site_text(source, text) if source.endswith(".md") else text
        )
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        pages |= notebook_page(path)
    for place, text in pages.items():
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Gives the pages of docs/ the links of the site."""
    place = page.file.src_uri
    if page.file.generated_by:
        return markdown
    return site_text(f"docs/{place}", markdown)
