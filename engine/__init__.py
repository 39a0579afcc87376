"""What training and testing take: from the learner and its schedule to checkpoints and records."""
