"""What a process serves with, as the runtime sees it."""

import socket
import ssl
from typing import Protocol


class Server(Protocol):
    async def start(self) -> None:
        """Get ready, in the running loop."""

    async def listen(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve the clients that connect to *listener*."""

    def stop_listening(self) -> None:
        """Take no more connections; those that are open go on."""

    async def stop(self) -> None:
        """End what is under way, within the drain timeout, and then everything else."""
