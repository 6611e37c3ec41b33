"""What is logged of errors that are swallowed: once a minute each, for they come in floods."""

from __future__ import annotations

import logging
import time
from typing import Final

logger = logging.getLogger("djsmartcache")

LOG_EVERY: Final = 60.0  # seconds between two lines about one function

_logged: dict[str, float] = {}


def log_seldom(
    about: str,
    message: str,
    *details: object,
    error: Exception | None = None,
    level: int = logging.WARNING,
) -> None:
    """Log a swallowed error, once a minute for each function, or whatever else it is about."""
    now = time.monotonic()
    if now - _logged.get(about, -LOG_EVERY) >= LOG_EVERY:
        if len(_logged) > 1000:
            _logged.clear()
        _logged[about] = now
        logger.log(level, message, about, *details, exc_info=error)
