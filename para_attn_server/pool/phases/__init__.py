"""The phases of a worker group's life, one file each: what may happen in it, how long it may last, what follows."""
