"""An emulator of the Azure services that firstpull needs, with real wire protocols on loopback.

README.md lists its parts and who needs each.
"""
