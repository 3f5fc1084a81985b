"""Events of the engine in Python's `logging`, under the logger ``firnline``."""

from __future__ import annotations

import logging

from firnline import _firnline

__all__ = ["set_log_level"]


def set_log_level(level: int | str) -> None:
    """Set the least level of events that the engine records.

    What it records goes to the logger ``firnline`` when the call that caused it returns, or every 50 ms while it
    waits. Default: ``logging.INFO``. To see the details of retries and rebases::

        logging.basicConfig()
        logging.getLogger("firnline").setLevel(logging.DEBUG)
        firnline.set_log_level(logging.DEBUG)

    Parameters
    ----------
    level : int or str
        A level of `logging`.
    """
    if isinstance(level, str):
        level = logging.getLevelNamesMapping()[level.upper()]
    _firnline.set_log_level(max(0, min(level, 255)))
