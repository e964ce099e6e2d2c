"""The configuration: one frozen tree of settings, read once from TOML and the environment."""
