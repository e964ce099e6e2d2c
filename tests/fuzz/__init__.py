"""Coverage-guided fuzzing of bytes → events, and the seeds it starts from."""
