"""`python -m firstpull_cli`."""

from firstpull_cli.app import main

main()
