"""Gateways over Beansdb nodes in a simulated world: the real ``sfss.beansdb``, over simulated time, network and nodes.

    .venv/bin/python -m tests.simulated --histories 1000        judged, whatever happens in them
    .venv/bin/python -m tests.simulated --mutant no_fence       with a rule switched off: it must be caught

``world`` has the time and the event loops, ``network`` the connections, ``nodes`` what a gobeansdb answers and forgets
(docs/stores.rst), ``histories`` what happens, ``linearizable`` the judge, and ``mutants`` the rules.
"""
