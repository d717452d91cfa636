#!/usr/bin/env python3
"""As Django makes it; ``run.py`` calls it."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gallery.settings")
    execute_from_command_line(sys.argv)
