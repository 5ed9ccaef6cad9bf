"""The search: candidates are evaluated on folds, combined by their out-of-fold predictions. It knows no task."""
