"""What `train.sh`, `test.sh` and `tests/run.sh` start with."""
