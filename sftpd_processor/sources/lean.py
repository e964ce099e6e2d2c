"""paramiko, loaded without what is never needed here: import it from this module, so that it is not loaded in whole.

For the commands that an ssh_config may name (`Match exec`) it loads invoke, and that YAML and unittest: 6 MB for as
long as the process lives, and 0.13 s at each start. Nothing here reads an ssh_config, and paramiko does without invoke
where that is not installed. A module that is None in `sys.modules` counts as not installed: the import system's rule.
"""

from __future__ import annotations

import sys

__all__ = ["paramiko"]

_here = sys.modules.setdefault("invoke", None)  # type: ignore[arg-type] # the rule above
try:
    import paramiko
finally:
    if _here is None:
        del sys.modules["invoke"]  # users' own code finds it
