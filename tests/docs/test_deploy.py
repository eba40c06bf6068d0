"""The deployment files cannot be run where the tests run; what they name must exist all the same."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from signalroom.cli import app

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
FLY = tomllib.loads((ROOT / "fly.toml").read_text(encoding="utf-8"))
RUNBOOK = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")


def commands():
    return set(app.ENTRIES)


def test_what_the_image_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for copied in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for name in copied.split()[:-1]:
            assert (ROOT / name).exists(), name
            assert f"!{name}" in ignored, name


def test_the_images_run_a_command_that_exists():
    (default,) = re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    for words in (json.loads(default), COMPOSE["services"]["worker"]["command"], FLY["processes"]["worker"].split()):
        assert words[0] in commands()
        assert {word for word in words if word.startswith("-")} <= {"--host"}


def test_the_image_runs_as_nobody_in_particular():
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001"]


def test_the_compose_file_mounts_what_is_there_and_publishes_on_loopback_only():
    services = COMPOSE["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / "deploy" / source).exists(), (name, source)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert set(service.get("depends_on", [])) <= set(services), name
        assert ":latest" not in service.get("image", ":pinned"), name


def test_every_secret_of_the_compose_file_is_asked_for():
    text = (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
    asked = (ROOT / "deploy/env.example").read_text(encoding="utf-8")
    for name in set(re.findall(r"\$\{(\w+)", text)) - {"WORKSPACE"}:
        assert re.search(rf"^{name}=$", asked, re.MULTILINE), name


def test_the_dashboard_asks_for_metrics_that_exist():
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/signalroom.json").read_text(encoding="utf-8"))
    source = (ROOT / "src/signalroom/web/metrics.py").read_text(encoding="utf-8")
    asked = {
        name
        for panel in dashboard["panels"]
        for t in panel["targets"]
        for name in re.findall(r"signalroom_(\w+)", t["expr"])
    }
    assert len(asked) >= 5
    for name in asked:
        assert f'"{name}"' in source, name


@pytest.mark.parametrize("check", [FLY["checks"]["health"], FLY["metrics"]], ids=["health", "metrics"])
def test_fly_asks_the_page_that_the_worker_has(check):
    page = (ROOT / "src/signalroom/web/health.py").read_text(encoding="utf-8")
    assert check["port"] == 8080
    assert f'"{check["path"]}"' in page


def test_the_runbook_names_commands_that_exist():
    named = {words.split()[0] for words in re.findall(r"`signalroom ([a-z][a-z -]*)", RUNBOOK)}
    assert len(named) >= 8
    assert named <= commands()
