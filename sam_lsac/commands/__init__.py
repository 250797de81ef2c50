"""``python -m sam_lsac``: one module a command, and what all of them share.

A command checks every option before it loads or writes anything. A mistake is one line on standard error and exit code
2; Ctrl-C and SIGTERM end with one line that says what is kept and how to go on.
"""
