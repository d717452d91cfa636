"""An HTTP/1.1 engine: bytes to requests, and answers to bytes.

* ``messages.py`` a request and a response, as the rest of the program sees them;
* ``framing.py`` where messages begin and end in a stream of bytes (no I/O);
* ``connection.py`` one client's connection: order, time limits, flow control;
* ``exchange.py`` one request under way on a connection: its body, its room, its answer;
* ``server.py`` all connections of a process: sockets, TLS, limits, draining.

It knows no file and no store: a :class:`sfss.http.server.Handler` answers the requests.
"""
