"""Objects as answers: whole, a part, in one piece or many."""

from collections.abc import Mapping

from sfss.http.exchange import Exchange
from sfss.http.messages import Headers, Response
from sfss.objects.contents import read_one
from sfss.objects.models import NONE
from sfss.objects.service import Found, Objects
from sfss.web.api.object_headers import Described, lines_of
from sfss.web.conditional import CONDITIONS, is_unchanged, requested_range
from sfss.web.streams import Outgoing


async def answer_with(
    exchange: Exchange,
    headers: Headers,
    objects: Objects,
    found: Found,
    said: Described,
    more: Mapping[str, str] = NONE,
    *,
    one_part: tuple[int, int] | None = None,
) -> Response | None:
    """The object *found*, or the part of it that *headers* ask for, or that it has not changed. *said*: what the
    answer says of it, and *more*. *one_part*: the first byte, and the one behind the last, if that is asked for
    otherwise. None: it is given already.
    """
    if not CONDITIONS.isdisjoint(headers.raw) and is_unchanged(headers, said.info):
        return Response(304, said.unchanged)
    part = one_part or requested_range(headers, said.info)
    start, stop = part or (0, found.size)
    status, text = 200, said.lines + lines_of(more) if more else said.lines
    if part:
        status = 206
        if start < stop:  # (the last part of an object may be empty, and RFC 9110 14.4 has no range for that)
            text = f"{text}Content-Range: bytes {start}-{stop - 1}/{found.size}\r\n"
    if exchange.method == "HEAD":
        return Response(status, text, length=stop - start)
    room = exchange.room = objects.service.room_to_read()  # the engine gives it back when all is taken
    if found.info.pieces == 1 and not part and not found.info.manifest:
        return Response(status, text, await read_one(objects.service, found.info, room))
    pieces = await objects.read(found, start, stop, room)
    first = await pieces.next() or memoryview(b"")
    if len(first) == stop - start:
        return Response(status, text, first)
    answer = Outgoing(exchange, status, text, stop - start)
    try:
        await answer.send(first)
        async for piece in pieces:
            await answer.send(piece)
        answer.finish()
    except Exception as error:
        answer.fail(error, "a download was cut off")
        pieces.close()
        room.release()
    return None
