"""Ties the package to Django once all models are loaded."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.signals import setting_changed
from django.db.backends.signals import connection_created

from . import checks, conf, levels, prefixes, process, serializers
from .exceptions import SettingError
from .orm import patch


class SmartCacheConfig(AppConfig):
    name = "djsmartcache"
    verbose_name = "Smart cache"

    def ready(self) -> None:
        for receiver in (conf.forget, serializers.forget, prefixes.forget, process.follow_settings):
            setting_changed.connect(
                receiver, dispatch_uid=f"{receiver.__module__}.{receiver.__name__}"
            )
        prefixes.remember_databases()
        connection_created.connect(prefixes.notice_database, dispatch_uid="djsmartcache.prefixes")
        checks.connect()
        prefixes.forget()  # one made before the models were there lacks their schema
        patch.install()
        levels.install()
        try:
            process.configure()  # does not connect
        except SettingError:
            return  # the system checks tell, and so does the first use
