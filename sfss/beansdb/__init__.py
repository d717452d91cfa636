"""A cluster of Beansdb nodes: copies of each file that agree, without a proxy.

``docs/beansdb.rst`` describes the protocol, and why each of its rules is there.
"""
