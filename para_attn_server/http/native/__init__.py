"""The native dialect: its routes, and what it answers."""
