"""The one table from error to HTTP status, and how an error looks (RFC 9457)."""

import json
from http import HTTPStatus

from aiohttp import web

from sfss import errors
from sfss.http.messages import Response
from sfss.models import SERVER_HEADER

#: An error has the status of the first of its classes that stands here.
STATUS: dict[type[Exception], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.UploadTimeout: HTTPStatus.REQUEST_TIMEOUT,
    errors.LengthRequired: HTTPStatus.LENGTH_REQUIRED,
    errors.HeadTooLarge: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.VersionNotSupported: HTTPStatus.HTTP_VERSION_NOT_SUPPORTED,
    errors.AlreadyDeleted: HTTPStatus.CONFLICT,
    errors.NameTaken: HTTPStatus.CONFLICT,
    errors.PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    errors.FileTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedEncoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.RangeNotSatisfiable: HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
    errors.UnknownExpectation: HTTPStatus.EXPECTATION_FAILED,
    errors.SegmentChanged: HTTPStatus.CONFLICT,
    errors.NotSupported: HTTPStatus.NOT_IMPLEMENTED,
    errors.ContainerNotEmpty: HTTPStatus.CONFLICT,
    errors.ContentMismatch: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.CannotList: HTTPStatus.NOT_IMPLEMENTED,
    errors.StoreRefused: HTTPStatus.BAD_GATEWAY,
    errors.Overloaded: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NoStoreAvailable: HTTPStatus.GATEWAY_TIMEOUT,
    errors.StoreFull: HTTPStatus.INSUFFICIENT_STORAGE,
}

#: These may be raised with a body under way that nobody has read.
_BODY_UNREAD = (
    errors.FileTooLarge,
    errors.UploadTimeout,
    errors.Unauthorized,
    errors.Forbidden,
    errors.Overloaded,
)


_encode = json.JSONEncoder(ensure_ascii=False).encode


def status_of(error: errors.SfssError) -> HTTPStatus:
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    raise TypeError(f"{type(error).__name__} has no status") from error


def error_response(error: errors.SfssError) -> Response:
    """What the client gets to see of *error*."""
    response = problem(status_of(error), str(error))
    if isinstance(error, errors.RangeNotSatisfiable):
        response.add("Content-Range", f"bytes */{error.size}")
    if isinstance(error, errors.MethodNotAllowed):
        response.add("Allow", error.allowed)
    if isinstance(error, errors.Unauthorized):
        response.add("WWW-Authenticate", error.challenge)
    if isinstance(error, errors.NotAGateway):
        response.add(SERVER_HEADER, "node")
    if isinstance(error, errors.Overloaded):
        response.add("Retry-After", "1")  # RFC 9110 10.2.3
    if isinstance(error, _BODY_UNREAD):
        response.close = True  # there may be more of the body than anyone wants to read
    return response


def http_exception_response(error: web.HTTPException) -> Response:
    """aiohttp's own errors (no such route, no such method) in our form."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return error_response(errors.MethodNotAllowed(error.method, error.allowed_methods))
    if isinstance(error, web.HTTPNotFound):
        return problem(HTTPStatus(404), "There is nothing at this URL; files are at /file?path=PATH.")
    return problem(HTTPStatus(error.status), error.text or error.reason)


def internal_error(request_id: str) -> Response:
    """Something is wrong with sfss itself; it is in the log under *request_id*."""
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, f"Internal error; see the server's log for {request_id}."
    )


def problem(status: HTTPStatus, detail: str) -> Response:
    """A problem document (RFC 9457): the status, and a sentence that helps."""
    body = (
        f'{{"type": "about:blank", "title": "{status.phrase}", "status": {status.value}, '
        f'"detail": {_encode(detail)}}}'
    )
    return Response(
        status.value,
        "Content-Type: application/problem+json\r\n",
        body.encode("utf-8", "backslashreplace"),
    )
