"""The API as an OpenAPI document (https://spec.openapis.org/oas/v3.1.0), for tools and for tests."""

from typing import Any

from sfss import __version__
from sfss.web.api.openapi_schemas import LINES, SCHEMAS, STATUS

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_MEANINGS = {
    "400": "an argument is missing, repeated or invalid, or a header is malformed",
    "401": "a token is needed",
    "403": "not from this address, or the signature does not hold",
    "404": "there is no such file: the store was asked, and knows",
    "408": "the head or the body of the request did not arrive in time",
    "412": "the condition does not hold; nothing has changed",
    "413": "the file is larger than allowed",
    "415": "the body is compressed",
    "416": "the range begins behind the end of the file",
    "417": "the only Expect known is 100-continue",
    "501": "the store cannot say which files it has",
    "502": "the store refused; a write may have happened all the same",
    "503": "too much is under way; for /readyz: no store answers",
    "504": "no storage proxy was reached in time; a write may have happened all the same",
    "507": "the store is full",
}
_ALWAYS = ("400", "401", "403", "408", "502", "503", "504")
_TEXT = {"schema": {"type": "string"}}
#: What else stands in the head of an answer.
_HEADERS = {
    "401": {"WWW-Authenticate": _TEXT},
    "416": {"Content-Range": _TEXT},
    "503": {"Retry-After": _TEXT | {"description": "seconds; not from /readyz"}},
}
_TAR = {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}}
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "of the content"}}


def documented_headers() -> tuple[frozenset[str], frozenset[str]]:
    """The headers that requests of this API may have, and those that its answers have."""
    request = {"Authorization", "Content-Type", "X-Request-ID"}
    answer = {"Accept-Ranges", "Content-Disposition", "Last-Modified", "Location", "X-Request-ID"}
    for path in document(0)["paths"].values():
        for operation in path.values():
            if not isinstance(operation, dict):
                continue  # parameters of all operations, which are none of headers
            parameters = operation.get("parameters", ())
            request |= {p["name"] for p in parameters if p["in"] == "header"}
            for response in operation["responses"].values():
                answer |= response.get("headers", {}).keys()
    return frozenset(request), frozenset(answer)


