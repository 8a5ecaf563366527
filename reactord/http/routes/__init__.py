"""Who answers? Thin: understand, call, answer. A file for each kind of question, its rows at the end of it."""
