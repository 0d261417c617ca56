"""What the study says: claims as they are written down, and the evidence that they are put to the test with."""
