"""One line opts a repository in: options, fixtures, table and report come with the plugin."""

pytest_plugins = ["sam_lsac.suite.plugin"]
