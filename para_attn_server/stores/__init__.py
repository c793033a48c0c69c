"""The store: jobs and their events, the truth that web workers and parent share. `base` is the contract."""
