"""Storages whose files are kept by an sfss gateway, or several."""

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.staticfiles.storage import ManifestFilesMixin
from django.core.exceptions import ImproperlyConfigured
from django.core.files.utils import validate_file_name
from django.utils import timezone
from django.utils.encoding import filepath_to_uri
from django.utils.functional import cached_property

from sfss.django.compression import GZIP_TYPES, Compression
from sfss.django.files import RemoteFile, content_of, file_to_save
from sfss.django.gateway import Exists, GatewayError, Gateways
from sfss.django.listings import all_answers, directory
from sfss.django.names import folder_under, path_under, save_as_free, shortened
from sfss.django.options import Option, StorageWithOptions
from sfss.models import etag_of
from sfss.signing import signed_query

#: How ``ManifestFilesMixin`` names files.
_HASHED = re.compile(r"\.[0-9a-f]{12}(?:\.[^/]*)?$")


class SFSSStorage(StorageWithOptions):
    """Files of a gateway. What is not given as an option is an attribute of the class, or the setting ``SFSS_…``.

    *gateways*: URLs; each request goes to the first that answers. *location*: a folder in them. *file_overwrite*: a
    save under a name that is taken replaces the file; without, it gets another name. *base_url*, or *url_protocol* and
    *custom_domain*: what URLs begin with, where browsers do not reach the gateway itself. *signing_key*, with
    *querystring_auth*: URLs are signed, and expire after *querystring_expire* seconds. *gzip*: files of
    *gzip_content_types* are stored compressed, which browsers understand if the gateway runs with ``--gzip-texts``.
    """

    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "gateways": Option(("http://127.0.0.1:8255",), "SFSS_GATEWAYS"),
        "location": Option("", "SFSS_LOCATION"),
        "file_overwrite": Option(False, "SFSS_FILE_OVERWRITE"),
        "base_url": Option(None, "SFSS_BASE_URL"),
        "custom_domain": Option(None, "SFSS_CUSTOM_DOMAIN"),
        "url_protocol": Option("https:", "SFSS_URL_PROTOCOL"),
        "querystring_auth": Option(True, "SFSS_QUERYSTRING_AUTH"),
        "querystring_expire": Option(3600, "SFSS_QUERYSTRING_EXPIRE"),
        "signing_key": Option(None, "SFSS_SIGNING_KEY", is_secret=True),
        "read_token": Option(None, "SFSS_READ_TOKEN", is_secret=True),
        "write_token": Option(None, "SFSS_WRITE_TOKEN", is_secret=True),
        "gzip": Option(False, "SFSS_GZIP"),
        "gzip_content_types": Option(GZIP_TYPES, "SFSS_GZIP_CONTENT_TYPES"),
        "timeout": Option(10.0, "SFSS_TIMEOUT"),
    }

    MADE_OF_OPTIONS = ("_gateways", "_compression")

    @cached_property
    def options(self) -> dict[str, Any]:
        values = super().options
        if isinstance(values["gateways"], str):
            values["gateways"] = (values["gateways"],)
        if not values["gateways"]:
            raise ImproperlyConfigured("gateways: name one at least, as http://host:port")
        return values

    @cached_property
    def _gateways(self) -> Gateways:
        options = self.options
        return Gateways(
            options["gateways"],
            timeout=options["timeout"],
            read_token=options["read_token"],
            write_token=options["write_token"],
        )

    @cached_property
    def _compression(self) -> Compression | None:
        return Compression(self.options["gzip_content_types"]) if self.options["gzip"] else None

    # Names.

    def path_of(self, name: str) -> str:
        """The path of a file in the gateway. :raises SuspiciousFileOperation:"""
        return path_under(self.options["location"].strip("/"), name)

    def save(self, name: str | None, content: Any, max_length: int | None = None) -> str:
        """As Django's, without asking whether the name is free: the gateway says so when it gets the file."""
        saved = self._save_as(*file_to_save(name, content), max_length)
        validate_file_name(saved, allow_relative_path=True)
        return saved

    def _save(self, name: str, content: Any) -> str:
        return self._save_as(name, content_of(content), None)

    def _save_as(self, name: str, content: bytes, max_length: int | None) -> str:
        def put(free: str) -> bool:
            stored = self._packed(free, content)
            try:
                self._gateways.put(self.path_of(free), stored, overwrite=self.options["file_overwrite"])
            except Exists:
                return False
            return True

        return save_as_free(self, name, max_length, put).replace("\\", "/")

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        if self.options["file_overwrite"]:
            return shortened(name, max_length)
        return super().get_available_name(name, max_length)

    def is_name_available(self, name: str, max_length: int | None = None) -> bool:
        too_long = max_length is not None and len(name) > max_length
        return not too_long and (self.options["file_overwrite"] or not self.exists(name))

    # Files.

    def _open(self, name: str, mode: str = "rb") -> RemoteFile:
        path = self.path_of(name)

        def write(content: bytes, must_be_new: bool) -> None:
            try:
                self._gateways.put(path, self._packed(name, content), overwrite=not must_be_new)
            except Exists:
                raise FileExistsError(f"there is a file {name}") from None

        return RemoteFile(name, mode, lambda: self._read(name), write)

    def _read(self, name: str) -> bytes:
        stored = self._gateways.get(self.path_of(name))
        return stored if self._compression is None else self._compression.unpacked(name, stored)

    def _packed(self, name: str, content: bytes) -> bytes:
        return content if self._compression is None else self._compression.packed(name, content)

    def delete(self, name: str) -> None:
        if not name:
            raise ValueError("The name must be given to delete().")
        self._gateways.delete(self.path_of(name))

    def exists(self, name: str) -> bool:
        try:
            self._gateways.head(self.path_of(name))
        except FileNotFoundError:
            return False
        return True

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        """:raises NotImplementedError: if the gateway's store cannot say what it has."""
        prefix = folder_under(self.options["location"].strip("/"), path)
        return directory(lambda after: self._gateways.listing(prefix, after, "/"), prefix)

    def size(self, name: str) -> int:
        if self._compression is not None and self._compression.is_of(name):
            return len(self._read(name))
        return int(self._gateways.head(self.path_of(name))["Content-Length"])

    def get_modified_time(self, name: str) -> datetime:
        """:raises NotImplementedError: if the gateway's store keeps no times."""
        modified = self._gateways.head(self.path_of(name)).get("Last-Modified")
        if modified is None:
            raise NotImplementedError("The store of this gateway keeps no times.")
        when = parsedate_to_datetime(modified)
        return when if settings.USE_TZ else timezone.make_naive(when)

    def get_created_time(self, name: str) -> datetime:
        return self.get_modified_time(name)

    def get_accessed_time(self, name: str) -> datetime:
        return self.get_modified_time(name)

    def url(
        self, name: str | None, parameters: Mapping[str, Any] | None = None, expire: int | None = None
    ) -> str:
        """*expire*: seconds, in place of the option. *parameters*: of the query."""
        path = self.path_of(name or "")
        options = self.options
        query = urlencode(parameters or {})
        if options["custom_domain"]:
            url = f"{options['url_protocol']}//{options['custom_domain'].strip('/')}/{filepath_to_uri(path)}"
        elif options["base_url"]:
            url = f"{options['base_url'].rstrip('/')}/{filepath_to_uri(path)}"
        else:
            begin = options["gateways"][0].rstrip("/")
            if options["signing_key"] and options["querystring_auth"]:
                lifetime = options["querystring_expire"] if expire is None else expire
                signed = signed_query(options["signing_key"], "GET", path, lifetime=lifetime)
                return f"{begin}/file?{signed}" + (f"&{query}" if query else "")
            return begin + self._gateways.target(path) + (f"&{query}" if query else "")
        return url + (f"?{query}" if query else "")


