"""Where batches run: worker processes of this machine, or a cluster by its own scheduler."""
