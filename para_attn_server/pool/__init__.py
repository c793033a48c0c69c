"""The pool: worker groups, which job goes to which, and what becomes of a job whose group is lost."""
