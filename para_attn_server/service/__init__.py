"""Submit, look at, wait for and cancel jobs: what every HTTP dialect is a dress of.

Knows the store, the outputs and the control channel; knows nothing of Flask, gunicorn or gevent.
"""
