"""The dependable inbox for Webio's SFTP hooks."""