def document(max_file_size: int) -> dict[str, Any]:
    """The document for a server that takes files of *max_file_size* bytes."""
    file = {"schema": {"type": "string", "format": "binary", "maxLength": max_file_size}}
    upload = {
        "description": "the content itself, or a form with the file in the field upload_file",
        "required": True,
        "content": {
            "application/octet-stream": file,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["upload_file"],
                    "properties": {"upload_file": {"type": "string", "format": "binary"}},
                }
            },
        },
    }
    listing = {"application/json": {"schema": {"$ref": "#/components/schemas/Listing"}}}
    stored = {"application/json": {"schema": {"$ref": "#/components/schemas/Stored"}}}
    conditions = [_header("If-Match"), _header("If-None-Match")]
    writing = (*_ALWAYS, "412", "413", "415", "417", "507")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sfss",
            "version": __version__,
            "description": "Small files behind plain HTTP.",
        },
        "security": [{}, {"token": []}],
        "paths": {
            "/files": {
                "get": {
                    "operationId": "listFiles",
                    "summary": "Which files there are",
                    "parameters": _LISTING,
                    "responses": _responses(
                        {"200": {"description": "so many, and where to go on", "content": listing}},
                        *_ALWAYS,
                        "501",
                    ),
                },
                "post": {
                    "operationId": "postFile",
                    "summary": "Keep a file",
                    "parameters": [_PATH, *_SIGNATURE, *conditions],
                    "requestBody": upload,
                    "responses": _responses(
                        {
                            "201": {
                                "description": "it is kept; Location is its URL",
                                "content": stored,
                                "headers": _ETAG | {"Location": {"schema": {"type": "string"}}},
                            }
                        },
                        *writing,
                    ),
                },
            },
            "/file": {
                "description": "The same is at /file/PATH, without the argument 'path'.",
                "parameters": [_PATH, *_SIGNATURE],
                "get": {
                    "operationId": "getFile",
                    "summary": "The content of a file",
                    "parameters": [*conditions, _header("Range"), _header("If-Range")],
                    "responses": _responses(
                        {
                            "200": {
                                "description": "the content; its type by the path's extension",
                                "content": {"*/*": file},
                                "headers": _ETAG,
                            },
                            "206": {
                                "description": "a part of it",
                                "content": {"*/*": file},
                                "headers": _ETAG | {"Content-Range": _TEXT},
                            },
                            "304": {"description": "the client has this version", "headers": _ETAG},
                        },
                        *_ALWAYS,
                        "404",
                        "412",
                        "416",
                    ),
                },
                "head": {
                    "operationId": "headFile",
                    "summary": "The headers of a file",
                    "parameters": conditions,
                    "responses": {
                        status: {"description": meaning}
                        for status, meaning in {
                            "200": "there is such a file",
                            "304": "the client has this version",
                            **{s: _MEANINGS[s] for s in (*_ALWAYS, "404", "412")},
                        }.items()
                    },
                },
                "put": {
                    "operationId": "putFile",
                    "summary": "Keep a file, in place of one that may be there",
                    "parameters": conditions,
                    "requestBody": upload,
                    "responses": _responses(
                        {"200": {"description": "it is kept", "content": stored, "headers": _ETAG}},
                        *writing,
                    ),
                },
                "delete": {
                    "operationId": "deleteFile",
                    "summary": "Delete a file",
                    "parameters": conditions,
                    "responses": _responses(
                        {"204": {"description": "it is deleted"}}, *_ALWAYS, "404", "412", "507"
                    ),
                },
            },
            "/archive": {
                "get": {
                    "operationId": "getArchive",
                    "parameters": [_LISTING[0]],
                    "summary": "All files whose paths begin with the prefix, as a tar archive",
                    "responses": _responses(
                        {"200": {"description": "the archive", "content": _TAR}}, *_ALWAYS, "501"
                    ),
                },
                "post": {
                    "operationId": "postArchive",
                    "parameters": [
                        _LISTING[0] | {"description": "what stands before each name in the archive"}
                    ],
                    "summary": "Keep the files of a tar archive (it may be compressed by gzip or bzip2); or, "
                    "with a list of paths, get these files as one",
                    "requestBody": {
                        "required": True,
                        "content": {
                            **_TAR,
                            "application/json": {"schema": {"type": "array", "items": {"type": "string"}}},
                        },
                    },
                    "responses": {
                        status: each | {"content": each["content"] | LINES}
                        for status, each in _responses(
                            {"200": {"description": "all are kept; or the archive", "content": _TAR}},
                            *_ALWAYS,
                            "413",
                            "417",
                            "507",
                        ).items()
                    },
                },
            },
            "/sign": {
                "post": {
                    "operationId": "sign",
                    "summary": "A signed URL for a file",
                    "description": "Who may read may sign a GET; who may write, a PUT. For a server that has a signing "
                    "key; others answer 403.",
                    "parameters": [_PATH, *_TO_SIGN],
                    "responses": _responses(
                        {
                            "200": {
                                "description": "the URL, relative to the server's, and when it expires (Unix seconds)",
                                "content": {
                                    "application/json": {"schema": {"$ref": "#/components/schemas/Signed"}}
                                },
                            }
                        },
                        *_ALWAYS,
                    ),
                }
            },
            "/status": {
                "get": {
                    "operationId": "status",
                    "summary": "Figures of the stores, or of the nodes and the web server",
                    "parameters": [
                        {
                            "name": "full",
                            "in": "query",
                            "schema": {"type": "string", "enum": ["0", "1"]},
                        }
                    ],
                    "responses": _responses(
                        {
                            "200": {
                                "description": "by address; with full=1, of everything",
                                "content": {"application/json": {"schema": STATUS}},
                            }
                        },
                        *_ALWAYS,
                    ),
                }
            },
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Figures for Prometheus",
                    "responses": _responses(
                        {"200": {"description": "all figures", "content": {"text/plain": {}}}},
                        "401",
                    ),
                }
            },
            "/healthz": {"get": _text("healthz", "Whether the process lives")},
            "/readyz": {"get": _text("readyz", "Whether a store answers", "503")},
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": SCHEMAS,
        },
    }


_PATH = {
    "name": "path",
    "in": "query",
    "required": True,
    "description": "the file's name: relative, 1 to 1,024 bytes of UTF-8",
    "schema": {"type": "string", "minLength": 1, "maxLength": 1024},
}
_LISTING = [
    {"name": name, "in": "query", "description": what, "schema": {"type": "string"} | more}
    for name, what, more in (
        ("prefix", "only files whose paths begin with it", {}),
        ("delimiter", "files that have it behind the prefix are folded into folders", {}),
        ("after", "what the last answer had as 'next'", {}),
        ("limit", "so many files and folders at most", {"type": "integer", "minimum": 1, "maximum": 1000}),
    )
]
_TO_SIGN = [
    {"name": name, "in": "query", "description": what, "schema": schema}
    for name, what, schema in (
        ("method", "for what it is: GET (which is also for HEAD) or PUT", {"enum": ["GET", "PUT"]}),
        ("lifetime", "seconds (3600)", {"type": "integer", "minimum": 1, "maximum": 7 * 24 * 3600}),
        ("limit", "of a PUT: the most bytes", {"type": "integer", "minimum": 0, "maximum": 10**15 - 1}),
    )
]
_SIGNATURE = [
    {
        "name": name,
        "in": "query",
        "description": "of a signed URL",
        "schema": {"type": "string"},
    }
    for name in ("expires", "limit", "signature")
]


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "schema": {"type": "string"}}


def _responses(good: dict[str, Any], *problems: str) -> dict[str, Any]:
    return good | {
        status: {"description": _MEANINGS[status], "content": _PROBLEM}
        | ({"headers": _HEADERS[status]} if status in _HEADERS else {})
        for status in problems
    }


def _text(name: str, summary: str, *problems: str) -> dict[str, Any]:
    good = {"200": {"description": "yes", "content": {"text/plain": {}}}}
    return {"operationId": name, "summary": summary, "responses": _responses(good, *problems)}
