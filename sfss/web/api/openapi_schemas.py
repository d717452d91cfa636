"""What the answers of the API have in them, for the OpenAPI document, with examples."""

from typing import Any

_FILE = {"path": "avatars/1.png", "size": 7, "etag": "917e1274274fc195b27a2d2388d9568c"}
#: Of a gateway, an embedded store or a node.
STATUS: dict[str, Any] = {
    "type": "object",
    "examples": [
        {
            "sqlite:/srv/sfss-data/files.sqlite3": {
                "curr_items": "2",
                "bytes": "14",
                "disk_bytes": "82096",
                "cmd_get": "1",
                "get_hits": "0",
                "cmd_set": "2",
                "cmd_delete": "0",
                "get_misses": "1",
                "flushes": "2",
                "flushed_writes": "2",
            }
        }
    ],
}
#: Of an archive that was taken apart.
LINES: dict[str, Any] = {
    "application/x-ndjson": {
        "schema": {
            "type": "string",
            "description": "a line of JSON for each file: path, size and etag, or path, status and error; the last one "
            "has how many files there were, their bytes, and how many have failed",
            "examples": [
                (
                    '{"path": "avatars/2.png", "status": 413, "error": "A file may have at most 2097152 bytes."}\n'
                    '{"path": "avatars/1.png", "size": 7, "etag": "917e1274274fc195b27a2d2388d9568c"}\n'
                    '{"files": 1, "bytes": 7, "failed": 1}\n'
                )
            ],
        }
    }
}
SCHEMAS: dict[str, Any] = {
    "Stored": {
        "type": "object",
        "required": ["path", "size", "etag"],
        "properties": {
            "path": {"type": "string"},
            "size": {"type": "integer", "minimum": 0},
            "etag": {"type": "string"},
        },
        "examples": [_FILE],
    },
    "Listing": {
        "type": "object",
        "required": ["files", "next", "ordered"],
        "properties": {
            "files": {"type": "array", "items": {"$ref": "#/components/schemas/Listed"}},
            "folders": {
                "description": "with a delimiter: what paths begin with, up to the first one",
                "type": "array",
                "items": {"type": "string"},
            },
            "next": {
                "description": "the 'after' of the next request; null: that was all",
                "type": ["string", "null"],
            },
            "ordered": {
                "description": "whether all is in the order of the paths, and 'after' may be any path",
                "type": "boolean",
            },
            "unnamed": {
                "description": "files in this answer's range whose paths the store does not have",
                "type": "integer",
            },
        },
        "examples": [
            {
                "files": [_FILE],
                "folders": ["avatars/small/"],
                "next": None,
                "ordered": True,
            }
        ],
    },
    "Listed": {
        "description": "a file; what the store does not know without reading it is left out",
        "type": "object",
        "required": ["path"],
        "properties": {
            "path": {"type": "string"},
            "size": {"type": "integer", "minimum": 0},
            "etag": {"type": "string"},
            "modified": {"type": "string", "format": "date-time"},
            "sha256": {"type": "string"},
        },
    },
    "Signed": {
        "type": "object",
        "required": ["url", "method", "expires"],
        "properties": {
            "url": {"type": "string"},
            "method": {"type": "string"},
            "expires": {"type": "integer"},
        },
        "examples": [
            {
                "url": "/file?path=avatars/1.png&expires=1795778842&signature=2BfhsDFozgzqFf0UCEN8QsWN…",
                "method": "GET",
                "expires": 1795778842,
            }
        ],
    },
    "Problem": {
        "description": "RFC 9457",
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
        },
        "examples": [
            {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "There is no file 'avatars/2.png'.",
            }
        ],
    },
}
