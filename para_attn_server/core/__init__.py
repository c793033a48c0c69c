"""The words of the project as data: settings, jobs, messages, errors, the predictor contract.

Imports the standard library and pydantic only; everything above may import it, it imports nothing above.
"""
