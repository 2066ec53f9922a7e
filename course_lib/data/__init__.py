"""Small seeded data sets; nothing is downloaded."""
