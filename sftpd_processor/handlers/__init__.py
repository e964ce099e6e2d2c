"""What does something with an event: the user's functions and the built-ins, all behind one protocol."""
