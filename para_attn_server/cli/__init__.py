"""The command line: serving, and a client's commands. Never imports torch; what needs it runs in a child process."""
