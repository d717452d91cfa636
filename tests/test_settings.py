import pytest

from sfss.config.gateway import FIELDS, Settings, split_address
from sfss.config.sources import load
from sfss.errors import SettingsError


def test_defaults():
    assert load({}, {}) == Settings()
    assert (Settings().host, Settings().port, Settings().max_file_size) == ("127.0.0.1", 8255, 2 << 20)


def test_sources_in_rising_order(tmp_path):
    file = tmp_path / "sfss.toml"
    file.write_text('port = 1\nhost = "file"\ndata = "file"\nproxy = ["a:1", "b:2"]\n')
    environment = {"SFSS_PORT": "2", "SFSS_HOST": "environment", "SFSS_CONFIG": str(file)}
    settings = load({"port": 3}, environment)
    assert (settings.port, settings.host, settings.data) == (3, "environment", "file")
    assert settings.proxy == ("a:1", "b:2")
    assert load({}, {"SFSS_PROXY": "c:3, d:4"}, str(file)).proxy == ("c:3", "d:4")


@pytest.mark.parametrize("text, value", [("1", True), ("yes", True), ("False", False), ("off", False)])
def test_booleans_of_the_environment(text, value):
    assert load({}, {"SFSS_ACCESS_LOG": text}).access_log is value


@pytest.mark.parametrize(
    "flags, environment, toml, complaint",
    [
        ({}, {"SFSS_PROT": "1"}, None, "environment: SFSS_PROT"),
        ({}, {"SFSS_PORT": "many"}, None, "environment: SFSS_PORT"),
        ({}, {"SFSS_PORT": "70000"}, None, "environment: port is 70000"),
        ({}, {"SFSS_ACCESS_LOG": "maybe"}, None, "environment: SFSS_ACCESS_LOG"),
        ({"port": -1}, {}, None, "command line: port is -1"),
        ({"request_timeout": float("nan")}, {}, None, "command line: request_timeout"),
        ({"request_timeout": float("inf")}, {}, None, "command line: request_timeout"),
        ({"proxy": ("nowhere",)}, {}, None, "command line: 'nowhere' is not an address"),
        ({"proxy": ("a b:1",)}, {}, None, "'a b:1' is not an address"),
        ({"proxy": ("a..b:1",)}, {}, None, "'a..b:1' is not an address"),
        ({"proxy": ("a:1", "a:1")}, {}, None, "a:1 is named twice"),
        ({"request_timeout": 1.0}, {}, None, "operation_timeout .* must not be longer"),
        ({"port": 10**400}, {}, None, "command line: port is 1000"),
        ({}, {"SFSS_HOST": ""}, None, "environment: host is empty"),
        ({}, {"SFSS_DATA": ""}, None, "environment: data is empty"),
        ({}, {"SFSS_MAX_FILE_SIZE": "9" * 400}, None, "environment: max_file_size is"),
        ({}, {}, 'data = "a\\u0000b"', "sfss.toml: data .* null"),
        ({}, {}, "connect_timeout = 1" + "0" * 400, "sfss.toml: connect_timeout"),
        ({}, {}, "prot = 1", "sfss.toml: there is no setting 'prot'"),
        ({}, {}, 'port = "8255"', "sfss.toml: port is '8255'; it must be a whole number"),
        ({}, {}, "port = true", "sfss.toml: port is True"),
        ({}, {}, 'proxy = "a:1"', "sfss.toml: proxy .* list of strings"),
        ({}, {}, "proxy = [1]", "sfss.toml: proxy .* list of strings"),
        ({}, {}, "port =", "sfss.toml: is not TOML"),
        ({}, {}, 'log_level = "loud"', "sfss.toml: log_level is 'loud'"),
    ],
)
def test_errors_name_their_source(tmp_path, flags, environment, toml, complaint):
    file = None
    if toml is not None:
        file = tmp_path / "sfss.toml"
        file.write_text(toml)
    with pytest.raises(SettingsError, match=complaint):
        load(flags, environment, file and str(file))


def test_a_file_that_is_not_there():
    with pytest.raises(SettingsError, match="/nowhere.toml: cannot be read"):
        load({}, {}, "/nowhere.toml")


def test_addresses():
    assert split_address("host:1") == ("host", 1)
    assert split_address("[::1]:11211") == ("::1", 11211)
    for bad in ("", "host", ":1", "host:", "host:0", "host:65536", "host:x", "::1:1", "host:٣"):
        with pytest.raises(SettingsError):
            split_address(bad)


def test_every_setting_says_what_it_is():
    for name, part in FIELDS.items():
        assert part.metadata["help"], name
