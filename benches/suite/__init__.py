"""What every group of the benchmark suite shares; benches/README.md says how the parts belong together."""
