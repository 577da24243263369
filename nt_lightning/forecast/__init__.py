"""What a run will take, before it starts: steps, FLOPs, memory of each device, time."""
