"""A stand-in for IoT Edge's edgeAgent: it pulls with what its module twin has."""
