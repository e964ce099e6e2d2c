"""The local copies on disk: plain files in day folders, and compacted days."""
