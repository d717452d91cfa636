"""wrk makes the load: runs it, reads what it prints."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.programs import find

#: Puts files of so many bytes under a hundred paths, by turns; each time another content than the path had. (To
#: write the same bytes once more costs SQLite nothing.)
_PUT_SCRIPT = """
local requests = {}
init = function(args)
  for turn, letter in ipairs({"x", "y"}) do
    local body = string.rep(letter, %(size)d)
    for n = 1, %(paths)d do
      requests[#requests + 1] = wrk.format("PUT", "%(prefix)s" .. n, {["Host"] = "bench"}, body)
    end
  end
end
local n = 0
request = function()
  n = n %% #requests + 1
  return requests[n]
end
"""
_PUT_NEW_SCRIPT = """
local body = string.rep("x", %(size)d)
local n = %(first)d - 2  -- wrk asks for one request that it does not send
request = function()
  n = n + 1
  return wrk.format("PUT", "%(prefix)s" .. n, {["Host"] = "bench"%(more)s}, body)
end
"""
_GET_RANDOM_SCRIPT = """
request = function()
  return wrk.format("GET", "/file?path=million/" .. math.random(0, %(files)d - 1), {["Host"] = "bench"})
end
"""
#: Any bytes, by turns.
_RAW_SCRIPT = """
local requests = {%(requests)s}
local n = 0
request = function()
  n = n %% #requests + 1
  return requests[n]
end
"""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(NamedTuple):
    """What one run of wrk saw."""

    rate: float  #: requests a second
    p50: float  #: ms
    p99: float  #: ms


# The options of all: seconds, connections, cpu (as taskset takes it), threads.


def get(port: int, target: str, **options) -> Load:
    return _run(["-H", "Host: bench", f"http://127.0.0.1:{port}{target}"], **options)


def put(port: int, size: int, folder: Path, prefix: str = "/file?path=bench/put/", **options) -> Load:
    script = folder / f"put-{size}.lua"
    paths = 100 if size < 1_000_000 else 5
    script.write_text(_PUT_SCRIPT % {"size": size, "paths": paths, "prefix": prefix})
    return _run(["-s", script, f"http://127.0.0.1:{port}/"], **options)


def put_new(
    port: int,
    size: int,
    folder: Path,
    *,
    first: int,
    prefix: str = "/file?path=million/",
    headers: dict[str, str] | None = None,
    **options,
) -> Load:
    """Each file under a path of its own, counted from *first*."""
    script = folder / "put-new.lua"
    more = "".join(f', ["{name}"] = "{value}"' for name, value in (headers or {}).items())
    script.write_text(_PUT_NEW_SCRIPT % {"size": size, "first": first, "prefix": prefix, "more": more})
    return _run(["-s", script, f"http://127.0.0.1:{port}/"], **options)


def raw(port: int, requests: list[bytes], folder: Path, status: str, **options) -> Load:
    """*requests* as they are, by turns. *status* of the answers: ``2xx``, ``3xx``, ``4xx`` or ``any``."""
    script = folder / "raw.lua"
    quoted = ",".join('"' + "".join(f"\\{byte:03d}" for byte in data) + '"' for data in requests)
    script.write_text(_RAW_SCRIPT % {"requests": quoted})
    are_failures = {"2xx": False, "3xx": False, "4xx": True, "any": None}[status]
    return _run(["-s", script, f"http://127.0.0.1:{port}/"], are_failures=are_failures, **options)


def get_random(port: int, files: int, folder: Path, **options) -> Load:
    """One of the files of :func:`put_new`, at random."""
    script = folder / "get-random.lua"
    script.write_text(_GET_RANDOM_SCRIPT % {"files": files})
    return _run(["-s", script, f"http://127.0.0.1:{port}/"], **options)


def _run(
    arguments: list,
    seconds: float,
    connections: int,
    cpu: int | str,
    threads: int = 1,
    are_failures: bool | None = False,
) -> Load:
    """*are_failures*: whether the answers are to be errors; None: some may be."""
    command = ["taskset", "-c", cpu, find("wrk"), f"-t{threads}", f"-c{connections}"]
    command += [f"-d{seconds}s"]
    command += ["--latency", "--timeout", "10s", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    wrong = re.search(r"(Socket errors.*)", done.stdout)
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    if wrong or (are_failures is not None and are_failures != bool(errors)):
        raise RuntimeError(f"{wrong or errors}\n{command}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    return Load(rate, _latency(done.stdout, "50%"), _latency(done.stdout, "99%"))


def _latency(output: str, percentile: str) -> float:
    number, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)\b", output).groups()
    return float(number) * _UNITS[unit]
