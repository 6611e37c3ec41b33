"""Settings: defaults, checks that name the right one, and what follows a change."""

from __future__ import annotations

import dataclasses
import re
import resource
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core import checks as django_checks
from django.core.management import call_command
from django.db import connections
from django.test import override_settings

from djsmartcache import SettingError, checks, conf, prefixes, process

PROMISED = {
    "SMARTCACHE_REDIS_URL": None,
    "SMARTCACHE_DEFAULT_TTL": 300,
    "SMARTCACHE_USE_REDIS_LOCK": True,
    "SMARTCACHE_LOCK_TIMEOUT": 5,
    "SMARTCACHE_PUBSUB_CHANNEL": "smartcache:updates",
    "SMARTCACHE_START_LISTENER": True,
    "SMARTCACHE_JITTER_PCT": 0.1,
    "SMARTCACHE_VALIDATE_SCHEMA": False,
}
REFERENCE = Path(__file__).parents[1] / "docs" / "settings.md"


def found() -> list[tuple[str | None, str, str | None]]:
    return [(each.id, each.msg, each.hint) for each in checks.check_settings()]


def test_the_promised_defaults() -> None:
    assert {name: conf.names()[name].default for name in PROMISED} == PROMISED


def test_every_setting_says_what_it_is_and_its_default_is_allowed() -> None:
    for field in dataclasses.fields(conf.Settings):
        assert field.metadata["doc"].endswith(".")
        assert field.metadata["rule"].holds(field.default)


def test_the_settings_of_the_tests_have_no_problem() -> None:
    assert found() == []
    call_command("check", "--tag", "caches")


@override_settings(SMARTCACHE_DEFUALT_TTL=5)
def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    ((id_, message, hint),) = found()
    assert id_ == "smartcache.E001"
    assert "SMARTCACHE_DEFUALT_TTL" in message
    assert hint
    assert hint.startswith("Did you mean SMARTCACHE_DEFAULT_TTL?")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SMARTCACHE_TTL", "SMARTCACHE_DEFAULT_TTL"),
        ("SMARTCACHE_URL", "SMARTCACHE_REDIS_URL"),
        ("SMART_CACHE_REDIS_URL", "SMARTCACHE_REDIS_URL"),
        ("SMARTCACHE_XYZZY", None),
    ],
)
def test_a_name_is_compared_by_what_is_its_own(settings: Any, name: str, meant: str | None) -> None:
    setattr(settings, name, 5)
    ((id_, message, hint),) = found()
    assert id_ == "smartcache.E001"
    assert name in message
    assert hint
    assert hint.startswith(f"Did you mean {meant}?" if meant else "Known: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://localhost"),
        ("REDIS_URL", 5),
        ("DEFAULT_TTL", 0),
        ("DEFAULT_TTL", "300"),
        ("DEFAULT_TTL", True),
        ("DEFAULT_TTL", float("nan")),
        ("LOCK_TIMEOUT", 0),
        ("LOCK_TIMEOUT", float("inf")),
        ("PUBSUB_CHANNEL", ""),
        ("PUBSUB_CHANNEL", "a b"),
        ("JITTER_PCT", 1),
        ("JITTER_PCT", -0.1),
        ("START_LISTENER", 1),
        ("KEY_PREFIX", ""),
        ("LOCAL_MAX_BYTES", -1),
        ("LOCAL_MAX_BYTES", 1.5),
        ("LOCAL_MAX_BYTES", 10**30),
        ("EMBEDDED_MAX_BYTES", 10**30),
        ("REDIS_TIMEOUT", 1e12),
        ("DIR", "relative/path"),
        ("SERIALIZER", "nonesuch"),
        ("COMPRESSOR", "gzip"),
        ("SECRET", "short"),
        ("SECRET", "sixteen letters \ud800"),
        ("DIR", "/tmp/with\0nul"),
        ("REDIS_URL", "redis:// host"),
        ("REDIS_URL", "redis://host\0"),
        ("DEFAULT_TTL", 10**400),
        ("UNCACHABLE_TABLES", "table"),
        ("NAMESPACE", 5),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_allowed_ones(name: str, value: Any) -> None:
    with override_settings(**{f"SMARTCACHE_{name}": value}):
        ((id_, message, hint),) = found()
        assert id_ == "smartcache.E002"
        assert f"SMARTCACHE_{name}" in message
        assert hint
        assert hint.startswith("Allowed: ")
        with pytest.raises(SettingError, match=name):
            conf.current()


