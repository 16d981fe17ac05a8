"""Instructions per operation, counted by callgrind, for the rows of benches/scheduling."""
