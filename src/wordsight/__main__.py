"""`python -m wordsight`: the command line."""

from wordsight.cli import main

main()
