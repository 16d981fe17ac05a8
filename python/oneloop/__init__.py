"""One event loop for Python coroutines and Rust futures."""
