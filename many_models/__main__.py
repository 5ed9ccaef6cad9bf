"""`python -m many_models`: the command line."""

from many_models.cli import main

if __name__ == "__main__":
    main()
