"""The store: jobs and their events, the truth that web workers and controller share. `base` is the contract."""
