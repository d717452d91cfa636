"""The judge: whether one order of all operations on a key explains what everybody saw.

Each operation takes effect at one moment between its begin and its end (Herlihy and Wing, 1990); one whose outcome is
unknown may take effect at any moment after its begin, or never. Values of puts are unique, so the search, over what can
come next, is short.
"""

from dataclasses import dataclass

FOREVER = float("inf")


@dataclass(eq=False)
class Operation:
    kind: str  # "put", "delete" or "get"
    key: str
    value: object  # that was put or got; None: there is no file
    begin: float
    end: float = FOREVER
    known: bool = False  # it has succeeded
    by: str = ""

    def __str__(self) -> str:
        end = f"{self.end:.4f}" if self.end < FOREVER else "?"
        return f"{self.begin:9.4f} to {end:>9} {self.by} {self.kind} {self.key} {self.value}"


def explain(operations: list[Operation]) -> bool:
    """Whether there is such an order, of the operations on one key."""
    read = {o.value for o in operations if o.kind == "get" and o.known}
    needed = [
        o
        for o in operations
        if o.known or (o.kind == "put" and o.value in read) or (o.kind == "delete" and None in read)
    ]
    needed.sort(key=lambda o: o.begin)
    count = len(needed)
    must = sum(1 << n for n, o in enumerate(needed) if o.known)
    ends = [o.end if o.known else FOREVER for o in needed]

    def next_ones(done: int) -> list[int]:
        """Those that can come next: what begins after another one has ended that is to come cannot."""
        found = []
        first_end = FOREVER
        for n in range((~done & done + 1).bit_length() - 1, count):
            if needed[n].begin > first_end:
                break
            if not done >> n & 1:
                found.append(n)
                first_end = min(first_end, ends[n])
        return [n for n in found if needed[n].begin <= first_end]

    seen = set()
    stack: list[tuple[int, object]] = [(0, None)]
    while stack:
        done, value = stack.pop()
        fits = True
        while fits:
            fits = False
            for n in next_ones(done):
                if needed[n].kind == "get" and needed[n].value == value:
                    # A read that fits now can come now: nothing is lost by it.
                    done |= 1 << n
                    fits = True
        if done & must == must:
            return True
        if (done, value) in seen:
            continue
        seen.add((done, value))
        stack += [(done | 1 << n, needed[n].value) for n in next_ones(done) if needed[n].kind != "get"]
    return False
