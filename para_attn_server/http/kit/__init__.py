"""What all dialects share. Nothing in here knows a dialect, or the shape of its responses and errors."""
