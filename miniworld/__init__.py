"""A painted world with exact answers: scenes, their captions and pictures, and the training of the minis on them."""
