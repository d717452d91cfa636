"""A memcache client for a gateway: pipelined, never confused about which reply is whose."""
