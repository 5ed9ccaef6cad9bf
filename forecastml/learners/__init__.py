"""One family of learners a file; `registry` knows them by name and imports a family when it is first used."""
