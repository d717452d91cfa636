"""Purging tombstones, so that what was deleted does not cost memory for ever.

A node cannot be told to forget one version of a key: its own delete takes whatever is there, and what is written at
that moment, too. So nothing is removed from running nodes. Each part has a *horizon*, a unit, which stands in all
marks: tombstones up to it are not given to nodes that have nothing in their place, and nobody minds that they are
missing. When each node in turn has been emptied and repaired, they have gone.

The horizon is raised when all members are trusted, and have been compared and made equal: then nothing that is older
than such a tombstone is on any of them. What it must not bring back:

* *A set that comes late*, of before the delete. It can only come over a connection that was there then, and the node
  that has no tombstone was emptied, and so started, since.
* *An old disk*, of a backup or a node that was away: its mark has a lower horizon, or there is none. What it has from
  before the horizon, and no other node, is buried: it gets a tombstone with the version of the horizon.
* *What is written now* has a version above the horizon: none is given that is more than a day behind the clock
  (:data:`sfss.beansdb.units.LAG`), and the horizon is a week behind it at least.
"""

from sfss.beansdb.part import Replicas
from sfss.beansdb.remark import Remark


def purge(replicas: Replicas, horizon: int) -> Remark:
    """Raises the horizon of a part to the unit *horizon*."""
    return Remark(replicas, replicas.nodes, lambda mark: mark._replace(horizon=max(horizon, mark.horizon)))
