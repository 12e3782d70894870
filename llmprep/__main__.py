"""`python -m llmprep`."""

from llmprep.cli.main import main

main()
