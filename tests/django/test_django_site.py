"""Checks, the admin, and migrations."""

import io

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.test import Client, override_settings

from sfss.django.models import Delivery, StoredFile
from sfss.django.replicated import ReplicatedStorage

MEMORY = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
REPLICATED = "sfss.django.replicated.ReplicatedStorage"


@pytest.mark.parametrize(
    "backend, options, found",
    [
        (REPLICATED, {"hosts": ["a:1"]}, set()),
        (REPLICATED, {"hosts": []}, {"sfss.E003", "sfss.W001"}),
        (REPLICATED, {"hosts": ["a:1"], "write_quorum": 0}, {"sfss.W001"}),
        (REPLICATED, {"hosts": ["a:1"], "quarantine": 1.0}, {"sfss.W002"}),
        (REPLICATED, {"hosts": ["a:1"], "write_quorum": "most"}, {"sfss.E001"}),
        (REPLICATED, {"hosts": ["a:1"], "queue": "", "on_partial": "queue"}, {"sfss.E001"}),
        (REPLICATED, {"hosts": ["a:1"], "on_partial": "hope"}, {"sfss.E001"}),
        (REPLICATED, {"host": ["a:1"]}, {"sfss.E001"}),
        ("sfss.django.storage.SFSSStorage", {}, set()),
        ("sfss.django.storage.SFSSStorage", {"signing_key": "k" * 20, "base_url": "/x/"}, {"sfss.W004"}),
    ],
)
def test_what_is_wrong_with_a_storage_is_said(backend, options, found):
    storages = {"default": {"BACKEND": backend, "OPTIONS": options}, "staticfiles": MEMORY}
    with override_settings(STORAGES=storages):
        assert {message.id for message in run_checks()} == found


def test_two_storages_with_one_queue_and_other_servers_are_said():
    storages = {
        name: {"BACKEND": REPLICATED, "OPTIONS": {"hosts": [f"{name}:1"]}} for name in ("default", "other")
    } | {"staticfiles": MEMORY}
    with override_settings(STORAGES=storages):
        assert [message.id for message in run_checks()] == ["sfss.E004"]
    storages["other"]["OPTIONS"]["queue"] = "other"
    with override_settings(STORAGES=storages):
        assert run_checks() == []


def test_a_queue_without_its_tables_is_said():
    storages = {"default": {"BACKEND": REPLICATED, "OPTIONS": {"hosts": ["a:1"]}}, "staticfiles": MEMORY}
    with override_settings(STORAGES=storages, INSTALLED_APPS=["django.contrib.staticfiles"]):
        from sfss.django.checks import check_storages

        assert [message.id for message in check_storages(None)] == ["sfss.E002"]


@pytest.mark.parametrize(
    "host, options, found", [("a:1", {}, True), ("127.0.0.1:1", {}, False), ("a:1", {"token": "t"}, False)]
)
def test_what_is_dangerous_in_a_deployment_is_said(host, options, found):
    options = {"hosts": [host], **options}
    storages = {"default": {"BACKEND": REPLICATED, "OPTIONS": options}, "staticfiles": MEMORY}
    with override_settings(STORAGES=storages):
        said = {message.id for message in run_checks(include_deployment_checks=True)}
    assert ("sfss.W003" in said) is found


def test_the_migrations_are_what_the_models_say(database):
    printed = io.StringIO()
    call_command("makemigrations", "sfss", check=True, dry_run=True, stdout=printed)
    assert "No changes" in printed.getvalue()


def test_the_admin_shows_both_tables_and_tries_again(database):
    storage = ReplicatedStorage(hosts=["127.0.0.1:1"], base_url="http://x/m/", write_quorum=0)
    storage.save("admin/<b>.txt", ContentFile(b"x"))
    User.objects.create_superuser("boss", password="boss")
    try:
        client = Client()
        assert client.login(username="boss", password="boss")
        files = client.get("/admin/sfss/storedfile/")
        assert files.status_code == 200 and b"admin/&lt;b&gt;.txt" in files.content
        deliveries = client.get("/admin/sfss/delivery/?is_dirty__exact=1")
        assert deliveries.status_code == 200 and b"127.0.0.1:1" in deliveries.content
        row = Delivery.objects.get()
        before = row.next_try
        answer = client.post(
            "/admin/sfss/delivery/", {"action": "try_again", "_selected_action": [row.pk]}, follow=True
        )
        assert b"1 deliveries are tried again" in answer.content
        assert Delivery.objects.get().next_try < before
        Delivery.objects.update(must_verify=True)
        answer = client.post(
            "/admin/sfss/delivery/", {"action": "try_again", "_selected_action": [row.pk]}, follow=True
        )
        assert b"0 deliveries" in answer.content
        # They are to look at.
        file = StoredFile.objects.get()
        assert client.get(f"/admin/sfss/storedfile/{file.pk}/change/").status_code == 200
        assert client.post(f"/admin/sfss/storedfile/{file.pk}/change/", {"name": "other"}).status_code == 403
        assert client.get("/admin/sfss/storedfile/add/").status_code == 403
        assert client.post(f"/admin/sfss/delivery/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    finally:
        User.objects.all().delete()
