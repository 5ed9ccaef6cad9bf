"""`python -m forecastml`: the command line."""

from forecastml.cli import main

if __name__ == "__main__":
    main()
