"""The project's `manage.py`, with the start method of processes as its first argument."""

import multiprocessing
import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.parallel.settings"
    multiprocessing.set_start_method(sys.argv.pop(1))
    execute_from_command_line(sys.argv)
