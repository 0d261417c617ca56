"""Models that others trained, most of them pipelines of diffusers: found, known without weights, loaded, judged."""
