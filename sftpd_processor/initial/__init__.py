"""The first configuration: what `sftpd-processor init` finds out about a server, and what it writes."""
