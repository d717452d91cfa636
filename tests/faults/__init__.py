"""Faults under load: what was acknowledged stays, and no read lies.

    ./bin/test tests/faults -s                                     a minute of it, as in CI
    .venv/bin/python -m tests.faults --requests 1000000 --faults 100   until there was that much

``load`` makes the load through the HTTP port, ``history`` records it and finds what must not be,
``relay`` is a wire that can be cut, delayed, throttled and garbled, and ``scenes`` are the servers
and what is done to them.
"""
