"""Runs CPython's asyncio tests on another loop and judges the results by mechanical rules (see `run.py`)."""
