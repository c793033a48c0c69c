"""What processes say to each other: one file per channel, each with its messages and how they are written."""
