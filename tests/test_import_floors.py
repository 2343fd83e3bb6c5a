"""A module imports only from lower floors."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RUST = ROOT / "rust" / "src"
PYTHON = ROOT / "python" / "sd_rbee"

# From the ground up; modules of one floor may not import each other.
PYTHON_FLOORS = [
    ["errors"],
    ["backend"],
    ["models", "metadata", "spec", "under_way"],
    ["images"],
    ["result"],
    ["events"],
    ["streaming", "verify"],
    ["pipeline"],
    ["cli"],
]


def python_module(path: Path) -> str:
    return path.relative_to(PYTHON).parts[0].removesuffix(".py").removesuffix(".pyi")


def python_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "sd_rbee":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sd_rbee."):
            yield (node.module or "").split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("sd_rbee."))


def rust_floors() -> list[str]:
    """The modules in the order in which lib.rs lists them, which is that of the floors."""
    return re.findall(r"^(?:pub )?mod (\w+);", (RUST / "lib.rs").read_text("utf-8"), re.MULTILINE)


def rust_module(path: Path) -> str:
    return path.relative_to(RUST).parts[0].removesuffix(".rs")


def rust_code(path: Path) -> str:
    """The file without comments and without its tests, which may use what they like."""
    return re.sub(r"//[^\n]*", "", path.read_text("utf-8").partition("#[cfg(test)]")[0])


RUST_FILES = sorted(path for path in RUST.rglob("*.rs") if path.name != "lib.rs")
PYTHON_FILES = sorted(
    path for path in PYTHON.rglob("*.py") if path.relative_to(PYTHON).parts[0] not in ("__init__.py", "__main__.py")
)


@pytest.mark.parametrize("path", RUST_FILES, ids=lambda path: str(path.relative_to(RUST)))
def test_rust_modules_import_from_lower_floors(path: Path) -> None:
    floors, module = rust_floors(), rust_module(path)
    used = set(re.findall(r"\bcrate::(?:\{\s*)?(\w+)", rust_code(path))) & set(floors)
    higher = {name for name in used - {module} if floors.index(name) > floors.index(module)}
    assert not higher, f"{module} imports {sorted(higher)}, which lib.rs lists after it"


@pytest.mark.parametrize("path", RUST_FILES, ids=lambda path: str(path.relative_to(RUST)))
def test_only_the_bindings_know_python(path: Path) -> None:
    if rust_module(path) != "bindings":
        assert "pyo3" not in rust_code(path)


@pytest.mark.parametrize("path", RUST_FILES, ids=lambda path: str(path.relative_to(RUST)))
def test_only_the_device_module_asks_for_features(path: Path) -> None:
    if rust_module(path) != "device":
        assert not re.search(r"\bcfg!?\(\s*(?:not\()?feature", rust_code(path))


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(PYTHON)))
def test_python_modules_import_from_lower_floors(path: Path) -> None:
    floor = {name: index for index, names in enumerate(PYTHON_FLOORS) for name in names}
    module = python_module(path)
    assert module in floor, f"{module} stands on no floor"
    for name in python_imports(path):
        if name in floor and name != module:
            assert floor[name] < floor[module], f"{module} imports {name}, which is not below it"


def test_every_rust_module_has_a_floor() -> None:
    assert {rust_module(path) for path in RUST_FILES} == set(rust_floors())
