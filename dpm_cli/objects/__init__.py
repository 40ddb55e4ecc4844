"""What moves by itself as separate objects through a clip: masks, identities, rigid poses."""

from dpm_cli.objects.find import Objects, find_objects

__all__ = ["Objects", "find_objects"]
