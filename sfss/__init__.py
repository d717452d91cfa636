"""sfss: a small-file storage service. HTTP in front, memcache-protocol stores behind."""

__version__ = "1.0.0"

from sfss import compiled

compiled.use()