@pytest.mark.parametrize("level", ["bounded", "session", "strict"])
def test_sessions_need_their_middleware(level: str) -> None:
    with override_settings(SMARTCACHE_CONSISTENCY=level, MIDDLEWARE=[]):
        assert [id_ for id_, _, _ in found()] == ["smartcache.W005"] * (level == "session")
    with override_settings(SMARTCACHE_CONSISTENCY=level, MIDDLEWARE=[checks.MIDDLEWARE]):
        assert found() == []


@override_settings(SMARTCACHE_SECRET="tooshort")
def test_a_secret_is_not_repeated() -> None:
    ((_, message, _),) = found()
    assert "tooshort" not in message


@override_settings(SMARTCACHE_REDIS_URL="http://user:opensesame@host")
def test_a_password_in_a_url_is_not_repeated() -> None:
    ((_, message, _),) = found()
    assert "opensesame" not in message
    with pytest.raises(SettingError) as caught:
        conf.current()
    assert "opensesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELS", {"shop.*": {"ttl": 5}}),
    ],
)
def test_what_this_version_cannot_do_is_not_accepted_silently(name: str, value: Any) -> None:
    with override_settings(**{f"SMARTCACHE_{name}": value}):
        ((id_, message, _),) = found()
        assert id_ == "smartcache.E003"
        assert "not supported by this version" in message


@pytest.mark.parametrize(
    ("name", "value", "others"),
    [
        ("REDIS_URL", "redis://localhost:port", {}),
        ("DIR", "/proc/nonexistent/x", {}),
        ("KEY_PREFIX", "a{b}", {"SMARTCACHE_REDIS_URL": "redis://localhost"}),
    ],
)
def test_what_only_the_core_can_tell_is_an_error_too(
    name: str, value: str, others: dict[str, str]
) -> None:
    with override_settings(**{f"SMARTCACHE_{name}": value, **others}):
        ((id_, message, _),) = found()
    assert id_ == "smartcache.E005"
    assert re.findall("SMARTCACHE_[A-Z_]+", message) == [f"SMARTCACHE_{name}"]
    assert value.rpartition("/")[2].rpartition(":")[2] in message


@override_settings(SMARTCACHE_VALIDATE_SCHEMA=True)
def test_a_prefix_made_before_the_models_are_there_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as early:
        early.setattr(apps, "models_ready", False)
        prefixes.forget()
        assert b"schema" not in prefixes.prefix()
    apps.get_app_config("djsmartcache").ready()
    assert b"schema" in prefixes.prefix()


def test_a_serializer_that_cannot_be_made_is_an_error() -> None:
    for wrong in ("os.path", "fractions.Fraction.from_float"):
        with override_settings(SMARTCACHE_SERIALIZER=wrong):
            ((id_, message, _),) = found()
        assert id_ == "smartcache.E006"
        assert wrong in message


@override_settings(SMARTCACHE_SERIALIZER="nonesuch.Serializer")
def test_a_serializer_that_cannot_be_imported_is_an_error() -> None:
    ((id_, message, _),) = found()
    assert (id_, "nonesuch" in message) == ("smartcache.E006", True)


