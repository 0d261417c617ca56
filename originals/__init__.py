"""Models that others trained: found on the model hub, known without their weights, fitted on a machine, judged."""
