"""A module imports only from lower floors. Read from the sources, so nothing need be installed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "sd_rbee"
CRATE = ROOT / "rust" / "src"

# Lowest first. What is under `TYPE_CHECKING` or in a function counts too; two modules of one floor are strangers.
PYTHON_FLOORS = [
    ["errors", "metadata"],
    ["hub.__init__", "hub.cache", "hub.progress", "hub.reference"],
    ["hub.lock", "hub.repository", "hub.selection"],
    ["hub.failures", "hub.verify"],
    ["hub.transfer"],
    ["hub.pull"],
    ["backend", "checks", "logs", "models", "resizing", "settings"],
    ["inpaint", "pixels", "under_way"],
    ["images", "input_images"],
    ["spec"],
    ["initial_image", "result", "signatures"],
    ["events"],
    ["streaming"],
    ["bench", "pipeline", "verify"],
    ["loaded"],
    ["__init__"],
    ["engine.errors", "engine.events", "engine.pace"],
    ["engine.job"],
    ["engine.draw", "engine.store"],
    ["engine.worker"],
    ["engine.__init__"],
    ["hive.client"],
    ["hive.__init__"],
    ["server.__init__", "server.answers", "server.input_images", "server.requests"],
    ["server.errors", "server.schema"],
    ["server.headers", "server.protocol", "server.reference", "server.responses", "server.streams"],
    ["server.bodies", "server.connections", "server.guard", "server.metrics", "server.orders", "server.sse"],
    ["server.worker"],
    ["server.control", "server.drawing", "server.health", "server.jobs"],
    ["server.app"],
    ["server.process"],
    [
        "cli.downloads",
        "cli.failures",
        "cli.image_options",
        "cli.options",
        "cli.outputs",
        "cli.progress",
        "cli.worker_settings",
        "cli.xl_options",
    ],
    ["cli.bench", "cli.generate", "cli.info", "cli.models", "cli.pull", "cli.serve", "cli.verify"],
    ["cli.app"],
    ["cli.__init__", "cli.worker"],
    ["__main__"],
]
# The only homes of libraries that cost time to import or that belong to one door.
PYTHON_HOMES = {
    "PIL": {"images", "initial_image", "inpaint", "input_images", "pixels", "resizing", "result"},
    "asyncio": {"hive", "server", "streaming"},
    "click": {"cli"},
    "httpx2": {"hub"},
    "huggingface_hub": {"hub"},
    "rich": {"cli"},
    "sd_rbee._native": {"backend"},
}
# Rust's floors are the modules in the order of lib.rs; this much of it is the design.
RUST_SPINE = ["error", "device", "params", "rng", "nn", "models", "checkpoint", "reference", "pipeline", "bindings"]
COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|("(?:\\.|[^"\\])*")', re.DOTALL)


def python_modules() -> dict[str, Path]:
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return {".".join(path.with_suffix("").parts): PACKAGE / path for path in paths}


def python_imports(path: Path) -> Iterator[str]:
    """Dotted names of what a file imports, `from a import b` as a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def own_module(imported: str, modules: dict[str, Path]) -> str | None:
    """The module of this package that an imported name is, or is in."""
    first, _, rest = imported.partition(".")
    if first != "sd_rbee" or rest.startswith("_native"):
        return None
    while rest:
        for candidate in (rest, f"{rest}.__init__"):
            if candidate in modules:
                return candidate
        rest = rest.rpartition(".")[0]
    return "__init__"


def test_every_python_module_has_a_floor() -> None:
    assert sorted(module for floor in PYTHON_FLOORS for module in floor) == sorted(python_modules())


@pytest.mark.parametrize("module", sorted(python_modules()))
def test_python_imports_from_lower_floors(module: str) -> None:
    modules = python_modules()
    floors = {name: number for number, floor in enumerate(PYTHON_FLOORS) for name in floor}
    used = {own_module(imported, modules) for imported in python_imports(modules[module])} - {None}
    too_high = {name for name in used if name is not None and floors[name] >= floors[module]}
    assert not too_high, f"{module} must not import {sorted(too_high)}"


