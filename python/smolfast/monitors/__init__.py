"""Rules on numbers that a run makes: when one holds, and who outside is told. What else is done is the run's matter."""
