"""A package whose module is a program: `python -m oneloop -m greetings.hello NAME`."""
