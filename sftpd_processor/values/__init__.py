"""Custom values: who answers the names that bots ask for, and how they are asked."""
