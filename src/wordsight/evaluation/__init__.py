"""Evaluation: pruners on tasks, compared, raced, timed, and what that supports."""