@pytest.mark.parametrize("library", PYTHON_HOMES)
def test_libraries_stay_at_home(library: str) -> None:
    users = {
        module.partition(".")[0]
        for module, path in python_modules().items()
        if any(f"{imported}.".startswith(f"{library}.") for imported in python_imports(path))
    }
    assert users == PYTHON_HOMES[library]


def code(path: Path) -> str:
    """A Rust file without its comments; strings stay."""
    return COMMENT.sub(lambda match: match[1] or " ", path.read_text(encoding="utf-8"))


def rust_modules() -> list[str]:
    return re.findall(r"^(?:pub )?mod (\w+);", code(CRATE / "lib.rs"), re.MULTILINE)


def rust_files() -> list[tuple[str, Path]]:
    """Every file but lib.rs, with the top module that it is of."""
    paths = sorted(path for path in CRATE.rglob("*.rs") if path != CRATE / "lib.rs")
    return [(path.relative_to(CRATE).with_suffix("").parts[0], path) for path in paths]


def rust_uses(text: str, depth: int, modules: list[str]) -> set[str]:
    """Top modules that code names, by `crate::` or by a way up that ends at the crate's root, `depth` above it."""
    used = set(re.findall(r"\bcrate::(\w+)", text)) - {"Error", "Result"}
    for group in re.findall(r"\bcrate::\{(.*?)\};", text, re.DOTALL):
        while "{" in group:
            group = re.sub(r"\{[^{}]*\}", "", group)
        used |= set(re.findall(r"(?:^|,)\s*(\w+)", group)) - {"Error", "Result"}
    for way, name in re.findall(r"\b((?:super::)+)(\w+)", text):
        if way.count("super") >= depth and name in modules:
            used.add(name)
    return used


def depth_of(path: Path) -> int:
    parts = path.relative_to(CRATE).with_suffix("").parts
    return len(parts) - (parts[-1] == "mod")


def test_lib_rs_lists_every_module_once_and_in_order() -> None:
    modules = rust_modules()
    assert set(modules) == {module for module, _ in rust_files()}
    assert len(modules) == len(set(modules))
    assert [module for module in modules if module in RUST_SPINE] == RUST_SPINE


@pytest.mark.parametrize(
    ("module", "path"), rust_files(), ids=lambda case: case if isinstance(case, str) else case.stem
)
def test_rust_uses_only_what_is_above_it_in_lib_rs(module: str, path: Path) -> None:
    modules = rust_modules()
    used = rust_uses(code(path), depth_of(path), modules) - {module}
    assert used <= set(modules)
    too_high = {name for name in used if modules.index(name) > modules.index(module)}
    assert not too_high, f"{path.relative_to(CRATE)} must not use {sorted(too_high)}"


def test_only_the_bindings_name_pyo3() -> None:
    assert {module for module, path in rust_files() if re.search(r"\bpyo3\b", code(path))} == {"bindings"}


def test_only_device_rs_asks_for_features() -> None:
    asked = {
        (path.relative_to(CRATE).as_posix(), feature)
        for path in CRATE.rglob("*.rs")
        for feature in re.findall(r'(?<!target_)feature\s*=\s*"([\w-]+)"', code(path))
    }
    assert {(name, feature) for name, feature in asked if name != "device.rs"} == {("lib.rs", "python")}


def test_the_walk_sees_each_way_to_name_a_module_and_no_comment(tmp_path: Path) -> None:
    (tmp_path / "sample.rs").write_text("""
        use crate::{error::{Error, Result}, nn, Error};
        // crate::pipeline
        /* crate::rng
         */
        use crate::params;
        let s = "// no comment"; crate::files::open();
        super::device::name(); super::Sibling::new();
    """)
    text = code(tmp_path / "sample.rs")
    assert rust_uses(text, 1, ["device", "nn"]) == {"error", "nn", "params", "files", "device"}
    assert rust_uses(text, 2, ["device", "nn"]) == {"error", "nn", "params", "files"}
