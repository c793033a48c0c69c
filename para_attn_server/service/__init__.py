"""Submit, read, wait for and cancel jobs: the service behind every HTTP dialect.

Knows the store, the outputs and the control channel; knows nothing of Flask, gunicorn or gevent.
"""
