"""What every tool that writes files needs."""
