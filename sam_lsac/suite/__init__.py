"""The suite: from pytest's options to a report. ``pytest_plugins = ["sam_lsac.suite.plugin"]`` opts a repository in."""
