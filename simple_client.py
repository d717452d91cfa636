#!/usr/bin/env python3
"""A simple client for sfss: uploads one file, or measures a server.

    python3 simple_client.py --host 127.0.0.1 --port 8255 \\
        --path folder/subfolder/filename.ext --filepath /path/to/local/file
    python3 simple_client.py --bench 10000 --concurrency 32 --size 10240

It needs sfss's packages; where the python3 at hand lacks them it runs itself with those that
bootstrap.py installed.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

try:
    from sfss.client import Client
    from sfss.errors import SfssError
except ImportError:
    _python = Path(__file__).resolve().parent / ".venv" / "bin" / "python"
    if not _python.exists() or Path(sys.prefix) == _python.parent.parent:
        sys.exit("simple_client.py: sfss's packages are not installed; run: python3 bootstrap.py")
    os.execv(_python, [str(_python), *sys.argv])


def main() -> int:
    parser = argparse.ArgumentParser(description="Upload a file to sfss, or measure a server.")
    parser.add_argument("--host", default="127.0.0.1", help="(default: %(default)s)")
    parser.add_argument("--port", type=int, default=8255, help="(default: %(default)s)")
    parser.add_argument("--path", help="the path to keep the file under")
    parser.add_argument("--filepath", type=Path, help="the local file")
    parser.add_argument(
        "--bench", type=int, metavar="N", help="instead: put and get N files, and print how fast"
    )
    parser.add_argument(
        "--concurrency", type=int, default=32, metavar="C", help="at once (default: %(default)s)"
    )
    parser.add_argument(
        "--size", type=int, default=10240, metavar="BYTES", help="of a file (default: %(default)s)"
    )
    parser.add_argument(
        "--token", default=os.environ.get("SFSS_TOKEN"), help="of the server (default: $SFSS_TOKEN)"
    )
    options = parser.parse_args()
    if options.bench is not None:
        if min(options.bench, options.concurrency) < 1 or options.size < 0:
            parser.error("--bench and --concurrency must be positive, --size not negative")
        work = bench
    elif options.path and options.filepath:
        work = upload
    else:
        parser.error("give --path and --filepath, or --bench")
    try:
        host = f"[{options.host}]" if ":" in options.host else options.host
        return asyncio.run(work(f"http://{host}:{options.port}", options))
    except (SfssError, OSError) as error:
        print(f"simple_client.py: {error}", file=sys.stderr)
        return 1


async def upload(url: str, options: argparse.Namespace) -> int:
    content = options.filepath.read_bytes()
    async with Client(url, token=options.token) as client:
        info = await client.put(options.path, content)
        print(f"{client.url_of(options.path)} {info.size} bytes")
    return 0


async def bench(url: str, options: argparse.Namespace) -> int:
    """Put N files of random bytes, get them, see that they are the same, and delete them."""
    content = os.urandom(options.size)
    paths = [f"bench/{os.getpid()}/{n}" for n in range(options.bench)]

    async with Client(url, token=options.token, connections=options.concurrency) as client:

        async def put(path: str) -> None:
            await client.put(path, content)

        async def get(path: str) -> None:
            if await client.get(path) != content:
                raise SfssError(f"{path} came back with other bytes")

        print(f"{options.bench} files of {options.size} bytes, {options.concurrency} at once")
        try:
            for name, action in [("put", put), ("get", get)]:
                await measure(name, action, paths, options.concurrency)
        finally:
            await each(client.delete, paths, options.concurrency, ignore=SfssError)
    return 0


async def measure(name, action, paths: list[str], concurrency: int) -> None:
    times: list[float] = []

    async def timed(path: str) -> None:
        started = time.perf_counter()
        await action(path)
        times.append(time.perf_counter() - started)

    started = time.perf_counter()
    await each(timed, paths, concurrency)
    rate = len(paths) / (time.perf_counter() - started)
    times.sort()
    p50, p90, p99 = (times[int((len(times) - 1) * share)] * 1000 for share in (0.5, 0.9, 0.99))
    print(f"{name}: {rate:.0f} requests/s, p50 {p50:.2f} ms, p90 {p90:.2f} ms, p99 {p99:.2f} ms")


async def each(action, paths: list[str], concurrency: int, ignore: type[Exception] = ()) -> None:
    """Do *action* with every path, *concurrency* at a time; errors of *ignore* are passed over."""
    waiting = iter(paths)

    async def work() -> None:
        for path in waiting:
            try:
                await action(path)
            except ignore:
                continue

    await asyncio.gather(*(work() for _ in range(concurrency)))


if __name__ == "__main__":
    sys.exit(main())
