"""The page on the worker names everything that there is, and nothing that there is not."""

import re
from pathlib import Path

import click
from serving import shared

from sd_rbee.cli.serve import serve

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "worker.md").read_text(encoding="utf-8")
SOURCES = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "python" / "sd_rbee" / "server").glob("*.py"))
# Its client has left and hears nothing.
UNHEARD = {"CLIENT_LEFT"}


def test_every_flag_and_variable_is_told() -> None:
    options = [option for option in serve.params if isinstance(option, click.Option) and option.name != "debug"]
    told = set(re.findall(r"`(--[a-z0-9-]+)`", PAGE))
    assert {flag for option in options for flag in option.opts} == told
    for option in options:
        assert option.envvar is None or f"`{option.envvar}`" in PAGE


def test_every_error_is_told() -> None:
    raised = set(re.findall(r'\d{3}, "([A-Z_]+)"', SOURCES)) - UNHEARD
    table = PAGE.partition("## Errors")[2].partition("## Health")[0]
    assert len(raised) > 20
    assert set(re.findall(r"`([A-Z][A-Z_]{6,})`", table)) == raised


def test_every_route_and_metric_is_told() -> None:
    for path in shared().client.get("/schema/openapi.json").json()["paths"]:
        assert path.partition("/{job_id}")[0] in PAGE
    metrics = set(re.findall(r"^# TYPE (worker_\w+)", shared().client.get("/metrics").text, re.MULTILINE))
    table = PAGE.partition("## Health")[2].partition("## Limits")[0]
    assert metrics == set(re.findall(r"`(worker_[a-z_]+)(?:\{|`)", table)) - {"worker_id"}
