"""reactord: turns what an assistant did today into a better model tomorrow."""

__version__ = "0.1.0"
