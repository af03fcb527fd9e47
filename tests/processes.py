"""What tests of workers and of killed runs share."""

from __future__ import annotations

import time

import psutil


def wait_until_gone(pid: int, seconds: float = 5) -> bool:
    """Whether a process ends, or is a zombie, within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def code(text: str) -> str:
    """An expression that runs statements and is what they assign to ``answer``."""
    return f"(lambda names: (exec({text!r}, names), names.get('answer'))[1])({{}})"
