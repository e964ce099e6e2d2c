"""For your own tests, demos and benchmarks: a pretend Webio, throw-away SFTP servers, and a slow line.

Nothing here is needed to run the daemon. The modules are imported by name:
`sftpd_processor.testing.webio`, `.webio_http`, `.latency`, `.servers` and `.relay`.
"""
