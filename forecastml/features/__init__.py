"""What tabular learners see of a panel: features declared as data, and target transforms with their inverse."""
