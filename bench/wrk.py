"""wrk makes the load: runs it, reads what it prints."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.programs import find

#: Puts files of so many bytes under a hundred paths, by turns.
_PUT_SCRIPT = """
local body = string.rep("x", %(size)d)
local requests = {}
init = function(args)
  for n = 1, %(paths)d do
    requests[n] = wrk.format("PUT", "/file?path=bench/put/" .. n, {["Host"] = "bench"}, body)
  end
end
local n = 0
request = function()
  n = n %% %(paths)d + 1
  return requests[n]
end
"""
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


class Load(NamedTuple):
    """What one run of wrk saw."""

    rate: float  #: requests a second
    p50: float  #: ms
    p99: float  #: ms


def get(port: int, target: str, *, seconds: float, connections: int, cpu: int) -> Load:
    return _run(["-H", "Host: bench", f"http://127.0.0.1:{port}{target}"], seconds, connections, cpu)


def put(port: int, size: int, folder: Path, *, seconds: float, connections: int, cpu: int) -> Load:
    script = folder / f"put-{size}.lua"
    script.write_text(_PUT_SCRIPT % {"size": size, "paths": 100 if size < 1_000_000 else 5})
    return _run(["-s", script, f"http://127.0.0.1:{port}/"], seconds, connections, cpu)


def _run(arguments: list, seconds: float, connections: int, cpu: int) -> Load:
    command = ["taskset", "-c", cpu, find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s"]
    command += ["--latency", "--timeout", "10s", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    if wrong := re.search(r"(Non-2xx.*|Socket errors.*)", done.stdout):
        raise RuntimeError(f"{wrong[0]}\n{command}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    return Load(rate, _latency(done.stdout, "50%"), _latency(done.stdout, "99%"))


def _latency(output: str, percentile: str) -> float:
    number, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s|m)\b", output).groups()
    return float(number) * _UNITS[unit]
