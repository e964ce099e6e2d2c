"""What handlers and providers share: the way in for code and options of the user, and the way out to others."""
