"""The checkout as the rules of the house see it: its files, their text, their syntax trees."""

import ast
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
PACKAGE = SRC / "callmeback"

NOT_OURS = {
    ".git", ".venv", ".lock", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache",
    ".hypothesis", ".wrangler", "build", "dist", "out", "vendor",
}  # fmt: skip
TEXT_ENDINGS = {
    ".py", ".sql", ".html", ".css", ".js", ".ts", ".md", ".toml", ".txt", ".in", ".yml", ".yaml", ".json", ".sh",
    ".cfg", ".ini", ".service", ".svg", ".webmanifest", "",
}  # fmt: skip


@cache
def files() -> tuple[Path, ...]:
    """Every file of ours in the checkout; vendored and generated folders are left out."""
    found = []
    for folder, names, entries in os.walk(ROOT):
        names[:] = sorted(name for name in names if name not in NOT_OURS and not name.endswith(".egg-info"))
        found += [Path(folder) / entry for entry in sorted(entries)]

    return tuple(found)


@cache
def text_of(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(text_of(path), str(path))


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def python_files() -> list[Path]:
    return [path for path in files() if path.suffix == ".py"]


def modules() -> list[Path]:
    return [path for path in python_files() if path.is_relative_to(PACKAGE)]


def texts() -> list[Path]:
    return [path for path in files() if path.suffix in TEXT_ENDINGS]


def lines(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """Place (`file:line`) and text of every line."""
    for path in paths:
        for number, line in enumerate(text_of(path).splitlines(), 1):
            yield f"{short(path)}:{number}", line


def name_of(path: Path) -> str:
    """The dotted name of a module below src."""
    parts = path.relative_to(SRC).with_suffix("").parts

    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(path: Path) -> str:
    """The dotted name of the package that a file below src lies in."""
    return ".".join(path.relative_to(SRC).parts[:-1])


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module imports; `from a import b` counts as `a.b`."""
    package = package_of(path).split(".")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call below `tree` with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a chain of attributes; an empty text for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""

    return ""


def none(found: Iterable[str]) -> None:
    """Assert that a rule found nothing; otherwise every place is named."""
    places = list(found)

    assert not places, "\n  " + "\n  ".join(places)
