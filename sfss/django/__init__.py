"""Django storages over sfss and over plain media servers; see docs/django.rst.

As an application (``sfss.django`` in INSTALLED_APPS, label ``sfss``) it has the delivery queue: tables of what each
server is to have, and commands that see to it. Storages over a gateway need no application.
"""
