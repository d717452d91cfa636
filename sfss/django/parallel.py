"""The same thing on several hosts at once."""

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def on_each(hosts: Sequence[str], run: Callable[[str], T]) -> dict[str, T | Exception]:
    """What *run* gives for each host, or raises. Every one runs to its end.

    The last one runs in the thread that asks; the others in threads that end with it, since one that stayed would keep
    programs from ending.
    """
    results: dict[str, T | Exception] = {}

    def one(host: str) -> None:
        try:
            results[host] = run(host)
        except Exception as error:
            results[host] = error

    threads = [threading.Thread(target=one, args=(host,)) for host in hosts[:-1]]
    for thread in threads:
        thread.start()
    for host in hosts[-1:]:
        one(host)
    for thread in threads:
        thread.join()
    return {host: results[host] for host in hosts}
