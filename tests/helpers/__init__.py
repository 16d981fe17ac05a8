"""What our Python tests share: which loop, one step of it, other processes, and comparing two loops."""
