"""Pipelines of diffusers, most of them trained by others: found, known without their weights, loaded, judged."""