def test_the_embedded_store_beside_a_remote_database_is_a_warning_at_deploy(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    assert checks.check_deployment() == []
    monkeypatch.setitem(connections["default"].settings_dict, "HOST", "db.example.org")
    assert [each.id for each in checks.check_deployment()] == ["smartcache.W001"]
    registered = django_checks.registry.registry.get_checks(include_deployment_checks=True)
    assert checks.check_deployment in registered
    settings.SMARTCACHE_REDIS_URL = "redis://127.0.0.1:1"
    assert checks.check_deployment() == []


def test_the_default_folder_is_a_warning_at_deploy(settings: Any, tmp_path: Path) -> None:
    settings.SMARTCACHE_DIR = None
    (warning,) = checks.check_deployment()
    assert warning.id == "smartcache.W003"
    assert "PrivateTmp" in warning.msg
    assert warning.hint
    assert "SMARTCACHE_DIR" in warning.hint
    settings.SMARTCACHE_REDIS_URL = "redis://127.0.0.1:1"
    assert checks.check_deployment() == []


def test_manage_py_check_runs_the_checks(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.SMARTCACHE_DEFAULT_TLL = 5
    settings.SMARTCACHE_DIR = None
    monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")
    found = django_checks.run_checks(tags=["caches"], include_deployment_checks=True)
    expected = {"smartcache.E001", "smartcache.W002", "smartcache.W003"}
    assert expected <= {each.id for each in found}


def test_a_database_that_was_not_tested_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_databases() == []
    monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")
    assert [each.id for each in checks.check_databases()] == ["smartcache.W002"]


def test_a_change_makes_the_core_anew_only_where_it_is_made_of_it(tmp_path: Path) -> None:
    before = process.cache()
    with override_settings(SMARTCACHE_DEFAULT_TTL=5):
        assert conf.current().default_ttl == 5
        assert process.cache() is before
    with override_settings(SMARTCACHE_DIR=str(tmp_path / "other")):
        assert process.cache() is not before
        assert str(tmp_path) in process.cache().describe()
    with override_settings(SMARTCACHE_REDIS_URL="gopher://x"):
        assert process.cache() is not None  # writers must be able to go on


def test_the_secret_is_derived_and_differs_with_its_source() -> None:
    seen = {conf.secret()}
    with override_settings(SECRET_KEY="another"):
        seen.add(conf.secret())
        with override_settings(SMARTCACHE_SECRET="its own, long enough"):
            seen.add(conf.secret())
            with override_settings(SECRET_KEY="a third"):
                seen.add(conf.secret())
    assert len(seen) == 3
    assert all(len(secret) == 32 for secret in seen)


def test_projects_have_folders_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Any
) -> None:
    monkeypatch.setattr(conf, "_BASE", str(tmp_path))
    settings.SMARTCACHE_DIR = None
    first = conf.directory()
    # What differs between a service and a shell of one user must not tell them apart.
    for variable in ("TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "other"))
        assert conf.directory() == first
    folders = {first}
    for changed in ({"SECRET_KEY": "another"}, {"BASE_DIR": tmp_path}):
        with override_settings(**changed):
            folders.add(conf.directory())
    assert len(folders) == 3
    process.close()


def test_a_default_folder_that_cannot_be_made_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "_BASE", "/proc")
    with override_settings(SMARTCACHE_DIR=None):
        ((id_, message, _),) = found()
    assert (id_, "SMARTCACHE_DIR /proc/djsmartcache-" in message) == ("smartcache.E005", True)


def test_a_folder_that_cannot_be_used_just_now_is_a_warning(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with override_settings(SMARTCACHE_DIR=str(tmp_path / "folder")):
        conf.problems()  # what it imports needs files
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            (warning,) = checks.check_settings()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (warning.id, warning.level) == ("smartcache.W004", django_checks.WARNING)
        assert "Too many open files" in warning.msg
        assert checks.check_settings() == []


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text() == conf.reference(), (
        "python -c 'from djsmartcache import conf; print(conf.reference(), end=\"\")'"
    )
