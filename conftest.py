"""The suite is a plugin of pytest; its options are in ``sam_lsac.suite.plugin``."""

pytest_plugins = ["sam_lsac.suite.plugin"]
