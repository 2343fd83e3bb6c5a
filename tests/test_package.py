"""The package as it is installed: names, what an import costs, the files that come with it."""

import ast
import importlib.metadata
import json
from pathlib import Path

import pytest

import sd_rbee
from support import POLLEN, run

HERE = Path(sd_rbee.__file__).parent
HEAVY = [
    "PIL",
    "numpy",
    "click",
    "rich",
    "huggingface_hub",
    "httpx2",
    "importlib.metadata",
    "asyncio",
    "logging",
    "sd_rbee._native",
]


def test_all_is_complete_and_there() -> None:
    assert sd_rbee.__all__ == sorted(sd_rbee.__all__)
    for name in sd_rbee.__all__:
        assert getattr(sd_rbee, name) is not None
    assert set(sd_rbee.__all__) <= set(dir(sd_rbee))
    with pytest.raises(AttributeError, match="has no attribute 'gnerate'"):
        sd_rbee.gnerate  # noqa: B018


def test_all_is_what_type_checkers_see() -> None:
    tree = ast.parse((HERE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {name.name for node in block.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert seen | {"__version__"} == set(sd_rbee.__all__)


def test_every_public_error_and_event_is_exported() -> None:
    for module in (sd_rbee.errors, sd_rbee.events):
        public = {
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        }
        assert public <= set(sd_rbee.__all__)


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("sd_rbee", set()),
        ("sd_rbee.errors", set()),
        ("sd_rbee.models", set()),
        ("sd_rbee.cli", {"click"}),
    ],
)
def test_an_import_is_light(module: str, allowed: set[str]) -> None:
    script = f"import sys, json; before = set(sys.modules); import {module}; print(json.dumps([*sys.modules]))"
    loaded = set(json.loads(run("-c", script).stdout))
    assert module in loaded
    assert loaded & set(HEAVY) <= allowed


def test_a_picture_needs_no_numpy() -> None:
    script = "import sys, sd_rbee; sd_rbee.generate('x', num_inference_steps=1); print('numpy' in sys.modules)"
    assert run("-c", script).stdout == "False\n"


def test_the_package_is_typed() -> None:
    assert (HERE / "py.typed").exists()
    assert (HERE / "_native.pyi").exists()
    stub = ast.parse((HERE / "_native.pyi").read_text(encoding="utf-8"))
    declared = {node.name for node in stub.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    assert declared <= set(dir(sd_rbee.backend.native))


def test_the_model_comes_with_its_papers() -> None:
    notice = (POLLEN / "NOTICE").read_text(encoding="utf-8")
    assert "MIT" in notice
    assert "Fluent Emoji" in notice
    assert json.loads((POLLEN / "generation_config.json").read_text()) == {
        "num_inference_steps": sd_rbee.Pipeline.load().defaults["num_inference_steps"],
        "guidance_scale": sd_rbee.Pipeline.load().defaults["guidance_scale"],
    }
    sizes = sum(path.stat().st_size for path in POLLEN.rglob("*") if path.is_file())
    assert sizes < 30 << 20


def test_the_distribution() -> None:
    distribution = importlib.metadata.distribution("sd-rbee")
    assert distribution.version == sd_rbee.__version__
    assert [entry.value for entry in distribution.entry_points if entry.name == "sd-rbee"] == ["sd_rbee.cli:main"]
    assert distribution.metadata["License-Expression"] == "GPL-3.0-or-later"
    needed = [line for line in distribution.requires or [] if "extra ==" not in line]
    names = sorted(line.partition(">")[0].strip() for line in needed)
    assert names == ["click", "httpx2", "huggingface-hub", "pillow", "rich"]
    files = {str(path) for path in distribution.files or []}
    for name in ("pollen/NOTICE", "pollen/generation_config.json", "pollen/model_index.json", "py.typed"):
        assert f"sd_rbee/{name}" in files
    assert any(name.endswith("licenses/LICENSE") for name in files)
