"""Learning by doing: exercises that tests check, and a museum of famous bugs."""
