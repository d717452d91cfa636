"""The application: the delivery queue's tables, its admin, and its checks."""

from django.apps import AppConfig


class SFSSConfig(AppConfig):
    name = "sfss.django"
    label = "sfss"
    verbose_name = "sfss"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sfss.django import checks  # noqa: F401  # it registers itself
