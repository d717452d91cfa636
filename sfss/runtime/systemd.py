"""The two things that systemd and a service say to each other: sockets, and that it is ready.

Protocols: sd_listen_fds(3), sd_notify(3).
"""

import os
import socket

_FIRST_DESCRIPTOR = 3


def given_sockets() -> list[socket.socket]:
    """The sockets of a socket unit; none without one. They are given once."""
    is_ours = os.environ.get("LISTEN_PID") == str(os.getpid())
    count = os.environ.get("LISTEN_FDS", "")
    for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(variable, None)
    if not is_ours or not count.isdigit():
        return []
    return [
        socket.socket(fileno=number)  # which makes it close-on-exec
        for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
    ]


def notify(state: str) -> None:
    """Tell systemd *state*, such as ``READY=1``, if it wants to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        try:
            connection.connect(address)
            connection.sendall(state.encode())
        except OSError:
            return  # nobody listens any more: that is not worth the service