class SFSSStaticStorage(SFSSStorage):
    """For ``STORAGES["staticfiles"]``: names stay as they are, and URLs are never signed."""

    location = "static"
    file_overwrite = True
    querystring_auth = False

    _uploads: "_Uploads | None" = None

    @contextmanager
    def uploading(self, pool: Executor) -> Iterator[None]:
        """Meanwhile files are uploaded by *pool*: a save returns before its file is there. What fails is raised at the
        end.
        """
        self._uploads = _Uploads(pool, self._etags())
        try:
            yield
            self._uploads.wait()
        finally:
            self._uploads = None

    def put_if_new(self, name: str, content: bytes) -> bool:
        """Whether there was no file of this name and content."""
        path, stored = self.path_of(name), self._packed(name, content)
        etags = self._uploads.etags if self._uploads is not None else None
        if etags is not None and (etag := etags.get(path, "")) is not None:
            is_there = etag == etag_of(stored)
        else:
            is_there = self._gateways.has(path, stored)
        if not is_there:
            self._gateways.put(path, stored, overwrite=True)
        return not is_there

    def _etags(self) -> dict[str, str | None] | None:
        """Of the files that are there, by path (None: that one has to be asked for). None: the
        gateway does not tell. It costs a request for each 1,000 files.
        """
        prefix = folder_under(self.options["location"].strip("/"), "")
        try:
            answers = all_answers(lambda after: self._gateways.listing(prefix, after))
            return {file["path"]: file.get("etag") for answer in answers for file in answer["files"]}
        except (NotImplementedError, GatewayError):
            return None

    def note(self, task: "Future[bool]", done: Callable[[bool], object]) -> None:
        """Of an upload that was begun. *done* is called at the end, with what came of it."""
        assert self._uploads is not None
        self._uploads.tasks.append((task, done))

    def _save(self, name: str, content: Any) -> str:
        if self._uploads is None:
            return super()._save(name, content)
        self.note(self._uploads.pool.submit(self.put_if_new, name, content_of(content)), bool)
        return name


class _Uploads:
    """*etags*: of what was there at the beginning."""

    def __init__(self, pool: Executor, etags: dict[str, str | None] | None):
        self.pool = pool
        self.etags = etags
        self.tasks: list[tuple[Future[bool], Callable[[bool], object]]] = []

    def wait(self) -> None:
        """:raises Exception: of the first that has failed."""
        tasks, self.tasks = self.tasks, []
        for task, done in tasks:
            done(task.result())


class SFSSManifestStaticStorage(ManifestFilesMixin, SFSSStaticStorage):
    """The same, with the hash of the content in each name."""

    def post_process(self, *args: Any, **options: Any) -> Iterator[tuple[str, str, Any]]:
        if self._uploads is not None:
            self._uploads.wait()  # what was collected is read again
        yield from super().post_process(*args, **options)

    def save_manifest(self) -> None:
        """When everything is there that it names."""
        uploads, self._uploads = self._uploads, None
        if uploads is not None:
            uploads.wait()
        try:
            super().save_manifest()
        finally:
            self._uploads = uploads

    def exists(self, name: str) -> bool:
        """While files are uploaded, what has a hash in its name is written again, whatever is there: it is the same."""
        if self._uploads is not None and _HASHED.search(name):
            return False
        return super().exists(name)
