"""The web server's processes: gunicorn with gevent workers, on a socket that the controller has bound."""
