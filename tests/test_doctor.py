"""What `dpm doctor` says of installations that are not as they should be."""

import importlib.metadata
import tomllib
from pathlib import Path

import cv2
import pytest

from dpm_cli import doctor

CONTRIB = "opencv-contrib-python-headless"


def opencv_checks(monkeypatch, installed: set[str]) -> dict[str, doctor.Check]:
    """Checks of OpenCV by name where just these distributions are installed."""

    def version(name: str) -> str:
        if name in installed:
            return "5.0.0"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    return {check.name: check for check in doctor._opencv()}


@pytest.mark.parametrize(
    "other", ["opencv-python", "opencv-python-headless", "opencv-contrib-python"]
)
def test_two_opencvs_in_one_place_are_a_warning_with_the_way_out(monkeypatch, other):
    checks = opencv_checks(monkeypatch, {other, CONTRIB})
    twice = checks["opencv twice"]
    assert twice.state == "warning"
    assert f"{other} beside {CONTRIB}" in twice.found
    assert twice.hint == f"pip uninstall {other} {CONTRIB} && pip install {CONTRIB}"
    assert doctor.healthy(list(checks.values()))


def test_one_opencv_is_no_warning(monkeypatch):
    assert set(opencv_checks(monkeypatch, {CONTRIB})) == {"opencv"}


def test_an_opencv_without_contrib_has_failed(monkeypatch):
    monkeypatch.delattr(cv2, "ximgproc")
    checks = opencv_checks(monkeypatch, {"opencv-python"})
    assert set(checks) == {"opencv"}
    assert checks["opencv"].state == "failed"
    assert "contrib" in checks["opencv"].found
    assert not doctor.healthy(list(checks.values()))


def test_every_extra_of_the_package_is_looked_for():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    extras = set(project["project"]["optional-dependencies"]) - {"all", "dev"}
    assert {name for name, _, _ in doctor._EXTRAS} == extras
