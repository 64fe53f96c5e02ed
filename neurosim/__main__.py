"""`python -m neurosim`: the command line where its script is not on the path."""

from neurosim.cli import main

if __name__ == "__main__":
    main()
