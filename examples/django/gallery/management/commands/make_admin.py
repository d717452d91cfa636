from django.contrib.auth.models import User
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Make the user admin with the password admin, if there is none."

    def handle(self, *args: object, **options: object) -> None:
        if not User.objects.filter(username="admin").exists():
            User.objects.create_superuser("admin", password="admin")
