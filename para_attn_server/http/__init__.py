"""HTTP over the service: Flask routes, problem+json, and the gunicorn process that serves them."""
