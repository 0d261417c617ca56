"""See what the layers of a diffusion transformer do: reorder them, record them, compare the pictures."""
