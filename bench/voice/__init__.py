"""What a voice pipeline costs: latency it adds, CPU a call takes, and how fast it falls silent when interrupted."""
