"""Puts the program and its service into place, and takes them away again.

    <prefix>/versions/<version>-<hash>/   a virtual environment for each version, made once and then left as it is
    <prefix>/bin/                         links to the commands of the one that is used
    <prefix>/installed.json               what was put elsewhere: path → SHA-256, so that nothing else is ever removed

A daemon that runs goes on with the files of its own version until it is restarted: it imports much only when it needs
it. The room uses nothing but the standard library, since `python -m sftpd_processor.installation` runs before any
dependency is installed, also straight from a wheel (Python imports from zip files).
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whatever `python3` happens to be may have been called
    sys.exit(f"sftpd-processor needs Python 3.11 or newer, and this is {sys.version.split()[0]}: make install PYTHON=…")
