"""Other marks for nodes that are all trusted: what concerns the members of a part together is changed so."""

from collections.abc import Callable, Sequence

from sfss.beansdb.connection import NodeConnection
from sfss.beansdb.marks import Mark
from sfss.beansdb.node import Node
from sfss.beansdb.part import Replicas
from sfss.beansdb.repair import NotNow, Repair


class Remark(Repair):
    """Makes *nodes*, which must all be trusted, equal, and then gives them marks with *change*. *refuse* says why a
    mark as it is now is not to be changed, or None.

    (Its :meth:`run` raises what that of a repair does. When it fails, some may have the new mark.)
    """

    def __init__(
        self,
        replicas: Replicas,
        nodes: Sequence[Node],
        change: Callable[[Mark], Mark],
        refuse: Callable[[Mark], str | None] = lambda mark: None,
    ):
        super().__init__(replicas, nodes, compared=nodes)
        self._change = change
        self._refuse = refuse

    async def _choose(self) -> list[tuple[Node, NodeConnection]]:
        """All, if all are trusted."""
        chosen = list(zip(self._nodes, self._connections))
        missing = [node.name for node in self.wanted if node not in self._nodes]
        missing += [node.name for node, link in chosen if not link.trusted[self._part.number]]
        if missing:
            raise NotNow(f"all nodes must be trusted for this; these are not: {', '.join(missing)}")
        for node, _ in chosen:
            mark = self._marks[node.name]
            assert mark is not None
            if (reason := self._refuse(mark)) is not None:
                raise NotNow(f"{node.name}: {reason}")
        return chosen

    async def _compare(self) -> None:
        await super()._compare()
        if self.copied.unreadable:
            raise NotNow(f"{self.copied.unreadable} keys cannot be read by any node: see the log")

    @property
    def _target(self) -> Mark:
        return self._change(self._model)
