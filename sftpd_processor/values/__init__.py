"""Custom values: who answers the names that bots ask for, and how they are asked.

The module can be called: `from sftpd_processor import values` gives users the decorator, whatever was imported first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class _Decorator(ModuleType):
    def __call__(self, *names: Any) -> Callable[..., Any]:
        from sftpd_processor.values.api import values

        decorate: Callable[..., Any] = values(*names)
        return decorate


sys.modules[__name__].__class__ = _Decorator
