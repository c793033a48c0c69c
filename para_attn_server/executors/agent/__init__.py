"""Ranks below an agent: a process of its own, on this machine or another, reached by a TCP connection and nothing else.

The agent runs the local executor for its controller. `executor.py` is the controller's end, `session.py` the agent's;
`wire.py` has what they say to each other, `link.py` the connection.
"""
