"""Both tables of the queue, to look at; deliveries can be tried again."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from sfss.django.models import Delivery, StoredFile


class _ReadOnly(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(StoredFile)
class StoredFileAdmin(_ReadOnly):
    list_display = ("name", "queue", "size", "is_deleted", "changed")
    list_filter = ("queue", "is_deleted")
    search_fields = ("name",)
    show_full_result_count = False


@admin.register(Delivery)
class DeliveryAdmin(_ReadOnly):
    list_display = ("file", "host", "is_dirty", "failures", "next_try", "last_error")
    list_filter = ("is_dirty", "host")
    list_select_related = ("file",)
    search_fields = ("file__name",)
    actions = ("try_again",)
    show_full_result_count = False

    @admin.action(description=_("Try again now"), permissions=["view"])
    def try_again(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        # What may still arrive rests, whatever anybody wishes.
        count = queryset.filter(is_dirty=True, must_verify=False).update(next_try=timezone.now())
        self.message_user(request, _("%d deliveries are tried again.") % count, messages.SUCCESS)
