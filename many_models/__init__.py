"""One AutoML run for every store, well or user: in parallel, restartable, on one machine or a cluster."""
