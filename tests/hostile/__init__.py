"""Files that nobody should send, each with what must become of it."""
