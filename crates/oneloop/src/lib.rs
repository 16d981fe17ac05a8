//! One event loop for Python coroutines and Rust futures: the engine and its Rust face.
