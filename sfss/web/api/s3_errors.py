"""Errors as S3 says them: a code, and XML.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

from sfss import errors
from sfss.http.messages import Response
from sfss.web.api.object_headers import xml_text


class S3Error(errors.SfssError):
    """*code*: that of S3, which has the HTTP *status*."""

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code = code
        self.status = status


#: An error has the code of the first of its classes that stands here.
_CODES: dict[type[Exception], tuple[str, int]] = {
    errors.NoSuchContainer: ("NoSuchBucket", 404),
    errors.NoSuchVersion: ("NoSuchVersion", 404),
    errors.IsDeleteMarker: ("MethodNotAllowed", 405),
    errors.NoSuchUpload: ("NoSuchUpload", 404),
    errors.NotFound: ("NoSuchKey", 404),
    errors.ContainerNotEmpty: ("BucketNotEmpty", 409),
    errors.PreconditionFailed: ("PreconditionFailed", 412),
    errors.RangeNotSatisfiable: ("InvalidRange", 416),
    errors.FileTooLarge: ("EntityTooLarge", 400),
    errors.NameTooLong: ("KeyTooLongError", 400),
    errors.LengthRequired: ("MissingContentLength", 411),
    errors.UploadTimeout: ("RequestTimeout", 400),
    errors.NotSupported: ("NotImplemented", 501),
    errors.Unauthorized: ("AccessDenied", 403),
    errors.Forbidden: ("AccessDenied", 403),
    errors.Overloaded: ("SlowDown", 503),
    errors.StoreFull: ("InternalError", 507),
    errors.StoreRefused: ("InternalError", 500),
    errors.NoStoreAvailable: ("ServiceUnavailable", 503),
    errors.SegmentChanged: ("InvalidObjectState", 409),
    errors.InvalidRequest: ("InvalidArgument", 400),
}


def code_of(error: errors.SfssError) -> tuple[str, int]:
    """That of S3, and its HTTP status."""
    if isinstance(error, S3Error):
        return error.code, error.status
    return next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), ("InternalError", 500))


def s3_response(error: errors.SfssError, resource: str, request_id: str) -> Response:
    """What a client of S3 gets to see of *error*."""
    code, status = code_of(error)
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{xml_text(str(error))}</Message>'
        f"<Resource>{xml_text(resource)}</Resource><RequestId>{xml_text(request_id)}</RequestId></Error>"
    )
    lines = f"Content-Type: application/xml\r\nx-amz-request-id: {request_id}\r\n"
    response = Response(status, lines, body.encode("utf-8", "replace"))
    if isinstance(error, errors.RangeNotSatisfiable):
        response.add("Content-Range", f"bytes */{error.size}")
    if isinstance(error, errors.IsDeleteMarker | errors.WasDeleted):
        response.add("x-amz-delete-marker", "true")
    if isinstance(error, errors.WasDeleted):
        response.add("x-amz-version-id", error.version)
    response.close = isinstance(error, errors.FileTooLarge | errors.UploadTimeout | errors.Overloaded)
    return response
