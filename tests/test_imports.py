"""The picture of docs/architecture.md, held against every import: one way down, and never sideways."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LEVELS = (
    {"clients", "server", "cli"},
    {"reporting", "privacy"},
    {"audit"},
    {"federation"},
    {"aggregation", "contribution", "learning", "ledger"},
    {"accounting", "models", "data", "protection"},
    {"root"},
)
DEPTH = {package: depth for depth, level in enumerate(LEVELS) for package in level}

SOURCES = sorted(
    path for folder in ("fedchest", "clients", "server") for path in (ROOT / folder).rglob("*.py")
)


def package_of(module: str) -> str | None:
    """The package in the picture that a dotted module belongs to; None for what isn't ours."""
    top, *rest = module.split(".")
    if top in ("clients", "server"):
        return top
    if top != "fedchest":
        return None
    return rest[0] if rest and rest[0] in DEPTH else "root"


def imports_of(path: Path) -> Iterator[str]:
    """Every module that `path` imports, wherever in the file, `from` imports with their names appended."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(importer: str, imported: str) -> bool:
    return importer == imported or DEPTH[importer] < DEPTH[imported]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    own = package_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert own is not None
    wrong = [
        module
        for module in imports_of(path)
        if (package := package_of(module)) is not None and not allowed(own, package)
    ]
    assert wrong == []


def test_every_package_has_its_place():
    packages = {path.parent.name for path in (ROOT / "fedchest").glob("*/__init__.py")}
    assert packages <= DEPTH.keys()


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("federation", "server"),
        ("data", "models"),
        ("ledger", "aggregation"),
        ("root", "data"),
        ("audit", "cli"),
    ],
)
def test_the_picture_forbids(importer, imported):
    assert not allowed(importer, imported)
