"""`python -m dpm_cli`."""

from dpm_cli.cli import main

if __name__ == "__main__":
    main()
