import pytest

from sfss.errors import FileTooLarge, InvalidPath
from sfss.service import FileService, content_type_of
from sfss.stores.memory import MemoryStore


async def test_the_rules_hold_for_whoever_calls():
    service = FileService(MemoryStore(), max_file_size=3)
    await service.put("a", b"123")
    with pytest.raises(FileTooLarge, match="at most 3 bytes"):
        await service.put("a", b"1234")
    for call in (service.get("/a"), service.stat("/a"), service.put("/a", b""), service.delete("/a")):
        with pytest.raises(InvalidPath):
            await call
    # This store answers nothing at once.
    assert not service.begin_get("a", None)
    assert not service.begin_put("a", b"x", None)


@pytest.mark.parametrize(
    "path, expected",
    [
        ("a.png", "image/png"),
        ("a/b.JPG", "image/jpeg"),
        ("a.webp", "image/webp"),
        ("a.txt", "text/plain"),
        ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"),
        ("a.js", "text/javascript"),
        ("a.tar.gz", "application/gzip"),
        ("a.svgz", "application/gzip"),
        ("a", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
        ("png/a", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        (".png", "application/octet-stream"),
        ("a b?#%.png", "image/png"),
    ],
)
def test_content_types(path, expected):
    assert content_type_of(path) == expected
