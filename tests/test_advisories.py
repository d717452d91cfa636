"""No release with a known hole is allowed by setup.py or pinned by buildout.cfg."""

import configparser
import re
import tomllib

from packaging.requirements import Requirement
from packaging.version import Version

from tests.programs import ROOT

ADVISORIES = tomllib.loads((ROOT / "tests" / "advisories.toml").read_text())["advisory"]


def requirements() -> list[Requirement]:
    """Those of setup.py, and of what it installs for the tests."""
    text = (ROOT / "setup.py").read_text()
    lists = re.findall(r"(?:install_requires=|\"(?:test|django)\": )\[(.*?)\]", text, re.DOTALL)
    lists += re.findall(r"\+ \[(.*?)\]", text, re.DOTALL)
    return [Requirement(each) for found in lists for each in re.findall(r'"([^"]+)"', found)]


def pinned() -> dict[str, Version]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "buildout.cfg")
    return {name.lower(): Version(version) for name, version in config["versions"].items()}


def test_setup_py_allows_no_release_with_a_known_hole():
    found = {requirement.name.lower(): requirement for requirement in requirements()}
    assert {"aiohttp", "aiomcache", "httptools", "tqdm", "pytest"} <= found.keys()
    for advisory in ADVISORIES:
        requirement = found.get(advisory["package"].lower())
        if requirement is not None:
            floors = [Version(s.version) for s in requirement.specifier if s.operator in (">=", "==", "~=")]
            assert floors and max(floors) >= Version(advisory["fixed"]), advisory


def test_no_pinned_release_has_a_known_hole():
    versions = pinned()
    for advisory in ADVISORIES:
        version = versions.get(advisory["package"].lower())
        assert version is not None, f"{advisory['package']} is not pinned: remove its advisories"
        assert version >= Version(advisory["fixed"]), advisory


def test_every_requirement_has_a_floor_that_the_pinned_release_satisfies():
    versions = pinned()
    for requirement in requirements():
        assert any(s.operator == ">=" for s in requirement.specifier), requirement
        assert requirement.specifier.contains(versions[requirement.name.lower()]), requirement


def test_every_advisory_says_where_it_is_to_be_read():
    for advisory in ADVISORIES:
        assert re.search(r"CVE-\d{4}-\d+|PYSEC-\d{4}-\d+|GHSA-", advisory["id"]), advisory
        assert advisory["about"] and Version(advisory["fixed"])
