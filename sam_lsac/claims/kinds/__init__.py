"""The closed set of ways to judge a claim; each module states what supports and what refutes."""
