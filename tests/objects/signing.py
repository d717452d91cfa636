"""Requests of S3, signed with version 4 by hand."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote


def signed_request(
    secret: str,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    host: str = "x",
    key: str = "main:admin",
    **more: str,
) -> bytes:
    """*key*: the access key. *more*: headers, with ``_`` for ``-``."""
    path, _, query = target.partition("?")
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    sha256 = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-date": when, "x-amz-content-sha256": sha256}
    headers |= {name.lower().replace("_", "-"): value for name, value in more.items()}
    names = ";".join(sorted(headers))
    pairs = sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part)
    lines = [f"{name}:{headers[name].strip()}" for name in sorted(headers)]
    canonical = "\n".join([method, path, "&".join(pairs), *lines, "", names, sha256])
    scope = f"{when[:8]}/us-east-1/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signing = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    sent = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {target} HTTP/1.1\r\n{sent}Content-Length: {len(body)}\r\n\r\n".encode() + body


def presigned(
    secret: str,
    method: str,
    path: str,
    *,
    host: str = "x",
    key: str = "main:admin",
    more: Mapping[str, str] | None = None,
) -> str:
    """A target that is signed for 100 seconds, with the Host alone, and with *more* in its query."""
    when = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{when[:8]}/us-east-1/s3/aws4_request"
    pairs = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": quote(f"{key}/{scope}", safe=""),
        "X-Amz-Date": when,
        "X-Amz-Expires": "100",
        "X-Amz-SignedHeaders": "host",
        **{name: quote(value, safe="") for name, value in (more or {}).items()},
    }
    query = "&".join(f"{name}={value}" for name, value in sorted(pairs.items()))
    canonical = "\n".join([method, path, query, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"])
    text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signing = ("AWS4" + secret).encode()
    for part in scope.split("/"):
        signing = hmac.digest(signing, part.encode(), "sha256")
    return f"{path}?{query}&X-Amz-Signature={hmac.digest(signing, text.encode(), 'sha256').hex()}"
