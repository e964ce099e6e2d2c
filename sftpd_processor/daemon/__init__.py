"""The daemon: everything started in order, supervised, changed while it runs, drained, and stopped in reverse."""

from sftpd_processor.daemon.daemon import Daemon
from sftpd_processor.daemon.ending import STOP_SECONDS
from sftpd_processor.daemon.making import make_handlers, make_source
from sftpd_processor.daemon.report import Report

__all__ = ["STOP_SECONDS", "Daemon", "Report", "make_handlers", "make_source"]
