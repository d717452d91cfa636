"""What each server is to have, and has: a queue of states, and not of operations.

Of each file the newest version, and whether it exists; of each file and host, whether the host has that. Retried
operations come in another order than they were; states have no order that could be broken.
"""

import hashlib
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


def key_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class StoredFile(models.Model):
    """A file as it is to be everywhere. A deleted one stays as a *tombstone*, at least until every host knows."""

    #: Which storage it belongs to, where a site has several with the same names.
    queue = models.CharField(max_length=60, default="default")
    name = models.CharField(max_length=1024)
    #: The name again, as databases compare it to the letter: some take ``A`` for ``a``, and have short indexes.
    key = models.CharField(max_length=64, editable=False)
    #: Microseconds since the epoch, or just above the one before: never less.
    version = models.BigIntegerField()
    is_deleted = models.BooleanField(default=False)
    sha256 = models.CharField(max_length=64, blank=True)
    size = models.BigIntegerField(default=0)
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("queue", "key"), name="sfss_file_once"),)
        verbose_name = _("stored file")
        verbose_name_plural = _("stored files")

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.key = key_of(self.name)
        super().save(*args, **kwargs)


class Delivery(models.Model):
    """Of one file to one host. It is *dirty* until the host is known to have the file's newest version."""

    file = models.ForeignKey(StoredFile, models.CASCADE, related_name="deliveries")
    host = models.CharField(max_length=200)
    is_dirty = models.BooleanField(default=True)
    #: Of the file, which the host is to have. (What has delivered an older one has not delivered this.)
    version = models.BigIntegerField()
    #: Who sends it now: only one at a time, whatever is sent.
    lease = models.CharField(max_length=32, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    #: When to try again. After a time-out whose outcome is unknown it rests until a late write can no longer arrive,
    #: and is verified before anything is sent.
    next_try = models.DateTimeField()
    must_verify = models.BooleanField(default=False)
    failures = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("file", "host"), name="sfss_delivery_once"),)
        indexes = (models.Index(fields=("is_dirty", "next_try"), name="sfss_delivery_due"),)
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")

    def __str__(self) -> str:
        return f"{self.file_id} to {self.host}"
