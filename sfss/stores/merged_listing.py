"""One listing of two stores."""

from sfss.errors import InvalidRequest
from sfss.stores.base import Listed, Listing, Lists

#: What the cursor of an unordered listing begins with: which store it is of.
_OF_OLD, _OF_NEW = "o", "n"


async def list_both(old: Lists, new: Lists, prefix: str, cursor: str, limit: int, delimiter: str) -> Listing:
    """See :meth:`Lists.list_files`. Of a path that both have, *new* is asked.

    Files may move from *old* to *new* meanwhile, so that *old* comes first: what it does not have any more is in
    the other one by then. If one of the two has no order, a file that moves in the middle is listed twice.
    """
    if old.is_ordered and new.is_ordered:
        olds = await old.list_files(prefix, cursor, limit, delimiter)
        news = await new.list_files(prefix, cursor, limit, delimiter)
        return _in_order(olds, news, limit)
    kind, inner = cursor[:1] or _OF_OLD, cursor[1:]
    if kind == _OF_OLD:
        listing = await old.list_files(prefix, inner, limit, delimiter)
        return listing._replace(cursor=_OF_NEW if listing.cursor is None else _OF_OLD + listing.cursor)
    if kind == _OF_NEW:
        listing = await new.list_files(prefix, inner, limit, delimiter)
        return listing._replace(cursor=None if listing.cursor is None else _OF_NEW + listing.cursor)
    raise InvalidRequest("That is no cursor of a listing.")


def _in_order(old: Listing, new: Listing, limit: int) -> Listing:
    files: dict[str, Listed] = {file.path: file for file in (*old.files, *new.files)}
    folders = {*old.folders, *new.folders}
    names = sorted({*files, *folders})
    # Where one of them was cut off, it has said nothing of what is behind.
    ends = [listing.cursor for listing in (old, new) if listing.cursor is not None]
    known = [name for name in names if not ends or name <= min(ends)]
    cursor = min(ends) if ends else None
    if len(known) > limit:
        known = known[:limit]
        cursor = known[-1]
    return Listing(
        [files[name] for name in known if name in files],
        cursor,
        folders=[name for name in known if name in folders],
    )
