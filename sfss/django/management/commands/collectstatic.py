"""Django's ``collectstatic``, with many files at once where they go to a gateway.

It is found in place of Django's if ``sfss.django`` stands before ``django.contrib.staticfiles`` in INSTALLED_APPS.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django.contrib.staticfiles.management.commands import collectstatic
from django.core.management.base import CommandParser

from sfss.django.files import content_of
from sfss.django.storage import SFSSStaticStorage


class Command(collectstatic.Command):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--parallel", type=int, default=16, metavar="N", help="files at once (default: %(default)s)"
        )

    def set_options(self, **options: Any) -> None:
        super().set_options(**options)
        self.is_ours = isinstance(self.storage, SFSSStaticStorage) or isinstance(
            getattr(self.storage, "_wrapped", None), SFSSStaticStorage
        )
        self.parallel = max(1, options["parallel"])

    def collect(self) -> dict[str, list[str]]:
        if not self.is_ours or self.dry_run:
            return super().collect()
        with ThreadPoolExecutor(self.parallel) as pool, self.storage.uploading(pool):
            self._pool = pool
            return super().collect()

    def copy_file(self, path: str, prefixed_path: str, source_storage: Any) -> None:
        """A file that is there with this content stays; another one is written over, and never away in between."""
        if not self.is_ours or self.dry_run:
            super().copy_file(path, prefixed_path, source_storage)
            return
        if prefixed_path in self.copied_files:
            return
        with source_storage.open(path) as source:
            content = content_of(source)
        self.copied_files.append(prefixed_path)
        task: Future[bool] = self._pool.submit(self.storage.put_if_new, prefixed_path, content)
        self.storage.note(task, lambda is_new: None if is_new else self._unmodified(prefixed_path))

    def _unmodified(self, prefixed_path: str) -> None:
        self.copied_files.remove(prefixed_path)
        self.unmodified_files.append(prefixed_path)
        self.log(f"Skipping '{prefixed_path}' (not modified)")
