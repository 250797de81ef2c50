"""The claims of the paper as pytest modules; ``claims.toml`` has the rows."""
