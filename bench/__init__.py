"""The claims of the paper as pytest modules; see ``claims.toml`` for the rows and ``evidence.py`` for their runs."""
